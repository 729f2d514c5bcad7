"""BigGAN-deep out of a folder, beside the package that stored it."""

import json
import time
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.peers.published import biggan as released
from benchmarks.peers.published import biggan_folder as stored
from benchmarks.peers.published import biggan_of as built
from gan_augment.errors import ArtifactError
from gan_augment.networks.published.biggan_deep import BigGANDeep
from gan_augment.synthesizers.readers.biggan import read_folder, recognises_folder
from tests.peers import peer_or_skip

SMALL = {
    "output_dim": 16, "z_dim": 6, "class_embed_dim": 6, "channel_width": 4, "num_classes": 5, "n_stats": 11,
    "layers": [[False, 16, 8], [True, 8, 4], [False, 4, 2], [True, 2, 2], [False, 2, 1]],
    "attention_layer_position": 2, "eps": 1e-4,
}  # fmt: skip
NARROW_128 = {"channel_width": 8, "num_classes": 10}
NO_ATTENTION = {**SMALL, "attention_layer_position": 5}


@pytest.fixture(scope="module")
def package() -> types.ModuleType:
    """The real package; what it needs only for downloads is stubbed."""
    module: types.ModuleType = peer_or_skip("pytorch_pretrained_biggan")
    return module


def draw(network: torch.nn.Module, latents: Tensor, labels: Tensor, truncation: float) -> Tensor:
    with torch.no_grad():
        if isinstance(network, BigGANDeep):
            return network.truncated(latents, labels, truncation)
        one_hot = torch.nn.functional.one_hot(labels, network.config.num_classes).float()
        return network(latents, one_hot, truncation)


@pytest.mark.parametrize("config", [SMALL, NARROW_128, NO_ATTENTION], ids=["small", "128", "no attention"])
def test_images_are_those_of_the_package(package: types.ModuleType, config: dict[str, Any], tmp_path: Path) -> None:
    theirs = released(package, config)
    found = read_folder(stored(theirs, config, tmp_path))
    ours = built(found)
    latents, labels = torch.randn(2, ours.latent_dim), torch.tensor([0, 4])
    for truncation in (0.1, 0.4, 0.5, 0.75, 0.95, 1.0):  # steps, and half-way between two
        expected = draw(theirs, truncation * latents, labels, truncation)
        made = draw(ours, truncation * latents, labels, truncation)
        assert expected.shape[1:] == ours.image_shape
        assert expected.std() > 0.1
        torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(ours(latents, labels), draw(theirs, latents, labels, 1.0), rtol=0, atol=1e-5)


def test_between_steps_the_package_weights_them_the_other_way_round(package: types.ModuleType, tmp_path: Path) -> None:
    """Steps of 0.1: at 0.33 ours has 0.7 of the step 0.3; the package has 0.3 of it, and 0.7 at 0.37."""
    theirs = released(package, SMALL)
    ours = built(read_folder(stored(theirs, SMALL, tmp_path)))
    latents, labels = torch.randn(2, 6), torch.tensor([1, 2])
    made = draw(ours, latents, labels, 0.33)
    torch.testing.assert_close(made, draw(theirs, latents, labels, 0.37), rtol=0, atol=1e-5)
    assert (made - draw(theirs, latents, labels, 0.33)).abs().max() > 1e-3


def test_files_are_found_by_their_names(package: types.ModuleType, tmp_path: Path) -> None:
    network = released(package, SMALL)
    plain = stored(network, SMALL, tmp_path / "plain")
    prefixed = stored(network, SMALL, tmp_path / "prefixed", "biggan-deep-16-")
    safe = tmp_path / "safe"
    safe.mkdir()
    (safe / "config.json").write_text(json.dumps(SMALL))
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, safe / "model.safetensors")
    expected = read_folder(plain).generator
    for path in (
        plain / "config.json", plain / "pytorch_model.bin", prefixed, prefixed / "biggan-deep-16-pytorch_model.bin",
        prefixed / "biggan-deep-16-config.json", safe, safe / "model.safetensors",
    ):  # fmt: skip
        assert recognises_folder(path)
        part = read_folder(path).generator
        assert part.settings == expected.settings
        assert all(torch.equal(part.state[name], tensor) for name, tensor in expected.state.items())
    stored(network, SMALL, prefixed, "biggan-deep-17-")
    assert recognises_folder(prefixed)
    with pytest.raises(ArtifactError, match=r"found biggan-deep-16-config\.json, biggan-deep-17-config\.json"):
        read_folder(prefixed)
    read_folder(prefixed / "biggan-deep-17-config.json")


def test_what_is_no_such_folder(tmp_path: Path) -> None:
    assert not recognises_folder(tmp_path / "nowhere")
    assert not recognises_folder("a\0b")
    assert not recognises_folder(tmp_path)
    with pytest.raises(ArtifactError, match="found none"):
        read_folder(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    for content in ("{", "[]", '{"model_type": "bert"}', '"' + "x" * 2**20 + '"', "[" * 100_000):
        (tmp_path / "config.json").write_text(content)
        assert not recognises_folder(tmp_path)
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(ArtifactError, match="expected JSON"):
        read_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    assert recognises_folder(tmp_path)
    with pytest.raises(ArtifactError, match="could not read"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"channel_width": 10**9}, "width from 1 to 1024"),
        ({"channel_width": "128"}, "width of type int"),
        ({"channel_width": True}, "width of type int"),
        ({"z_dim": 2**40}, "latent_dim from"),
        ({"num_classes": -1}, "num_classes from"),
        ({"n_stats": 1}, "steps from 2"),
        ({"eps": float("nan")}, "eps of type float"),
        ({"layers": []}, "number of layers from"),
        ({"layers": None}, "layers of type"),
        ({"layers": [[True, 16, 16]] * 60}, "layers that double from 0 to 8"),
        ({"layers": [[False, 16, 16]] * 10_000}, "number of layers from"),
        ({"layers": [[False, 16]]}, "layers of type"),
        ({"layers": [[False, 8, 4]]}, "found 8 to 4 after 16"),
        ({"layers": [[False, 16, 4]]}, "found 16 to 4"),
        ({"layers": [[False, 16, 8]]}, "found 8"),
        ({"attention_layer_position": 2.5}, "attention of type"),
        ({"layers": [[True, 16, 16]] * 6 + SMALL["layers"], "attention_layer_position": 6}, "attention sees from 4"),
    ],
)  # fmt: skip
def test_a_hostile_configuration(setting: dict[str, Any], told: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**SMALL, **setting}))
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match=told):
        read_folder(tmp_path)


def test_weights_that_do_not_belong_to_the_configuration(package: types.ModuleType, tmp_path: Path) -> None:
    network, path = released(package, SMALL), tmp_path / "pytorch_model.bin"
    stored(network, {**SMALL, "z_dim": 7}, tmp_path)
    with pytest.raises(ArtifactError, match=r"gen_z.weight_orig \(1024, 14\) of BigGAN-deep, found torch.float32 "):
        read_folder(tmp_path)
    stored(network, SMALL, tmp_path)
    whole = network.state_dict()
    for name in ("generator.layers.2.gamma", "generator.gen_z.weight_v", "generator.bn.running_vars"):
        torch.save({key: tensor for key, tensor in whole.items() if key != name}, path)
        with pytest.raises(ArtifactError, match=f"{name} .*found no tensor"):
            read_folder(tmp_path)
        torch.save({**whole, name: whole[name].long()}, path)
        with pytest.raises(ArtifactError, match=f"{name} .*found torch.int64"):
            read_folder(tmp_path)
    torch.save([1], path)
    with pytest.raises(ArtifactError, match="expected a state dict"):
        read_folder(tmp_path)
    torch.save({**whole, "discriminator.weight": torch.ones(1)}, path)
    assert "left out: 1 tensors" in " ".join(read_folder(tmp_path).notes)


def test_a_norm_of_zero_is_found_when_the_weights_are_loaded(package: types.ModuleType, tmp_path: Path) -> None:
    network = released(package, SMALL)
    network.state_dict()["generator.conv_to_rgb.weight_u"].zero_()
    found = read_folder(stored(network, SMALL, tmp_path))
    with pytest.raises(ArtifactError, match=r"not finite: last\.weight"):
        built(found)


def test_half_precision_and_weights_without_spectral_norm(package: types.ModuleType, tmp_path: Path) -> None:
    network = released(package, SMALL)
    folder = stored(network, SMALL, tmp_path)
    expected = read_folder(folder).generator.state
    torch.save({name: tensor.half() for name, tensor in network.state_dict().items()}, folder / "pytorch_model.bin")
    half = read_folder(folder).generator.state
    assert all(tensor.dtype == torch.float32 for tensor in half.values())
    torch.testing.assert_close(dict(half), dict(expected), rtol=0.02, atol=0.02)
    for module in network.modules():
        if hasattr(module, "weight_orig"):
            torch.nn.utils.remove_spectral_norm(module)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    torch.testing.assert_close(dict(read_folder(folder).generator.state), dict(expected))


def test_what_is_told(package: types.ModuleType, tmp_path: Path) -> None:
    found = read_folder(stored(released(package, SMALL), {**SMALL, "output_dim": 128}, tmp_path))
    assert found.generator.architecture == "biggan_deep"
    assert found.class_names is None
    assert found.licence is None
    assert any("DeepMind" in note for note in found.notes)
    assert any("another size" in note for note in found.notes)
    assert "1809.11096" in found.citation


@pytest.mark.slow
def test_drawing_is_no_slower_than_the_package(package: types.ModuleType, tmp_path: Path) -> None:
    config = {"channel_width": 16, "num_classes": 10}
    theirs = released(package, config)
    ours = built(read_folder(stored(theirs, config, tmp_path)))
    latents, labels = torch.randn(4, 128), torch.arange(4)

    def least(network: torch.nn.Module) -> float:
        times = []
        for _ in range(5):
            start = time.process_time()
            draw(network, latents, labels, 0.4)
            times.append(time.process_time() - start)
        return min(times)

    assert least(ours) < least(theirs)
