"""The methods of a model that write and read what is shared."""

import tempfile
from pathlib import Path
from typing import Any

from lcss_tf.errors import UnknownPartError, UsageError
from lcss_tf.hub import folder as folders
from lcss_tf.hub.card import model_card
from lcss_tf.hub.remote import check_name, fetch, push
from lcss_tf.training.checkpoints import CheckpointError
from lcss_tf.training.distribution import Distribution

_NO_CODE = (
    "Nothing that comes from the hub is run. If the model has parts of its author's own, get the "
    "module that defines them, read it, and import it before (on the command line --import=…)."
)


class Shared:
    """What a `ScoreModel` does with folders, and with the Hugging Face Hub."""

    def save_pretrained(
        self: Any, folder: str | Path, license: str | None = None, card: str | None = None
    ) -> list[Path]:
        """Writes the model as a folder to share: safetensors, a description in JSON, and a card.

        Args:
          folder: made where it is not there.
          license: of the weights, as the hub spells it, such as ``"apache-2.0"``.
          card: README.md, in Markdown; by default `lcss_tf.hub.model_card`.

        Returns:
          The paths written.

        Raises:
          MissingPackageError: safetensors is not installed.
          UsageError: the folder cannot be written.
        """
        text = card or model_card(self, Path(folder).name, license)
        return folders.write(folder, self.state, self.description(), text)

    def push_to_hub(
        self: Any,
        name: str,
        private: bool = False,
        license: str | None = None,
        card: str | None = None,
    ) -> str:
        """Uploads the model to the Hugging Face Hub; returns its address.

        Args:
          name: of the repository, ``owner/model``; it is made if need be.
          private: whether a new one is seen by its owner alone.
          license, card: as for `save_pretrained`.

        Raises:
          MissingPackageError: huggingface_hub or safetensors is not installed.
          UsageError: another name, or the hub refuses, or is out of reach.
        """
        check_name(name)
        with tempfile.TemporaryDirectory() as folder:
            text = card or model_card(self, name, license)
            self.save_pretrained(folder, license, text)
            return push(folder, name, private)

    @classmethod
    def from_hub(
        cls: Any,
        name: str | Path,
        revision: str | None = None,
        distribution: Distribution | None = None,
    ) -> Any:
        """The model of a repository on the Hugging Face Hub, or of a folder. No code of it is run.

        Args:
          name: ``owner/model``; or a folder that `save_pretrained` wrote, which comes first.
          revision: of the repository: a branch, a tag or a commit.
          distribution: over which devices it spreads.

        Raises:
          MissingPackageError: huggingface_hub or safetensors is not installed.
          UsageError: it cannot be fetched; says how to get it without a network.
          CheckpointError: it cannot be used: damaged, or made of parts that are not registered.
        """
        try:
            return cls._from_file(fetch(name, revision), distribution, reader=folders)
        except CheckpointError as error:
            reason: BaseException = error
            while isinstance(reason.__cause__, UsageError):
                reason = reason.__cause__
            if isinstance(reason, UnknownPartError):
                raise CheckpointError(f"{error} {_NO_CODE}") from error
            raise


__all__ = ["Shared"]
