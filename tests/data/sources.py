"""The same pictures in every kind of source, for tests that hold one against the others."""

import io
import json
import tarfile
import zipfile

import numpy as np
from PIL import Image

from tests.data.helpers import encoded

CLASSES = ("2 cats", "10 dogs")  # in natural order
SIZES = [(12, 12), (10, 16), (16, 10), (20, 14)]


def pictures(count=12):
    """[(key, encoded bytes, ending, label)]: of several sizes and formats, two classes."""
    made = []
    for k in range(count):
        noise = np.random.default_rng(k).integers(0, 256, (*SIZES[k % 4], 3), np.uint8)
        kind = ("PNG", "JPEG", "BMP")[k % 3]
        options = {"quality": 90} if kind == "JPEG" else {}
        ending = {"PNG": "png", "JPEG": "jpg", "BMP": "bmp"}[kind]
        content = encoded(Image.fromarray(noise), kind, **options)
        # The order of paths under a folder: by class, then by name.
        made.append((f"{k:03}", content, ending, int(k < count // 2)))
    return made


def add(archive, name, content):
    """A file of a tar archive."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def write_folder(root, made):
    """As a folder with a subfolder for each class."""
    for key, content, ending, label in made:
        path = root / CLASSES[label] / f"{key}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def write_zip(path, made):
    """The same folder as an archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, content, ending, label in made:
            archive.writestr(f"{CLASSES[label]}/{key}.{ending}", content)
    return path


def write_shards(folder, made, shards=3):
    """As tar archives whose .cls hold numbers, .txt names, and .json both; with classes.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, part in enumerate(np.array_split(np.arange(len(made)), shards)):
        with tarfile.open(folder / f"train-{k:04}.tar", "w") as archive:
            for i in part:
                key, content, ending, label = made[i]
                add(archive, f"{key}.{ending}", content)
                add(archive, f"{key}.cls", str(label).encode())
                add(archive, f"{key}.txt", CLASSES[label].encode())
                about = {"what": {"name": CLASSES[label]}}
                add(archive, f"{key}.json", json.dumps(about).encode())
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return str(folder / f"train-{{0000..{shards - 1:04}}}.tar")


def in_order(made):
    """The pictures in the order of the folder's paths."""
    return sorted(made, key=lambda one: (CLASSES[one[3]], one[0]))


def write_parquet(path, made, words=False):
    """As a Parquet file of {"bytes", "path"} and numbers, or words, of classes."""
    import pyarrow as pa
    from pyarrow import parquet

    images = [{"bytes": content, "path": f"{key}.{ending}"} for key, content, ending, _ in made]
    labels = [CLASSES[label] if words else label for *_, label in made]
    parquet.write_table(pa.table({"image": images, "label": labels}), path, row_group_size=5)
    return path


def hugging_face(made):
    """As a `datasets.Dataset` with the features Image and ClassLabel."""
    import datasets

    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))}
    images = [{"bytes": content, "path": None} for _, content, _, _ in made]
    columns = {"image": images, "label": [label for *_, label in made]}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))
