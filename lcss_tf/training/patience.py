"""A time limit on what delivers batches: a data source that hangs must not hang training."""

import contextlib
import queue
import threading


class DataTimeoutError(TimeoutError):
    """No batch came within the time limit."""


_END = object()


def within(batches, seconds):
    """The iterator `batches`, read by a thread of its own, one batch ahead.

    Args:
      batches: an iterator.
      seconds: the longest wait for one; 0: without limit, and without a thread.

    Raises (on iteration):
      DataTimeoutError: nothing came in time. The thread is left to itself: it cannot be stopped
        while it waits in somebody else's code.
      Others: what `batches` raises.
    """
    if not seconds:
        yield from batches
        return
    ready, stop = queue.Queue(maxsize=1), threading.Event()

    def read():
        try:
            for batch in batches:
                ready.put((batch, None))
                if stop.is_set():
                    return
            ready.put((_END, None))
        except BaseException as error:
            ready.put((None, error))

    threading.Thread(target=read, daemon=True, name="batches").start()
    try:
        while True:
            try:
                batch, error = ready.get(timeout=seconds)
            except queue.Empty:
                raise DataTimeoutError(
                    f"The data source delivered nothing for {seconds:g} s. The state is saved: "
                    "look at the disk or the network that the data come from, and start again by "
                    "the same command. trainer.data_timeout_s sets the limit; 0 is none."
                ) from None
            if error is not None:
                raise error
            if batch is _END:
                return
            yield batch
    finally:
        stop.set()
        with contextlib.suppress(queue.Empty):  # lets go of the thread, if it waits to deliver
            ready.get_nowait()


__all__ = ["DataTimeoutError", "within"]
