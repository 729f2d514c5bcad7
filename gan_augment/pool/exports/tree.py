"""A folder of files for each class with a table beside: what the formats folder and nifti have in common."""

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gan_augment.pool.exports.columns import Record
from gan_augment.pool.exports.job import Job
from gan_augment.pool.exports.names import folder_names

__all__ = ["IMAGES", "MASKS", "Tree", "growing_tree"]

IMAGES, MASKS = "images", "masks"
"""Where images and masks lie where there are masks."""


class Tree:
    """Writes files of a row, and its line of `metadata.csv`.

    Without masks the files lie in `<class>/`. With masks they lie in `images/<class>/` and `masks/<class>/` under the
    same name, so that each of both is an image folder of its own.
    """

    def __init__(self, job: Job, table: Any) -> None:
        self._work, self._writer, self._masks = job.work, csv.writer(table), job.pool.has_masks
        self.folders = folder_names(job.pool.classes)
        for label in sorted(job.pool.counts):
            for kind in [IMAGES, MASKS] if self._masks else [""]:
                (job.work / kind / self.folders[label]).mkdir(parents=True)
        self._begun = False

    def write(self, record: Record, suffix: str, image: bytes, mask_suffix: str = "", mask: bytes = b"") -> None:
        """Writes one image, and its mask where there are masks."""
        file_name = f"{self.folders[record.label]}/{record.key}"
        names = {"file_name": f"{IMAGES}/{file_name}.{suffix}" if self._masks else f"{file_name}.{suffix}"}
        (self._work / names["file_name"]).write_bytes(image)
        if self._masks:
            names["mask_file_name"] = f"{MASKS}/{file_name}.{mask_suffix}"
            (self._work / names["mask_file_name"]).write_bytes(mask)
        line = names | record.cells()
        if not self._begun:
            self._writer.writerow(line)
            self._begun = True
        self._writer.writerow(line.values())

    @property
    def facts(self) -> dict[str, Any]:
        """Which class each folder holds."""
        return {"folders": {name: label for label, name in enumerate(self.folders)}}


@contextlib.contextmanager
def growing_tree(job: Job) -> Iterator[Tree]:
    """Gives a tree in the folder of a job; its table is whole when all went well."""
    path: Path = job.work / "metadata.csv"
    with open(path, "w", newline="", encoding="utf-8") as table:
        yield Tree(job, table)
