"""The format "folder": PNG or TIFF files, a folder a class, as ImageFolder reads them."""

from gan_augment.pool.exports.encoding import check_pictures, mask_dtype, picture_bytes, picture_format
from gan_augment.pool.exports.job import Job, Written
from gan_augment.pool.exports.tree import IMAGES, growing_tree

__all__ = ["write_pictures"]


def write_pictures(job: Job) -> Written:
    """Writes `<class>/<row>.png` (or .tif) and `metadata.csv`.

    Raises:
        DataError: Neither PNG nor TIFF holds the images exactly.
    """
    pool = job.pool
    check_pictures(pool, "folder")
    suffix = str(picture_format(pool.array(int(pool.rows[0]))))
    stored = mask_dtype(pool) if pool.has_masks else ""
    mask_suffix = "tif" if stored == "int32" else "png"
    with growing_tree(job) as tree:
        for record in job.records():
            texts, drawn = job.texts(record), pool.mask(record.row)
            mask = b"" if drawn is None else picture_bytes(drawn.astype(stored), texts)
            tree.write(record, suffix, picture_bytes(pool.array(record.row), texts), mask_suffix, mask)
    root = f"THIS_FOLDER/{IMAGES}" if pool.has_masks else "THIS_FOLDER"
    suffixes = sorted({suffix, mask_suffix} if pool.has_masks else {suffix})
    return Written(
        data_files=["metadata.csv", *[f"**/*.{found}" for found in suffixes]],
        reading=f'import gan_augment as ga\n\nimages = ga.open_folder("{root}")  # as torchvision\'s ImageFolder, '
        f'which would make all RGB\n\nfrom datasets import load_dataset\n\ntable = load_dataset("THIS_FOLDER")',
        notes=["`metadata.csv` has a line for each image."],
        facts=tree.facts,
    )
