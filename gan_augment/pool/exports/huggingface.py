"""The format "huggingface": parquet files with features, which `datasets.load_dataset` and the Hub read."""

from collections.abc import Iterator
from typing import Any

from gan_augment.errors import whole
from gan_augment.optional import needed
from gan_augment.pool.exports.columns import Record
from gan_augment.pool.exports.encoding import check_pictures, mask_dtype, picture_bytes, picture_format
from gan_augment.pool.exports.job import Job, Written

__all__ = ["write_parquet"]

_ROWS, _ROW_BYTES = 100, 2**26
"""A row group holds so many rows, or so many bytes: what a reader has in memory at a time."""


def write_parquet(job: Job, *, shard_bytes: int = 500 * 2**20) -> Written:
    """Writes `data/train-00000.parquet`, ...: images as PNG or TIFF, the label as a ClassLabel, all columns.

    Args:
        job: What to write.
        shard_bytes: A file is closed when it holds more than this.

    Raises:
        ConfigError: `datasets` is not installed, or `shard_bytes` is no whole number.
        DataError: Neither PNG nor TIFF holds the images exactly.
    """
    whole("shard_bytes", shard_bytes)
    check_pictures(job.pool, "huggingface")
    datasets = needed("datasets", "huggingface", "format='huggingface'")
    arrow, parquet = (needed(name, "huggingface", "format='huggingface'") for name in ("pyarrow", "pyarrow.parquet"))
    schema = _features(datasets, job).arrow_schema
    (job.work / "data").mkdir()
    number, writer, size = 0, None, 0
    try:
        for rows, held in _groups(job):
            if writer is not None and size + held > shard_bytes:
                writer.close()
                number, writer, size = number + 1, None, 0
            if writer is None:
                writer = parquet.ParquetWriter(str(job.work / "data" / f"train-{number:05d}.parquet"), schema)
            writer.write_batch(arrow.RecordBatch.from_pylist(rows, schema=schema))
            size += held
    finally:
        if writer is not None:
            writer.close()
    return Written(
        data_files=["data/train-*.parquet"],
        reading='from datasets import load_dataset\n\ntable = load_dataset("THIS_FOLDER", split="train")',
        facts={"shards": number + 1},
    )


def _features(datasets: Any, job: Job) -> Any:
    value = datasets.Value
    images = {"image": datasets.Image(), **({"mask": datasets.Image()} if job.pool.has_masks else {})}
    return datasets.Features(
        {
            **images,
            "label": datasets.ClassLabel(names=list(job.pool.classes)),
            **{name: value("int64") for name in ("row", "seed")},
            "score": value("float32"),
            "kept": value("bool"),
            "reason": value("string"),
            "parent": value("int64"),
            "weight": value("float32"),
            "review": value("string"),
            "synthetic": value("bool"),
        }
    )


def _groups(job: Job) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """Gives the rows of a group, and how many bytes their images have."""
    stored = mask_dtype(job.pool) if job.pool.has_masks else ""
    rows: list[dict[str, Any]] = []
    size = 0
    for record in job.records():
        row = _row(job, record, stored)
        rows.append(row)
        size += sum(len(value["bytes"]) for value in row.values() if isinstance(value, dict))
        if len(rows) == _ROWS or size > _ROW_BYTES:
            yield rows, size
            rows, size = [], 0
    if rows:
        yield rows, size


def _row(job: Job, record: Record, stored: str) -> dict[str, Any]:
    values = record.values()
    del values["class"]  # the ClassLabel has it
    arrays = {"image": job.pool.array(record.row)}
    if (mask := job.pool.mask(record.row)) is not None:
        arrays["mask"] = mask.astype(stored)
    texts = job.texts(record)
    images = {
        name: {"bytes": picture_bytes(array, texts), "path": f"{record.key}.{picture_format(array)}"}
        for name, array in arrays.items()
    }
    return images | values
