"""What the commands in bin/ share: errors as messages, not as tracebacks, and common flags."""

import contextlib
import logging as std_logging
import os
import sys

from absl import flags, logging

from lcss_tf.compare.run import EntryError
from lcss_tf.launching import TEMPORARY
from lcss_tf.training.checkpoints import CheckpointError
from lcss_tf.training.distribution import WorkerLostError, watching_workers
from lcss_tf.training.meter import NonFiniteError
from lcss_tf.training.patience import DataTimeoutError

_FOR_PEOPLE = (
    ValueError,
    LookupError,
    OSError,
    MemoryError,
    FloatingPointError,
    CheckpointError,
    EntryError,
    NonFiniteError,
)
# A new start may mend them (`--max_restarts`).
_TEMPORARY = (WorkerLostError, DataTimeoutError)


@contextlib.contextmanager
def plain_errors():
    """Prints errors that a person can mend as one message, and exits with status 1.

    Status 75 says that a new start may mend it, 130 that it was interrupted.
    LCSS_TF_TRACEBACK=1 in the environment shows where errors were raised. Errors of other
    kinds are bugs and keep their traceback.
    """
    logging.set_verbosity(logging.WARNING)
    std_logging.getLogger("tensorflow").setLevel(std_logging.ERROR)
    try:
        with watching_workers():
            yield
    except KeyboardInterrupt:
        print("\nInterrupted before there was anything to save.", file=sys.stderr)
        sys.exit(130)
    except _TEMPORARY as error:
        print(f"\nerror: {error}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        # At once: the interpreter's own end would wait for the lost worker, or for the data.
        os._exit(TEMPORARY)
    except (*_FOR_PEOPLE, RuntimeError) as error:
        unset = "Required bindings" in str(error)
        if os.environ.get("LCSS_TF_TRACEBACK") or not (isinstance(error, _FOR_PEOPLE) or unset):
            raise
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"\nerror: {message}", file=sys.stderr)
        if unset:
            print("Bind them in the gin file, or by --gin_bindings.", file=sys.stderr)
        sys.exit(1)


def strategy_flag():
    """The flag --strategy."""
    return flags.DEFINE_enum(
        "strategy", None, ["mirrored", "multi_worker", "one_device", "tpu"],
        "How work is spread over devices and machines; over the gin file's.",
    )  # fmt: skip


def strategy_bindings(strategy):
    """The flag's value as gin bindings."""
    return [f"distribution.strategy = {strategy!r}"] if strategy else []
