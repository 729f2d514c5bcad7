"""Reading StudioGAN's checkpoints: the weights, and the YAML file that describes them."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gan_augment.artifacts import load_state
from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.networks.published.studiogan import StudioBigGAN, StudioBigGANDeep, StudioDCGAN, StudioResNet
from gan_augment.networks.published.stylegan2 import StyleGAN2, StyleGAN2Settings
from gan_augment.synthesizers.readers.archive import read_checkpoint
from gan_augment.synthesizers.readers.found import Found
from gan_augment.synthesizers.readers.studiogan import read, recognises
from tests.networks.published.test_studiogan import Naive

pytest.importorskip("yaml")

NETWORKS = {
    "studiogan_dcgan": StudioDCGAN, "studiogan_resnet": StudioResNet, "studiogan_biggan": StudioBigGAN,
    "studiogan_biggan_deep": StudioBigGANDeep, "stylegan2": StyleGAN2,
}  # fmt: skip
NAME = "model=G_ema-best-weights-step=22000.pth"
BIGGAN = {
    "DATA": {"name": "SKIN", "img_size": 32, "num_classes": 3},
    "MODEL": {
        "backbone": "big_resnet", "g_cond_mtd": "cBN", "d_cond_mtd": "PD", "apply_g_sn": True, "apply_attn": True,
        "attn_g_loc": [2], "attn_d_loc": [1], "z_dim": 20, "g_shared_dim": 5, "g_conv_dim": 8, "apply_g_ema": True,
    },
    "LOSS": {"adv_loss": "hinge"},
    "RUN": None,
}  # fmt: skip


def config(**model: Any) -> dict[str, Any]:
    return {**BIGGAN, "MODEL": {**BIGGAN["MODEL"], **model}}


def written(folder: Path, state: dict[str, Tensor], settings: Any, name: str = NAME, **more: Any) -> Path:
    """Writes a checkpoint, and its YAML file (JSON is YAML) beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": state, **more}, folder / name)
    if settings is not None:
        (folder / "config.yaml").write_text(settings if isinstance(settings, str) else json.dumps(settings))
    return folder / name


def found(path: Path, **options: Any) -> Found:
    tree = read_checkpoint(path)
    assert recognises(tree, path)
    return read(tree, path, **options)


def biggan() -> Naive:
    torch.manual_seed(0)
    return Naive("biggan", True, 3, (2,))


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "biggan": ({"kind": "biggan", "classes": 3, "attention": (2,)}, {}, "studiogan_biggan"),
    "biggan without classes": (
        {"kind": "biggan", "classes": 0},
        {"g_cond_mtd": "W/O", "g_shared_dim": "N/A", "apply_attn": False, "attn_g_loc": ["N/A"]},
        "studiogan_biggan",
    ),
    "dcgan": (
        {"kind": "dcgan", "classes": 3},
        {"backbone": "deep_conv", "apply_attn": False, "g_conv_dim": "N/A"},
        "studiogan_dcgan",
    ),
    "resnet": ({"kind": "resnet", "classes": 3, "attention": (2,)}, {"backbone": "resnet"}, "studiogan_resnet"),
    "resnet with tables": (
        {"kind": "resnet", "classes": 3, "tables": True},
        {"backbone": "resnet", "apply_attn": False},
        "studiogan_resnet",
    ),
    "biggan-deep": (
        {"kind": "deep", "classes": 3, "attention": (2,)},
        {"backbone": "big_resnet_deep_studiogan", "g_depth": 2},
        "studiogan_biggan_deep",
    ),
    "biggan-deep legacy": (
        {"kind": "deep", "classes": 3, "skips": False},
        {"backbone": "big_resnet_deep_legacy", "g_depth": 2, "apply_attn": False},
        "studiogan_biggan_deep",
    ),
}


@pytest.mark.parametrize(("case", "spectral"), [("biggan", False), *((case, True) for case in CASES)])
def test_what_is_read_draws_the_same_images(tmp_path: Path, case: str, spectral: bool) -> None:
    torch.manual_seed(0)
    how, model, architecture = CASES[case]
    naive = Naive(spectral=spectral, **how)
    state = {f"module.{name}": weight for name, weight in naive.state_dict().items()}
    part = found(written(tmp_path, state, config(**model, apply_g_sn=spectral))).generator
    assert part.architecture == architecture
    with torch.device("meta"):
        generator = NETWORKS[architecture](part.settings)
    load_state(generator, part.state, case, adopt=True)
    latents, labels = torch.randn(3, 20), torch.tensor([0, 1, 2]) % max(1, how["classes"])
    truth = naive.double()(latents.double(), labels)
    torch.testing.assert_close(generator(latents, labels).double(), truth, rtol=0, atol=1e-5)


def test_what_is_told_of_it(tmp_path: Path) -> None:
    read = found(written(tmp_path, biggan().state_dict(), BIGGAN))
    assert read.about == {"backbone": "big_resnet", "dataset": "SKIN", "step": 22000}
    assert "1809.11096" in read.citation
    assert "2206.09479" in read.citation
    assert "standing statistics" in " ".join(read.notes)
    assert read.licence is None
    assert "MIT" in read.notes[-1]
    assert read.discriminator is None


def test_the_generator_without_averages_is_noted(tmp_path: Path) -> None:
    name = "model=G-current-weights-step=7.pth"
    path = written(tmp_path, biggan().state_dict(), BIGGAN, name, optimizer={"state": {}, "param_groups": []})
    assert "moving averages" in " ".join(found(path).notes)


def test_uniform_latents(tmp_path: Path) -> None:
    settings = found(written(tmp_path, biggan().state_dict(), config(z_prior="uniform"))).generator.settings
    assert settings.to_json()["z_prior"] == "uniform"


def test_defaults_are_those_of_studiogan(tmp_path: Path) -> None:
    """A resnet of 64 times the widths for CIFAR10's 32x32, 128 latents, ReLU, without attention."""
    with torch.device("meta"):
        network = StudioResNet(StudioResNet.settings_type(num_classes=0))
    state = {f"{name}.{weight}": torch.rand(shape) for name, layer in network.named_modules()
             if hasattr(layer, "released") for weight, shape in layer.released().items()}  # fmt: skip
    path = written(tmp_path, state, "MODEL: {z_dim: 128}")
    assert found_settings(path, state) == network.settings


def found_settings(path: Path, state: dict[str, Tensor]) -> Any:
    return read({"state_dict": state}, path).generator.settings


# -- which YAML file --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [".", "configs", "..", "../configs"])
def test_the_config_is_looked_for_nearby(tmp_path: Path, place: str) -> None:
    path = written(tmp_path / "run" / "checkpoints", biggan().state_dict(), None)
    folder = path.parent / place
    folder.mkdir(exist_ok=True)
    (folder / "BigGAN.yml").write_text(json.dumps(BIGGAN))
    assert found(path).generator.settings.to_json()["g_conv_dim"] == 8


def test_a_config_can_be_given(tmp_path: Path) -> None:
    path = written(tmp_path / "run", biggan().state_dict(), "not: this")
    (tmp_path / "other.yaml").write_text(json.dumps(BIGGAN))
    assert found(path, config=tmp_path / "other.yaml").about["dataset"] == "SKIN"


def test_no_config_and_several(tmp_path: Path) -> None:
    path = written(tmp_path / "run" / "checkpoints", biggan().state_dict(), None)
    with pytest.raises(ConfigError, match=r"found none; give config="):
        found(path)
    for name in ("a.yaml", "b.yml"):
        (path.parent / name).write_text(json.dumps(BIGGAN))
    with pytest.raises(ConfigError, match=r"found 2: a.yaml, b.yml; give config="):
        found(path)


def test_without_pyyaml_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, biggan().state_dict(), BIGGAN)
    tree = read_checkpoint(path)
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ConfigError, match=r"pip install 'gan_augment\[studiogan\]'"):
        read(tree, path)


BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "\n".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]" for a, b in zip("abcdefghij", "bcdefghijk", strict=False)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "MODEL: &a {backbone: *a}",
        "MODEL: " + "[" * 5000,
        "MODEL: " + "[" * 20 + "]" * 20,
        "MODEL: {z_dim: !!python/object/apply:os.system ['touch hacked']}",
        "MODEL: {z_dim: " + "9" * 10_000 + "}",
        "MODEL: {z_dim: 1" + " " * 2**17 + "}",
        "MODEL: [1, 2]",
        "MODEL: {backbone: [big_resnet]}",
        "just text",
        "",
        "DATA: {img_size: 32}",
        "MODEL: {z_dim: 2024-13-45}",
        "MODEL: {z_dim: '128'}",
        "MODEL: {z_dim: true}",
        "MODEL: {apply_attn: 1}",
        "MODEL: {apply_attn: true, attn_g_loc: [a]}",
        "MODEL: {apply_attn: true, attn_g_loc: [" + "2," * 100 + "2]}",
        "a: b: c",
        "\x00\x01",
    ],
)
def test_other_and_hostile_yaml_is_refused(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, biggan().state_dict(), text)
    with pytest.raises(ArtifactError, match="expected "):
        found(path)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("EXTRA: {a: &a [1], b: *a}", "an alias"),
        ("EXTRA: {a: " + "[" * 9 + "]" * 9 + "}", "too deep"),
        ("# " + " " * 2**16, "more than 65536 bytes"),
    ],
)
def test_a_config_that_would_do_is_refused_for_what_else_is_in_it(tmp_path: Path, more: str, told: str) -> None:
    good = "\n".join(f"{name}: {json.dumps(part)}" for name, part in BIGGAN.items())
    found(written(tmp_path, biggan().state_dict(), good))
    with pytest.raises(ArtifactError, match=told):
        found(written(tmp_path, biggan().state_dict(), f"{good}\n{more}"))


# -- what is not read -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (config(info_type="discrete", g_info_injection="concat"), "InfoGAN's info_type discrete"),
        (config(backbone="stylegan3"), "expected the backbone stylegan2"),
        (config(backbone="vit"), "expected a backbone of deep_conv"),
        (config(g_cond_mtd="film"), "expected MODEL.g_cond_mtd"),
        (config(g_shared_dim=6), "of another shape"),
        (config(g_conv_dim=16), "of another shape"),
        (config(attn_g_loc=[1]), "missing"),
        (config(apply_attn=False), "not expected"),
        (config(backbone="big_resnet_deep_legacy", g_depth=2), "missing"),
        (config(g_shared_dim="N/A"), "expected MODEL.g_shared_dim to be a whole number"),
        ({**BIGGAN, "DATA": {"name": "CIFAR10"}}, "expected weights of 10 classes"),
        ({**BIGGAN, "DATA": {"name": "SKIN", "num_classes": 4}}, "expected weights of 4 classes"),
    ],
)
def test_weights_that_the_config_does_not_describe(tmp_path: Path, settings: Any, told: str) -> None:
    with pytest.raises(ArtifactError, match=told):
        found(written(tmp_path, biggan().state_dict(), settings))


def test_absurd_settings_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    huge = {"img_size": 2**30, "num_classes": 3}
    for settings in (config(g_conv_dim=10**9), config(z_dim=5 * 10**9), {**BIGGAN, "DATA": huge}):
        with pytest.raises(ConfigError, match="expected "):
            found(written(tmp_path, biggan().state_dict(), settings))


def test_a_discriminator_is_named(tmp_path: Path) -> None:
    state = {"linear1.weight": torch.ones(1, 4), "blocks.0.0.conv2d1.weight": torch.ones(4, 3, 3, 3)}
    path = written(tmp_path, state, None, "model=D-best-weights-step=22000.pth", best_fid=4.1)
    with pytest.raises(ArtifactError, match="give the file model=G_ema-"):
        found(path)


@pytest.mark.parametrize(
    "tree",
    [
        None,
        [],
        {},
        {"state_dict": None},
        {"state_dict": {1: torch.ones(1)}},
        {"state_dict": {"conv1.weight": torch.ones(1)}},
        {"state_dict": {"linear0.weight": torch.ones(1)}},
        {"G": {"linear0.weight": torch.ones(1), "blocks.0.0.bn1.gain.weight": torch.ones(1)}},
    ],
)
def test_other_files_are_not_recognised(tree: Any) -> None:
    assert not recognises(tree, Path("model.pth"))


def test_recognised_by_its_weights_whatever_its_name() -> None:
    assert recognises({"state_dict": dict(biggan().state_dict())}, Path("gan.pth"))


# -- StyleGAN2 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [0, 4])
def test_stylegan2_keeps_the_names_of_nvidia(tmp_path: Path, classes: int) -> None:
    torch.manual_seed(0)
    settings = StyleGAN2Settings(
        img_resolution=8, c_dim=classes, channel_base=16384, z_dim=8, w_dim=16, mapping_layers=2
    )
    network = StyleGAN2(settings)
    described = {
        "DATA": {"name": "SKIN", "img_size": 8},
        "MODEL": {
            "backbone": "stylegan2", "g_cond_mtd": "cAdaIN" if classes else "W/O", "g_act_fn": "Auto", "z_dim": 8,
            "w_dim": 16, "g_conv_dim": "N/A",
        },
        "STYLEGAN": {"mapping_network": 2},
    }  # fmt: skip
    read = found(written(tmp_path, network.state_dict(), described))
    assert read.generator.settings == settings
    assert "1912.04958" in read.citation
    assert "no commercial use" in read.notes[-1]
    with torch.device("meta"):
        again = StyleGAN2(settings)
    load_state(again, read.generator.state, "the test", adopt=True)
    latents, labels = torch.randn(2, 8), torch.tensor([0, 3])
    torch.testing.assert_close(again(latents, labels), network(latents, labels))
