"""The Hugging Face Hub, by its own client: three files up, two files down."""

import re
from pathlib import Path
from typing import Any

from lcss_tf.errors import MissingPackageError, UsageError
from lcss_tf.hub.folder import CARD, CONFIG, WEIGHTS

_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
_SITE = "https://huggingface.co"


def check_name(name: str) -> None:
    """Raises UsageError unless a repository of the hub can be called so."""
    if not _is_name(name):
        raise UsageError(f"A repository of the hub is called 'owner/model'; got {name!r}.")


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and ".." not in name


def fetch(name: str | Path, revision: str | None = None) -> Path:
    """The folder of a model: that of this name where there is one, else the hub's, downloaded.

    Weights and description are fetched, nothing else. The client keeps them in its cache.

    Args:
      name: a folder, or a repository ``owner/model``.
      revision: of the repository: a branch, a tag or a commit; by default the newest.

    Raises:
      MissingPackageError: huggingface_hub is not installed.
      UsageError: there is no such folder, and no such repository can be reached.
    """
    if Path(name).is_dir():
        return Path(name)
    name = str(name)
    if not _is_name(name):
        raise UsageError(
            f"There is no folder {name}, and a repository of the hub is called 'owner/model'."
        )
    client = _client()
    try:
        return Path(
            client.snapshot_download(
                repo_id=name, revision=revision, allow_patterns=[CONFIG, WEIGHTS]
            )
        )
    except Exception as error:  # whatever the client, or the network under it, raises
        raise UsageError(
            f"{name} could not be fetched from the hub ({_first_line(error)}). Is it called so, "
            "and may you read it (hf auth login)? Without a network: fetch "
            f"{_SITE}/{name}/resolve/{revision or 'main'}/{CONFIG} and …/{WEIGHTS} elsewhere, put "
            "both into one folder, and name that: ScoreModel.from_hub('folder')."
        ) from error


def push(folder: str | Path, name: str, private: bool = False, message: str = "") -> str:
    """Uploads the files of a folder to a repository, which is made if need be; returns its address.

    The client finds who you are: by ``hf auth login``, or ``HF_TOKEN`` in the environment.

    Args:
      folder: that `write` wrote.
      name: of the repository: ``owner/model``.
      private: whether a new repository is seen by its owner alone.
      message: of the commit.

    Raises:
      MissingPackageError: huggingface_hub is not installed.
      UsageError: another name, or the hub refuses, or is out of reach.
    """
    check_name(name)
    hub = _client().HfApi()
    try:
        hub.create_repo(repo_id=name, private=private, exist_ok=True)
        hub.upload_folder(
            repo_id=name,
            folder_path=str(folder),
            allow_patterns=[CONFIG, WEIGHTS, CARD],
            commit_message=message or "A model of lcss_tf",
        )
    except Exception as error:  # whatever the client, or the network under it, raises
        raise UsageError(
            f"{name} could not be uploaded ({_first_line(error)}). The files are in {folder}: log "
            f"in by hf auth login, and try again, or upload them by  hf upload {name} {folder}"
        ) from error
    return f"{_SITE}/{name}"


def _client() -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "The hub needs huggingface_hub, which is not installed: pip install 'lcss_tf[hub]'. "
            "Folders need none: ScoreModel.save_pretrained and from_hub('folder')."
        ) from error
    return huggingface_hub


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


__all__ = ["check_name", "fetch", "push"]
