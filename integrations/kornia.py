"""kornia: synthetic images as a mix augmentation of a batch on its device, alone and in a container.

::

    synthesize = RandomSynthesize("runs/pool", p=0.5)
    images, labels = synthesize(images, labels)
"""

from gan_augment.optional import needed

needed("kornia", "kornia", "gan_augment.integrations.kornia", oldest="0.7.4", below="0.10")

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from kornia.augmentation import AugmentationSequential, MixAugmentationBaseV2
from kornia.constants import DataKey
from torch import Tensor

from gan_augment.errors import ConfigError, probability
from gan_augment.transforms.collated import ForBatches, with_rows
from gan_augment.transforms.samples import hard_labels
from gan_augment.transforms.source import drawn_seeds

__all__ = ["LabelledSequential", "RandomSynthesize"]

Partner = Literal["same", "any"]
Params = dict[str, Tensor]


class RandomSynthesize(MixAugmentationBaseV2):  # type: ignore[misc]  # kornia is not looked into
    """Replaces images of a batch by synthetic ones, or mixes these in, as `RandomMixUpV2` mixes images.

    Images are `(B, C, H, W)` or `(C, H, W)` floats in [0, 1] on any device, labels `(B,)` whole numbers. Parameters are
    recorded as in all of kornia: `aug(images, labels, params=aug._params)` repeats, drawing the same images. A
    synthesizer draws on its own device; it is no submodule, and no gradient reaches it. Volumes have no mix
    augmentation in kornia: use `gan_augment.SynthesizeBatch`.

    Within kornia's `AugmentationSequential` augmentations see no labels; use `LabelledSequential`.

    ============ ================ ====================================================================================
    `partner`    `lambda_val`     what comes out
    ============ ================ ====================================================================================
    "same"       None             a synthetic image of the image's own class; labels stay
    "any"        None             a synthetic image of any class; labels go with it
    "same"/"any" `(least, most)`  `(1 - lambda) * image + lambda * synthetic`; labels `(B, 3)` of the image's class, the
                                  synthetic one's and lambda, for the loss that `RandomMixUpV2` documents
    ============ ================ ====================================================================================

    Args:
        source: A pool, of whose view rows are drawn; a synthesizer that draws as it is asked; or the path of one.
        lambda_val: Least and most of the mixing strength, 0 to 1; None to replace.
        partner: Class of the synthetic image: that of the image, which stays as it is where `source` has none of it;
            or one of those that `source` has, each as likely as the other, so that rare classes come as often as large
            ones.
        same_on_batch: Whether seed, strength and partner are drawn once for a batch.
        p: Probability of each image.
        keepdim: Whether `(C, H, W)` comes back as such.
        data_keys: Of what a call is given, "input" and "class"; None for these.
        classes: Names of the dataset's classes by label, to match by name; None for the labels that the pool was
            built for, and those of a synthesizer by position, or by value where its class names are numbers.
        transform: Makes images ready for the batch. Of a pool it is called on each raw image and returns a tensor; of a
            synthesizer on all at once, `(n, C, H, W)` float32 in [-1, 1] on the batch's device. None for images in
            [0, 1]: those of a uint8 pool and of a synthesizer are brought there.

    Raises:
        ConfigError: A parameter has a value that cannot work; there are no labels, soft ones, masks or boxes; images
            are volumes.
        DataError: Synthetic images do not fit the batch, or labels are beyond the classes.

    Example:
        >>> import torch
        >>> from gan_augment import SyntheticPool
        >>> pool = SyntheticPool.from_arrays(torch.rand(6, 1, 8, 8), [0, 0, 0, 1, 1, 1])
        >>> aug = RandomSynthesize(pool, lambda_val=(0.2, 0.4), p=1.0)
        >>> images, labels = aug(torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 1, 0]))
        >>> images.shape, labels.shape
        (torch.Size([4, 1, 8, 8]), torch.Size([4, 3]))
    """

    def __init__(
        self,
        source: Any,
        lambda_val: Tensor | tuple[float, float] | None = None,
        partner: Partner = "same",
        same_on_batch: bool = False,
        p: float = 0.5,
        keepdim: bool = False,
        data_keys: Sequence[str | int | DataKey] | None = None,
        *,
        classes: Sequence[str] | None = None,
        transform: Callable[..., Any] | None = None,
    ) -> None:
        keys = ["input", "class"] if data_keys is None else list(data_keys)
        super().__init__(probability("p", p), 1.0, same_on_batch=same_on_batch, keepdim=keepdim, data_keys=keys)
        if partner not in get_args(Partner):
            raise ConfigError(f"expected partner of {', '.join(get_args(Partner))}, found {partner!r}")
        self._source = ForBatches(source, classes, transform, unit=True)
        form = self._source.form
        if transform is None and form is not None and len(form.shape or ()) > 2:
            raise ConfigError(
                f"expected a source of images (C, H, W), found volumes of {form.shape}; kornia has no mix augmentation "
                "for these: use gan_augment.SynthesizeBatch"
            )
        self._able = torch.tensor(self._source.labels(), dtype=torch.int64)
        if partner == "any" and not len(self._able):
            raise ConfigError("expected a source with synthetic images for partner='any', found one without any")
        self.flags: dict[str, Any] = {"lambda_val": _range_of(lambda_val), "partner": partner, "source": self._source}

    # -- parameters -----------------------------------------------------------------------------------------------

    def forward_parameters(self, batch_shape: tuple[int, ...]) -> Params:
        """Returns what is drawn for a batch, whichever of its images are selected.

        Returns:
            "batch_prob" `(B,)`, 1 for images that are selected; "seeds" `(B,)` int64; "lambdas" `(B,)` where images are
            mixed; "partners" `(B,)`, classes, where they are drawn.
        """
        params: Params = super().forward_parameters(batch_shape)
        count = int(batch_shape[0])
        draws = min(1, count) if self.same_on_batch else count
        params["seeds"] = torch.from_numpy(drawn_seeds(draws)).expand(count)
        if self.flags["lambda_val"] is not None:
            least, most = self.flags["lambda_val"]
            strength = torch.rand(draws, device=self.device, dtype=self.dtype)
            params["lambdas"] = (least + (most - least) * strength).expand(count)
        if self.flags["partner"] == "any":
            params["partners"] = self._able[torch.randint(len(self._able), (draws,), device="cpu")].expand(count)
        return params

    def params_from_labels(self, params: Params, labels: Tensor) -> Params:
        """Returns the parameters of a batch with its labels among them; images without a partner are not selected.

        Args:
            params: What `forward_parameters` gave, or an earlier call recorded.
            labels: `(B,)` whole numbers.

        Raises:
            ConfigError: They are soft.
            DataError: There is not one for each image, or one is beyond the classes.
        """
        hard = hard_labels(torch.atleast_1d(labels), len(params["batch_prob"]), type(self).__name__)
        partners = params["partners"] if self.flags["partner"] == "any" else hard
        able = torch.from_numpy(self._source.classes_of(partners.numpy()) >= 0)
        selected = params["batch_prob"] * able.to(params["batch_prob"])
        return {**params, "labels": hard, "partners": partners, "batch_prob": selected}

    # -- images and labels ----------------------------------------------------------------------------------------

    def transform_input(self, input: Tensor, params: Params, flags: Mapping[str, Any]) -> Tensor:  # noqa: A002
        """Returns images with synthetic ones among them; as they are where none was selected."""
        if "labels" not in params:
            raise ConfigError(
                "expected the labels of the images, found none; call with images and labels, "
                "data_keys=['input', 'class'], and within a container use LabelledSequential instead of "
                "AugmentationSequential"
            )
        images = self.apply_transform(self.transform_tensor(input), params, flags)
        output: Tensor = self.transform_output_tensor(images, input.shape)
        return output

    def apply_transform(self, input: Tensor, params: Params, flags: Mapping[str, Any]) -> Tensor:  # noqa: A002
        """Returns a batch `(B, C, H, W)` with synthetic images in place of those selected, or mixed into them."""
        rows = (params["batch_prob"] > 0.5).nonzero()[:, 0].cpu()
        if not len(rows):
            return input
        classes = self._source.classes_of(params["partners"][rows].numpy())
        made = self._source.batch(classes, input, params["seeds"][rows].numpy())
        if flags["lambda_val"] is not None:
            there = rows.to(input.device)
            strength = params["lambdas"].to(input)[there].reshape(-1, 1, 1, 1)
            made = torch.lerp(input[there], made, strength)
        return with_rows(input, rows.numpy(), made)

    def apply_transform_class(self, input: Tensor, params: Params, flags: Mapping[str, Any]) -> Tensor:  # noqa: A002
        """Returns labels of a batch: as they are, of what stands there now, or `(B, 3)` of both classes and lambda."""
        if flags["lambda_val"] is None and flags["partner"] == "same":
            return input
        selected = params["batch_prob"].to(input.device) > 0.5
        others = params["partners"].to(input)
        if flags["lambda_val"] is None:
            return torch.where(selected, others, torch.atleast_1d(input).reshape(-1)).reshape(input.shape)
        own, strength = params["labels"].to(input), params["lambdas"].to(input.device)
        dtype = torch.promote_types(strength.dtype, torch.float32)  # a half cannot count classes
        columns = own, torch.where(selected, others, own), torch.where(selected, strength, 0)
        return torch.stack([column.to(dtype) for column in columns], -1)

    def transform_class(self, input: Tensor, params: Params, flags: Mapping[str, Any]) -> Tensor:  # noqa: A002
        """Returns labels of a batch in one format, whichever of its images were selected."""
        return self.apply_transform_class(input, params, flags)

    def forward(
        self,
        *input: Tensor,  # noqa: A002  # kornia's names
        params: Params | None = None,
        data_keys: Sequence[str | int | DataKey] | None = None,
    ) -> Any:
        """Returns the images and labels of a batch, as a list in the order of `data_keys`.

        Args:
            input: Images and labels.
            params: What an earlier call recorded, to repeat it; None to draw anew.
            data_keys: What `input` is; None for the constructor's.
        """
        keys = self.data_keys if data_keys is None else [DataKey.get(key) for key in data_keys]
        if others := [key.name.lower() for key in keys if key not in (DataKey.INPUT, DataKey.CLASS)]:
            raise ConfigError(
                f"expected data_keys input and class, found {', '.join(others)} besides: of a synthetic image nothing "
                "says where its objects are"
            )
        images = input[keys.index(DataKey.INPUT)]
        if images.ndim > 4:
            raise ConfigError(
                f"expected images (B, C, H, W) or (C, H, W), found shape {tuple(images.shape)}; kornia has no mix "
                "augmentation for volumes: use gan_augment.SynthesizeBatch"
            )
        if params is None:
            params = self.forward_parameters(self.transform_tensor(images).shape)
        if DataKey.CLASS in keys:
            params = self.params_from_labels(params, input[keys.index(DataKey.CLASS)])
        return super().forward(*input, params=params, data_keys=keys)


class LabelledSequential(AugmentationSequential):  # type: ignore[misc]  # kornia is not looked into
    """kornia's `AugmentationSequential`, whose `RandomSynthesize` see the labels of the batch.

    kornia's own hands a mix augmentation the images alone, and refuses labels beside one. This one is made and called
    as kornia's is, with a "class" (or "label") among the data keys or in the dict, and records and repeats as it does.

    Raises:
        ConfigError: It holds another mix augmentation, which would mix images without their labels.

    Example:
        >>> import kornia.augmentation as K, torch
        >>> from gan_augment import SyntheticPool
        >>> pool = SyntheticPool.from_arrays(torch.rand(6, 1, 8, 8), [0, 0, 0, 1, 1, 1])
        >>> steps = RandomSynthesize(pool), K.RandomHorizontalFlip()
        >>> augment = LabelledSequential(*steps, data_keys=["input", "class"])
        >>> images, labels = augment(torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 1, 0]))
        >>> labels
        tensor([0, 1, 1, 0])
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        mixes = [module for module in self.modules() if isinstance(module, MixAugmentationBaseV2)]
        if others := [type(module).__name__ for module in mixes if not isinstance(module, RandomSynthesize)]:
            raise ConfigError(
                f"expected RandomSynthesize as the only mix augmentation, found {', '.join(others)}, which kornia's "
                "containers give no labels; call it on what this container returns"
            )
        self._labels: Tensor | None = None

    def forward(self, *args: Any, params: Any = None, data_keys: Any = None) -> Any:
        """Returns the batch augmented; see kornia's `AugmentationSequential`."""
        keys = self.data_keys if data_keys is None else [DataKey.get(key) for key in data_keys]
        if len(args) == 1 and isinstance(args[0], Mapping):
            named = [key for key in args[0] if re.match(r"(class|label)([_-]|$)", key, re.IGNORECASE)]
            if len(named) == 1:
                rest = {key: value for key, value in args[0].items() if key not in named}
                made, labels = self._labelled(args[0][named[0]], rest, params=params)
                return {key: labels if key in named else made[key] for key in args[0]}
        elif keys is not None and keys.count(DataKey.CLASS) == 1 and len(args) == len(keys):
            at = keys.index(DataKey.CLASS)
            others = args[:at] + args[at + 1 :]
            made, labels = self._labelled(args[at], *others, params=params, data_keys=keys[:at] + keys[at + 1 :])
            made = [made] if len(others) == 1 else list(made)
            return [*made[:at], labels, *made[at:]]
        return super().forward(*args, params=params, data_keys=data_keys)

    def forward_parameters(self, batch_shape: Any) -> Any:
        """Returns what is drawn for each augmentation, and of a `RandomSynthesize` the labels that it sees."""
        params = super().forward_parameters(batch_shape)
        return params if self._labels is None else _told(self, params, self._labels)

    def _labelled(self, labels: Tensor, *others: Any, params: Any, **settings: Any) -> tuple[Any, Tensor]:
        """Returns what becomes of the others, and of the labels."""
        params = params if params is None else _told(self, params, labels)
        self._labels = labels
        try:
            made = super().forward(*others, params=params, **settings)
        finally:
            self._labels = None
        for module, item in _synthesizing(self, self._params):
            labels = module.transform_class(labels, item.data, module.flags)
        return made, labels


def _synthesizing(container: Any, params: Any) -> Iterator[tuple[RandomSynthesize, Any]]:
    """Yields each `RandomSynthesize` in a container, and in those in it, with what was drawn for it."""
    for item in params:
        module = container.get_submodule(item.name)
        if isinstance(module, RandomSynthesize):
            yield module, item
        elif isinstance(item.data, list):
            yield from _synthesizing(module, item.data)


def _told(container: Any, params: Any, labels: Tensor) -> list[Any]:
    """Returns parameters of a container in which each `RandomSynthesize` has the labels."""
    told = []
    for item in params:
        module, data = container.get_submodule(item.name), item.data
        if isinstance(module, RandomSynthesize):
            data = module.params_from_labels(data, labels)
        elif isinstance(data, list):
            data = _told(module, data, labels)
        told.append(item._replace(data=data))
    return told


def _range_of(lambda_val: Any) -> tuple[float, float] | None:
    """Returns the least and the most strength.

    Raises:
        ConfigError: They are none.
    """
    if lambda_val is None:
        return None
    values = lambda_val.tolist() if isinstance(lambda_val, Tensor) else list(lambda_val)
    if len(values) != 2 or not 0 <= values[0] <= values[1] <= 1:
        raise ConfigError(f"expected lambda_val of two numbers from 0 to 1, the least first, found {lambda_val!r}")
    return float(values[0]), float(values[1])
