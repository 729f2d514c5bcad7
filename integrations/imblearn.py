"""A GAN as an over-sampler of imbalanced-learn: of feature tables, of flattened images, or from a pool."""

from gan_augment.optional import needed

needed("imblearn", "imblearn", "gan_augment.integrations.imblearn", oldest="0.12")

import copy
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from imblearn.base import SamplerMixin
from imblearn.over_sampling.base import BaseOverSampler
from scipy import sparse
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval

from gan_augment.balance import MIN_IMAGES
from gan_augment.errors import ConfigError, DataMismatchWarning, SmallClassWarning
from gan_augment.images import MIN_SIZE
from gan_augment.pipelines import preserved_rng
from gan_augment.pool import SyntheticPool
from gan_augment.recipes import CGAN, Recipe
from gan_augment.seeds import derive
from gan_augment.training import fit, fit_table
from gan_augment.transforms.flattened import (
    FlatSource,
    as_label,
    check_image_shape,
    flattened,
    pool_rows,
    seeds_of_rows,
)
from gan_augment.types import IntArray, Selector, Synthesizer

__all__ = ["GANOverSampler"]

Rows = npt.NDArray[Any]

_SEEDS = 2**63 - 1
_IMAGE_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
_OTHER_UNITS = 8
"""Ratio of two ranges of values from which on they are taken for different units: 255 against 1."""

_STACK = 6 + hasattr(SamplerMixin.fit_resample, "__wrapped__")
"""From where warnings are given up through imbalanced-learn's layers to the call of `fit_resample`."""


class GANOverSampler(BaseOverSampler):  # type: ignore[misc]  # imbalanced-learn has no types
    """Over-sample classes with rows that a GAN draws.

    There are three uses. With `source`, new rows are the images of a pool or a synthesizer made before. With
    `image_shape`, rows of X are flattened images, and a GAN for images is trained on them. With neither, the columns
    are continuous features, and a small class-conditional GAN of vectors is trained (`gan_augment.recipes.CGAN`).

    What is trained sees the X and y of `fit_resample` and nothing else: within a cross-validation, the training part of
    each fold. `fit` only checks, as that of any sampler.

    Columns of whole numbers and of categories are taken for continuous ones: for those take SMOTENC. A sparse matrix is
    made dense while a GAN is trained on it, and new rows have few zeros.

    Args:
        sampling_strategy: Which classes get how many rows, as for every over-sampler of imbalanced-learn.
        random_state: int, RandomState or None. An int gives the same rows each time on one machine; the global random
            states of NumPy and torch stay as they were.
        source: A pool, a synthesizer, or the path of one. Classes are matched by label, or by name where labels are
            strings. Its images are in the units of X: put scalers behind the sampler.
        image_shape: Shape of the image that a row flattens in C order: `(H, W)`, `(H, W, C)`, `(C, H, W)`, or that of a
            volume, with a channel or without. None beside a `source` is the layout of its own raw images.
        recipe: What is trained: for images a Recipe or a name out of `gan_augment.recipes.RECIPES`, for features a
            CGAN; None for the one measured best.
        steps: Steps of the training; None for the recipe's own.
        selector: Function that takes the training images (a dataset) and returns a Selector of gan_augment, which
            decides what is kept of twice as many drawn images; only with `image_shape`. None keeps what is drawn.

    Attributes:
        sampling_strategy_: dict, the number of rows added to each class.
        synthesizer_: What drew the rows: a TrainedSynthesizer of images, a TableSynthesizer of features, whose
            `losses` tell of the training; with `selector` the pool; with `source` the pool or synthesizer; None where
            no row was to be added.
        n_features_in_: Number of features.
        feature_names_in_: Names of the features, where X has names that are strings.

    Raises:
        ConfigError: Parameters that do not go together, or an `image_shape` that cannot be.
        DataError: X does not hold such images, or the source has no image of a class that gets rows.
        TrainingError: The training diverged.

    Example:
        >>> from sklearn.datasets import make_classification
        >>> from gan_augment.integrations.imblearn import GANOverSampler
        >>> X, y = make_classification(n_samples=300, weights=[0.8], flip_y=0, random_state=0)
        >>> X_res, y_res = GANOverSampler(random_state=0, steps=50).fit_resample(X, y)
        >>> np.bincount(y).tolist(), np.bincount(y_res).tolist()
        ([240, 60], [240, 240])
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseOverSampler._parameter_constraints,
        "source": [str, os.PathLike, SyntheticPool, Synthesizer, None],
        "image_shape": [tuple, list, None],
        "recipe": [str, Recipe, None],
        "steps": [Interval(Integral, 1, None, closed="left"), None],
        "selector": [callable, None],
    }

    def __init__(
        self,
        *,
        sampling_strategy: str | float | Mapping[Any, int] | Callable[..., Any] = "auto",
        random_state: int | np.random.RandomState | None = None,
        source: SyntheticPool | Synthesizer | str | os.PathLike[str] | None = None,
        image_shape: Sequence[int] | None = None,
        recipe: str | Recipe | None = None,
        steps: int | None = None,
        selector: Callable[[Any], Selector] | None = None,
    ) -> None:
        super().__init__(sampling_strategy=sampling_strategy)
        self.random_state = random_state
        self.source = source
        self.image_shape = image_shape
        self.recipe = recipe
        self.steps = steps
        self.selector = selector

    def __sklearn_clone__(self) -> "GANOverSampler":
        """Returns a clone that shares the source: a search makes many clones, and networks are large."""
        bare = copy.copy(self)
        bare.source = None
        new: GANOverSampler = super(GANOverSampler, bare).__sklearn_clone__()
        new.source = self.source
        return new

    def _fit_resample(self, X: Any, y: Rows) -> tuple[Any, Rows]:  # noqa: N803  # the host's names
        self._check_uses()
        seed = int(check_random_state(self.random_state).randint(_SEEDS, dtype=np.int64))
        self.synthesizer_: Any = None
        added = [np.full(number, label, y.dtype) for label, number in self.sampling_strategy_.items() if number]
        if not added:
            return X.copy(), y.copy()
        labels = np.concatenate(added)
        rows = X.toarray() if sparse.issparse(X) else X
        with preserved_rng():
            drawn = _in_type(self._draw(rows, y, labels, seed), X.dtype)
        if sparse.issparse(X):
            every = sparse.vstack([X, type(X)(drawn)], format=X.format)
        else:
            every = np.concatenate([X, drawn])
        return every, np.concatenate([y, labels])

    def _draw(self, rows: Rows, y: Rows, labels: Rows, seed: int) -> Rows:
        """Returns a row for each label."""
        if self.source is not None:
            flat = FlatSource(self.source, self.image_shape, rows.shape[1])
            self.synthesizer_ = flat.opened
            made = flat.rows(labels, seed, like=(rows, y))
            _warn_of_units(made, rows)
            return made
        classes, targets = np.unique(y, return_inverse=True)
        _warn_of_small(classes, targets, np.unique(labels))
        indices = np.searchsorted(classes, labels)
        if self.image_shape is None:
            return self._draw_features(rows, targets, indices, seed)
        names = [str(as_label(value)) for value in classes]
        return self._draw_images(_Images(rows, tuple(self.image_shape), targets, names), indices, seed)

    def _draw_features(self, rows: Rows, targets: IntArray, indices: IntArray, seed: int) -> Rows:
        recipe = CGAN() if self.recipe is None else self.recipe
        if not isinstance(recipe, CGAN):
            name = recipe if isinstance(recipe, str) else recipe.name
            raise ConfigError(
                f"expected recipe= a CGAN or None for a table of features, found {name!r}; give image_shape= if rows "
                "are images"
            )
        recipe = recipe if self.steps is None else replace(recipe, steps=int(self.steps))
        self.synthesizer_ = gan = fit_table(rows, targets, recipe, seed=derive(seed, "fit"))
        return gan.sample(indices, seeds_of_rows(indices, derive(seed, "draw")))

    def _draw_images(self, images: "_Images", indices: IntArray, seed: int) -> Rows:
        gan = fit(
            images,
            "auto" if self.recipe is None else self.recipe,
            steps=self.steps,
            min_images=0,
            seed=derive(seed, "fit"),
            progress=False,
        )
        self.synthesizer_ = gan
        if self.selector is None:
            assert gan.image_spec is not None
            drawn = gan.sample(indices, seeds_of_rows(indices, derive(seed, "draw"))).images
            return flattened(gan.image_spec.encode(drawn), gan.image_spec.form)
        counts = dict(zip(*(part.tolist() for part in np.unique(indices, return_counts=True)), strict=True))
        self.synthesizer_ = pool = SyntheticPool.build(
            gan, images, self.selector(images), counts=counts, seed=derive(seed, "draw"), progress=False
        )
        return flattened(pool_rows(pool, indices, seed), pool.form)

    def _check_uses(self) -> None:
        trained = [name for name in ("recipe", "steps", "selector") if getattr(self, name) is not None]
        if self.source is not None and trained:
            told = ", ".join(f"{name}=" for name in trained)
            raise ConfigError(f"expected source= alone, of which nothing is trained, found {told} too; leave one out")
        if self.selector is not None and self.image_shape is None:
            raise ConfigError("expected image_shape= beside selector=, which looks at images, found none")


class _Images:
    """Rows as a dataset of images; a class's only one is there twice, since recipes take pairs of a class."""

    def __init__(self, rows: Rows, shape: tuple[int, ...], targets: IntArray, classes: list[str]) -> None:
        check_image_shape(shape, rows.shape[1], MIN_SIZE)
        single = np.flatnonzero(np.isin(targets, np.flatnonzero(np.bincount(targets) == 1)))
        kept = np.concatenate([np.arange(len(rows)), single])
        dtype = rows.dtype if rows.dtype.name in _IMAGE_DTYPES else np.float64
        self.images = rows[kept].astype(dtype).reshape(-1, *shape)
        self.targets: list[int] = targets[kept].tolist()
        self.classes = classes

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Rows, int]:
        return self.images[index], self.targets[index]


def _in_type(values: Rows, dtype: Any) -> Rows:
    """Returns values in the dtype of X; whole numbers are rounded and never wrap."""
    if dtype.kind == "b":
        return values >= 0.5
    if dtype.kind not in "iu":
        return values.astype(dtype)
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    last = float(most) if int(float(most)) == most else np.nextafter(float(most), 0)  # 2**63 - 1 is no float64
    return np.clip(np.rint(values.astype(np.float64)), float(least), last).astype(dtype)


def _warn_of_units(made: Rows, rows: Rows) -> None:
    new, own = (float(values.max()) - float(values.min()) for values in (made, rows))
    if min(new, own) * _OTHER_UNITS < max(new, own):
        warnings.warn(
            f"expected images of the source in the units of X, found values from {made.min():g} to {made.max():g} "
            f"beside X from {rows.min():g} to {rows.max():g}; put scalers behind the sampler in the pipeline",
            DataMismatchWarning,
            stacklevel=_STACK,
        )


def _warn_of_small(classes: Rows, targets: IntArray, filled: Rows) -> None:
    counts = dict(zip(classes.tolist(), np.bincount(targets).tolist(), strict=True))
    small = [f"{label} ({counts[label]})" for label in filled.tolist() if counts[label] < MIN_IMAGES]
    if small:
        warnings.warn(
            f"fewer than {MIN_IMAGES} rows of {', '.join(small)}: expect new rows of these classes to vary little and "
            "to help little or to harm; compare with RandomOverSampler and SMOTE before you use them",
            SmallClassWarning,
            stacklevel=_STACK,
        )
