"""Arrays of every dtype, order and container: their own numbers come back, or they are refused."""

import io
import pickle
import zipfile

import numpy as np

from lcss_tf.data import Arrays, FromTFData, from_user
from tests.robustness.case import Case
from tests.robustness.refusals import refusal

COUNT = 20
KEPT = np.arange(COUNT) % 10 != 0
PLAIN = np.random.default_rng(2).uniform(-90, 90, (COUNT, 3))


def npy(array):
    """The bytes of a .npy file, whatever it holds."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npz(members, compression=zipfile.ZIP_STORED):
    """The bytes of an archive of {name: bytes}."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def same(expected, dtype, tolerance):
    """(source) -> it has these numbers, in float32's precision, and this dtype."""

    def check(data):
        indices = np.arange(data.size())
        scaled = np.asarray(data.examples(indices))
        assert np.isfinite(scaled).all()
        back = data.info().unscale(scaled)
        assert back.dtype == dtype, back.dtype
        expected_wide = np.asarray(expected, np.longdouble)
        spread = float(expected_wide.std())
        error = np.abs(back.astype(np.longdouble) - expected_wide).max()
        assert float(error) <= tolerance * spread, (float(error), spread)

    return check


def read(array, dtype, tolerance=1e-6, **options):
    """Equal numbers from a .npy file, from an archive, compressed or not, and in memory."""

    def check(folder):
        shape = array.shape[1:] or (1,)
        expected = array.reshape(COUNT, *shape)
        good = same(expected[KEPT], dtype, tolerance)
        contents = {
            "a.npy": npy(array),
            "b.npz": npz({"x.npy": npy(array)}),
            "c.npz": npz({"x.npy": npy(array)}, zipfile.ZIP_DEFLATED),
        }
        for name, content in contents.items():
            (folder / name).write_bytes(content)
            good(Arrays(folder / name, shape, **options))
        if not options:
            same(array, dtype, tolerance)(from_user(array))
        return "equals the numbers that were written"

    return check


def refused(array, *words):
    """Refused from a file, from an archive by the member's name, and in memory."""

    def check(folder):
        shape = array.shape[1:] or (1,)
        (folder / "bad.npy").write_bytes(npy(array))
        (folder / "bad.npz").write_bytes(npz({"x.npy": npy(array)}))
        refusal(Arrays(folder / "bad.npy", shape).require, "bad.npy", *words)
        refusal(Arrays(folder / "bad.npz", shape).require, "bad.npz", *words)
        refusal(lambda: from_user(array), "x ")
        return "refused by name"

    return check


def file_refused(content, *words, name="bad.npy", **options):
    """Bytes that are no array are refused by what they are."""

    def check(folder):
        (folder / name).write_bytes(content)
        message = refusal(Arrays(folder / name, (3,), **options).require, name, *words)
        assert ("pickle" in message) == ("pickle" in words), message
        return "refused by what it is"

    return check


def file_read(content, name="a.npz", **options):
    """The plain array is found in a container."""

    def check(folder):
        (folder / name).write_bytes(content)
        same(PLAIN[KEPT], np.float64, 1e-6)(Arrays(folder / name, (3,), **options))
        return "equals the numbers that were written"

    return check


def _dtypes():
    group = "Array dtypes"
    returned = {
        "f2": "f2", "f4": "f4", "f8": "f8", "i1": "f4", "i2": "f4", "u2": "f4",
        "i4": "f8", "u4": "f8", "i8": "f8", "u8": "f8", "u1": "u1",
    }  # fmt: skip
    for name, back in returned.items():
        array = np.abs(PLAIN).astype(name) if name[0] == "u" else PLAIN.astype(name)
        tolerance = 1e-3 if name == "f2" else 1e-6
        yield Case(group, name, read(array, back, tolerance))
    for name in (">f2", ">f4", ">f8", ">i2", ">i4", ">u8", ">i8"):
        array = np.abs(PLAIN).astype(name)
        tolerance = 1e-3 if name == ">f2" else 1e-6
        yield Case(group, f"big-endian {name}", read(array, returned[name[1:]], tolerance))


def _layouts():
    group = "Array layouts"
    yield Case(group, "Fortran order", read(np.asfortranarray(PLAIN), "f8"))
    yield Case(group, "Fortran order, big-endian", read(np.asfortranarray(PLAIN, ">f4"), "f4"))
    yield Case(group, "one number an example", read(PLAIN[:, 0].copy(), "f8"))
    yield Case(group, "every second of an array", read(np.repeat(PLAIN, 2, axis=0)[::2], "f8"))
    yield Case(group, "reversed", read(PLAIN[::-1, ::-1], "f8"))
    yield Case(group, "broadcast", read(np.broadcast_to(PLAIN[:, :1], (COUNT, 3)), "f8"))
    deep = np.random.default_rng(0).normal(size=(COUNT, 2, 3, 2, 1))
    yield Case(group, "volumes", read(deep, "f8"))
    yield Case(group, "volumes in Fortran order", read(np.asfortranarray(deep), "f8"))

    def in_memory(make):
        def check(_):
            same(PLAIN, np.float64, 1e-6)(from_user(make(PLAIN)))
            return "equals the numbers that were passed"

        return check

    yield Case(group, "lists of lists", in_memory(lambda x: x.tolist()))
    yield Case(group, "a list of arrays", in_memory(list))
    yield Case(group, "a masked array that hides nothing", in_memory(np.ma.asarray))

    def from_tf_data(_):
        import tensorflow as tf

        data = FromTFData(tf.data.Dataset.from_tensor_slices(1e39 * PLAIN))
        same(1e39 * PLAIN, np.float64, 1e-6)(data)
        return "equals the numbers that were passed"

    yield Case(group, "tf.data beyond float32", from_tf_data)


def _sizes():
    group = "Numbers of any size"
    sizes = {
        "seconds since 1970": 1.7e9 + 10 * PLAIN,
        "nanoseconds since 1970": (1.7e18 + 1e12 * PLAIN).astype(np.int64),
        "1e39": 1e39 * PLAIN,
        "1e-42": 1e-42 * PLAIN,
        "1e160": 1e160 * PLAIN,
        "1e-170": 1e-170 * PLAIN,
        "1e306": 1e304 * PLAIN,
        "subnormal float32": (1e-42 * PLAIN).astype(np.float32),
        "near the largest float32": (3.7e36 * PLAIN).astype(np.float32),
    }
    for name, array in sizes.items():
        tolerance = 1e-3 if name == "subnormal float32" else 1e-6
        returned = "f4" if array.dtype == np.float32 else "f8"
        yield Case(group, name, read(array, returned, tolerance))
    yield Case(
        group,
        "seconds since 1970 in a range",
        read(1.7e9 + 10 * PLAIN, "f8", stored_range=(1.7e9 - 900, 1.7e9 + 900)),
    )
    yield Case(group, "constant", refused(np.full((COUNT, 3), 0.1), "nothing to learn"))
    rounding = np.where(np.arange(COUNT) % 2, 0.3, 0.1 + 0.2)
    yield Case(group, "constant but for rounding", refused(rounding, "rounding"))


def _dtypes_refused():
    group = "Dtypes that are refused"
    fields = np.zeros(COUNT, [("height", "f8"), ("width", "f4")])
    kinds = {
        "bool": (PLAIN > 0, "holds bool", "astype"),
        "complex64": (PLAIN.astype("c8"), "holds complex64", "numpy.stack([x.real, x.imag]"),
        "complex128": (PLAIN.astype("c16"), "holds complex128", "numpy.stack([x.real, x.imag]"),
        "words": (PLAIN.astype("U5"), "holds <U5", "Encode"),
        "bytes": (PLAIN.astype("S5"), "holds |S5", "Encode"),
        "times": (PLAIN.astype("i8").astype("M8[s]"), "holds datetime64[s]", "timedelta64"),
        "durations": (PLAIN.astype("i8").astype("m8[s]"), "holds timedelta64[s]", "timedelta64"),
        "records": (fields, "('height', '<f8')", "for name in ('height', 'width',)"),
        "raw bytes": (np.zeros(COUNT, "V4"), "holds |V4", "astype"),
    }
    if np.dtype(np.longdouble).itemsize > 8:
        kinds["long double"] = (PLAIN.astype(np.longdouble), "float128", "astype(numpy.float64)")
    for name, (array, *words) in kinds.items():
        yield Case(group, name, refused(array, *words))
    objects = np.array([{"a": 1}] * COUNT, object)
    yield Case(group, "Python objects", refused(objects, "Python objects (a pickle)", "never"))
    nested = np.zeros(COUNT, [("a", "O")])
    yield Case(group, "records of Python objects", refused(nested, "Python objects (a pickle)"))
    yield Case(group, "a single number", refused(np.float64(3.0).reshape(()), ""))
    yield Case(group, "no examples", refused(PLAIN[:0], "holds no examples", "(0, 3)"))
    yield Case(group, "examples of nothing", refused(PLAIN[:, :0], "holds no examples", "(20, 0)"))

    def masked(_):
        hidden = np.ma.masked_greater(PLAIN, 50)
        refusal(lambda: from_user(hidden), "masked", "filled(0)")
        return "refused by name"

    yield Case(group, "a masked array", masked)


def _containers():
    group = "Archives"
    x, labels = npy(PLAIN), npy(np.arange(COUNT) % 3)
    for method in ("STORED", "DEFLATED", "BZIP2", "LZMA"):
        content = npz({"x.npy": x, "labels.npy": labels}, getattr(zipfile, f"ZIP_{method}"))
        yield Case(group, f"with labels, {method.lower()}", file_read(content))
    several = npz({"x.npy": x, "y.npy": npy(PLAIN[::-1]), "notes.txt": b"about"})
    noted = npz({"notes.txt": b"about", "x.npy": x})
    yield Case(group, "one array beside a text", file_read(noted))
    yield Case(group, "one of several", file_read(several, key="x"))
    yield Case(group, "called .npy", file_read(npz({"x.npy": x}), name="a.npy"))
    yield Case(group, "an array called .npz", file_read(x))
    yield Case(group, "a name with a folder", file_read(npz({"deep/x.npy": x}), key="deep/x"))
    yield Case(group, "a name in Greek", file_read(npz({"δεδομένα.npy": x}), key="δεδομένα"))
    yield Case(group, "a member without .npy", file_read(npz({"x": x}), key="x"))
    name = "bad.npz"
    refusals = {
        "several, none chosen": (several, "['x', 'y', 'notes.txt']", "Arrays.key"),
        "nothing in it": (npz({}), "holds no array"),
        "labels alone": (npz({"labels.npy": labels}), "holds labels alone"),
        "truncated": (npz({"x.npy": x})[:-40], "cannot be read", "truncated"),
        "the beginning alone": (npz({"x.npy": x})[:100], "cannot be read", "truncated"),
        "text in place of an array": (npz({"x.txt": b"a,b\n1,2\n"}), "'x.txt'", "(CSV)"),
        "a pointer as array": (
            npz({"x.npy": b"version https://git-lfs.github.com/spec/v1\n"}), "'x.npy'", "git lfs"
        ),
        "an empty member": (npz({"x.npy": b""}), "'x.npy'", "it is empty"),
        "half a member": (npz({"x.npy": x[:200]}), "'x.npy'", "truncated"),
        "half a header": (npz({"x.npy": x[:40]}), "'x.npy'", "truncated"),
        "a pickle": (npz({"x.npy": pickle.dumps([1])}), "'x.npy'", "pickle"),
    }  # fmt: skip
    for what, (content, *words) in refusals.items():
        yield Case("Archives that are refused", what, file_refused(content, *words, name=name))
    floats = npz({"x.npy": x, "labels.npy": npy(np.arange(COUNT) / 2)})
    yield Case("Archives that are refused", "labels that are no integers",
               file_refused(floats, "labels", "one integer", name=name))  # fmt: skip


def _no_arrays():
    group = "Files that are no array"
    pixels = b"\x89PNG\r\n\x1a\n" + bytes(40)
    files = {
        "empty": (b"", "it is empty"),
        "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        "CSV": (b"a,b,c\n1,2,3\n", "a text table (CSV)", "a,b,c"),
        "CSV with a byte-order mark": (b"\xef\xbb\xbfa;b\n1;2\n", "a text table (CSV)"),
        "text": ("Χαίρετε".encode(), "a text that begins with 'Χαίρετε'"),
        "a web page": (b"\n<!doctype HTML>\n<html>", "a web page"),
        "JSON": (b'{"x": [1, 2]}', "JSON"),
        "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(40), "an HDF5 file"),
        "gzip": (b"\x1f\x8b\x08" + bytes(40), "gunzip"),
        "Parquet": (b"PAR1" + bytes(40), "a Parquet file"),
        "MATLAB": (b"MATLAB 5.0 MAT-file" + bytes(40), "a MATLAB file"),
        "PNG": (pixels, "a PNG image"),
        "zeros": (bytes(600), "nothing but zeros"),
        "unknown bytes": (bytes(range(200, 256)), "begins with the bytes c8 c9 ca"),
        "a pickle": (pickle.dumps({"a": 1}), "pickle", "never loaded"),
        "half an array": (npy(PLAIN)[:300], "cannot be read", "truncated"),
        "half a header": (npy(PLAIN)[:30], "cannot be read", "truncated"),
    }
    for name, (content, *words) in files.items():
        yield Case(group, name, file_refused(content, *words))

    def folder_given(folder):
        refusal(Arrays(folder, (3,)).require, "but a folder")
        return "refused by what it is"

    yield Case(group, "a folder", folder_given)


def cases():
    """All of them."""
    for some in (_dtypes, _layouts, _sizes, _dtypes_refused, _containers, _no_arrays):
        yield from some()
