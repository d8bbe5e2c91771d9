"""Times our training step and score_sde's in PyTorch in turn, on the same cores in one run.

    git clone https://github.com/yang-song/score_sde_pytorch reference
    python research/rivals/paired_steps.py --reference=reference --python=torch_env/bin/python

Ours runs in this process, theirs (`step_time.py --serve`) in one of its own, which may have an
environment of its own. In every round each case takes its steps while all others wait, so a ratio
within a round is of the same minute of the machine. Reported are medians of these ratios, with
their quartiles. Both compile, and take their first steps, before the first round.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
DTYPES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
PAUSE_S = 0.3  # after a case, in which its threads cease to wait actively


class Theirs:
    """PyTorch's step in a process of its own."""

    def __init__(self, args, precision, best):
        self.name = f"PyTorch, {precision}{', channels-last, compiled' if best else ''}"
        command = [
            args.python, str(HERE / "step_time.py"), "--serve", f"--reference={args.reference}",
            f"--network={args.network}", f"--precision={precision}", "--features=32",
            "--blocks=2", f"--batch={args.batch}",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command + ["--best"] * best, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.facts = json.loads(self._line())

    def ms(self, runs):
        """Of one step, over `runs`."""
        self._process.stdin.write(f"{runs}\n")
        self._process.stdin.flush()
        return float(self._line())

    def _line(self):
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with status {self._process.wait()}; see above.")
        return line


class Ours:
    """Our step in this process."""

    def __init__(self, args, precision, loss="LCSSLoss"):
        import gin

        from lcss_tf.commands import _gin
        from lcss_tf.commands._benchmark import new_run, training_case

        gin.clear_config()
        _gin.load(
            f"benchmark/{args.network}_32.gin",
            [
                f'NCSNpp.dtype = "{DTYPES[precision]}"',
                f"fit.batch_size = {args.batch}",
                f"fit.loss = @losses.{loss}()",
                *args.gin_bindings,
            ],
        )
        _gin.share_cores("fit")  # as `lcss train`; the first case sets it for all
        self.name = f"lcss_tf, {loss}, {precision}"
        run = new_run()
        start = time.perf_counter()
        self._case = training_case(loss, run, None, lambda *_: 0)
        for _ in range(3):
            self._case.run()
        self.facts = {
            "first_s": time.perf_counter() - start, "parameters": run.state.num_parameters()
        }  # fmt: skip

    def ms(self, runs):
        """Of one step, over `runs`."""
        start = time.perf_counter()
        for _ in range(runs):
            self._case.run()
        return (time.perf_counter() - start) / runs * 1e3


def measured(cases, rounds, runs):
    """ms [rounds, cases]; in every other round the cases run in the opposite order."""
    times = np.zeros([rounds, len(cases)])
    for i in range(rounds):
        order = range(len(cases)) if i % 2 == 0 else reversed(range(len(cases)))
        for j in order:
            times[i, j] = cases[j].ms(runs)
            time.sleep(PAUSE_S)
        print(f"round {i + 1}/{rounds}: {np.round(times[i], 1)}", file=sys.stderr, flush=True)
    return times


def table(names, times):
    """Markdown: the median ms of each case, and the ratio to each baseline, with quartiles."""
    bases = [j for j, name in enumerate(names) if name.startswith("PyTorch")]
    head = ["step", "ms", *(f"of {names[j]}" for j in bases)]
    lines = [head, ["---"] * len(head)]
    for j, name in enumerate(names):
        ratios = [np.percentile(times[:, j] / times[:, b], [50, 25, 75]) for b in bases]
        shown = [f"{middle:.2f} ({low:.2f} to {high:.2f})" for middle, low, high in ratios]
        lines.append([name, f"{np.median(times[:, j]):.0f}", *shown])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main():
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--reference", required=True, help="a checkout of score_sde_pytorch")
    add("--python", default=sys.executable, help="an interpreter that has torch")
    add("--network", choices=["ddpmpp", "ncsnpp"], default="ddpmpp")
    add("--precision", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    add("--losses", nargs="+", default=["LCSSLoss"], help="of ours")
    add("--best", action="store_true", help="theirs compiled and channels-last as well")
    add("--batch", type=int, default=16)
    add("--rounds", type=int, default=15)
    add("--runs", type=int, default=5)
    add("--gin_bindings", nargs="*", default=[], help="of ours")
    args = parser.parse_args()
    cases = []
    for precision in args.precision:
        cases.append(Theirs(args, precision, False))
        if args.best:
            cases.append(Theirs(args, precision, True))
        cases += [Ours(args, precision, loss) for loss in args.losses]
    names = [case.name for case in cases]
    for case in cases:
        print(f"{case.name}: {case.facts}", file=sys.stderr)
    print(table(names, measured(cases, args.rounds, args.runs)))


if __name__ == "__main__":
    main()
