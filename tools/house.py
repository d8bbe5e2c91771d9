"""Facts about the house: python tools/house.py [checkout]

Files, lines, median lines, functions and how many of them have hints, public names, and the
seconds of ``import lcss_tf``. With --picture=FILE it draws the folders and what may import what
instead. With --trace also how many files a recipe enters on its way to the first step, and how
often it comes back to one that it has left: by Python's profiler, in a run of two steps on the two
moons.
"""

import ast
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

_TRACE = """
import os, sys, json
root = os.path.join(os.path.abspath(sys.argv.pop(1)), "lcss_tf") + os.sep
visits = []
def profile(frame, event, argument):
    if event == "call":
        name = frame.f_code.co_filename
        if name.startswith(root) and not name.endswith("__init__.py"):
            if not visits or visits[-1] != name:
                visits.append(name)
sys.path.insert(0, os.path.dirname(os.path.dirname(root)))
script = sys.argv.pop(1)
sys.argv[0] = script
import lcss_tf  # the imports themselves are not counted
lcss_tf.SDES
visits.clear()
code = compile(open(script).read(), script, "exec")
sys.setprofile(profile)
try:
    exec(code, {"__name__": "__main__", "__file__": script})
except SystemExit:
    pass
sys.setprofile(None)
print("VISITS", json.dumps([v.removeprefix(root) for v in visits]))
"""


def facts(root: Path) -> dict:
    """The figures that can be read from the files."""
    paths = sorted((root / "lcss_tf").rglob("*.py"))
    lines = [len(path.read_text().splitlines()) for path in paths]
    functions = hinted = 0
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                arguments = [*node.args.args, *node.args.kwonlyargs]
                named = [a for a in arguments if a.arg not in ("self", "cls")]
                functions += 1
                hinted += bool(node.returns) and all(a.annotation for a in named)
    return {
        "files": len(paths),
        "lines": sum(lines),
        "median lines": statistics.median(lines),
        "longest file": max(lines),
        "public functions": functions,
        "with hints": hinted,
    }


def import_seconds(root: Path, statement: str) -> float:
    """The median of three imports in new processes."""
    program = f"import time; s = time.perf_counter(); {statement}; print(time.perf_counter() - s)"
    environment = {**os.environ, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"}
    times = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True
        )
        times.append(float(done.stdout.split()[-1]))
    return statistics.median(times)


def visited(root: Path, bindings: list[str]) -> list[str]:
    """The files that a run of two steps calls into, in order; calls within one are one visit."""
    with tempfile.TemporaryDirectory() as workdir:
        command = [
            sys.executable, "-c", _TRACE, str(root), str(root / "bin" / "train.py"),
            f"--gin_file={root / 'tests' / 'small.gin'}", f"--workdir={workdir}/run",
            *[f"--gin_bindings={binding}" for binding in bindings],
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=root)
    found = [line for line in done.stdout.splitlines() if line.startswith("VISITS ")]
    if not found:
        raise SystemExit(done.stderr[-2_000:])
    return json.loads(found[-1].removeprefix("VISITS "))


FLOW = ("data", "sdes", "losses", "training", "samplers", "metrics", "plots")
FLOW_TEXT = "data → SDE → loss → step → checkpoint → sampler → metrics → pictures"
TITLES = {"training": "training: step, checkpoints"}


def rooms(root: Path) -> dict[str, tuple[int, set[str]]]:
    """{room: (lines, the rooms it imports from)}; a room is a folder or file of the package."""
    package = root / "lcss_tf"
    found: dict[str, tuple[int, set[str]]] = {}
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        if room.startswith("__"):
            continue
        lines, others = found.get(room, (0, set()))
        text = path.read_text()
        for node in ast.parse(text).body:  # what an import of the file imports
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lcss_tf"):
                parts = (node.module or "").split(".")
                others |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        found[room] = lines + len(text.splitlines()), others
    return {
        room: (lines, (others & set(found)) - {room}) for room, (lines, others) in found.items()
    }


def levels(house: dict[str, tuple[int, set[str]]]) -> list[list[str]]:
    """The rooms by floors: each imports from lower floors only, and stands as low as it can."""
    floors: list[list[str]] = []
    left = dict(house)
    while left:
        ready = [room for room, (_, others) in left.items() if not others & set(left)]
        if not ready:
            raise SystemExit(f"The imports of these rooms go round in a circle: {sorted(left)}")
        floors.append(sorted(ready, key=lambda room: -house[room][0]))
        left = {room: value for room, value in left.items() if room not in ready}
    return floors


def draw(root: Path, file: str) -> None:
    """A picture of the house: a floor imports from lower floors only."""
    from matplotlib.figure import Figure

    house = rooms(root)
    floors = levels(house)
    figure = Figure(figsize=(11, 0.72 * len(floors) + 1.1))
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.9))
    for y, floor in enumerate(floors):
        widths = [max(0.9 + house[room][0] / 2_500, 0.105 * len(title(room))) for room in floor]
        x = -sum(widths) / 2 - 0.05 * (len(floor) - 1)
        for room, width in zip(floor, widths, strict=True):
            colour = "#cfe3f7" if room in FLOW else "#fbe3c0" if room == "model" else "#eeeeee"
            axes.add_patch(_box(x, y, width, colour))
            axes.text(x + width / 2, y + 0.47, title(room), ha="center", va="center", fontsize=9)
            lines = f"{house[room][0]:,} lines"
            axes.text(x + width / 2, y + 0.2, lines, ha="center", va="center", fontsize=6.5)
            x += width + 0.1
    reach = max(abs(axes.dataLim.x0), abs(axes.dataLim.x1), 5.6)
    axes.set(xlim=(-reach, reach), ylim=(-0.1, len(floors)))
    axes.axis("off")
    figure.suptitle(
        f"Every file imports from its own folder or from rows below it. Blue: the way of a batch,\n"
        f"{FLOW_TEXT}",
        fontsize=10,
    )
    figure.savefig(file, dpi=110)


def title(room: str) -> str:
    """What stands on a room's door."""
    return TITLES.get(room, room)


def _box(x: float, y: float, width: float, colour: str):
    from matplotlib.patches import FancyBboxPatch

    shape = "round,pad=0.0,rounding_size=0.06"
    return FancyBboxPatch((x, y), width, 0.72, shape, facecolor=colour, edgecolor="#888888")


def main() -> None:
    """Prints the facts of a checkout, or draws it."""
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    root = Path(words[0] if words else Path(__file__).parents[1]).resolve()
    for word in sys.argv[1:]:
        if word.startswith("--picture="):
            draw(root, word.partition("=")[2])
            return
    for name, value in facts(root).items():
        print(f"{name:<28}{value:,}")
    alone = import_seconds(root, "import tensorflow")
    print(f"{'import tensorflow, s':<28}{alone:.2f}")
    print(f"{'import lcss_tf, s':<28}{import_seconds(root, 'import lcss_tf; lcss_tf.SDES'):.2f}")
    names = subprocess.run(
        [sys.executable, "-c", "import lcss_tf; print(len(lcss_tf.__all__))"],
        env={**os.environ, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True, text=True,
    )  # fmt: skip
    print(f"{'public names at the top':<28}{names.stdout.split()[-1]}")
    if "--trace" in sys.argv:
        old = (root / "lcss_tf" / "config.py").exists()
        key = "train.total_steps" if old else "fit.steps"
        visits = visited(root, [f"{key} = 2"])
        files = len(set(visits))
        print(f"{'files entered by a recipe':<28}{files}")
        print(f"{'returns to a file left':<28}{len(visits) - files}")


if __name__ == "__main__":
    main()
