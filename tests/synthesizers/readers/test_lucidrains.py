"""Reading `.pt` files of stylegan2_pytorch, made with that package."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_augment.artifacts import load_state
from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.networks.published.lucidrains import LucidrainsSettings, LucidrainsStyleGAN2
from gan_augment.synthesizers.readers import lucidrains
from gan_augment.synthesizers.readers.archive import read_checkpoint
from gan_augment.synthesizers.readers.found import Found
from tests.networks.published.test_lucidrains import SMALL, package, reference

__all__ = ["package"]


def saved(gan: Any, folder: Path, **config: Any) -> Path:
    """The file and the config as the package's trainer writes them."""
    path = folder / "model_7.pt"
    torch.save({"GAN": gan.state_dict(), "version": "1.9.0"}, path)
    if config:
        (folder / ".config.json").write_text(json.dumps(config))
    return path


def config_of(settings: LucidrainsSettings, **changed: Any) -> dict[str, Any]:
    names = ("image_size", "network_capacity", "lr_mlp", "transparent", "attn_layers", "no_const")
    config = {name: value for name, value in settings.to_json().items() if name in names}
    return config | {"fq_layers": [], "fq_dict_size": 256} | changed


def found_in(path: Path, **options: Any) -> Found:
    tree = read_checkpoint(path)
    assert lucidrains.recognises(tree, path)
    return lucidrains.read(tree, path, **options)


def network_of(found: Found) -> LucidrainsStyleGAN2:
    assert found.generator.architecture == "stylegan2_lucidrains"
    assert isinstance(found.generator.settings, LucidrainsSettings)
    with torch.device("meta"):
        network = LucidrainsStyleGAN2(found.generator.settings)
    load_state(network, found.generator.state, "a generator", adopt=True)
    return network.eval()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"transparent": True, "no_const": True, "lr_mlp": 0.3},
        {"attn_layers": (1, 2)},
        {"network_capacity": 130, "image_size": 8},
    ],
    ids=["plain", "transparent", "attention", "capped widths"],
)
@torch.no_grad()
def test_settings_are_read_off_the_weights(package: Any, tmp_path: Path, more: dict[str, Any]) -> None:
    settings = LucidrainsSettings(**SMALL | {"image_size": 16} | more)
    gan = reference(package, settings)
    gan.GE.initial_conv.bias.add_(1.0)  # the moving averages are other weights
    path = saved(gan, tmp_path, **config_of(settings))
    found = found_in(path)
    assert found.notes == []
    assert found.about == {"version": "1.9.0"}
    network, size = network_of(found), settings.image_size
    assert network.settings.widths == settings.widths
    assert network.settings.lr_mlp == settings.lr_mlp
    latents = torch.randn(2, settings.latent_dim)
    for ema, networks in ((True, (gan.SE, gan.GE)), (False, (gan.S, gan.G))):
        styles = networks[0](latents)[:, None].expand(-1, settings.levels, -1)
        expected = networks[1](styles, torch.full((2, size, size, 1), 0.5)) * 2 - 1
        made = network_of(found_in(path, ema=ema)).images(styles, "none")
        torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_what_the_weights_do_not_tell(package: Any, tmp_path: Path) -> None:
    settings = LucidrainsSettings(**SMALL, lr_mlp=0.5)
    path = saved(reference(package, settings), tmp_path)
    found = found_in(path)
    assert found.generator.settings.to_json()["lr_mlp"] == 0.1
    assert "lr_mlp" in found.notes[0]
    found = found_in(path, lr_mlp=0.5)
    assert (found.generator.settings.to_json()["lr_mlp"], found.notes) == (0.5, [])
    (tmp_path / ".config.json").write_text(json.dumps(config_of(settings)))
    assert found_in(path).generator.settings.to_json()["lr_mlp"] == 0.5
    with pytest.raises(ArtifactError, match=r"expected lr_mlp=0\.5.*found 0\.1"):
        found_in(path, lr_mlp=0.1)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"image_size": 64}, "image_size 64 instead of 32"),
        ({"network_capacity": 3}, "network_capacity 3 instead of 4"),
        ({"transparent": True}, "transparent True instead of False"),
        ({"attn_layers": [1]}, r"attn_layers \(1,\) instead of \(\)"),
        ({"no_const": True}, "no_const True instead of False"),
    ],
)
def test_a_config_of_other_weights(package: Any, tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    settings = LucidrainsSettings(**SMALL)
    path = saved(reference(package, settings), tmp_path, **config_of(settings, **changed))
    with pytest.raises(ArtifactError, match=told):
        found_in(path)


@pytest.mark.parametrize("content", ["[1, 2]", "{", "\xff", "[" * 100_000, " " * 100_000 + "{}"])
def test_a_config_that_is_none(package: Any, tmp_path: Path, content: str) -> None:
    path = saved(reference(package, LucidrainsSettings(**SMALL)), tmp_path)
    (tmp_path / ".config.json").write_text(content, encoding="latin-1")
    with pytest.raises(ArtifactError, match="as JSON"):
        found_in(path)


@pytest.mark.parametrize("value", ["x", float("nan"), 1e9, None, [1]])
def test_a_config_that_asks_for_nonsense(package: Any, tmp_path: Path, value: Any) -> None:
    settings = LucidrainsSettings(**SMALL)
    path = saved(reference(package, settings), tmp_path, **config_of(settings, lr_mlp=value, attn_layers=["x", 10**9]))
    if value is None:
        assert "lr_mlp" in found_in(path).notes[0]
    else:
        with pytest.raises(ConfigError, match="lr_mlp from 0 to 100"):
            found_in(path)


def test_checkpoints_of_lightweight_gan_are_refused(tmp_path: Path) -> None:
    names = ("G.initial_conv.1.weight", "GE.layers.0.0.1.weight", "D.layers.0.weight")
    tree = {"GAN": {name: torch.zeros(4, 4, 4, 4) for name in names}, "version": "1.1.1"}
    assert lucidrains.recognises(tree, tmp_path / "model_1.pt")
    with pytest.raises(ArtifactError, match=r"looks like lightweight_gan.*stylegan2_pytorch is"):
        lucidrains.read(tree, tmp_path / "model_1.pt")


@pytest.mark.parametrize(
    ("taken", "told"),
    [
        ("initial_conv", "an older release"),
        ("upsample.1.f", "an older release"),
        ("net.0.", "expected the weights of a generator"),
        ("to_rgb.conv", "expected the weights of a generator"),
    ],
)
def test_what_is_not_there(package: Any, tmp_path: Path, taken: str, told: str) -> None:
    gan = reference(package, LucidrainsSettings(**SMALL))
    state = {name: value for name, value in gan.state_dict().items() if taken not in name}
    with pytest.raises(ArtifactError, match=told):
        lucidrains.read({"GAN": state}, tmp_path / "model_1.pt")


def test_attention_of_older_releases_is_refused(package: Any, tmp_path: Path) -> None:
    gan = reference(package, LucidrainsSettings(**SMALL, attn_layers=(1,)))
    state = gan.state_dict() | {"GE.attns.3.0.fn.g": torch.zeros(1)}
    with pytest.raises(ArtifactError, match="an older release"):
        lucidrains.read({"GAN": state}, tmp_path / "model_1.pt")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("GE.blocks.3.to_rgb.conv.weight", ()),
        ("GE.blocks.3.to_rgb.conv.weight", (7, 8, 1, 1)),
        ("GE.blocks.1.conv2.weight", (3, 4)),
        ("SE.net.0.weight", (3,)),
    ],
)
def test_absurd_shapes(package: Any, tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    state = reference(package, LucidrainsSettings(**SMALL)).state_dict() | {name: torch.zeros(shape)}
    with pytest.raises(ArtifactError, match="expected the weights of a generator"):
        lucidrains.read({"GAN": state}, tmp_path / "model_1.pt")


def test_without_moving_averages(package: Any, tmp_path: Path) -> None:
    state = reference(package, LucidrainsSettings(**SMALL)).state_dict()
    state = {name: value for name, value in state.items() if not name.startswith(("GE.", "SE."))}
    found = lucidrains.read({"GAN": state}, tmp_path / "model_1.pt")
    assert "no moving averages" in found.notes[0]
    network_of(found)


@pytest.mark.parametrize("tree", [None, [], {}, {"GAN": 3}, {"GAN": {3: 4}}, {"GAN": {"D.x": torch.zeros(1)}}])
def test_other_trees_are_not_recognised(tree: Any, tmp_path: Path) -> None:
    assert not lucidrains.recognises(tree, tmp_path / "x.pt")
    with pytest.raises(ArtifactError, match="expected a checkpoint of stylegan2_pytorch"):
        lucidrains.read(tree, tmp_path / "x.pt")
