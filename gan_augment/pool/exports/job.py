"""One export at work: the view, the folder that is being written, the bar, and what a format says of itself."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gan_augment.pool.exports.columns import Record, records
from gan_augment.pool.exports.marking import Mark
from gan_augment.pool.pool import SyntheticPool

__all__ = ["Job", "Written"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a format is given.

    Attributes:
        pool: The view whose rows are exported; it has some.
        work: The folder to write in.
        mark: What is said of the images.
        progress: Whether to show a bar on a terminal.
    """

    pool: SyntheticPool
    work: Path
    mark: Mark
    progress: bool

    def records(self) -> Iterator[Record]:
        """Gives the columns of each row, in the order of the view, under a bar."""
        disable = None if self.progress else True
        yield from tqdm(records(self.pool), total=len(self.pool), desc="exporting", disable=disable, leave=False)

    def texts(self, record: Record) -> dict[str, str]:
        """Returns what an image says of itself."""
        return self.mark.texts(record.row, record.seed)


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a format says of what it wrote.

    Attributes:
        data_files: Patterns of its data files, as the Hugging Face Hub reads them.
        reading: How to read it, Python.
        notes: What else its card should tell.
        facts: What `gan_augment.json` should tell.
    """

    data_files: list[str]
    reading: str
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
