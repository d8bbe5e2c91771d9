"""``lcss <command> [flags]``, and ``python -m lcss_tf <command> [flags]``."""

import importlib
import sys
from collections.abc import Sequence

from lcss_tf.display import say, tolerant_streams

COMMANDS = {
    "train": "train what a gin file describes, or resume it",
    "sample": "draw samples from a run, fill in images, encode and interpolate",
    "evaluate": "measure a run's samples, or its likelihood",
    "compare": "train losses side by side, or put finished runs side by side",
    "quality": "samplers against their number of function evaluations (NFE)",
    "ema": "averages of the weights of other lengths, after training",
    "inpainting": "the inpainting RMSE on held-out images",
    "prepare": "validate images and convert them once, into a TFDS dataset",
    "import": "make a published score_sde checkpoint a run",
    "export": "write the score, the sampler or the training step as a program without TensorFlow",
    "import-state": "make a checkpoint of what an exported training step left",
    "push": "write a run as a folder to share, and upload it to the Hugging Face Hub",
    "benchmark": "time steps, input, scaling, memory",
    "launch": "start several workers on this machine",
    "configs": "list the gin files that come with the package",
}
_MODULES = {"import": "import_checkpoint", "import-state": "import_state"}


def usage() -> str:
    """The commands, a line each."""
    lines = [f"  {name:<14}{text}" for name, text in COMMANDS.items()]
    return "\n".join(
        ["Usage: lcss COMMAND [FLAGS]", "", *lines, "", "The flags of each: lcss COMMAND --help"]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        say(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from lcss_tf._version import __version__

        say(f"lcss_tf {__version__}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        import difflib

        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        say(f"error: there is no command {name!r}.{hint}\n\n{usage()}", error=True)
        return 2
    from lcss_tf.commands import _cli

    module = importlib.import_module(f"lcss_tf.commands.flags.{_MODULES.get(name, name)}")
    return _cli.run(module, rest, f"lcss {name}")


def console() -> None:
    """The entry point of the console script."""
    with tolerant_streams():
        status = main()
    sys.exit(status)


if __name__ == "__main__":
    console()
