"""Validates images and converts them once, into a TFDS dataset that trains at any size."""

from collections.abc import Sequence

from lcss_tf.commands.flags.prepare import FLAGS, resolution
from lcss_tf.display import say
from lcss_tf.preparation import Source, prepare
from lcss_tf.training.workdir import only_process


def main(_: Sequence[str]) -> None:
    """The command."""
    channels = int(FLAGS.channels)
    source = Source(FLAGS.source, resolution(), channels, FLAGS.test_every, FLAGS.fit)
    alone = lambda out, name: only_process(out, f"{name}.preparation")
    result, text, folder = prepare(
        source, FLAGS.out, FLAGS.name, FLAGS.beam, FLAGS.on_bad_example, alone
    )
    name, shape = result["dataset"].split("/")[0], tuple(result["shape"])
    say(f"\n{text}\nWritten to {folder}: report.md, report.json, examples.png")
    say(
        "Train on it:\n"
        "  fit.data = @datasets.TFDS()\n"
        f'  TFDS.name = "{name}"\n  TFDS.shape = {shape}\n  TFDS.data_dir = "{FLAGS.out}"'
    )
