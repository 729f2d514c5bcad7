"""Reading what torchgan saves, made with that package."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gan_augment.artifacts import load_state
from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.networks.published.dcgan import TorchganDCGAN, TorchganSettings
from gan_augment.synthesizers.readers import torchgan
from gan_augment.synthesizers.readers.archive import read_checkpoint
from gan_augment.synthesizers.readers.found import Found
from tests.networks.published.test_dcgan import SMALL, models, reference

__all__ = ["models"]


def found_in(path: Path, **options: Any) -> Found:
    tree = read_checkpoint(path)
    assert torchgan.recognises(tree, path)
    return torchgan.read(tree, path, **options)


def network_of(found: Found) -> TorchganDCGAN:
    assert found.generator.architecture == "torchgan_dcgan"
    assert isinstance(found.generator.settings, TorchganSettings)
    with torch.device("meta"):
        network = TorchganDCGAN(found.generator.settings)
    load_state(network, found.generator.state, "a generator", adopt=True)
    return network.eval()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"out_size": 64, "batchnorm": False},
        {"num_classes": 5, "labels": "beside"},
        {"num_classes": 5, "labels": "times"},
        {"num_classes": 12, "labels": "times"},
        {"num_classes": 12, "labels": "beside"},
    ],
    ids=["dcgan", "without norm", "conditional", "acgan", "acgan, square", "conditional, square"],
)
@pytest.mark.parametrize("parallel", [False, True])
@torch.no_grad()
def test_settings_are_read_off_a_state_dict(
    models: Any, tmp_path: Path, more: dict[str, Any], parallel: bool
) -> None:  # fmt: skip
    settings, path = TorchganSettings(**SMALL | more), tmp_path / "generator.pth"
    generator = reference(models, settings)
    state = generator.state_dict()
    torch.save({f"module.{name}": value for name, value in state.items()} if parallel else state, path)
    found = found_in(path)
    assert found.generator.settings == settings
    assert "leaky_relu between layers, tanh after the last" in found.notes[0]
    assert ("InfoGAN" in found.notes[-1]) == (settings.labels == "none")
    latents, labels = torch.randn(4, 12), torch.tensor([0, 2, 1, 2])
    expected = generator(latents, labels) if settings.num_classes else generator(latents)
    torch.testing.assert_close(network_of(found)(latents, labels), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_nonlinearities_that_are_given(models: Any, tmp_path: Path) -> None:
    settings = TorchganSettings(**SMALL, nonlinearity="relu", last_nonlinearity="sigmoid")
    generator, path = reference(models, settings), tmp_path / "generator.pth"
    torch.save(generator.state_dict(), path)
    found = found_in(path, nonlinearity="relu", last_nonlinearity="sigmoid")
    assert found.generator.settings == settings
    assert not any("nonlinearities" in note for note in found.notes)
    latents = torch.randn(3, 12)
    torch.testing.assert_close(network_of(found)(latents), generator(latents) * 2 - 1, rtol=1e-5, atol=1e-5)


@pytest.fixture
def trained(models: Any, tmp_path: Path) -> Path:
    """A checkpoint of the package's trainer with a discriminator and two generators, after one epoch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchgan.losses import MinimaxDiscriminatorLoss, MinimaxGeneratorLoss
        from torchgan.trainer import Trainer

        networks = {
            "generator": {
                "name": models.DCGANGenerator,
                "args": {"encoding_dims": 12, "out_size": 16, "out_channels": 1, "step_channels": 4},
            },
            "discriminator": {
                "name": models.DCGANDiscriminator,
                "args": {"in_size": 16, "in_channels": 1, "step_channels": 4, "last_nonlinearity": nn.Sigmoid()},
            },
        }
        for network in networks.values():
            network["optimizer"] = {"name": torch.optim.Adam, "args": {"lr": 0.01}}
        trainer = Trainer(
            networks, [MinimaxGeneratorLoss(), MinimaxDiscriminatorLoss()], device=torch.device("cpu"), epochs=1,
            sample_size=2, checkpoints=str(tmp_path / "gan"), recon=str(tmp_path / "images"),
        )  # fmt: skip
        trainer.logger.run_end_epoch = lambda *args: None  # it calls torchvision as that was
        trainer(DataLoader(TensorDataset(torch.randn(8, 1, 16, 16), torch.zeros(8).long()), batch_size=4))
    return tmp_path / "gan0.model"


def test_checkpoints_of_the_trainer(trained: Path) -> None:
    found = found_in(trained)
    assert found.generator.settings == TorchganSettings(**SMALL | {"out_channels": 1})
    assert found.about == {"epoch": 1}
    assert network_of(found)(torch.randn(2, 12)).shape == (2, 1, 16, 16)


def checkpoint(**networks: Any) -> dict[str, Any]:
    trainer = {"epoch": 3, "loss_information": {}, "loss_objects": {}, "metric_objects": None, "loss_logs": {}}
    return trainer | networks


def test_several_generators(models: Any, tmp_path: Path) -> None:
    path = tmp_path / "gan0.model"
    small = reference(models, TorchganSettings(**SMALL)).state_dict()
    large = reference(models, TorchganSettings(**SMALL, num_classes=3, labels="times")).state_dict()
    tree = checkpoint(first=small, second=large, optimizer_first={"state": {}, "param_groups": []})
    with pytest.raises(ArtifactError, match=r"generator= as one of 'first', 'second' .* found several"):
        torchgan.read(tree, path)
    with pytest.raises(ArtifactError, match="found no generator 'third'"):
        torchgan.read(tree, path, generator="third")
    assert torchgan.read(tree, path, generator="first").generator.settings == TorchganSettings(**SMALL)
    assert network_of(torchgan.read(tree, path, generator="second")).num_classes == 3


def test_checkpoints_without_a_known_generator(models: Any, tmp_path: Path) -> None:
    discriminator = models.DCGANDiscriminator(in_size=16, step_channels=4).state_dict()
    tree = checkpoint(critic=discriminator, encoder={"fc.weight": torch.zeros(3, 3)})
    assert torchgan.recognises(tree, tmp_path / "gan0.model")
    with pytest.raises(ArtifactError, match=r"found none among .*critic, encoder"):
        torchgan.read(tree, tmp_path / "gan0.model")
    assert not torchgan.recognises(discriminator, tmp_path / "d.pth")


@pytest.mark.parametrize("shape", [(5, 7), (5,), (0, 0), (40, 40)])
def test_embeddings_that_fit_nothing(models: Any, tmp_path: Path, shape: tuple[int, ...]) -> None:
    state = reference(models, TorchganSettings(**SMALL)).state_dict() | {"label_embeddings.weight": torch.zeros(shape)}
    with pytest.raises(ArtifactError, match="expected label embeddings"):
        torchgan.read(state, tmp_path / "g.pth")


def test_absurd_sizes(tmp_path: Path) -> None:
    deep = {f"model.{layer}.0.weight": torch.empty(1, 1, 4, 4, device="meta") for layer in range(40)}
    with pytest.raises(ArtifactError, match="at most 9 layers"):
        torchgan.read(deep, tmp_path / "g.pth")
    wide = {f"model.{layer}.0.weight": torch.empty(10**6, 10**6, 4, 4, device="meta") for layer in range(3)}
    with pytest.raises(ConfigError, match="encoding_dims from 1"):
        torchgan.read(wide, tmp_path / "g.pth")


@pytest.mark.parametrize(
    "tree",
    [
        None, [], {}, {3: 4}, {"epoch": 3},
        {f"model.{layer}.0.weight": torch.zeros(2, 3, 4, 4) for layer in range(3)},
        {f"model.{layer}.0.weight": torch.zeros(2, 2, 3, 3) for layer in range(3)},
        {f"model.{layer}.0.weight": torch.zeros(2, 2, 4, 4) for layer in (0, 1, 3)},
        {"x.weight": torch.zeros(1)} | {f"model.{layer}.0.weight": torch.zeros(2, 2, 4, 4) for layer in range(3)},
    ],
)  # fmt: skip
def test_other_trees_are_not_recognised(tree: Any, tmp_path: Path) -> None:
    assert not torchgan.recognises(tree, tmp_path / "x.pth")
    with pytest.raises(ArtifactError, match="expected a"):
        torchgan.read(tree, tmp_path / "x.pth")
