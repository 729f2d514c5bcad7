"""Reading generators of pix2pix and CycleGAN, saved under the names that those projects give their layers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.networks.published.translators import ResnetSettings, UnetSettings
from gan_augment.synthesizers.readers import translation
from gan_augment.synthesizers.readers.archive import read_checkpoint
from gan_augment.synthesizers.readers.found import Found
from tests.networks.published.test_translators import CASES, network_of, reference

SETTINGS: dict[str, Any] = {"resnet": ("blocks", 2, ResnetSettings), "unet": ("depth", 5, UnetSettings)}


def saved(network: nn.Module, path: Path, prefix: str = "") -> Path:
    torch.save({prefix + name: value for name, value in network.state_dict().items()}, path)
    return path


def found_in(path: Path, **options: Any) -> Found:
    tree = read_checkpoint(path)
    assert translation.recognises(tree, path)
    return translation.read(tree, path, **options)


@pytest.mark.parametrize(("kind", "norm", "more"), CASES)
@torch.no_grad()
def test_settings_are_read_off_the_weights(kind: str, norm: str, more: dict[str, Any], tmp_path: Path) -> None:
    original = reference(kind, norm, **more)
    found = found_in(saved(original, tmp_path / "latest_net_G.pth", "module." if more else ""))
    name, default, settings = SETTINGS[kind]
    told = {"instance": "instance", "tracked": "instance"}.get(norm, norm)
    expected = {"source_channels": 3, "channels": 2, "width": 4, name: more.get(name, default), "norm": told}
    assert found.generator.settings == settings(**expected)
    assert ("dropped" in found.notes[0]) == (norm == "tracked")
    network, source = network_of(found), torch.rand(1, 3, 128, 128)
    if norm == "tracked":
        original.train()
    torch.testing.assert_close(network(source), original(source), rtol=1e-5, atol=1e-5)


def test_a_state_dict_as_torch_saves_it(tmp_path: Path) -> None:
    torch.save(reference("unet", "batch").state_dict(), tmp_path / "latest_net_G.pth")
    network_of(found_in(tmp_path / "latest_net_G.pth"))


def test_batch_norms_of_before_batches_were_counted() -> None:
    original = reference("resnet", "batch")
    state = {name: value for name, value in original.state_dict().items() if "num_batches" not in name}
    network_of(translation.read(state, Path("G.pth")))


def test_notes_tell_the_direction_and_the_statistics() -> None:
    state = reference("resnet", "instance").state_dict()
    assert "domain B of images of domain A" in translation.read(state, Path("latest_net_G_A.pth")).notes[-1]
    assert "domain A of images of domain B" in translation.read(state, Path("200_net_G_B.pth")).notes[-1]
    assert "domain" not in translation.read(state, Path("latest_net_G.pth")).notes[-1]
    state = reference("unet", "batch").state_dict()
    assert "statistics" in translation.read(state, Path("latest_net_G.pth")).notes[0]
    found = translation.read(state, Path("latest_net_G.pth"), statistics="image")
    assert found.generator.settings.to_json()["norm"] == "image"
    assert not any("statistics" in note for note in found.notes)
    with pytest.raises(ConfigError, match="statistics="):
        translation.read(state, Path("x.pth"), statistics="mine")  # type: ignore[arg-type]


def test_antialiased_networks_are_refused() -> None:
    state = reference("resnet", "instance").state_dict() | {"model.7.filt": torch.ones(8, 1, 3, 3)}
    assert translation.recognises(state, Path("latest_net_G.pth"))
    with pytest.raises(ArtifactError, match=r"antialiased layers .*CUT.*no_antialias"):
        translation.read(state, Path("latest_net_G.pth"))


@pytest.mark.parametrize(
    ("kind", "old", "new", "told"),
    [
        ("resnet", "conv_block.1.", "conv_block.0.", "conv_block.0"),
        ("resnet", "model.12.", "model.14.", "model.14.weight"),
        ("unet", "model.1.model.5.", "model.1.model.6.", "others: model.model"),
        ("unet", "model.model.0.bias", "model.model.9.bias", "model.model.9.bias"),
    ],
    ids=["zero padding", "upsampling", "other order", "other layers"],
)
def test_variants_are_refused(kind: str, old: str, new: str, told: str) -> None:
    state = {name.replace(old, new): value for name, value in reference(kind, "instance").state_dict().items()}
    assert translation.recognises(state, Path("G.pth"))
    with pytest.raises(ArtifactError, match=told):
        translation.read(state, Path("G.pth"))


def test_what_is_not_there() -> None:
    state = reference("resnet", "instance").state_dict()
    state.pop("model.19.weight")
    with pytest.raises(ArtifactError, match="expected a first and a last layer"):
        translation.read(state, Path("G.pth"))
    state = reference("unet", "batch").state_dict() | {"model.model.3.weight": torch.zeros(())}
    with pytest.raises(ArtifactError, match="expected a first and a last layer"):
        translation.read(state, Path("G.pth"))
    state = reference("unet", "batch").state_dict()
    state.pop("model.model.1.model.3.model.1.weight")
    with pytest.raises(ArtifactError, match=r"missing: downs\.1\.conv\.weight"):
        network_of(translation.read(state, Path("G.pth")))


def test_absurd_sizes() -> None:
    state = {"model.1.weight": torch.empty(10**6, 3, 7, 7, device="meta"), "model.17.weight": torch.zeros(3, 1, 7, 7)}
    with pytest.raises(ConfigError, match="width from 1 to 1024"):
        translation.read(state, Path("G.pth"))
    inside, deep = "model.model.1.model", reference("unet", "batch").state_dict()
    for _ in range(5000):
        deep[f"{inside}.5.weight"] = torch.zeros(1)
        inside += ".3.model"
        if len(inside) > 500:
            break
    with pytest.raises(ArtifactError, match="expected the layers"):
        translation.read(deep, Path("G.pth"))


@pytest.mark.parametrize(
    "tree",
    [
        None, [], {}, {3: torch.zeros(1)}, {"model.1.weight": 3}, {"model.1.weight": torch.zeros(3, 3, 3, 3)},
        {"model.1.weight": torch.zeros(())}, {"model.model.0.weight": torch.zeros(2, 2, 4, 4)},
        {"model.model.0.weight": torch.zeros(4), "model.model.3.weight": torch.zeros(4)},
        {"GAN": {}, "version": "1.9"},
    ],
)  # fmt: skip
def test_other_trees_are_not_recognised(tree: Any) -> None:
    assert not translation.recognises(tree, Path("latest_net_G.pth"))
    with pytest.raises(ArtifactError, match="expected"):
        translation.read(tree, Path("latest_net_G.pth"))
