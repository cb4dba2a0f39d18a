"""A time limit on one case."""

import faulthandler
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final


class TimeUp(BaseException):
    """A case took too long. Not an ``Exception``, so that no driver under test swallows it."""


MOST_SECONDS: Final = 86_400
"""The longest limit: a day."""

_expendable = False


def expendable() -> None:
    """Declare that this process exists to run cases, may be ended, and sees no Ctrl-C."""
    global _expendable
    _expendable = True


def of_the_driver(error: BaseException) -> bool:
    """Whether an exception is a driver's own doing: not time that is up, and not Ctrl-C."""
    if isinstance(error, KeyboardInterrupt):
        return _expendable
    return not isinstance(error, TimeUp)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise ``TimeUp`` in the body after ``seconds``, and again each second until it ends.

    It works through SIGALRM, so only in a process's main thread; elsewhere there is no limit. Code
    that never comes back to the interpreter is not interrupted; in a process that was declared
    ``expendable`` it ends the process instead, with a traceback, after three times as long.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def up(_signal: int, _frame: FrameType | None) -> None:
        raise TimeUp

    began = time.monotonic()
    before = signal.signal(signal.SIGALRM, up)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    if _expendable:
        faulthandler.dump_traceback_later(3 * seconds + 5, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if _expendable:
            faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
        if left:
            # Somebody else's timer, a test suite's perhaps, runs on.
            left = max(left - (time.monotonic() - began), 0.001)
            signal.setitimer(signal.ITIMER_REAL, left, interval)
