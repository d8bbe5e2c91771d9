"""What the commands in bin/ share: errors as messages, not as tracebacks."""

import contextlib
import logging as std_logging
import os
import sys

from absl import logging

from lcss_tf.compare.run import EntryError
from lcss_tf.training.checkpoints import CheckpointError
from lcss_tf.training.meter import NonFiniteError

_FOR_PEOPLE = (
    ValueError,
    LookupError,
    OSError,
    FloatingPointError,
    CheckpointError,
    EntryError,
    NonFiniteError,
)


@contextlib.contextmanager
def plain_errors():
    """Prints errors that a person can mend as one message, and exits with status 1.

    LCSS_TF_TRACEBACK=1 in the environment shows where they were raised. Errors of other
    kinds are bugs and keep their traceback.
    """
    logging.set_verbosity(logging.WARNING)
    std_logging.getLogger("tensorflow").setLevel(std_logging.ERROR)
    try:
        yield
    except (*_FOR_PEOPLE, RuntimeError) as error:
        unset = "Required bindings" in str(error)
        if os.environ.get("LCSS_TF_TRACEBACK") or not (isinstance(error, _FOR_PEOPLE) or unset):
            raise
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"\nerror: {message}", file=sys.stderr)
        if unset:
            print("Bind them in the gin file, or by --gin_bindings.", file=sys.stderr)
        sys.exit(1)
