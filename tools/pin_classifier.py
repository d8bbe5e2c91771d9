"""Trains the classifier of labelled images that comes with the package, so that its values compare.

    python tools/pin_classifier.py --data=FashionMNIST

Two machines that train by one recipe get different weights, and the same samples then have somewhat
different Fréchet distances. The weights written here are float16, half the size: the Fréchet
distance of 3,000 real or noisy images changes by less than .001, precision and recall by .001. They
apply to data of the same content alone.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from lcss_tf import files
from lcss_tf.metrics import extractors
from lcss_tf.registry import DATASETS


def pin(data: object, folder: Path) -> Path:
    """Trains the classifier of `data`; returns the file in `folder` that holds it in float16."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "trained.npz"
        classifier = extractors.Classifier(data, path=path)
        classifier.identity()
        stored = files.read_arrays(path)
    if stored is None:
        raise OSError(f"{path} was not written.")
    halves = {
        name: value.astype(np.float16) if name.startswith("weight_") else value
        for name, value in stored.items()
    }
    kept = folder / f"{classifier.name}_{str(stored['key'])[:12]}.npz"
    files.write_arrays(kept, halves)
    return kept


def main() -> None:
    """The command."""
    made = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    made.add_argument("--data", default="FashionMNIST", help="a registered data set with labels")
    made.add_argument("--folder", type=Path, default=extractors.BROUGHT, help="where it is written")
    options = made.parse_args()
    print(f"Wrote {pin(DATASETS[options.data](), options.folder)}")


if __name__ == "__main__":
    main()
