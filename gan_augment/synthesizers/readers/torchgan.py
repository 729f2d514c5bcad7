"""Reads what the package torchgan saves: checkpoints of its trainer, and state dicts of its generators."""

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.networks.published.dcgan import TorchganSettings
from gan_augment.synthesizers.readers.found import Found, Part

__all__ = ["read", "recognises"]

_CITATION = "Pal and Das 2021, TorchGAN: A Flexible Framework for GAN Training and Evaluation, JOSS 6(66), 2606; "
_PAPERS = {
    "none": "Radford et al. 2015, arXiv 1511.06434 (DCGAN)",
    "beside": "Mirza and Osindero 2014, arXiv 1411.1784 (conditional GAN)",
    "times": "Odena et al. 2016, arXiv 1610.09585 (AC-GAN)",
}
_TRAINERS = ("loss_information", "loss_objects", "metric_objects")
_KERNEL = r"model\.(\d+)\.0\.weight"
_NAMES = re.compile(r"label_embeddings\.weight|model\.\d+\.[01]\.(weight|bias|running_(mean|var)|num_batches_tracked)")


def recognises(tree: Any, path: Path) -> bool:
    """Tells whether it is a checkpoint of torchgan's trainer, or the state dict of one of its generators."""
    if not isinstance(tree, Mapping):
        return False
    return all(name in tree for name in _TRAINERS) or _generator(tree) is not None


def read(
    tree: Any,
    path: Path,
    *,
    generator: str | None = None,
    nonlinearity: Literal["leaky_relu", "relu"] | None = None,
    last_nonlinearity: Literal["tanh", "sigmoid"] | None = None,
) -> Found:
    """Reads a generator: DCGANGenerator, ConditionalGANGenerator or ACGANGenerator.

    Args:
        tree: What the file holds.
        path: Where it lies.
        generator: The name that the generator has in a trainer's checkpoint, where it holds several.
        nonlinearity: What lies between layers, if not the default "leaky_relu": the weights do not tell.
        last_nonlinearity: What comes after the last layer, if not the default "tanh".

    Raises:
        ArtifactError: It holds no such generator, or several and no name was given.
        ConfigError: A nonlinearity is none of these.
    """
    if not isinstance(tree, Mapping):
        raise ArtifactError(f"expected a checkpoint or a state dict of torchgan in {path}, found {tree!r:.80}")
    if nonlinearity not in (None, "leaky_relu", "relu") or last_nonlinearity not in (None, "tanh", "sigmoid"):
        raise ConfigError(
            "expected nonlinearity= leaky_relu or relu and last_nonlinearity= tanh or sigmoid, found "
            f"{nonlinearity!r:.80} and {last_nonlinearity!r:.80}"
        )
    state = _chosen(tree, path, generator)
    settings = _settings(state, nonlinearity or "leaky_relu", last_nonlinearity or "tanh", path)
    notes = []
    if nonlinearity is None or last_nonlinearity is None:
        notes.append(
            "the file does not tell the nonlinearities; torchgan's defaults were taken where none was given: "
            f"{settings.nonlinearity} between layers, {settings.last_nonlinearity} after the last"
        )
    if settings.labels == "none":
        notes.append("an InfoGAN's generator cannot be told from a DCGAN's; its codes are drawn as further latents")
    epoch = tree.get("epoch")
    return Found(
        form="torchgan checkpoint",
        generator=Part(architecture="torchgan_dcgan", settings=settings, state=state),
        citation=_CITATION + _PAPERS[settings.labels],
        notes=notes,
        about={"epoch": epoch} if isinstance(epoch, int) else {},
    )


def _generator(value: Any) -> dict[str, Tensor] | None:
    """Returns the state dict of a generator of this family, without the prefix of DataParallel; None for others."""
    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
    ):
        return None
    state = {name.removeprefix("module."): tensor for name, tensor in value.items()}
    kernels = _kernels(state)
    chained = len(kernels) >= 3 and all(a.shape[1] == b.shape[0] for a, b in itertools.pairwise(kernels))
    return state if chained and all(_NAMES.fullmatch(name) for name in state) else None


def _kernels(state: Mapping[str, Tensor]) -> list[Tensor]:
    """Returns the kernels `(inputs, outputs, 4, 4)` in their order; none where something else lies between them."""
    layers = sum(re.fullmatch(_KERNEL, name) is not None for name in state)
    kernels = [state.get(f"model.{layer}.0.weight") for layer in range(layers)]
    found = [kernel for kernel in kernels if kernel is not None and kernel.ndim == 4 and kernel.shape[2:] == (4, 4)]
    return found if len(found) == layers else []


def _chosen(tree: Mapping[str, Any], path: Path, name: str | None) -> dict[str, Tensor]:
    plain = _generator(tree)
    if plain is not None:
        return plain
    candidates = {key: state for key, value in tree.items() if (state := _generator(value)) is not None}
    held = ", ".join(str(key) for key, value in tree.items() if isinstance(value, Mapping))
    if not candidates:
        raise ArtifactError(
            f"expected a DCGANGenerator, ConditionalGANGenerator or ACGANGenerator of torchgan in {path}, found none "
            f"among {held:.300}; other models can be exported to ONNX or torch.export"
        )
    if name is None and len(candidates) == 1:
        return next(iter(candidates.values()))
    if name not in candidates:
        told = "several" if name is None else f"no generator {name!r}"
        raise ArtifactError(f"expected generator= as one of {', '.join(map(repr, candidates))} in {path}, found {told}")
    return candidates[name]


def _settings(state: Mapping[str, Tensor], between: Any, last: Any, path: Path) -> TorchganSettings:
    """Infers the settings from the weights' shapes; whether all of them fit is seen when they are loaded."""
    kernels = _kernels(state)
    inputs, classes = kernels[0].shape[0], 0
    labels: Literal["none", "beside", "times"] = "none"
    embedding = state.get("label_embeddings.weight")
    if embedding is not None:
        classes, width = embedding.shape if embedding.ndim == 2 else (0, 0)
        if width == inputs:
            labels = "times"
        elif width == classes and 0 < classes < inputs:
            labels, inputs = "beside", inputs - classes
        else:
            raise ArtifactError(
                f"expected label embeddings (classes, {inputs}) of an ACGANGenerator or (classes, classes) of a "
                f"ConditionalGANGenerator in {path}, found {tuple(embedding.shape)}; the file is damaged or of others"
            )
    if len(kernels) > 9:
        raise ArtifactError(f"expected at most 9 layers, for images of 1024, in {path}, found {len(kernels)}")
    return TorchganSettings(
        encoding_dims=inputs,
        out_size=2 ** (len(kernels) + 1),
        out_channels=kernels[-1].shape[1],
        step_channels=kernels[-1].shape[0],
        batchnorm="model.0.1.weight" in state,
        num_classes=classes,
        labels=labels,
        nonlinearity=between,
        last_nonlinearity=last,
    )
