"""Parquet: images, arrays and tables in columns are the siblings' own; damaged files are named."""

import json

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from pyarrow import parquet

from lcss_tf.data import Arrays, ImageFolder, Parquet, Table
from lcss_tf.data import parquet as own
from lcss_tf.errors import UsageError
from tests.data import sources
from tests.data.helpers import classes

PICTURES = sources.in_order(sources.pictures())
ROWS = np.random.default_rng(0).normal(size=(20, 3))
LABELS = np.arange(20) % 3


def write(path, **columns):
    parquet.write_table(pa.table(columns), path)
    return path


def stored(data, split="train"):
    return data.stored(tf.range(data.size(split), dtype=tf.int64), split).numpy()


def all_examples(data, split="train"):
    return data.examples(tf.range(data.size(split), dtype=tf.int64), split).numpy()


# Images.


@pytest.mark.slow
@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_images_are_those_of_the_folder(tmp_path, words, fit):
    folder = ImageFolder(sources.write_folder(tmp_path / "a", PICTURES), (8, 12), test_every=4,
                         fit=fit)  # fmt: skip
    path = sources.write_parquet(tmp_path / "a.parquet", PICTURES, words)
    data = Parquet(path, "image", (8, 12), label_column="label", test_every=4, fit=fit)
    assert (data.name, data.kind, data.shape) == ("a", "image", (8, 12, 3))
    numbers = np.array([sources.CLASSES.index(name) for name in folder.class_names()])
    for split in ("train", "test"):
        assert np.array_equal(stored(data, split), stored(folder, split))
        assert np.array_equal(data.labels(split), numbers[folder.labels(split)])
    assert data.class_names() == (list(sources.CLASSES) if words else [])
    assert data.info().scaling == folder.info().scaling


def test_lists_of_bytes_are_images_and_bare_bytes_too(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)
    grey = pixels[..., 0]
    bare = [sources.pictures(6)[k][1] for k in range(6)]
    path = write(tmp_path / "a.parquet", image=pixels.tolist(), grey=grey.tolist(), bare=bare)
    read = lambda *args, **options: stored(Parquet(path, *args, test_every=2, **options))
    assert np.array_equal(read("image", (4, 5)), pixels[1::2])
    assert np.array_equal(read("grey", (4, 5), channels=1), grey[1::2, ..., None])
    assert read("bare", 8).shape == (3, 8, 8, 3)


def test_resuming_is_a_jump_and_held_out_files_are_kept_apart(tmp_path):
    train = sources.write_parquet(tmp_path / "train-0.parquet", PICTURES[:7])
    sources.write_parquet(tmp_path / "train-1.parquet", PICTURES[7:9])
    test = sources.write_parquet(tmp_path / "test.parquet", PICTURES[9:])
    data = Parquet(
        str(train).replace("-0", "-{0..1}"), resolution=8, label_column="label", flip=True,
        test_path=test,
    )  # fmt: skip
    assert (data.size(), data.size("test")) == (9, 3)
    assert data.location(1, "test") == f"Row 1 of {test}"
    read = lambda start, count: [
        (x.numpy(), c.numpy())
        for x, c in data.training_pipeline(4, 3, start, None, classes(2)).take(count)
    ]
    for (x, c), (again, d) in zip(read(0, 5)[3:], read(3, 2), strict=True):
        assert np.array_equal(x, again)
        assert np.array_equal(c, d)


@pytest.mark.slow
def test_bad_images_end_the_run_or_are_replaced(tmp_path, caplog):
    images = [content for _, content, _, _ in PICTURES[:8]]
    path = write(tmp_path / "a.parquet", image=[b"no image", *images[1:5], None, images[6], b""])
    with pytest.raises(UsageError, match=r"Row 0 of .*a\.parquet cannot be used: not an image.*"
                       r'set Parquet\.on_bad_example = "skip"'):  # fmt: skip
        Parquet(path, resolution=8, test_every=4).require("test")
    data = Parquet(path, resolution=8, test_every=4, on_bad_example="skip")
    assert stored(data).shape == (6, 8, 8, 3)
    assert "Row 5 of" in caplog.text
    assert "it holds no bytes: null, or the path of a file alone" in caplog.text
    ragged = write(tmp_path / "b.parquet", image=[[[1, 2], [3]], [[1, 300]], [[1, 2]]])
    data = Parquet(ragged, resolution=8, channels=1, test_every=2)
    assert data.why_bad(0, "test").startswith("it is no array of bytes (")
    assert data.why_bad(0, "train").startswith("it is no array of bytes (")


# Arrays.


@pytest.mark.parametrize("kind", ["list", "fixed", "flat"])
def test_arrays_are_those_of_numpy_s_files(tmp_path, kind):
    x = np.random.default_rng(1).normal(size=(20, 6, 2)).astype(np.float32)
    x = x[..., :1] if kind == "flat" else x
    np.savez(tmp_path / "x.npz", x=x, labels=LABELS)
    column = pa.array(x.tolist(), pa.list_(pa.list_(pa.float32())))
    if kind == "fixed":
        column = pa.array(x.tolist(), pa.list_(pa.list_(pa.float32(), 2), 6))
    if kind == "flat":
        column = pa.array(x[..., 0].tolist(), pa.list_(pa.float32()))
    path = write(tmp_path / "x.parquet", x=column, label=pa.array(LABELS))
    here = Parquet(path, "x", shape=x.shape[1:], label_column="label")
    there = Arrays(tmp_path / "x.npz", x.shape[1:])
    assert (here.kind, here.shape) == ("signal", x.shape[1:])
    assert here.scaling == there.scaling
    for split in ("train", "test"):
        assert np.array_equal(all_examples(here, split), all_examples(there, split))
        assert np.array_equal(here.labels(split), there.labels(split))
    assert here.fingerprint() == there.fingerprint()


def test_arrays_that_are_missing_not_finite_or_ragged_are_named(tmp_path, caplog):
    rows = [[1.0, 2.0], None, [3.0, float("nan")], [4.0, 6.0], [0.0, 1.0], [2.0, 2.5]]
    path = write(tmp_path / "a.parquet", x=rows, label=["a", "b", "a", "b", "a", "b"])
    data = Parquet(path, "x", shape=(2,))
    with pytest.raises(UsageError, match=r"1 of 6 rows of .* have no 'x'; the first is row 1"):
        data.require()
    data = Parquet(path, "x", shape=(2,), on_bad_example="skip", test_every=2, label_column="label")
    assert (data.size(), data.size("test")) == (2, 2)
    assert data.labels("test").tolist() == [0, 0]
    assert data.labels("train").tolist() == [1, 1]
    assert "as Parquet.on_bad_example says" in caplog.text
    for wrong in ([[1.0], [2.0, 3.0]], [[1.0, None], [2.0, 3.0]], [["a", "b"]] * 2):
        path = write(tmp_path / "b.parquet", x=wrong)
        with pytest.raises(UsageError, match=r"Parquet\.shape = \(2,\) asks|NaN or infinity"):
            Parquet(path, "x", shape=(2,), test_every=2).require()


def test_files_without_rows_and_of_two_dtypes_are_refused(tmp_path):
    empty = write(tmp_path / "a.parquet", x=pa.array([], pa.list_(pa.float32())))
    with pytest.raises(UsageError, match=r"a\.parquet holds no 'x' in any row"):
        Parquet(empty, "x", shape=(2,)).require()
    single = write(tmp_path / "b.parquet", x=pa.array(ROWS.tolist(), pa.list_(pa.float32())))
    double = write(tmp_path / "c.parquet", x=ROWS.tolist())
    with pytest.raises(UsageError, match=r"c\.parquet holds float64 and .*b\.parquet float32"):
        Parquet(single, "x", shape=(3,), test_path=double).require()
    both = Parquet(single, "x", shape=(3,), test_path=single)
    assert (both.size(), both.size("test")) == (20, 20)
    with pytest.raises(UsageError, match="leaves no image for the split"):
        Parquet(write(tmp_path / "d.parquet", image=pa.array([], pa.binary())),
                resolution=8).require()  # fmt: skip
    with pytest.raises(UsageError, match="each needs at least one"):
        Parquet(write(tmp_path / "e.parquet", a=pa.array([], pa.float32())), columns=["a"]).size()


# Tables.


def test_tables_are_those_of_csv_files(tmp_path):
    text = "\n".join(["a,b,c,kind", *(",".join(map(repr, [*row, int(k)])) for row, k in
                                      zip(ROWS.tolist(), LABELS, strict=True))])  # fmt: skip
    (tmp_path / "a.csv").write_text(text)
    columns = {name: ROWS[:, k] for k, name in enumerate("abc")}
    path = write(tmp_path / "a.parquet", kind=LABELS.astype(np.int32), **columns)
    here = Parquet(path, columns=("c", "a"), label_column="kind", test_every=5)
    there = Table(str(tmp_path / "a.csv"), ("c", "a"), "kind", test_every=5)
    assert (here.kind, here.columns) == ("table", ("c", "a"))
    for split in ("train", "test"):
        assert np.array_equal(all_examples(here, split), all_examples(there, split))
        assert np.array_equal(here.labels(split), there.labels(split))
    assert here.scaling == there.scaling
    assert here.fingerprint() == there.fingerprint()


def test_words_are_classes_and_a_pandas_category_too(tmp_path):
    words = pa.array([("cat", "dog", "bee")[k] for k in LABELS])
    path = write(tmp_path / "a.parquet", a=ROWS[:, 0], kind=words,
                 category=words.dictionary_encode())  # fmt: skip
    for label in ("kind", "category"):
        data = Parquet(path, columns=["a"], label_column=label, test_every=2)
        assert data.class_names() == ["bee", "cat", "dog"]
        assert data.labels().tolist() == [(1, 2, 0)[k] for k in LABELS[1::2]]


def test_rows_that_are_no_numbers_are_named_or_left_out(tmp_path, caplog):
    a = [1.0, None, 3.0, float("inf"), 5.0, 6.0, 7.5]
    path = write(tmp_path / "a.parquet", a=a, b=[True, False] * 3 + [True], c=list("abcdefg"))
    with pytest.raises(UsageError, match=r"2 of 7 rows of .*: row 1, column 'a': nothing; row 3, "
                       r"column 'a': inf.*Parquet\.on_bad_example"):  # fmt: skip
        Parquet(path, columns=["a", "b"]).require()
    data = Parquet(path, columns=["a"], on_bad_example="skip", test_every=2)
    assert (data.size(), data.size("test")) == (2, 3)
    assert "They are left out, as Parquet.on_bad_example says" in caplog.text
    with pytest.raises(UsageError, match="column 'c' of .* holds string, and a table is made of n"):
        Parquet(path, columns=["c"]).require()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_constant_but_for_the_rounding_of_its_own_column_is_refused(tmp_path, dtype):
    first, second = dtype(0.1), np.nextafter(dtype(0.1), dtype(1))
    column = np.where(np.arange(20) % 2, first, second)
    varied = np.random.default_rng(0).normal(size=20)
    path = write(tmp_path / "a.parquet", a=pa.array(varied), b=pa.array(column))
    with pytest.raises(UsageError, match=r"columns \['b'\] of .*differ by no more than rounding"):
        Parquet(path, columns=["a", "b"]).require()
    wide = write(tmp_path / "b.parquet", a=varied, b=pa.array(column.astype(np.float64)))
    if dtype != np.float64:  # in float64 the same numbers are data
        Parquet(wide, columns=["a", "b"]).require()


def test_names_of_classes_come_from_the_file(tmp_path):
    features = {"kind": {"names": ["x", "y", "z"], "_type": "ClassLabel"}, "a": {"dtype": "float"}}
    about = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pa.table({"a": ROWS[:, 0], "kind": LABELS}).replace_schema_metadata(about)
    parquet.write_table(table, tmp_path / "a.parquet")
    data = Parquet(tmp_path / "a.parquet", columns=["a"], label_column="kind")
    assert data.class_names() == ["x", "y", "z"]
    for odd in (b"{", b"[]", b'{"info": {"features": {"kind": {"names": 7}}}}', b"[" * 99_999):
        assert own.class_names({b"huggingface": odd}) == {}
    features["kind"]["names"] = ["x", "y"]
    about = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    parquet.write_table(table.replace_schema_metadata(about), tmp_path / "b.parquet")
    with pytest.raises(UsageError, match="run to 2, and 2 classes have names"):
        Parquet(tmp_path / "b.parquet", columns=["a"], label_column="kind").labels()


# What is refused.


def test_one_of_three_is_asked_for_and_arguments_are_checked(tmp_path):
    for wrong in ({}, {"resolution": 8, "shape": (2,)}):
        with pytest.raises(UsageError, match=r"set one of the three; got"):
            Parquet("nowhere", **wrong)
    for wrong in (
        {"resolution": 0}, {"resolution": 8, "channels": 2}, {"resolution": 8, "fit": "x"},
        {"shape": ()}, {"shape": (1,) * 5}, {"columns": ()}, {"columns": ("a", "a")},
        {"resolution": 8, "test_every": 1}, {"shape": (2,), "on_bad_example": "x"},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            Parquet("nowhere", **wrong)
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere. Set Parquet\.path"):
        Parquet("nowhere", resolution=8).require()


def test_columns_that_are_not_there_or_of_another_type_are_named(tmp_path):
    path = sources.write_parquet(tmp_path / "a.parquet", PICTURES)
    with pytest.raises(UsageError, match=r"has no column 'picture'; it has 'image', 'label'"):
        Parquet(path, "picture", 8).require()
    with pytest.raises(UsageError, match="column 'label' of .* holds int64; images are bytes"):
        Parquet(path, "label", 8).require()
    with pytest.raises(UsageError, match="column 'image' of .*labels are integers or words"):
        Parquet(path, resolution=8, label_column="image").require()
    missing = write(tmp_path / "b.parquet", a=[1.0, 2.0], kind=[1, None])
    with pytest.raises(UsageError, match="Row 1 of .* has no 'kind'"):
        Parquet(missing, columns=["a"], label_column="kind", test_every=2).require()
    write(tmp_path / "c-0.parquet", a=[1.0])
    write(tmp_path / "c-1.parquet", a=[1])
    with pytest.raises(UsageError, match="columns of different types"):
        Parquet(tmp_path / "c-{0,1}.parquet", columns=["a"]).require()


def test_a_column_that_is_there_or_asked_for_twice_is_named(tmp_path):
    values = [[1.0, 2.0, 4.0, 3.0], [3.0, 5.0, 4.0, 9.0], [1, 0, 2, 4]]
    twice = pa.table(values, names=["a", "a", "b"])
    parquet.write_table(twice, tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=r"a\.parquet has 2 columns called 'a'.*Rename them"):
        Parquet(tmp_path / "a.parquet", columns=["a"], test_every=2).require()
    assert Parquet(tmp_path / "a.parquet", columns=["b"], test_every=2).size() == 2
    with pytest.raises(UsageError, match=r"Parquet\.columns names 'b', and so does Parquet\.label"):
        Parquet(tmp_path / "a.parquet", columns=["b"], label_column="b")


_POOLS = []  # kept, for what was allocated in one may outlive its test


@pytest.fixture
def pool():
    """Arrow's memory of one test."""
    default = pa.default_memory_pool()
    _POOLS.append(pa.proxy_memory_pool(default))
    pa.set_memory_pool(_POOLS[-1])
    yield _POOLS[-1]
    pa.set_memory_pool(default)


@pytest.mark.parametrize("codec", ["zstd", "gzip", "snappy", "none"])
@pytest.mark.parametrize("category", [False, True])
def test_many_rows_of_one_large_value_are_counted_before_they_are_unpacked(
    tmp_path, pool, monkeypatch, codec, category
):
    monkeypatch.setattr(own, "_BATCH_BYTES", 2**20)
    value, rows = bytes(2**20), 300
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value]))
    table = pa.table({"image": shared, "number": pa.array(range(rows))})
    path = tmp_path / "a.parquet"
    parquet.write_table(table, path, compression=codec, store_schema=category)
    before = pool.max_memory()
    with pytest.raises(UsageError, match=r"take more than the .* are held in memory"):
        own.read_columns(path, ["image"], 8 * 2**20)
    assert pool.max_memory() - before < 30 * 2**20
    assert own.read_columns(path, ["number"], 2**20)[0].num_rows == rows


def test_ordinary_columns_are_read_by_many_rows_at_a_time(tmp_path, monkeypatch):
    read, sizes = own._rows_at_once, []
    monkeypatch.setattr(own, "_rows_at_once", lambda *a: sizes.append(read(*a)) or sizes[-1])
    images = [bytes([k % 251]) * 1_000 + str(k).encode() for k in range(600)]
    words = pa.array([("cat", "dog")[k % 2] for k in range(600)]).dictionary_encode()
    table = pa.table({"image": images, "word": words, "x": np.arange(600.0), "y": [[1, 2]] * 600})
    for codec, least in (("snappy", [64, 256, 256, 256]), ("zstd", [16, 16, 256, 256])):
        parquet.write_table(table, tmp_path / "a.parquet", compression=codec)
        for name, number in zip(table.column_names, least, strict=True):
            sizes.clear()
            found, _ = own.read_columns(tmp_path / "a.parquet", [name], 2**22)
            assert found[name].to_pylist() == table[name].to_pylist()
            assert min(sizes) >= number, (codec, name, sizes)


def test_files_that_are_damaged_or_no_parquet_are_named(tmp_path):
    path = sources.write_parquet(tmp_path / "a.parquet", PICTURES)
    whole = path.read_bytes()
    damaged = {
        "truncated": whole[: len(whole) // 2], "no end": whole[:-4], "head alone": whole[:8],
        "long footer": whole[:-8] + b"\xff\xff\xff\x7f" + whole[-4:],
        "footer of zeros": whole[:-300] + bytes(292) + whole[-8:],
    }  # fmt: skip
    for name, content in damaged.items():
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"a\.parquet cannot be read as Parquet .*truncated"):
            Parquet(path, resolution=8).require()
        assert name
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(UsageError, match="is no Parquet file: it is a Git LFS pointer"):
        Parquet(path, resolution=8).require()


def test_damaged_pages_never_end_the_process(tmp_path):
    """Sixty bytes changed in turn: the same data, bad images, or an error of ours."""
    path = sources.write_parquet(tmp_path / "a.parquet", PICTURES[:4])
    whole = path.read_bytes()
    read, refused = 0, 0
    places = range(4, len(whole), max(1, len(whole) // 60))
    for place in places:
        content = bytearray(whole)
        content[place] ^= 0xFF
        path.write_bytes(bytes(content))
        try:
            read += Parquet(path, resolution=8, test_every=2, on_bad_example="skip").size() == 2
        except UsageError:
            refused += 1
    assert read > 0
    assert refused > 0
    assert read + refused == len(places)


def test_what_does_not_fit_into_memory_is_refused_while_it_is_read(tmp_path, monkeypatch):
    """A few kilobytes that unpack to 200 MB: reading stops at the limit."""
    same = pa.array([b"x" * 100_000] * 2_000)
    path = write(tmp_path / "a.parquet", image=same)
    assert path.stat().st_size < 200_000
    monkeypatch.setattr(own, "_MEMORY_BYTES", 2**26)
    with pytest.raises(UsageError, match="take more than the .* that are held in memory"):
        Parquet(path, resolution=8).require()
