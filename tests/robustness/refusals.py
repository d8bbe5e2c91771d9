"""What an input that cannot be used is told."""

from collections.abc import Callable

from lcss_tf.errors import UsageError


def refusal(call: Callable[[], object], *words: str) -> str:
    """The message of the error that a call raises; every one of `words` stands in it."""
    try:
        call()
    except (UsageError, FileNotFoundError) as error:
        message = str(error)
    else:
        raise AssertionError("It was not refused.")
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} is not said: {message}"
    return message
