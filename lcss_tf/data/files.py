"""The files under a folder, in one order on every machine."""

import os


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


def _below(folder, above):
    try:
        entries = list(os.scandir(folder))
    except PermissionError as error:
        raise PermissionError(
            f"The folder {folder} may not be read ({error.strerror}). Allow it: "
            f"chmod -R u+rX {folder}, or run as the user who may."
        ) from error
    for entry in entries:
        path = entry.path
        if _is_folder(entry):
            real = os.path.realpath(path)
            if real in above:
                raise ValueError(
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
