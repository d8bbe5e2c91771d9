"""Writes a run as a folder to share, and uploads it to the Hugging Face Hub."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lcss_tf import files, hub
from lcss_tf.commands import _runs
from lcss_tf.commands._results import Results, flat_figures
from lcss_tf.commands.flags.push import FLAGS
from lcss_tf.display import say
from lcss_tf.model import ScoreModel
from lcss_tf.training.workdir import only_process


def main(_: Sequence[str]) -> None:
    """The command."""
    if FLAGS.name is not None:
        hub.check_name(FLAGS.name)
    out = Path(FLAGS.out or Path(FLAGS.workdir) / "hub")
    files.check_writable(out, folder=True)
    with only_process(out, "push"):
        _push(out)


def _push(out: Path) -> None:
    _runs.load_configuration(FLAGS.workdir, ["Distribution.strategy = 'one_device'"])
    model = _runs.load_model(FLAGS.workdir, FLAGS.checkpoint)
    card = card_of(model, FLAGS.workdir, FLAGS.name or str(out), FLAGS.license)
    paths = model.save_pretrained(out, card=card)
    say("\n  ".join(["Written:", *map(str, paths)]))
    if FLAGS.dry_run:
        say(f"Read {paths[-1]}, and push it by the same command without --dry_run.")
        return
    say(f"Pushed: {hub.push(out, FLAGS.name, FLAGS.private)}")


def card_of(model: ScoreModel, workdir: str | Path, name: str, license: str | None = None) -> str:
    """The card of a run's model, with its recipe, its command and what was measured of it.

    Figures are those of the checkpoint that is pushed; those of another are not its own.
    """
    record = _runs.recorded(workdir)
    recipe = next((files.read_text(path) for path in _recipes(workdir) if path.is_file()), None)
    results = [one for one in Results(workdir).all() if one["step"] == model.step]
    figures = flat_figures(results[-1]) if results else None
    return hub.model_card(model, name, license, recipe, figures, _command(record))


def _recipes(workdir: str | Path) -> list[Path]:
    return [Path(workdir) / name for name in ("operative_config.gin", "config.gin")]


def _command(record: dict[str, Any]) -> str | None:
    """The command that began the run, without the folders of this machine."""
    words = record.get("command")
    if not isinstance(words, list) or not words:
        return None
    program, *flags = map(str, words)
    name = Path(program).name
    return shlex.join(["lcss" if name == "__main__.py" else name, *flags])


__all__ = ["card_of", "main"]
