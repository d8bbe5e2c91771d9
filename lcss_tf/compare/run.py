"""Runs a comparison: every loss in a process of its own, then tables and plots."""

import subprocess
import sys
from pathlib import Path

from lcss_tf import config
from lcss_tf.compare import report, seeds
from lcss_tf.compare.contest import RESULT, Contest, entry_workdir
from lcss_tf.compare.diagnosis import DIAGNOSIS, Diagnosis
from lcss_tf.compare.entry import Entry
from lcss_tf.errors import UsageError


class EntryError(UsageError):
    """The process of one loss failed."""


COMMAND = Path(__file__).resolve().parents[2] / "bin" / "compare.py"


def compare(workdir, imports=(), resume="auto"):
    """Trains and judges every loss that is not finished yet, and reports on all of them.

    A process for each: its peak memory is then its own, and nothing that one leaves in
    memory slows the next.

    Args:
      workdir: the comparison's directory; made if it is not there.
      imports: users' modules, recorded for the processes.
      resume: "auto", or "force": go on although the configuration differs.

    Returns:
      The paths of what was written.

    Raises:
      ConfigError, ValueError: before any work, with the remedy.
      EntryError: a loss's process failed.
    """
    contest = Contest()
    contest.check()
    config.claim_workdir(workdir, imports, force=resume == "force")
    for i, name in enumerate(contest.entries):
        if (entry_workdir(workdir, name) / RESULT).is_file():
            print(f"[{i + 1}/{len(contest.entries)}] {name}: finished.")
            continue
        print(f"[{i + 1}/{len(contest.entries)}] {name}", flush=True)
        _in_process(workdir, "--entry", name)
    paths = report.write(workdir, list(contest.entries))
    if contest.seeds:
        paths = seeds.write(workdir, contest.entries) + paths
    print(Path(paths[0]).read_text())
    return paths


def diagnose(workdir):
    """Gradient variance and bias of every loss, at the weights of the first; see `Diagnosis`.

    The comparison must have run. Returns the paths of what was written.
    """
    contest = Contest()
    for name in contest.entries:
        if not (entry_workdir(workdir, name) / DIAGNOSIS).is_file():
            print(f"Diagnosing {name}", flush=True)
            _in_process(workdir, "--entry", name, "--diagnose")
    paths = report.write_diagnosis(workdir, list(contest.entries))
    print(Path(paths[0]).read_text())
    return paths


def run_entry(workdir, name, diagnosis=False):
    """One loss, in this process."""
    contest = Contest()
    (Diagnosis if diagnosis else Entry)(contest, name, workdir).run()


def _in_process(workdir, *arguments):
    devices = [f"--gin_bindings={binding}" for binding in config.device_bindings()]
    command = [sys.executable, str(COMMAND), f"--workdir={workdir}", *devices, *arguments]
    status = subprocess.run(command, check=False).returncode
    if status:
        raise EntryError(
            f"{' '.join(command)} ended with status {status}; its message is above. Finished "
            "losses are kept: the same command goes on with this one."
        )
