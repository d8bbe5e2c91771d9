"""Files that outlive a run: where they lie, their hashes, downloads, writing them whole."""

import hashlib
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np

_BLOCK = 2**20


def cache_directory():
    """``$LCSS_TF_CACHE``, or ``~/.cache/lcss_tf``."""
    return Path(os.environ.get("LCSS_TF_CACHE") or Path.home() / ".cache" / "lcss_tf")


def sha256(path):
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def text_hash(*texts):
    """The SHA-256 of texts, in hexadecimal."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def write_arrays(path, arrays):
    """Writes an .npz under a temporary name, then renames it; folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_arrays(path):
    """All arrays of an .npz, whose checksums NumPy verifies; None if it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except Exception:  # a flipped bit can raise almost anything in zipfile
        return None


def download(url, path, timeout=30.0):
    """Fetches a file under a temporary name, then renames it.

    Raises:
      OSError: there is no network, or no such file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with urllib.request.urlopen(url, timeout=timeout) as source, open(temporary, "wb") as file:
            shutil.copyfileobj(source, file, _BLOCK)
        os.replace(temporary, path)
    except urllib.error.URLError as error:
        raise OSError(str(error.reason)) from error
    finally:
        temporary.unlink(missing_ok=True)
