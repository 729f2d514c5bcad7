"""Ctrl-C in a training: the step in work is finished first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["interruptible"]


@contextmanager
def interruptible(*, patient: bool = False) -> Iterator[list[int]]:
    """Gives a list that is empty until Ctrl-C: the step in work can then be finished. A second Ctrl-C stops at once.

    Args:
        patient: Further ones change nothing: a launcher of several processes hands on the one that they got already.
    """
    interrupted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, _: Any) -> None:
        interrupted.append(number)
        if not patient:
            signal.signal(signal.SIGINT, before)

    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, before)
