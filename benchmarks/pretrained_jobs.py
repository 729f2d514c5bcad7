"""The pieces of work that `benchmarks.pretrained` measures: generators beside other projects', and wrapping."""

import functools
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.lines import Measured
from benchmarks.peers import published
from benchmarks.peers.dcgan import LATENT, Labelled, generator
from benchmarks.peers.packages import peer
from benchmarks.peers.stopwatch import in_rounds, now, since
from gan_augment.networks.published import Published, Settings, unfilled
from gan_augment.networks.published.biggan_deep import BigGANDeepSettings
from gan_augment.networks.published.dcgan import TorchganSettings
from gan_augment.networks.published.lucidrains import LucidrainsSettings
from gan_augment.networks.published.stylegan2 import StyleGAN2Settings
from gan_augment.seeds import normals, row_seeds
from gan_augment.synthesizers import PretrainedSynthesizer, Provenance, wrap
from gan_augment.synthesizers.readers.biggan import read_folder

Draw = Callable[[Tensor, Tensor], Tensor]
CLASSES, SAME = 10, 1e-4
TRUNCATION = 0.4
"""Of BigGAN-deep: a step of its statistics, so that the package and this project mean the same."""


@dataclass(frozen=True)
class Pair:
    """Two generators of the same weights, each called with latents `(N, L)` and labels `(N,)`."""

    ours: Draw
    theirs: Draw
    latent_dim: int
    num_classes: int = 1


# -- beside other projects' packages ----------------------------------------------------------------------------------


def stylegan2(folder: Path, side: int, width: int) -> Pair:
    """Pairs StyleGAN2 with stylegan2_torch; `width` is `channel_base`: 16384 for NVIDIA's "auto" at these sizes."""
    settings = StyleGAN2Settings(img_resolution=side, img_channels=1, channel_base=width)
    theirs = published.stylegan2(peer("stylegan2_torch"), settings)
    ours = published.stylegan2_of(theirs, settings)
    noises = [buffer[None, None] for name, buffer in ours.named_buffers() if name.endswith("noise_const")]
    return Pair(lambda z, y: ours(z), lambda z, y: theirs([z], noises=noises), settings.z_dim)


def lucidrains(folder: Path, side: int, width: int) -> Pair:
    """Pairs LucidrainsStyleGAN2 with stylegan2_pytorch, both without noise; `width` is `network_capacity`."""
    settings = LucidrainsSettings(image_size=side, network_capacity=width)
    theirs = published.lucidrains(peer("stylegan2_pytorch"), settings)
    ours, levels = published.lucidrains_of(theirs, settings), settings.levels
    half = torch.full((1, side, side, 1), 0.5)

    def drawn(latents: Tensor, labels: Tensor) -> Tensor:
        images: Tensor = theirs.G(theirs.S(latents)[:, None].expand(-1, levels, -1), half) * 2 - 1
        return images

    def drawn_by_ours(latents: Tensor, labels: Tensor) -> Tensor:
        images: Tensor = ours.images(ours.styles(latents)[:, None].expand(-1, levels, -1), "none")
        return images

    return Pair(drawn_by_ours, drawn, settings.latent_dim)


def biggan(folder: Path, side: int, width: int) -> Pair:
    """Pairs BigGANDeep with pytorch_pretrained_biggan, both with the layers released for 128x128."""
    if side != 128:
        raise ValueError(f"expected a side of 128, found {side}")
    config = {"channel_width": width}
    theirs = published.biggan(peer("pytorch_pretrained_biggan"), config)
    ours = published.biggan_of(read_folder(published.biggan_folder(theirs, config, folder / "biggan")))
    rows = torch.eye(ours.num_classes)
    return Pair(
        lambda z, y: ours.truncated(TRUNCATION * z, y, TRUNCATION),
        lambda z, y: theirs(TRUNCATION * z, rows[y], TRUNCATION),
        ours.latent_dim,
        ours.num_classes,
    )


def torchgan(folder: Path, side: int, width: int) -> Pair:
    """Pairs TorchganDCGAN with torchgan's generator of a conditional GAN; `width` is `step_channels`."""
    settings = TorchganSettings(out_size=side, step_channels=width, num_classes=10, labels="times")
    theirs = published.torchgan(peer("torchgan"), settings)
    return Pair(published.torchgan_of(theirs, settings), theirs, settings.encoding_dims, 10)


PAIRS: Mapping[str, Callable[[Path, int, int], Pair]] = {
    "stylegan2_torch": stylegan2,
    "stylegan2_pytorch": lucidrains,
    "pytorch_pretrained_biggan": biggan,
    "torchgan": torchgan,
}


def beside(folder: Path, package: str, side: int, width: int, batch: int, seconds: float, rounds: int) -> Measured:
    """Times a generator beside a package's with the same weights, latents and labels, and compares their images."""
    pair = PAIRS[package](folder, side, width)
    latents = torch.from_numpy(normals(row_seeds(0, 0, batch), pair.latent_dim))
    labels = torch.arange(batch) % pair.num_classes
    with torch.no_grad():
        compared = same(pair.ours(latents, labels), pair.theirs(latents, labels))
        sides = {"ours": lambda: pair.ours(latents, labels), "theirs": lambda: pair.theirs(latents, labels)}
        return {
            **timed(sides, seconds, rounds),
            **compared,
            "images": batch,
            "package": f"{package} {version(package)}",
        }


def same(made: Tensor, expected: Tensor) -> Measured:
    """Returns the largest difference of two sides' images, and their largest value.

    Raises:
        AssertionError: They are not the same, but for rounding.
    """
    difference, largest = (float(values.abs().max()) for values in (made - expected, expected))
    if not difference <= SAME * largest:
        raise AssertionError(f"expected the same images of both sides, found {difference} between values of {largest}")
    return {"difference": difference, "largest": largest}


def timed(sides: Mapping[str, Callable[[], Any]], seconds: float, rounds: int) -> Measured:
    """Times calls of the sides in turn; a round is the median of as many of each as take some seconds."""
    calls = min(max(1, int(seconds / min(one_call(call)[0] for _ in range(2)))) for call in sides.values())
    every = in_rounds({name: functools.partial(one_call, call) for name, call in sides.items()}, rounds * calls)
    parts = [slice(start, start + calls) for start in range(0, rounds * calls, calls)]
    found = {
        name: {kind: [statistics.median(values[part]) for part in parts] for kind, values in kinds.items()}
        for name, kinds in every.items()
    }
    return {"rounds": found, "calls": calls}


def one_call(call: Callable[[], Any]) -> tuple[float, float]:
    """Returns the wall and CPU seconds of a call."""
    began = now()
    kept = call()
    spent = since(began)
    del kept
    return spent


# -- what wrapping costs ----------------------------------------------------------------------------------------------


PROVENANCE = Provenance(source="a benchmark", form="untrained", sha256="0" * 64)


def network_of(architecture: str, side: int, width: int) -> tuple[nn.Module, int, tuple[int, ...]]:
    """Returns an untrained network of 10 classes, the length of its latents, and the shape of its images."""
    torch.manual_seed(0)
    settings: Settings
    if architecture == "dcgan":
        return Labelled(generator(width)).eval(), LATENT, (1, 32, 32)
    if architecture == "torchgan_dcgan":
        settings = TorchganSettings(out_size=side, step_channels=width, num_classes=CLASSES, labels="times")
    elif architecture == "stylegan2":
        settings = StyleGAN2Settings(img_resolution=side, channel_base=width, c_dim=CLASSES)
    else:
        settings = BigGANDeepSettings(width=width, num_classes=CLASSES)
    network = unfilled(architecture, settings).eval().requires_grad_(False)
    for name, weight in network.named_parameters():
        if "torgb" in name:
            weight.mul_(0.1)  # keeps what is not trained in range
    assert isinstance(network, Published)
    return network, network.latent_dim, network.image_shape


def wrapping(architecture: str, side: int, width: int, batch: int, seconds: float, rounds: int) -> Measured:
    """Times samples of a wrapped network, and of a pretrained synthesizer of it, beside calls of the network."""
    network, latent_dim, shape = network_of(architecture, side, width)
    labels, seeds = np.arange(batch) % CLASSES, row_seeds(0, 0, batch)
    held, classes = torch.from_numpy(normals(seeds, latent_dim)), torch.from_numpy(labels)
    wrapped = wrap(network, num_classes=CLASSES, image_shape=shape, latent_dim=latent_dim)

    def bare() -> Tensor:
        with torch.no_grad():
            images: Tensor = network(held, classes)
            return images

    def with_normals() -> Tensor:
        latents = torch.from_numpy(normals(seeds, latent_dim))
        with torch.no_grad():
            images: Tensor = network(latents, classes)
            return images

    sides: dict[str, Callable[[], Any]] = {
        "bare": bare,
        "bare and normals": with_normals,
        "wrapped": lambda: wrapped.sample(labels, seeds),
    }
    compared = [same(wrapped.sample(labels, seeds).images, bare().clamp(-1, 1))]
    if isinstance(network, Published):
        pretrained = PretrainedSynthesizer(network, architecture, class_names=None, provenance=PROVENANCE)
        sides["pretrained"] = lambda: pretrained.sample(labels, seeds)
        compared.append(same(pretrained.sample(labels, seeds).images, bare().clamp(-1, 1)))
    worst = max(compared, key=lambda one: one["difference"])
    return {**timed(sides, seconds, rounds), **worst, "images": batch}
