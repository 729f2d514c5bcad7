"""Lower precision: networks compute in it, and nothing else does; what is exact in float32 stays near."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

import gan_augment as ga
from gan_augment.losses import gradient_norms, gradient_penalty
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import RECIPES, Recipe
from gan_augment.source import RawView
from gan_augment.training.batches import Batches
from gan_augment.training.checkpoint import resume, save_checkpoint
from gan_augment.training.precision import lower_precision, pick_precision
from gan_augment.training.trainer import Trainer
from tests.training.test_trainer import data, fit, quick, stopped_at_seven, stored, weights

CPU = torch.device("cpu")


class Linear(nn.Module):
    """D(x) = w . x as a convolution over the whole image; it notes the type that it computes in."""

    def __init__(self, *, spectral: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer: nn.Module = nn.Conv2d(1, 1, 8, bias=False)
        self.layer = spectral_norm(layer) if spectral else layer
        self.seen: torch.dtype | None = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layer(images)[:, 0, 0, 0]
        self.seen = logits.dtype
        return logits


def test_networks_compute_in_it_and_return_float32() -> None:
    network, images = Linear(), torch.randn(5, 1, 8, 8)
    exact = network(images)
    with lower_precision({"d": network}, CPU, "bf16"):
        logits = network(images)
        assert network.seen == torch.bfloat16
        assert logits.dtype == torch.float32
        assert (logits @ torch.ones(5, 1)).dtype == torch.float32  # losses are outside
        torch.testing.assert_close(logits, exact, atol=0.02, rtol=0.02)
        assert not torch.equal(logits, exact)
    assert torch.equal(network(images), exact)
    assert network.seen == torch.float32


def test_an_error_inside_leaves_the_precision() -> None:
    network = Linear()
    with lower_precision({"d": network}, CPU, "bf16"), pytest.raises(RuntimeError):
        network(torch.randn(5, 3, 8, 8))
    assert not torch.is_autocast_enabled("cpu")


def test_spectral_norm_is_that_of_float32() -> None:
    network, twin = Linear(spectral=True), Linear(spectral=True)
    images = torch.randn(5, 1, 8, 8)
    with lower_precision({"d": network}, CPU, "bf16"):
        network(images)
    twin(images)
    for key, value in twin.state_dict().items():
        assert torch.equal(network.state_dict()[key], value), key
    with torch.no_grad():
        assert torch.linalg.matrix_norm(network.layer.weight.flatten(1), 2) == pytest.approx(1, abs=1e-5)


def test_gradient_penalties_stay_right() -> None:
    """For D(x) = w . x the gradient is w for every image: its squared norm, and d (|w| - 1)^2 / dw, are known."""
    network, images = Linear(), torch.randn(5, 1, 8, 8, requires_grad=True)
    weight = network.layer.weight
    with lower_precision({"d": network}, CPU, "bf16"):
        norms = gradient_norms(network(images), images)
        gradient_penalty(network(images), images).backward()
    norm = weight.detach().norm()
    assert norms.dtype == torch.float32
    torch.testing.assert_close(norms, (norm**2).expand(5), rtol=0.01, atol=0)
    torch.testing.assert_close(weight.grad, 2 * (norm - 1) * weight.detach() / norm, rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_in_bf16(name: str) -> None:
    recipe = quick(name, steps=4)
    low, full = weights(fit(recipe, precision="bf16")), weights(fit(recipe))
    assert all(value.dtype == full[key].dtype and value.isfinite().all() for key, value in low.items())
    assert any(not torch.equal(value, full[key]) for key, value in low.items())


def test_what_precision_is_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    assert pick_precision("auto", CPU) == "fp32"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert pick_precision("auto", CPU) == "fp32"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert pick_precision("auto", CPU) == "bf16"
    assert pick_precision("fp32", CPU) == "fp32"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    with pytest.raises(ga.ConfigError, match="auto, fp32, bf16, fp16, found 'fp8'"):
        pick_precision("auto", CPU)
    with pytest.raises(ga.ConfigError, match="CUDA device for precision fp16, found cpu; use bf16"):
        fit(quick(), precision="fp16")


def test_precision_belongs_to_a_training(tmp_path: Path) -> None:
    stopped_at_seven(quick(), tmp_path / "gan")
    with pytest.raises(ga.ArtifactError, match="precision fp32 there, bf16 now"):
        fit(quick(), out=tmp_path / "gan", precision="bf16")


def trainer_in_fp16(recipe: Recipe) -> tuple[Trainer, Batches]:
    """fp16 is for CUDA, but the scaler's arithmetic is the same on the CPU."""
    view = RawView(data(), progress=False)
    batches = Batches(view, view.spec(), recipe, seed=0, device=CPU)
    shape = NetworkSpec(channels=1, grid=(8, 8), num_classes=3)
    return Trainer(recipe, shape, seed=0, device=CPU, precision="fp16"), batches


def test_the_scaler_of_fp16_is_resumed(tmp_path: Path) -> None:
    recipe = RECIPES["dagan"](batch_size=8, steps=12)
    whole, batches = trainer_in_fp16(recipe)
    whole.scaler.load_state_dict({**whole.scaler.state_dict(), "scale": 2.0**40})  # the first steps overflow
    path = tmp_path / "checkpoint"

    def after_step(step: int, _: object) -> bool:
        if step == 5:
            save_checkpoint(whole, path, {})
        return False

    whole.run(batches, after_step=after_step)
    assert whole.scaler.get_scale() < 2.0**40
    resumed, batches = trainer_in_fp16(recipe)
    assert resume(resumed, path, {})
    assert resumed.scaler.state_dict()["scale"] < 2.0**40
    resumed.run(batches)
    assert resumed.scaler.state_dict() == whole.scaler.state_dict()
    for name, network in whole.networks.items():
        for key, value in network.state_dict().items():
            assert torch.equal(resumed.networks[name].state_dict()[key], value), key


@pytest.mark.parametrize("scale", [None, torch.tensor(torch.nan), torch.tensor(0.0), torch.ones(2)])
def test_a_hostile_scaler_is_refused(tmp_path: Path, scale: torch.Tensor | None) -> None:
    trainer, batches = trainer_in_fp16(quick("sngan", steps=1))  # type: ignore[arg-type]
    trainer.run(batches)
    path = tmp_path / "checkpoint"
    save_checkpoint(trainer, path, {})
    about, tensors = stored(path)
    del tensors["scaler|scale"]
    save_file(tensors if scale is None else {**tensors, "scaler|scale": scale}, path, about)
    with pytest.raises(ga.ArtifactError, match="scaler of fp16"):
        resume(trainer, path, {})


def test_channels_last_gives_the_same_and_resumes(tmp_path: Path) -> None:
    plain, other = weights(fit(quick("sngan"))), fit(quick("sngan"), channels_last=True)
    for key, value in weights(other).items():
        torch.testing.assert_close(value, plain[key], atol=5e-5, rtol=1e-4, msg=key)
    stopped_at_seven(quick("sngan"), tmp_path / "gan")
    resumed = weights(fit(quick("sngan"), out=tmp_path / "gan", channels_last=True))
    for key, value in resumed.items():
        torch.testing.assert_close(value, plain[key], atol=5e-5, rtol=1e-4, msg=key)
