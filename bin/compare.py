"""Trains losses side by side: python bin/compare.py --gin_file=gin/compare_losses.gin

Or puts finished runs side by side:  python bin/compare.py --report runs/a runs/b
"""

from absl import app, flags

from lcss_tf import cli, config
from lcss_tf.compare import compare, diagnose, report_finished, run_entry
from lcss_tf.experiment.train import default_workdir

_GIN_FILE = flags.DEFINE_string("gin_file", None, "The comparison.")
_GIN_BINDINGS = flags.DEFINE_multi_string("gin_bindings", [], "Bindings over the file's.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Its directory; runs/<gin file> by default.")
_IMPORT = flags.DEFINE_multi_string("import", [], "A module of yours, or the path of its file.")
_DIAGNOSE = flags.DEFINE_bool(
    "diagnose", False, "After the comparison: gradient variance and bias of every loss by time."
)
_RESUME = flags.DEFINE_enum(
    "resume", "auto", ["auto", "force"], "force: go on although the configuration differs."
)
_ENTRY = flags.DEFINE_string("entry", None, "One loss of the workdir's comparison alone.")
_REPORT = flags.DEFINE_bool("report", False, "Finished runs side by side: --report runs/a runs/b")
_OUT = flags.DEFINE_string("out", None, "The report's file; comparison.html beside the first run.")


def main(arguments):
    with cli.plain_errors():
        if _REPORT.value:
            print(f"Read the report:  {report_finished(arguments[1:], _OUT.value)}")
            return
        if _GIN_FILE.value is None and _WORKDIR.value is None:
            raise ValueError("Give --gin_file, or the --workdir of a comparison to go on with.")
        workdir = _WORKDIR.value or default_workdir(_GIN_FILE.value)
        imports = _IMPORT.value
        if _GIN_FILE.value is None:
            imports = config.load_workdir(workdir, _GIN_BINDINGS.value)
        else:
            config.load(_GIN_FILE.value, _GIN_BINDINGS.value, imports)
        if _ENTRY.value:
            run_entry(workdir, _ENTRY.value, _DIAGNOSE.value)
            return
        paths = compare(workdir, imports, _RESUME.value)
        if _DIAGNOSE.value:
            paths += diagnose(workdir)
        print("Written:", *paths, sep="\n  ")
        print(f"Compare curves and figures:  tensorboard --logdir {workdir}")


if __name__ == "__main__":
    app.run(main)
