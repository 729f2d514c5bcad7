"""Synthetic images in MONAI: random transforms, a reader of a pool's rows, and a list of dicts balanced with them."""

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from gan_augment.balance import MIN_IMAGES, SamplingStrategy
from gan_augment.errors import ConfigError, DataError, probability
from gan_augment.geometry import Affine, check_affine
from gan_augment.optional import needed
from gan_augment.pool import SyntheticPool
from gan_augment.pool.references import Pools, is_reference, references
from gan_augment.synthesizers.checks import from_items
from gan_augment.transforms.fitting import check_scale, class_label, matched, own_image
from gan_augment.transforms.listing import balanced_list
from gan_augment.transforms.source import ByLabel
from gan_augment.types import Synthesizer

needed("monai", "monai", "gan_augment.integrations.monai", oldest="1.5", below="2")

from monai.data import ImageReader, MetaTensor
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import MetaKeys, SpaceKeys, TransformBackends, convert_to_dst_type, convert_to_numpy, ensure_tuple

__all__ = [
    "PoolReader",
    "RandSynthesized",
    "RandSynthesizedD",
    "RandSynthesizedDict",
    "RandSynthesizedd",
    "balance_datalist",
]

Source = SyntheticPool | Synthesizer | str | os.PathLike[str]

_SEEDS = 2**63 - 1
_FILE, _SYNTHETIC = "filename_or_obj", "synthetic"
_SIZE = "put the transform where the images that the source was made like were taken, after Spacingd, Resized and crops"
_UNITS = "put the transform before ScaleIntensityd, NormalizeIntensityd and the like, or build the pool after them"
_LABEL = (
    "put the transform before AsDiscreted and the like, and name the key of the class in label_key= (that of a "
    "segmentation goes into mask_key=)"
)
_LIE = "put the transform after Orientationd and Spacingd, and before random spatial transforms such as RandFlipd"


class RandSynthesized(RandomizableTransform):  # type: ignore[misc]  # mypy does not follow MONAI
    """Replaces an image by a synthetic one of the same label, with probability `prob`.

    Labels stay, so each class has as many items as before; `balance_datalist` and `GANAugmentedDataset` rebalance. An
    image whose label `source` has no image of stays as it is.

    Image and result are channel first, `(C, *spatial)`, np.ndarray, torch.Tensor or MetaTensor, in the raw units of
    the source. The result has the type, dtype and device of the image; a MetaTensor its affine, other metadata and
    applied operations, so that what came before can be inverted, but not its file name. The image is not changed.

    All randomness is that of `self.R`; seeds of synthetic images are drawn from it.

    Args:
        source: A pool, of whose view the rows are drawn, or a synthesizer that draws as it is asked; or the path of
            one. An image-conditioned synthesizer makes its image from the item's own.
        prob: Probability, 0 to 1.
        classes: Names of the dataset's classes by label, to match by name; None for the labels that the pool was
            built for, and those of a synthesizer by position, or by value where its class names are numbers.
        reverse_indexing: Whether the two spatial axes of 2-D synthetic images are swapped, as MONAI's PILReader swaps
            them; None to swap those of a pool of PIL images for images that PILReader read.

    Raises:
        ConfigError: A parameter has a value that cannot work.
        DataError: Synthetic images do not fit the image: another size, dtype, scale, spacing or orientation.

    Example:
        >>> import numpy as np
        >>> from gan_augment import SyntheticPool
        >>> pool = SyntheticPool.from_arrays(np.full((4, 8, 8, 8), 7, np.int16), [0, 0, 1, 1])
        >>> transform = RandSynthesized(pool, prob=1.0).set_random_state(seed=0)
        >>> transform(np.zeros((1, 8, 8, 8), np.float32), label=1).max()
        np.float32(7.0)
    """

    backend: ClassVar[list[Any]] = [TransformBackends.TORCH, TransformBackends.NUMPY]

    def __init__(
        self,
        source: Source,
        prob: float = 0.1,
        classes: Sequence[str] | None = None,
        reverse_indexing: bool | None = None,
    ) -> None:
        RandomizableTransform.__init__(self, probability("prob", prob))
        self._do_transform: bool
        self.source = ByLabel(source, classes)
        self.source.require_form()
        self.reverse_indexing = reverse_indexing
        self._drawn: tuple[int, int] | None = None
        self._turn: bool | None = None
        self._is_checked = False
        self._from_items = from_items(self.source.synthesizer)

    def randomize(self, data: Any) -> None:
        """Draws whether, and which, synthetic image takes the place of one of label `data`."""
        index = self.source.class_of(class_label(data, _LABEL))
        super().randomize(None)
        self._do_transform = self._do_transform and index >= 0
        if self._do_transform:
            self._drawn = index, int(self.R.randint(_SEEDS, dtype=np.int64))

    def __call__(self, img: Any, label: Any, randomize: bool = True) -> Any:
        """Returns the image, or a synthetic one.

        Args:
            img: `(C, *spatial)`.
            label: A class, a whole number or a name.
            randomize: Whether to draw anew; False for what `randomize(label)` drew.
        """
        if randomize:
            self.randomize(label)
        if not self._do_transform:
            return img
        index, seed = self._choice()
        _check_image(img)
        array, _ = self.source.made(index, seed, self._own(img))
        if not self._is_checked:
            self._check_scale(array, img)
        if (affine := self.source.affine) is not None:
            check_affine(affine, _affine(img), _LIE)
        self._turn = self.reverse_indexing
        if self._turn is None and self.source.require_form().kind == "pil":
            self._turn = isinstance(img, MetaTensor) and {"format", "width", "height"} <= img.meta.keys()
        return self._in_place(array, img, grey=True)

    def mask(self, mask: Any) -> Any:
        """Returns the mask of the synthetic image that the last call gave, as `mask` is; or `mask`, if none.

        Args:
            mask: `(1, *spatial)` of whole numbers, the mask of the image that was replaced.

        Raises:
            ConfigError: The source has no masks.
        """
        if not self._do_transform:
            return mask
        if not self.source.has_masks or self.source.pool is None:
            raise ConfigError(
                "expected a pool with masks, as an item's mask is that of another image than the synthetic one, found "
                f"{self.source!r}; give one of SyntheticPool.from_arrays(images, labels, masks=...)"
            )
        _check_image(mask)
        array = self.source.pool.mask(self.source.row(*self._choice()))
        assert array is not None
        return self._in_place(array, mask, grey=False)

    def _choice(self) -> tuple[int, int]:
        if self._drawn is None:
            raise ConfigError("expected randomize(label) to have been called, found that it was not; call it first")
        return self._drawn

    def _own(self, img: Any) -> npt.NDArray[Any] | None:
        if not self._from_items:
            return None
        return own_image(convert_to_numpy(img), self.source.require_form().dtype, _UNITS)

    def _check_scale(self, array: npt.NDArray[Any], img: Any) -> None:
        img = _plain(img)
        extent = float(img.max()) - float(img.min())
        check_scale(array, self.source.image_spec, extent, _UNITS)
        self._is_checked = extent > 0  # a blank image tells nothing

    def _in_place(self, array: npt.NDArray[Any], like: Any, *, grey: bool) -> Any:
        array = array.swapaxes(1, 2) if self._turn and array.ndim == 3 else array
        plain = _plain(like)
        own = np.array(matched(array, _dtype(plain), plain.shape, _SIZE, grey=grey), order="C")
        made = _as_like(own, like)
        if isinstance(made, MetaTensor) and _FILE in made.meta:
            pool, name = self.source.pool, _SYNTHETIC
            if pool is not None and pool.folder is not None:
                (name,) = references(pool, [self.source.row(*self._choice())], masks=not grey)
            made.meta[_FILE] = name
        return made


class RandSynthesizedd(RandomizableTransform, MapTransform):  # type: ignore[misc]  # mypy does not follow MONAI
    """Dictionary-based version of `RandSynthesized`.

    It is random, so CacheDataset and PersistentDataset draw anew each time. What else an item holds stays as it is;
    another image, mask or array of points in it is an error, as it would be that of the real image.

    Args:
        keys: Key of the image, one alone: several images of one patient belong into the channels of one.
        source: As in `RandSynthesized`.
        label_key: Key of the class, a whole number or a name.
        prob: Probability, 0 to 1.
        mask_key: Key of the segmentation mask, which is replaced by the mask of the pool's row; None for none.
        classes: As in `RandSynthesized`.
        reverse_indexing: As in `RandSynthesized`.
        allow_missing_keys: Whether an item without the image, or without the mask, is let pass.

    Raises:
        ConfigError: A parameter has a value that cannot work, or an item holds more images.
        DataError: As in `RandSynthesized`.
        KeyError: An item lacks a key.

    Example:
        >>> import numpy as np
        >>> from gan_augment import SyntheticPool
        >>> pool = SyntheticPool.from_arrays(np.full((4, 8, 8, 8), 7, np.int16), [0, 0, 1, 1])
        >>> transform = RandSynthesizedd("image", pool, prob=1.0)
        >>> transform({"image": np.zeros((1, 8, 8, 8), np.float32), "label": 1})["image"].max()
        np.float32(7.0)
    """

    backend = RandSynthesized.backend

    def __init__(
        self,
        keys: Any,
        source: Source,
        label_key: Hashable = "label",
        prob: float = 0.1,
        mask_key: Hashable | None = None,
        classes: Sequence[str] | None = None,
        reverse_indexing: bool | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, probability("prob", prob))
        if len(self.keys) != 1:
            raise ConfigError(
                f"expected keys= of one image, found {', '.join(map(str, self.keys))}: several images of one patient "
                "belong into the channels of one (ConcatItemsd); a mask goes into mask_key="
            )
        self.label_key, self.mask_key = label_key, mask_key
        self._own = [key for key in (label_key, *self.keys, mask_key) if key is not None]
        self._needed = [label_key] if allow_missing_keys else self._own
        self.rand_synthesized = RandSynthesized(source, 1.0, classes, reverse_indexing)
        if mask_key is not None and not self.rand_synthesized.source.has_masks:
            raise ConfigError(
                f"expected a pool with masks beside mask_key={mask_key!r}, found {self.rand_synthesized.source!r}; "
                "give one of SyntheticPool.from_arrays(images, labels, masks=...)"
            )

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> "RandSynthesizedd":
        """Sets the random state of this transform and of what it draws from."""
        super().set_random_state(seed, state)
        self.rand_synthesized.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Returns the item, as it is or with a synthetic image."""
        d = dict(data)
        self.randomize(None)
        if missing := [key for key in self._needed if key not in d]:
            raise KeyError(
                f"expected the key {missing[0]!r} for {type(self).__name__}, found {', '.join(map(str, d))}; name the "
                "item's own keys in keys=, label_key= and mask_key="
            )
        self._refuse_others(d)
        image = self.keys[0]
        if image not in d or not self._do_transform:
            return d
        self.rand_synthesized.randomize(d[self.label_key])
        d[image] = self.rand_synthesized(d[image], d[self.label_key], randomize=False)
        if self.mask_key in d:
            d[self.mask_key] = self.rand_synthesized.mask(d[self.mask_key])
        return d

    def _refuse_others(self, data: Mapping[Hashable, Any]) -> None:
        for key, value in data.items():
            if key not in self._own and isinstance(value, np.ndarray | torch.Tensor) and value.ndim >= 2:
                raise ConfigError(
                    f"expected items of one image, its mask and its label, found {key!r} of shape {tuple(value.shape)}"
                    ": it is that of the real image, and would stay beside the synthetic one; name a mask in "
                    "mask_key= (the pool must have masks), or leave it out with DeleteItemsd"
                )


RandSynthesizedD = RandSynthesizedDict = RandSynthesizedd


class _Row(NamedTuple):
    array: npt.NDArray[Any]
    affine: Affine | None
    is_pil: bool


class PoolReader(ImageReader):  # type: ignore[misc]  # mypy does not follow MONAI
    """Reads rows of pools in folders, by the references that `balance_datalist` writes, beside real files.

    Register it with the loader, which asks it for references and other readers for all else::

        load = LoadImaged("image", ensure_channel_first=True)
        load.register(PoolReader())

    It gives what MONAI's readers of files give: raw values, no channel where there is one, else the channel last, and
    the pool's affine. A reference is `FOLDER/ROW-HASH.synthetic`; the hash tells rows of a pool that was built anew.

    Args:
        channel_dim: 0 for arrays with the channel first, as .npy files often hold them; None for those of NIfTI files
            and pictures.
        reverse_indexing: Whether the two spatial axes of 2-D images are swapped, as PILReader does with pictures; None
            to swap those of pools of PIL images.
    """

    def __init__(self, channel_dim: int | None = None, reverse_indexing: bool | None = None) -> None:
        super().__init__()
        if channel_dim not in (None, 0):
            raise ConfigError(f"expected channel_dim=0 or None, found {channel_dim!r}")
        self.channel_dim, self.reverse_indexing = channel_dim, reverse_indexing
        self._pools = Pools()

    def verify_suffix(self, filename: Any) -> bool:
        """Tells whether all names are references to rows."""
        return all(map(is_reference, ensure_tuple(filename)))

    def read(self, data: Any, **kwargs: Any) -> _Row:
        """Returns what a reference stands for; nothing but the folder of a pool is opened.

        Raises:
            DataError: It is no reference, several of them, or the pool has no such row (any more).
            ArtifactError: Its folder is no pool.
        """
        names = ensure_tuple(data)
        if len(names) != 1:
            raise DataError(
                f"expected one reference to a row of a pool, found {len(names)}; put channels into the pool"
            )
        pool, row, is_mask = self._pools.find(names[0])
        array = pool.mask(row) if is_mask else pool.array(row)
        assert array is not None
        return _Row(array, pool.affine, pool.form.kind == "pil")

    def get_data(self, img: _Row) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Returns the values of a row, an array of their own, and metadata."""
        array, affine, is_pil = img
        if array.ndim == 3 and (is_pil if self.reverse_indexing is None else self.reverse_indexing):
            array = array.swapaxes(1, 2)
        meta: dict[str, Any] = {
            MetaKeys.SPATIAL_SHAPE: np.array(array.shape[1:]),
            MetaKeys.ORIGINAL_CHANNEL_DIM: self.channel_dim,
        }
        if self.channel_dim is None:
            meta[MetaKeys.ORIGINAL_CHANNEL_DIM] = float("nan") if len(array) == 1 else -1
            array = array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)
        if affine is not None:
            meta |= {MetaKeys.AFFINE: np.array(affine), MetaKeys.ORIGINAL_AFFINE: np.array(affine)}
            meta[MetaKeys.SPACE] = SpaceKeys.RAS
        return np.array(array, order="C"), meta


def balance_datalist(
    data: Sequence[Mapping[str, Any]],
    source: SyntheticPool | str | os.PathLike[str],
    image_key: str = "image",
    label_key: str = "label",
    mask_key: str | None = None,
    *,
    sampling_strategy: SamplingStrategy = "auto",
    synthetic_share: float = 0.5,
    fill: Mapping[str, Any] | Literal["like"] | None = None,
    classes: Sequence[str] | None = None,
    min_images: int = MIN_IMAGES,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Returns a list of dicts in which rare classes are filled up, for Dataset, CacheDataset, PersistentDataset etc.

    First the real dicts, in their order; then, class by class, synthetic ones, whose image is a reference that
    `PoolReader` reads, and repeated real ones. The list is a function of the arguments alone, and so the same on every
    rank. No row and no real dict comes a second time as long as there are others of its class. Images are read, like
    files, by LoadImaged, and go through all that follows: the pool must hold raw ones, as files do.

    Args:
        data: The training split, each dict with an image, a label and perhaps a mask.
        source: A pool in a folder, of whose view the rows are taken; or its path.
        image_key: Key of the image.
        label_key: Key of the class, a whole number or a name.
        mask_key: Key of the segmentation mask; the pool must have masks then. None for none.
        sampling_strategy: How many dicts are added to each class: imbalanced-learn's over-sampling vocabulary ("auto"
            fills every class up to the largest), "sqrt", "effective", or a `Balance` with caps.
        synthetic_share: Share of what is added that is synthetic, 0 to 1; 0 is random oversampling.
        fill: What synthetic dicts hold under all other keys; "like" for what a real one of the class holds.
        classes: Names of the dataset's classes by label, to match by name; None for the labels that the pool was
            built for.
        min_images: A class with fewer real images is filled up with repeats alone, unless it has at least as many rows.
        seed: Of all choices.

    Warns:
        SmallClassWarning: A class is filled up with repeats alone.

    Raises:
        ConfigError: A parameter has a value that cannot work; the pool is in memory.
        DataError: A dict lacks a key, or a label is none.
    """
    return balanced_list(
        data,
        ByLabel(source, classes),
        (image_key, label_key, mask_key),
        sampling_strategy=sampling_strategy,
        synthetic_share=synthetic_share,
        fill=fill,
        min_images=min_images,
        seed=seed,
        stacklevel=3,
    )


def _check_image(image: Any) -> None:
    if not isinstance(image, np.ndarray | torch.Tensor):
        raise DataError(
            f"expected an image that is an array or a tensor, found {type(image).__name__}; put the transform after "
            "LoadImaged and EnsureChannelFirstd"
        )


def _plain(image: Any) -> Any:
    """Returns a tensor without MONAI's metadata, which each look at it would be handed through."""
    return image.as_subclass(torch.Tensor) if isinstance(image, MetaTensor) else image


def _as_like(array: npt.NDArray[Any], like: Any) -> Any:
    """Returns an array of one's own as `like` is: type, dtype, device, metadata and operations."""
    if type(like) is not MetaTensor or like.is_batch or like.pending_operations:
        return convert_to_dst_type(array, like)[0]
    plain = _plain(like)
    made = torch.from_numpy(array).to(plain.device, plain.dtype)  # as MONAI's own function has it, in half the time
    meta = {key: MetaTensor.copy_items(value) for key, value in like.meta.items()}
    return MetaTensor(made, meta=meta, applied_operations=list(like.applied_operations))


def _dtype(image: Any) -> npt.DTypeLike:
    name = str(image.dtype).removeprefix("torch.")
    return "float32" if name == "bfloat16" else name  # numpy has none; it is converted afterwards


def _affine(image: Any) -> Any:
    """Returns the affine of a volume; None where it is but MONAI's default."""
    if not isinstance(image, MetaTensor) or image.ndim != 4:
        return None
    affine = convert_to_numpy(image.affine)
    is_known = MetaKeys.ORIGINAL_AFFINE in image.meta or not np.array_equal(affine, np.eye(len(affine)))
    return affine if is_known and affine.shape == (4, 4) else None
