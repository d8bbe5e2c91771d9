"""The files under a folder, in one order on every machine."""

import contextlib
import os

from lcss_tf.errors import UsageError

GONE = "it is gone: there is no such file any more"
LOCKED = "it may not be read; allow it by chmod u+r"


def walk(root, option):
    """All files under `root`, sorted by path; links to folders are followed.

    Args:
      root: the folder.
      option: what binds it, for messages, e.g. ``"ImageFolder.root"``.

    Raises:
      FileNotFoundError: no such folder.
      PermissionError: a folder that may not be read.
      ValueError: links to folders that run in a circle.
    """
    if not os.path.isdir(root):
        raise FileNotFoundError(f"There is no folder {root}. Set {option} to the data.")
    return sorted(_below(root, (os.path.realpath(root),)))


@contextlib.contextmanager
def permission(path, what="The file", how="u+r"):
    """Raises, where `path` may not be read, a PermissionError that says what to do."""
    try:
        yield
    except PermissionError as error:
        raise PermissionError(
            f"{what} {path} may not be read ({error.strerror}). Allow it: chmod {how} {path}, or "
            "run as the user who may."
        ) from error


def why_unreadable(path, size):
    """Why a file that was read before can be read no more, or None: plain words.

    Args:
      path: of the file.
      size: that it had, in bytes.
    """
    if not os.path.isfile(path):
        return GONE
    if not os.access(path, os.R_OK):
        return LOCKED
    now = os.path.getsize(path)
    if now != size:
        return f"it was changed meanwhile, from {size:,} to {now:,} bytes"
    return None


def _below(folder, above):
    with permission(folder, "The folder", "-R u+rX"):
        entries = list(os.scandir(folder))
    for entry in entries:
        path = entry.path
        if _is_folder(entry):
            real = os.path.realpath(path)
            if real in above:
                raise UsageError(
                    f"The link {path} leads back to {real}, in which it lies: the folders run in a "
                    "circle. Remove the link."
                )
            yield from _below(path, (*above, real))
        else:
            yield path


def _is_folder(entry):
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself: a bad file, told when it is read
        return False
