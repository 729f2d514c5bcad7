"""The synthesizer that a recipe trained: draws, binds to parents, and is saved as a folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gan_augment.artifacts import (
    check_names,
    load_state,
    new_folder,
    pop_fitted_on,
    read_json,
    read_tensors,
    versions,
    write_json,
    write_tensors,
)
from gan_augment.errors import ArtifactError, SynthesizerError
from gan_augment.fingerprint import FittedOn, hash_items, hash_json, hash_tensors
from gan_augment.images import ImageSpec, batch_rows
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import STORED, Recipe
from gan_augment.seeds import normals
from gan_augment.source import RawView
from gan_augment.synthesizers.checks import checked_request
from gan_augment.synthesizers.hub import OnHub
from gan_augment.synthesizers.parents import Parents, check_conditions
from gan_augment.types import IntArray, Samples, as_tensor

__all__ = ["TrainedSynthesizer", "load_trained"]

_KIND = "gan_augment synthesizer"
_VERSION = 1
_LATENT_STREAM = 0


class TrainedSynthesizer(OnHub):
    """Draws from the averaged networks of a recipe.

    Args:
        recipe: The recipe with its settings.
        networks: All networks by name, the averaged ones in place of the last ones; moved to eval mode.
        spec: What they were built for.
        class_names: Class names.
        image_spec: How raw images map to [-1, 1].
        seed: Of the training.
        fitted_on: Hashes of the raw images and groups it was trained on.
        class_counts: How many images of each class it was trained on; None where that is not known.
        watched: What was seen of its samples in the training, as JSON values; None where nothing was.
    """

    def __init__(
        self,
        recipe: Recipe,
        networks: Mapping[str, nn.Module],
        spec: NetworkSpec,
        *,
        class_names: Sequence[str],
        image_spec: ImageSpec,
        seed: int = 0,
        fitted_on: FittedOn | None = None,
        class_counts: npt.ArrayLike | None = None,
        watched: Mapping[str, Any] | None = None,
    ) -> None:
        self.recipe = recipe
        self.networks = {name: network.eval().requires_grad_(False) for name, network in networks.items()}
        self.spec = spec
        self.class_names: Sequence[str] = list(class_names)
        self.num_classes = spec.num_classes
        self.image_spec: ImageSpec | None = image_spec
        self.seed = seed
        self.fitted_on = FittedOn() if fitted_on is None else fitted_on
        self.class_counts = None if class_counts is None else [int(count) for count in np.asarray(class_counts)]
        self.watched = watched
        self.licence: str | None = None
        self._parents: Parents | None = None

    def __repr__(self) -> str:
        shape = "x".join(map(str, (self.spec.channels, *self.spec.grid)))
        return f"TrainedSynthesizer({self.recipe.name}, {self.num_classes} classes, {shape})"

    @property
    def needs_parents(self) -> bool:
        """Whether samples are made from real images."""
        return "source" in self.recipe.conditions

    @property
    def is_bound(self) -> bool:
        """Whether `bind` gave it real images to draw parents from."""
        return self._parents is not None

    def bind(self, dataset: Any) -> Self:
        """Gives the real images that parents are drawn from when `sample` gets no conditions; returns itself.

        Args:
            dataset: A dataset, or a RawView, with classes of the same names.

        Raises:
            SynthesizerError: Its images have another dtype or number of channels.
        """
        view = RawView.of(dataset)
        assert self.image_spec is not None
        if different := self.image_spec.form.differences(view.form, ("dtype", "channels")):
            raise SynthesizerError(
                f"expected parents of the form that this synthesizer was fitted on, found another: {different}; bind a "
                "dataset of that form"
            )
        self._parents = Parents(view, self.class_names)
        return self

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(next(iter(self.networks.values())).parameters()).device

    def to(self, device: torch.device | str) -> Self:
        """Moves the networks to a device; returns itself. Latents are drawn on the CPU on every device."""
        for network in self.networks.values():
            network.to(device)
        return self

    def sample(
        self, labels: npt.ArrayLike, seeds: npt.ArrayLike, *, conditions: Mapping[str, Tensor] | None = None
    ) -> Samples:
        """Returns one sample for each label and seed.

        Args:
            labels: `(N,)` class indices.
            seeds: `(N,)` from 0 to 2**63 - 1; latents and parent of a sample depend on its seed only.
            conditions: For an image-conditioned recipe `{"source": (N, C, *grid)}` in [-1, 1]; without them,
                parents are drawn from the bound dataset.

        Returns:
            Images `(N, C, *grid)` float32 in [-1, 1] on the CPU, and the parents' indices.

        Raises:
            SynthesizerError: There is no such class, or parents are needed and there are none.
        """
        labels, seeds = checked_request(labels, seeds, self.num_classes, self.class_names)
        given, parents = dict(conditions or {}), None
        shape = (len(labels), self.spec.channels, *self.spec.grid)
        check_conditions(given, dict.fromkeys(self.recipe.conditions, shape), self.recipe.name)
        if self.needs_parents and not given:
            parents = self._draw_parents(labels, seeds)
        if not len(labels):
            return Samples(torch.empty(shape), parents=parents)
        latents = torch.from_numpy(normals(seeds, self.recipe.latent_dim, _LATENT_STREAM))
        device = self.device
        images = torch.empty(shape)
        with torch.no_grad():
            size = batch_rows(self.spec.grid)
            for start in range(0, len(labels), size):
                part = slice(start, start + size)
                here = {name: tensor[part].to(device) for name, tensor in given.items()}
                if parents is not None:
                    here["source"] = self._parent_images(parents[part]).to(device)
                drawn = self.recipe.draw(self.networks, as_tensor(labels[part], device), latents[part].to(device), here)
                images[part] = drawn.clamp(-1, 1).cpu()
        return Samples(images, parents=parents)

    def _draw_parents(self, labels: IntArray, seeds: IntArray) -> IntArray:
        if self._parents is None:
            raise SynthesizerError(
                f"expected real images to make samples from: {self.recipe.name} is image-conditioned and its folder "
                "stores none. Call bind(dataset) first, or give conditions={'source': images}"
            )
        return self._parents.draw(labels, seeds)

    def _parent_images(self, parents: IntArray) -> Tensor:
        assert self._parents is not None
        assert self.image_spec is not None
        return self._parents.images(parents, self.image_spec)

    @property
    def fingerprint(self) -> dict[str, str]:
        """The chain: data, recipe, weights."""
        weights = {f"{n}.{k}": v for n, network in self.networks.items() for k, v in network.state_dict().items()}
        return {
            "data": hash_items(np.concatenate([self.fitted_on.images, self.fitted_on.groups])),
            "recipe": hash_json(self.recipe.to_json()),
            "weights": hash_tensors(weights),
        }

    def save(self, folder: str | Path) -> Path:
        """Writes `synthesizer.json` and `weights.safetensors` into a new folder; no image is stored.

        Raises:
            ArtifactError: The folder exists.
            StorageError: The disk refused.
        """
        with new_folder(folder, "synthesizer") as work:
            self.write_into(work)
        return Path(folder)

    def write_into(self, work: Path) -> None:
        """Writes the files of `save` into a folder that is there."""
        tensors = {f"{n}/{k}": v for n, network in self.networks.items() for k, v in network.state_dict().items()}
        write_tensors(work / "weights.safetensors", {**tensors, **self.fitted_on.tensors()})
        write_json(work / "synthesizer.json", self._description())

    def _description(self) -> dict[str, Any]:
        assert self.image_spec is not None
        return {
            "kind": _KIND,
            "version": _VERSION,
            "recipe": self.recipe.to_json(),
            "spec": self.spec.to_json(),
            "classes": list(self.class_names),
            "image_spec": self.image_spec.to_json(),
            "seed": int(self.seed),
            "images": len(self.fitted_on),
            "class_counts": self.class_counts,
            "watched": self.watched,
            "licence": self.licence,
            "fingerprint": self.fingerprint,
            "versions": versions(),
        }


def load_trained(folder: str | Path, *, device: torch.device | str = "cpu") -> TrainedSynthesizer:
    """Loads a synthesizer that `fit` saved; runs nothing that is stored there.

    Args:
        folder: The artifact's folder.
        device: Where the networks go.

    Raises:
        ArtifactError: It is missing, damaged, of a newer version, or its weights are of another architecture.
    """
    folder = Path(folder)
    about = read_json(folder / "synthesizer.json", _KIND, _VERSION)
    try:
        name = about["recipe"]["name"]
        if name not in STORED:
            raise ArtifactError(f"expected a recipe of {', '.join(STORED)} in {folder}, found {name!r}")
        recipe = STORED[name].from_json(about["recipe"])
        spec = NetworkSpec.from_json(about["spec"])
        image_spec = ImageSpec.from_json(about["image_spec"])
        classes, seed = check_names(about["classes"], "classes"), int(about["seed"])
        counts, watched = _counts(about.get("class_counts"), spec.num_classes), about.get("watched")
        if not isinstance(watched, dict | None):
            raise ValueError(f"watched {watched!r:.80}")
        licence = about.get("licence")
        if not isinstance(licence, str | None):
            raise ValueError(f"licence {licence!r:.80}")
        str(about["fingerprint"]["weights"])
        with torch.device("meta"):  # no memory is taken before the shapes are known to be those of the file
            networks = recipe.networks(spec)
    except ArtifactError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise ArtifactError(f"expected a whole synthesizer.json in {folder}, found {error!r}; it is damaged") from None
    if len(classes) != spec.num_classes or image_spec.grid != spec.grid or image_spec.channels != spec.channels:
        raise ArtifactError(f"expected classes and image_spec to fit the networks in {folder}, found that they do not")
    tensors = read_tensors(folder / "weights.safetensors")
    fitted_on = pop_fitted_on(tensors, folder)
    state = {key.replace("/", ".", 1): value for key, value in tensors.items()}
    load_state(nn.ModuleDict(networks), state, f"{name} in {folder}", adopt=True)
    synthesizer = TrainedSynthesizer(
        recipe,
        networks,
        spec,
        class_names=classes,
        image_spec=image_spec,
        seed=seed,
        fitted_on=fitted_on,
        class_counts=counts,
        watched=watched,
    )
    synthesizer.licence = licence
    if synthesizer.fingerprint["weights"] != about["fingerprint"]["weights"]:
        raise ArtifactError(f"expected the weights that were saved in {folder}, found others; the file is damaged")
    return synthesizer.to(device)


def _counts(found: Any, num_classes: int) -> list[int] | None:
    """Returns class counts out of a file; folders of older releases have none."""
    if found is None:
        return None
    if not isinstance(found, list) or len(found) != num_classes or any(type(n) is not int or n < 0 for n in found):
        raise ValueError(f"class_counts {found!r:.80}")
    return found
