"""How far a drawing is, over all processes: rows, the share of candidates kept by class, time left."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import numpy as np
from tqdm import tqdm

from gan_augment.errors import ArtifactError
from gan_augment.pool.plan import Plan
from gan_augment.pool.work import FolderWork
from gan_augment.types import Decision, IntArray

__all__ = ["Progress"]

_EVERY = 1.0
_MOST_SHOWN = 4


class Progress:
    """A bar on a terminal; where other processes draw too, what they have finished counts.

    Args:
        plan: What is to be drawn.
        classes: Class names.
        shown: Whether to show it.
        work: Where other processes' shards appear; None where there are none.
        mine: Shards that this process draws.
    """

    def __init__(
        self, plan: Plan, classes: Sequence[str], *, shown: bool, work: FolderWork | None, mine: Sequence[int]
    ) -> None:
        self._plan, self._classes, self._work, self._mine = plan, classes, work, set(mine)
        self._drawn = np.zeros(len(classes), np.int64)
        self._kept = np.zeros(len(classes), np.int64)
        self._own, self._asked, self._rejecting = 0, time.monotonic(), False
        others, drawn, kept = self._others()
        self._start = others
        self._found = others, drawn, kept
        self._bar = tqdm(
            total=plan.rows, initial=others, desc="drawing", unit="img", disable=None if shown else True, leave=False
        )

    def add(self, labels: IntArray, decision: Decision | None) -> None:
        """Counts rows that this process drew."""
        kept = labels if decision is None else labels[decision.keep]
        self._rejecting |= len(kept) < len(labels)
        self._drawn += np.bincount(labels, minlength=len(self._classes))
        self._kept += np.bincount(kept, minlength=len(self._classes))
        self._own += len(labels)
        self._show()

    def _show(self) -> None:
        if self._bar.disable:
            return
        if self._work is not None and time.monotonic() - self._asked > _EVERY:
            self._found, self._asked = self._others(), time.monotonic()
        others, drawn, kept = self._found
        if self._rejecting:
            self._bar.set_postfix_str(acceptance(self._drawn + drawn, self._kept + kept, self._classes), refresh=False)
        self._bar.update(self._own + others - self._bar.n)

    def _others(self) -> tuple[int, IntArray, IntArray]:
        """Returns rows, and rows drawn and kept by class, of finished shards that are not this process's."""
        drawn, kept = np.zeros_like(self._drawn), np.zeros_like(self._kept)
        rows = 0
        if self._work is not None:
            with suppress(ArtifactError, KeyError, ValueError):  # one is just being written
                for number, about in self._work.finished().items():
                    if number not in self._mine:
                        rows += self._plan.shards[number]
                        _add(drawn, about["drawn"])
                        _add(kept, about["kept"])
        return rows, drawn, kept

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Goes on showing what others finish while this process waits for them; closes the bar."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_EVERY):
                self._show()

        thread = threading.Thread(target=watch, name="pool-progress", daemon=True)
        if not self._bar.disable and self._work is not None:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            if thread.is_alive():
                thread.join()
            self.close()

    def close(self) -> None:
        """Takes the bar away."""
        self._bar.close()


def _add(counts: IntArray, found: Mapping[str, int]) -> None:
    for label, number in found.items():
        counts[int(label)] += number


def acceptance(drawn: IntArray, kept: IntArray, classes: Sequence[str]) -> str:
    """Returns the share of candidates kept of each class, the lowest first, such as `kept: cat 12%, dog 48%`."""
    there = np.flatnonzero(drawn)
    shares = kept[there] / drawn[there]
    order = np.argsort(shares, kind="stable")[:_MOST_SHOWN]
    told = ", ".join(f"{classes[there[i]]} {shares[i]:.0%}" for i in order)
    return f"kept: {told}" + (", ..." if len(there) > _MOST_SHOWN else "")
