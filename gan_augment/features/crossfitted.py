"""Cross-fitted judges: several, of which each real image is unseen by one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from gan_augment.artifacts import new_folder, read_json, read_tensors, versions, write_json, write_tensors
from gan_augment.augmentation import Augmentation
from gan_augment.errors import ArtifactError, ConfigError, whole
from gan_augment.features.trained import TrainedExtractor
from gan_augment.features.uncertainty import entropy_of
from gan_augment.fingerprint import FittedOn, group_name, hash_array, hash_json
from gan_augment.folds import FOLDS, folds
from gan_augment.images import ImageSpec
from gan_augment.seeds import derive
from gan_augment.source import RawView
from gan_augment.types import Features, IntArray

__all__ = ["KIND", "CrossFittedExtractor", "JudgeSettings"]

KIND = "gan_augment cross-fitted extractor"
_VERSION = 1
_MOST_JUDGES = 100


class JudgeSettings(TypedDict, total=False):
    """The settings of `TrainedExtractor.fit` that all judges share."""

    image_size: int | Sequence[int] | None
    steps: int
    width: int | None
    batch_size: int
    augmentation: Augmentation | None
    device: str


class CrossFittedExtractor:
    """K judges, each trained on all folds of the training split but one.

    A judge sees an image that it was trained on otherwise than a new one. Of K judges one has not seen it, so real
    images can be looked at as new ones are, and limits be set by them. A judge's features are its own: those of K
    judges are K spaces, `(N, K, D)`, and are compared within each.

    Args:
        judges: The judges, of the same classes, grid and length of features.
        hashes: `(M,)` int64, hashes of raw images, distinct.
        fold: `(M,)` int64, which judge has not seen each; -1 where all have.

    Attributes:
        judges: The judges.
        classes: Class names.
        image_spec: How raw images map to what the judges see; None where unknown.
        fitted_on: Hashes of the raw images and groups that any of them was trained on.

    Raises:
        ConfigError: There is no judge, they differ, or there is no such judge as a fold says.

    Example:
        >>> import gan_augment as ga
        >>> judges = CrossFittedExtractor.fit(train_set, folds=3)  # doctest: +SKIP
        >>> pool = ga.SyntheticPool.build(gan, train_set, ga.CentroidSelector(judges, real_share=0.9))  # doctest: +SKIP
    """

    def __init__(self, judges: Sequence[TrainedExtractor], hashes: IntArray, fold: IntArray) -> None:
        if not judges:
            raise ConfigError("expected judges, found none; train some with CrossFittedExtractor.fit")
        if len({_form(judge) for judge in judges}) > 1:
            raise ConfigError("expected judges of the same classes, images and features, found several kinds")
        hashes, fold = np.asarray(hashes, np.int64), np.asarray(fold, np.int64)
        if hashes.ndim != 1 or hashes.shape != fold.shape or len(np.unique(hashes)) < len(hashes):
            raise ConfigError(f"expected distinct hashes and a fold of each, found {hashes.shape} and {fold.shape}")
        if len(fold) and not -1 <= fold.min() <= fold.max() < len(judges):
            raise ConfigError(f"expected folds from -1 to {len(judges) - 1}, found {fold.min()} to {fold.max()}")
        order = np.argsort(hashes)
        self.judges = list(judges)
        self._hashes, self._fold = hashes[order], fold[order]
        self.classes: list[str] = judges[0].classes
        self.image_spec: ImageSpec | None = judges[0].image_spec
        self.fitted_on = FittedOn.union(*[judge.fitted_on for judge in judges])

    @classmethod
    def fit(
        cls,
        dataset: Any,
        *,
        folds: int = FOLDS,
        targets: npt.ArrayLike | None = None,
        groups: Sequence[Any] | npt.NDArray[Any] | None = None,
        rows: npt.NDArray[np.int64] | None = None,
        seed: int = 0,
        progress: bool = True,
        **settings: Unpack[JudgeSettings],
    ) -> Self:
        """Trains a judge for each fold, on all images but those of the fold.

        Classes are spread evenly over the folds. Groups stay whole, and so do images that occur more than once. A
        class of which a fold would leave fewer than two images is in no fold: all judges are trained on it, and so
        they are on whatever shares a group with it. Where no class can be spared, there is one judge, of all images.

        Args:
            dataset: The training split, or a RawView of it.
            folds: Number of folds, at least 2.
            targets: One class for each item, where the dataset does not say.
            groups: One group (patient) for each item.
            rows: The items to use; None for all. The range of values is that of all.
            seed: Of folds and judges.
            progress: Whether to show bars.
            settings: As of `TrainedExtractor.fit`, for each judge.

        Raises:
            DataError: There are fewer than two classes, or a class has fewer than two images.
            ConfigError: A parameter has a value that cannot work.
        """
        count, seed = whole("folds", folds, 2), whole("seed", seed, 0)
        if count > _MOST_JUDGES:
            raise ConfigError(f"expected at most {_MOST_JUDGES} folds, found {count}")
        view = RawView.of(dataset, targets, groups, progress=progress)
        rows = np.arange(len(view)) if rows is None else np.asarray(rows, dtype=np.int64)
        fold = _spread(view, rows, count, seed)
        used = [number for number in range(count) if (fold == number).any()]
        judges = [
            TrainedExtractor.fit(
                view,
                rows=rows[fold != number],
                seed=derive(seed, "cross-fitted", number),
                progress=progress,
                **settings,
            )
            for number in tqdm(used or [count], desc="judges", disable=None if progress else True, leave=False)
        ]
        numbered = np.array([used.index(number) if number in used else -1 for number in fold.tolist()], np.int64)
        hashes, first = np.unique(view.hashes[rows], return_index=True)
        return cls(judges, hashes, numbered[first])

    def fold_of(self, hashes: IntArray) -> IntArray:
        """Returns the judge `(N,)` that has not seen each image, by the hash of its raw form; -1 where none is known.

        Args:
            hashes: `(N,)`, as `RawView.hashes` gives them.
        """
        hashes = np.asarray(hashes, np.int64)
        if not len(self._hashes):
            return np.full(len(hashes), -1, np.int64)
        place = np.searchsorted(self._hashes, hashes).clip(max=len(self._hashes) - 1)
        return np.where(self._hashes[place] == hashes, self._fold[place], -1)

    def extract(self, images: Tensor) -> Features:
        """Returns what the judges see in new images `(N, C, *spatial)` in [-1, 1].

        `features` are `(N, K, D)`, `probs` the mean over the judges, `entropy` that of the mean.

        Raises:
            SynthesizerError: They have another number of channels or dimensions.
        """
        features, probs = self._seen(images)
        mean = probs.mean(1)
        return Features(features, mean, entropy_of(mean))

    def extract_fitted(self, images: Tensor, hashes: IntArray) -> Features:
        """Returns what the judges see in images that they were fitted on.

        Args:
            images: `(N, C, *spatial)` in [-1, 1].
            hashes: `(N,)`, those of their raw forms, as `RawView.hashes` gives them.

        Returns:
            `features` `(N, K, D)` of all judges; `fold` `(N,)`, the judge that has not seen each image, and `probs` and
            `entropy` of that judge. Images that are unknown, or seen by all, have fold -1 and the mean.

        Raises:
            SynthesizerError: They have another number of channels or dimensions.
            ConfigError: There are not as many hashes as images.
        """
        if len(hashes) != len(images):
            raise ConfigError(f"expected a hash for each of {len(images)} images, found {len(hashes)}")
        features, probs = self._seen(images)
        fold = self.fold_of(hashes)
        own = np.where(fold[:, None] < 0, probs.mean(1), probs[np.arange(len(fold)), fold])
        return Features(features, own, entropy_of(own), fold)

    def _seen(self, images: Tensor) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Returns features `(N, K, D)` and probabilities `(N, K, num_classes)`."""
        parts = [judge.extract(images) for judge in self.judges]
        probs = [part.probs for part in parts if part.probs is not None]
        return np.stack([part.features for part in parts], axis=1), np.stack(probs, axis=1)

    @property
    def fingerprint(self) -> str:
        """A hash of the judges and of who has seen what."""
        return hash_json([[judge.fingerprint for judge in self.judges], *map(hash_array, (self._hashes, self._fold))])

    def save(self, folder: str | Path) -> Path:
        """Writes a folder of each judge, `extractor.json` and `folds.safetensors` into a new folder.

        Raises:
            ArtifactError: The folder exists.
            StorageError: The disk refused.
        """
        with new_folder(folder, "judges") as work:
            for number, judge in enumerate(self.judges):
                judge.save(work / f"judge-{number}")
            tensors = {"hashes": torch.from_numpy(self._hashes), "fold": torch.from_numpy(self._fold)}
            write_tensors(work / "folds.safetensors", tensors)
            about = {"judges": len(self.judges), "fingerprint": self.fingerprint, "versions": versions()}
            write_json(work / "extractor.json", {"kind": KIND, "version": _VERSION, **about})
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads what `save` wrote; runs none of it.

        Raises:
            ArtifactError: It is missing, damaged or of another architecture.
        """
        folder = Path(folder)
        about = read_json(folder / "extractor.json", KIND, _VERSION)
        count, tensors = about.get("judges"), read_tensors(folder / "folds.safetensors")
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= _MOST_JUDGES:
            raise ArtifactError(f"expected 1 to {_MOST_JUDGES} judges in {folder}, found {count!r:.80}; it is damaged")
        columns = [tensors.get(name, torch.empty(0)) for name in ("hashes", "fold")]
        if any(column.dtype != torch.int64 for column in columns):
            raise ArtifactError(f"expected hashes and folds in {folder}, found others; it is damaged")
        judges = [TrainedExtractor.load(folder / f"judge-{number}") for number in range(count)]
        try:
            loaded = cls(judges, columns[0].numpy(), columns[1].numpy())
        except ConfigError as error:
            raise ArtifactError(f"expected whole judges in {folder}, found that they are damaged: {error}") from None
        if loaded.fingerprint != about.get("fingerprint"):
            raise ArtifactError(f"expected the judges that were saved in {folder}, found others; the folder is damaged")
        return loaded


def _form(judge: TrainedExtractor) -> str:
    image_spec = None if judge.image_spec is None else judge.image_spec.to_json()
    return hash_json([judge.classes, judge.spec.to_json(), judge.network.linear.in_features, image_spec])


def _spread(view: RawView, rows: IntArray, count: int, seed: int) -> IntArray:
    """Returns the fold of each row; -1 for all that shares an image or a group with what is in no fold."""
    _, image = np.unique(view.hashes[rows], return_inverse=True)
    if view.groups is None and image.max(initial=-1) + 1 == len(rows):
        return folds(view.targets[rows], seed=seed, count=count)
    bound = image if view.groups is None else _together(image, view.groups[rows])
    fold = folds(view.targets[rows], bound, seed=seed, count=count)
    fold[np.isin(bound, bound[fold < 0])] = -1
    return fold


def _together(image: IntArray, groups: npt.NDArray[Any]) -> IntArray:
    """Returns a number for each row, the same for rows that share an image or a group, however indirectly."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, group = np.unique([group_name(name) for name in groups], return_inverse=True)
    size = int(image.max()) + 1 + int(group.max()) + 1
    edges = coo_array((np.ones(len(image)), (image, group + image.max() + 1)), shape=(size, size))
    numbers: IntArray = connected_components(edges, directed=False)[1].astype(np.int64)
    return numbers[image]
