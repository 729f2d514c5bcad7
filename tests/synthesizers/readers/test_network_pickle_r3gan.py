"""R3GAN's networks out of pickles that are built as the released ones are."""

import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gan_augment.artifacts import load_state
from gan_augment.errors import ArtifactError
from gan_augment.networks.published.r3gan import (
    R3GANDiscriminator,
    R3GANDiscriminatorSettings,
    R3GANGenerator,
    R3GANSettings,
)
from gan_augment.synthesizers.readers.network_pickle_r3gan import read_r3gan, read_r3gan_discriminator
from gan_augment.synthesizers.readers.unpickle import Inert, read_pickle

KERNEL = torch.outer(torch.tensor([1.0, 3.0, 3.0, 1.0]), torch.tensor([1.0, 3.0, 3.0, 1.0])) / 64
# Two stages of one block, 6 then 4 channels, in groups of 3 and of 2; latents of 5, 3 classes embedded in 2.
GENERATOR = {
    "Model.MainLayers.0.Layers.0.Basis": ("stages.0.0.basis", (6, 4, 4)),
    "Model.MainLayers.0.Layers.0.LinearLayer.weight": ("stages.0.0.linear.weight", (6, 7)),
    "Model.MainLayers.0.Layers.1.LinearLayer1.Layer.weight": ("stages.0.1.expand.weight", (12, 6, 1, 1)),
    "Model.MainLayers.0.Layers.1.LinearLayer2.Layer.weight": ("stages.0.1.mix.weight", (12, 3, 3, 3)),
    "Model.MainLayers.0.Layers.1.LinearLayer3.Layer.weight": ("stages.0.1.shrink.weight", (6, 12, 1, 1)),
    "Model.MainLayers.0.Layers.1.NonLinearity1.Bias": ("stages.0.1.expand.bias", (12,)),
    "Model.MainLayers.0.Layers.1.NonLinearity2.Bias": ("stages.0.1.mix.bias", (12,)),
    "Model.MainLayers.1.Layers.0.LinearLayer.Layer.weight": ("stages.1.0.change.weight", (4, 6, 1, 1)),
    "Model.MainLayers.1.Layers.1.LinearLayer1.Layer.weight": ("stages.1.1.expand.weight", (8, 4, 1, 1)),
    "Model.MainLayers.1.Layers.1.LinearLayer2.Layer.weight": ("stages.1.1.mix.weight", (8, 2, 3, 3)),
    "Model.MainLayers.1.Layers.1.LinearLayer3.Layer.weight": ("stages.1.1.shrink.weight", (4, 8, 1, 1)),
    "Model.MainLayers.1.Layers.1.NonLinearity1.Bias": ("stages.1.1.expand.bias", (8,)),
    "Model.MainLayers.1.Layers.1.NonLinearity2.Bias": ("stages.1.1.mix.bias", (8,)),
    "Model.AggregationLayer.Layer.weight": ("last.weight", (3, 4, 1, 1)),
    "Model.EmbeddingLayer.weight": ("embed.weight", (2, 3)),
}
DISCRIMINATOR = {
    "Model.ExtractionLayer.Layer.weight": ("first.weight", (4, 3, 1, 1)),
    "Model.MainLayers.0.Layers.0.LinearLayer1.Layer.weight": ("stages.0.0.expand.weight", (8, 4, 1, 1)),
    "Model.MainLayers.0.Layers.0.LinearLayer2.Layer.weight": ("stages.0.0.mix.weight", (8, 2, 3, 3)),
    "Model.MainLayers.0.Layers.0.LinearLayer3.Layer.weight": ("stages.0.0.shrink.weight", (4, 8, 1, 1)),
    "Model.MainLayers.0.Layers.0.NonLinearity1.Bias": ("stages.0.0.expand.bias", (8,)),
    "Model.MainLayers.0.Layers.0.NonLinearity2.Bias": ("stages.0.0.mix.bias", (8,)),
    "Model.MainLayers.0.Layers.1.LinearLayer.Layer.weight": ("stages.0.1.change.weight", (6, 4, 1, 1)),
    "Model.MainLayers.1.Layers.0.LinearLayer1.Layer.weight": ("stages.1.0.expand.weight", (12, 6, 1, 1)),
    "Model.MainLayers.1.Layers.0.LinearLayer2.Layer.weight": ("stages.1.0.mix.weight", (12, 3, 3, 3)),
    "Model.MainLayers.1.Layers.0.LinearLayer3.Layer.weight": ("stages.1.0.shrink.weight", (6, 12, 1, 1)),
    "Model.MainLayers.1.Layers.0.NonLinearity1.Bias": ("stages.1.0.expand.bias", (12,)),
    "Model.MainLayers.1.Layers.0.NonLinearity2.Bias": ("stages.1.0.mix.bias", (12,)),
    "Model.MainLayers.1.Layers.1.Basis.weight": ("stages.1.1.basis.weight", (6, 1, 4, 4)),
    "Model.MainLayers.1.Layers.1.LinearLayer.weight": ("stages.1.1.linear.weight", (2, 6)),
    "Model.EmbeddingLayer.weight": ("embed.weight", (2, 3)),
}
KERNELS = {
    "generator": "Model.MainLayers.1.Layers.0.Resampler.Kernel",
    "discriminator": "Model.MainLayers.0.Layers.1.Resampler.Kernel",
}
SHARED = {"expansion": 2, "num_classes": 3, "class_dim": 2, "filter": (0.25, 0.5, 0.25)}
EXPECTED = {
    "generator": R3GANSettings(latent_dim=5, widths=(6, 4), groups=(4, 4), blocks=(1, 1), **SHARED),
    "discriminator": R3GANDiscriminatorSettings(widths=(4, 6), groups=(4, 4), blocks=(1, 1), **SHARED),
}

Pickled = Callable[[dict[str, Tensor]], Inert]


def weights(kind: str) -> dict[str, Tensor]:
    torch.manual_seed(0)
    table = GENERATOR if kind == "generator" else DISCRIMINATOR
    return {name: torch.randn(shape) for name, (_, shape) in table.items()} | {KERNELS[kind]: KERNEL.clone()}


@pytest.fixture
def pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pickled:
    """Pickles modules of classes that are gone when the pickle is read, and reads it."""
    foreign = types.ModuleType("training.networks")
    kind = type("Generator", (nn.Module,), {"__module__": "training.networks"})
    foreign.Generator = kind  # type: ignore[attr-defined]

    def write(tensors: dict[str, Tensor]) -> Inert:
        root = kind()
        for name, tensor in tensors.items():
            *folders, last = name.split(".")
            module = root
            for folder in folders:
                if folder not in module._modules:
                    module.add_module(folder, kind())
                module = module._modules[folder]
            if last == "Kernel":
                module.register_buffer(last, tensor)
            else:
                module.register_parameter(last, nn.Parameter(tensor, requires_grad=tensor.is_floating_point()))
        root.z_dim, root.c_dim, root.DataType = 5, 3, torch.bfloat16
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "training", types.ModuleType("training"))
            patch.setitem(sys.modules, "training.networks", foreign)
            (tmp_path / "network.pkl").write_bytes(pickle.dumps(root))
        module = read_pickle(tmp_path / "network.pkl")
        assert isinstance(module, Inert)
        return module

    return write


@pytest.mark.parametrize("bare", [False, True], ids=["wrapped", "bare"])
@pytest.mark.parametrize("kind", ["generator", "discriminator"])
def test_every_weight_goes_to_its_place(kind: str, bare: bool, pickled: Pickled) -> None:
    given = weights(kind)
    module = pickled({name.removeprefix("Model." if bare else ""): tensor for name, tensor in given.items()})
    part = (read_r3gan if kind == "generator" else read_r3gan_discriminator)(module)
    assert part.architecture == ("r3gan_official" if kind == "generator" else "r3gan_official_discriminator")
    assert part.settings == EXPECTED[kind]
    table = GENERATOR if kind == "generator" else DISCRIMINATOR
    assert part.state.keys() == {own for own, _ in table.values()}
    for name, (own, _) in table.items():
        expected = given[name].T if own == "embed.weight" else given[name]
        assert torch.equal(part.state[own], expected), name
    labels = torch.tensor([0, 2])
    with torch.device("meta"):
        network = (R3GANGenerator if kind == "generator" else R3GANDiscriminator)(part.settings)  # type: ignore[arg-type]
    load_state(network, part.state, "R3GAN", adopt=True)
    made = network(torch.randn(2, 5) if kind == "generator" else torch.randn(2, 3, 8, 8), labels)
    assert made.shape == ((2, 3, 8, 8) if kind == "generator" else (2,))


def test_without_classes_or_blocks_and_with_stages_of_one_width(pickled: Pickled) -> None:
    part = read_r3gan(
        pickled(
            {
                "Model.MainLayers.0.Layers.0.Basis": torch.randn(4, 4, 4),
                "Model.MainLayers.0.Layers.0.LinearLayer.weight": torch.randn(4, 7),
                "Model.MainLayers.1.Layers.0.Resampler.Kernel": KERNEL,
                "Model.AggregationLayer.Layer.weight": torch.randn(1, 4, 1, 1).half(),
            }
        )
    )
    filters = (0.25, 0.5, 0.25)
    assert part.settings == R3GANSettings(
        latent_dim=7, widths=(4,), groups=(1,), blocks=(0,), channels=1, filter=filters
    )  # fmt: skip
    assert part.state["last.weight"].dtype == torch.float32


def test_another_filter_is_read_out_of_its_kernel(pickled: Pickled) -> None:
    taps = torch.tensor([1.0, 5, 10, 10, 5, 1]) / 32
    given = weights("generator") | {KERNELS["generator"]: torch.outer(taps, taps)}
    settings = read_r3gan(pickled(given)).settings
    assert settings.filter == pytest.approx([1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "tensor", "told"),
    [
        ("Model.Other.weight", torch.ones(1), "another version"),
        ("Model.MainLayers.0.Layers.1.LinearLayer9.Layer.weight", torch.ones(1), "another version"),
        ("Model.MainLayers.99.Layers.0.Basis", torch.ones(1), "number of stages from 1 to 9"),
        ("Model.MainLayers.0.Layers.0.LinearLayer.weight", torch.ones(6), "stages.0.0.linear.weight of 2 dimensions"),
        ("Model.MainLayers.0.Layers.1.LinearLayer2.Layer.weight", torch.ones(12, 0, 3, 3), "groups"),
        ("Model.EmbeddingLayer.weight", torch.ones(3), "embed.weight of 2 dimensions"),
        ("Model.EmbeddingLayer.weight", torch.ones(9, 3), "latent_dim from 1"),
        (KERNELS["generator"], KERNEL * 2, "filter to be that of R3GAN"),
        (KERNELS["generator"], torch.full((4, 4), float("nan")), "filter to be that of R3GAN"),
        (KERNELS["generator"], torch.ones(100, 100), "2 to 16 cells"),
        (KERNELS["generator"], torch.ones(4), "2 to 16 cells"),
        (KERNELS["generator"], torch.outer(torch.tensor([0.1, 0.3, 0.6]), torch.tensor([0.1, 0.3, 0.6])), "R3GAN|odd"),
    ],
)
def test_what_is_another_network(name: str, tensor: Tensor, told: str, pickled: Pickled) -> None:
    with pytest.raises(ArtifactError, match=told):
        read_r3gan(pickled(weights("generator") | {name: tensor}))


def test_missing_weights_are_named(pickled: Pickled) -> None:
    given = weights("generator")
    del given["Model.AggregationLayer.Layer.weight"]
    with pytest.raises(ArtifactError, match=r"expected last\.weight of 4 dimensions .* found none"):
        read_r3gan(pickled(given))
    with pytest.raises(ArtifactError, match=r"expected first\.weight"):
        read_r3gan_discriminator(pickled(weights("generator")))
