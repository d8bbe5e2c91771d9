"""What the files of a run are called. No import: whoever only looks for a run waits for none."""

MODEL = "model.json"  # what the model is
DATA = "data.json"  # what it was trained on
RECORD = "run.json"  # where it came from
CONFIG = "config.gin"  # of a run of the command line

__all__ = ["CONFIG", "DATA", "MODEL", "RECORD"]
