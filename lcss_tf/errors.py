"""The errors that a person can mend.

Every message says what was received, what was expected, and what to do. The commands print such an
error as one message; any other error is a bug, of this project or of a user's own part, and keeps
its traceback.
"""


class UsageError(ValueError):
    """An argument, a binding, a file or a combination that cannot be used."""


class UnknownNameError(UsageError, KeyError):
    """A name that a registry does not know; the message lists the known ones."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""  # KeyError would show its quotes


class UnknownPartError(UsageError):
    """A part of a stored model that cannot be made: its class is unknown here, or differs."""


class MissingPackageError(UsageError, ModuleNotFoundError):
    """A package that is needed for this alone, and is not installed; the message says how to."""


class NotFiniteError(UsageError, FloatingPointError):
    """A loss, a sample or a solution became NaN or infinite; the message says where."""


class TemporaryError(Exception):
    """What a new start may mend: a lost worker, data that hang. The last checkpoint is good."""


__all__ = [
    "MissingPackageError",
    "NotFiniteError",
    "TemporaryError",
    "UnknownNameError",
    "UnknownPartError",
    "UsageError",
]
