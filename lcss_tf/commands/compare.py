"""Trains losses side by side."""

import sys
from collections.abc import Sequence
from pathlib import Path

from lcss_tf import files
from lcss_tf.commands import _gin, _runs
from lcss_tf.commands._comparison import (
    DIAGNOSIS,
    RESULT,
    Comparison,
    diagnose_entry,
    read_result,
    train_entry,
)
from lcss_tf.commands._comparison_report import (
    report_finished,
    write_diagnosis,
    write_seeds,
    write_tables,
)
from lcss_tf.commands._processes import Forwarding, exit_status
from lcss_tf.commands.flags.compare import FLAGS
from lcss_tf.display import say
from lcss_tf.errors import UsageError
from lcss_tf.training.workdir import only_process


class EntryError(UsageError):
    """The process of one run failed."""


def main(arguments: Sequence[str]) -> None:
    """The command."""
    if FLAGS.report:
        say(f"Read the report:  {report_finished(arguments, FLAGS.out)}")
        return
    workdir = FLAGS.workdir or _runs.default_workdir(FLAGS.gin_file)
    imports = FLAGS["import"].value
    if FLAGS.gin_file is None:
        # The process of one run begins under what its comparison was started with.
        place = _runs.offered(workdir) if FLAGS.entry else workdir
        imports = _runs.load_configuration(place, FLAGS.gin_bindings)
    else:
        _gin.load(FLAGS.gin_file, FLAGS.gin_bindings, imports)
    if FLAGS.entry:
        if FLAGS.diagnose:
            diagnose_entry(Comparison(), FLAGS.entry, workdir)
        else:
            _gin.share_cores("fit")
            train_entry(Comparison(), FLAGS.entry, workdir, FLAGS.resume)
        return
    paths = compare(workdir, imports, FLAGS.resume)
    if FLAGS.diagnose:
        paths += diagnose(workdir)
    say("\n  ".join(["Written:", *map(str, paths)]))
    say(f"Compare curves and figures:  tensorboard --logdir {workdir}")


def compare(workdir: str | Path, imports: Sequence[str] = (), resume: str = "auto") -> list[Path]:
    """Trains and evaluates every loss that is not finished yet, and reports on all of them.

    A process for each: its peak memory is then its own, and nothing that one leaves in memory
    slows the next.

    Args:
      workdir: the comparison's directory; made if it is not there.
      imports: users' modules, recorded for the processes.
      resume: "auto", or "force": resume although the configuration differs.

    Returns:
      The paths of what was written.

    Raises:
      ConfigError, UsageError: before any work, with the remedy.
      EntryError: a run's process failed.
    """
    comparison = Comparison()
    comparison.check()
    _runs.check_configuration(workdir, force=resume == "force")
    with only_process(workdir):
        _runs.offer(workdir, _runs.records(imports))
        try:
            for i, name in enumerate(comparison.entries):
                if read_result(workdir, name, RESULT):
                    say(f"[{i + 1}/{len(comparison.entries)}] {name}: finished.")
                    continue
                say(f"[{i + 1}/{len(comparison.entries)}] {name}")
                _in_process(workdir, "--entry", name, f"--resume={resume}")
            _runs.adopt(workdir)
        finally:
            _runs.withdraw(workdir)
    paths = write_tables(workdir, list(comparison.entries))
    if comparison.seeds:
        paths = write_seeds(workdir, comparison.entries) + paths
    say(files.read_text(paths[0]))
    return paths


def diagnose(workdir: str | Path) -> list[Path]:
    """Gradient variance and bias of every loss, at the weights of the first.

    The comparison must have run. Returns the paths of what was written.
    """
    comparison = Comparison()
    with only_process(workdir):
        for name in comparison.entries:
            if not read_result(workdir, name, DIAGNOSIS):
                say(f"Diagnosing {name}")
                _in_process(workdir, "--entry", name, "--diagnose")
    paths = write_diagnosis(workdir, list(comparison.entries))
    say(files.read_text(paths[0]))
    return paths


def _in_process(workdir: str | Path, *arguments: str) -> None:
    devices = [f"--gin_bindings={binding}" for binding in _runs.device_bindings()]
    command = [sys.executable, "-m", "lcss_tf", "compare", f"--workdir={workdir}"]
    command += [*devices, *arguments]
    with Forwarding() as forwarding:
        process = forwarding.start(command)
        status = exit_status(process.wait())
    if forwarding.asked:
        say("\nStopped; the same command resumes.", error=True)
        raise SystemExit(status or 143)
    if status:
        raise EntryError(
            f"{' '.join(command)} ended with status {status}; its message is above. Finished "
            "losses are kept: the same command resumes with this one."
        )
