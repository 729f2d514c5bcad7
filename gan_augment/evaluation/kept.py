"""Trainings that are kept on disk as they finish, so that an evaluation that was stopped goes on where it was."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gan_augment.artifacts import read_json, storing, versions, write_json
from gan_augment.errors import ArtifactError
from gan_augment.evaluation.arms import Arm
from gan_augment.evaluation.data import TrainingSet
from gan_augment.evaluation.finished import HeldOut
from gan_augment.evaluation.training import Protocol, Scored
from gan_augment.fingerprint import hash_array, hash_items, hash_json
from gan_augment.pipelines import preserved_rng
from gan_augment.pool import SyntheticPool
from gan_augment.source import RawView

__all__ = ["Kept"]

_KIND, _VERSION = "gan_augment scored arm", 1
_FINISHED = 16


class Kept:
    """A folder with one file for each training, under a hash of all that it depends on.

    An arm with the user's own data or loss, and every arm under the user's own classifier, is trained anew each time:
    what code does cannot be hashed.

    Args:
        folder: None to keep nothing.
        training: What the arms train on.
        protocol: What is the same for every arm.
        tested: The test set.
    """

    def __init__(self, folder: Path | None, training: TrainingSet, protocol: Protocol, tested: HeldOut) -> None:
        self.folder = folder if protocol.classifier is None else None
        self._about: dict[str, Any] = {}
        if self.folder is None:
            return
        self._about = {
            "protocol": {**dataclasses.asdict(protocol), "classifier": None},
            "train": _content(training.view),
            "pool": None if training.pool is None else _identity(training.pool),
            "unused": None if training.unused is None else _content(training.unused),
            "min_images": training.min_images,
            "test": [hash_array(tested.images.numpy()), hash_array(tested.labels)],
            "versions": versions(),
        }

    def get(self, arm: Arm, seed: int, train: Callable[[], Scored]) -> Scored:
        """Returns what an arm gave with a seed: read where it was kept, else trained and kept.

        Raises:
            StorageError: The disk refused.
        """
        if self.folder is None or arm.data is not None or callable(arm.loss):
            return train()
        synthetic = arm.synthetic
        own = None if synthetic is None or synthetic.pool is None else _identity(synthetic.pool)
        plain = dataclasses.replace(
            arm, synthetic=None if synthetic is None else dataclasses.replace(synthetic, pool=None)
        )
        key = hash_json({**self._about, "arm": dataclasses.asdict(plain), "own pool": own, "seed": seed})
        path = self.folder / f"{key}.json"
        if path.exists():
            return _read(path)
        scored = train()
        with storing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        write_json(path, {"kind": _KIND, "version": _VERSION, "arm": arm.name, "seed": seed, **_plain(scored)})
        return scored


def _content(view: RawView) -> list[int]:
    """Returns hashes of labels and raw images, in their order, and of a few items as transforms finish them."""
    rows = np.unique(np.linspace(0, len(view) - 1, _FINISHED).astype(np.int64))
    with preserved_rng(0):
        items = [np.asarray(view.structure.split(view.base[int(row)])[0]) for row in rows]
    return [hash_array(view.targets), hash_array(view.hashes), *map(hash_array, items)]


def _identity(pool: SyntheticPool) -> list[Any]:
    every = pool.candidates()
    own = [hash_array(pool.array(int(row))) for row in every.rows] if pool.image_spec is None else []
    return [
        own,
        hash_array(every.labels),
        hash_array(every.seeds),
        hash_array(every.weights),
        hash_array(every.kept),
        hash_array(pool.rows),
        pool.about.get("fingerprint"),
        pool.about.get("seed"),
        hash_items(pool.fitted_on.images),
    ]


def _plain(scored: Scored) -> dict[str, Any]:
    return {
        "scores": {name: None if math.isnan(value) else value for name, value in scored.scores.items()},
        "recalls": [None if math.isnan(value) else value for value in scored.recalls.tolist()],
        "items": len(scored.correct),
        "correct": np.packbits(scored.correct).tobytes().hex(),
    }


def _read(path: Path) -> Scored:
    about = read_json(path, _KIND, _VERSION)
    try:
        bits = np.frombuffer(bytes.fromhex(about["correct"]), np.uint8)
        return Scored(
            {str(name): math.nan if value is None else float(value) for name, value in about["scores"].items()},
            np.array([math.nan if value is None else value for value in about["recalls"]], np.float64),
            np.unpackbits(bits, count=int(about["items"])).astype(bool),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"expected a whole result in {path}, found {error!r}; delete it") from None
