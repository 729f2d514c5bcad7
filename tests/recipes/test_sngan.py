"""The switches of sngan: each reaches what it should, alone and together; parts, resuming and storing."""

from pathlib import Path

import pytest
import torch

import gan_augment as ga
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import SNGAN, Part, Tools
from gan_augment.training.checkpoint import resume, save_checkpoint
from gan_augment.training.trainer import Trainer
from tests.contracts.test_recipes import SPECS, dataset, trainer_of

SWITCHES: dict[str, dict[str, object]] = {
    "shared": {"shared": 1},
    "ramp": {"ramp": (0.25, 0.75)},
    "spectral": {"spectral": 0.5},
    "mapping": {"mapping": True},
    "twins": {"twins": 0.01},
    "lecam": {"lecam": 0.1},
    "all": {"shared": 1, "ramp": (0.0, 0.5), "spectral": 0.5, "twins": 0.01, "lecam": 0.1},
}


def sngan(**settings: object) -> SNGAN:
    return SNGAN(**{"steps": 6, "batch_size": 8, "width": 32, **settings})  # type: ignore[arg-type]


def terms(recipe: SNGAN, spec: NetworkSpec, which: int, progress: float = 0.5, step: int = 0) -> dict[str, float]:
    """Returns the terms of the discriminator's update (0) or the generator's (1), checked for their gradients."""
    trainer, batches = trainer_of(recipe, spec)
    update, whole = recipe.updates()[which], Part(0, 1, recipe.batch_size)
    for name, network in trainer.networks.items():
        network.requires_grad_(name in update.parameters)
    torch.manual_seed(0)
    losses = update.loss(trainer.networks, batches(step, whole), Tools(recipe.augmentation, progress, step, whole))
    torch.stack(list(losses.values())).sum().backward()
    for name, network in trainer.networks.items():
        gradients = {key: p.grad for key, p in network.named_parameters() if p.grad is not None}
        assert bool(gradients) == (name in update.parameters), name
        assert all(gradient.isfinite().all() for gradient in gradients.values())
    return {name: loss.item() for name, loss in losses.items()}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("settings", SWITCHES.values(), ids=SWITCHES)
def test_every_switch_adds_its_terms_to_its_update(settings: dict[str, object], spec: NetworkSpec) -> None:
    recipe = sngan(**settings)
    expected = [{"hinge"}, {"hinge", "diversity"}]
    for name, where in (("shared", (0, 1)), ("ramp", (0, 1)), ("spectral", (1,)), ("twins", (1,)), ("lecam", (0,))):
        for which in where if name in settings else ():
            expected[which].add({"shared": "low", "ramp": "unconditional"}.get(name, name))
    assert [set(terms(recipe, spec, which)) for which in (0, 1)] == expected


def test_the_ramp_lets_the_class_in_between_its_two_shares() -> None:
    recipe, spec = sngan(ramp=(0.25, 0.75)), SPECS["8x8"]
    assert [recipe._risen(Tools(progress=p)) for p in (0.0, 0.25, 0.5, 0.75, 1.0)] == [0, 0, 0.5, 1, 1]
    assert terms(recipe, spec, 0, progress=0.1)["hinge"] == 0
    assert terms(recipe, spec, 1, progress=0.1)["hinge"] == 0
    assert terms(recipe, spec, 0, progress=0.9)["hinge"] > 0


def test_the_weights_weigh() -> None:
    spec = SPECS["8x8"]
    for name in ("spectral", "twins"):
        one, two = (terms(sngan(**{name: weight}), spec, 1)[name] for weight in (0.1, 0.2))
        assert one > 0
        assert two == pytest.approx(2 * one)


def state(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {f"{n}.{k}": v for n, network in trainer.networks.items() for k, v in network.state_dict().items()}


@pytest.mark.parametrize("settings", SWITCHES.values(), ids=SWITCHES)
def test_resumed_equals_unbroken(settings: dict[str, object], tmp_path: Path) -> None:
    recipe, path = sngan(**settings), tmp_path / "checkpoint"
    whole, batches = trainer_of(recipe, SPECS["8x8"])
    whole.run(batches)
    broken, batches = trainer_of(recipe, SPECS["8x8"])

    class Stop(Exception):
        pass

    def after_step(step: int, *_: object) -> bool:
        if step == 3:
            save_checkpoint(broken, path, {})
            raise Stop
        return False

    with pytest.raises(Stop):
        broken.run(batches, after_step=after_step)
    going_on, batches = trainer_of(recipe, SPECS["8x8"], seed=0)
    assert resume(going_on, path, {})
    going_on.run(batches)
    there, here = state(whole), state(going_on)
    assert all(torch.equal(there[key], here[key]) for key in there)


@pytest.mark.parametrize("name", [name for name in SWITCHES if name not in ("twins", "all")])
def test_a_batch_in_parts_is_a_batch_in_one(name: str) -> None:
    """All but `twins`, which depends on the statistics of a part. Adam makes much of little, so gradients are told."""
    recipe, spec = sngan(**SWITCHES[name], steps=3, learning_rate=1e-7), SPECS["8x8"]
    whole, batches = trainer_of(recipe, spec)
    whole.run(batches)
    parts = Trainer(recipe, spec, seed=0, device=torch.device("cpu"), accumulate=2)
    parts.run(batches)
    for kind in recipe.updates():
        for one, two in zip(*(t.optimizers[kind.name].param_groups[0]["params"] for t in (whole, parts)), strict=True):
            torch.testing.assert_close(one.grad, two.grad, atol=1e-5, rtol=1e-3)
    if "lecam" in whole.networks:
        torch.testing.assert_close(*(t.networks["lecam"].state_dict() for t in (whole, parts)))


@pytest.mark.parametrize("settings", SWITCHES.values(), ids=SWITCHES)
def test_saved_equals_loaded(settings: dict[str, object], tmp_path: Path) -> None:
    fitted = ga.fit(dataset(SPECS["8x8"]), sngan(**settings), out=tmp_path / "gan", min_images=0, progress=False)
    loaded = ga.load(tmp_path / "gan")
    assert loaded.recipe == fitted.recipe
    assert torch.equal(loaded.sample([0, 1], [3, 4]).images, fitted.sample([0, 1], [3, 4]).images)


def test_settings_that_cannot_work_are_refused() -> None:
    for ramp in ((0.5, 0.5), (0.6, 0.5), (-0.1, 0.5), (0.2, 1.1), (0.1,)):
        with pytest.raises(ga.ConfigError, match="ramp as two rising shares"):
            sngan(ramp=ramp)
    for name in ("spectral", "twins", "noise", "lecam"):
        with pytest.raises(ga.ConfigError, match=f"{name} of at least 0"):
            sngan(**{name: -0.1})
    with pytest.raises(ga.ConfigError, match="mapping True or False"):
        sngan(mapping=1)
    with pytest.raises(ga.ConfigError, match="shared of at least 0, a whole number"):
        sngan(shared=0.5)
    with pytest.raises(ga.ConfigError, match=r"shared of at most 1 .* image_size="):
        sngan(shared=2).networks(SPECS["8x8"])
