"""Trainings that start from another synthesizer: classes matched by name, blocks frozen, differences shown."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import gan_augment as ga
from gan_augment.demo.digits import ArrayImages, to_tensor
from gan_augment.losses import LeCam
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import DAGAN, RECIPES, SNGAN
from gan_augment.synthesizers import TrainedSynthesizer
from gan_augment.training.finetune import freeze_blocks, start_from
from gan_augment.training.trainer import Trainer
from tests.training.test_trainer import same_weights, stopped

GRID = (16, 16)


def data(classes: str, count: int = 30, grid: tuple[int, ...] = GRID) -> ArrayImages:
    rng = np.random.default_rng(len(classes))
    images = rng.integers(0, 256, (count, *grid), dtype=np.uint8)
    return ArrayImages(images, np.arange(count) % len(classes), list(classes))


def recipe(steps: int = 6, **settings: object) -> SNGAN:
    return SNGAN(steps=steps, batch_size=8, **{"width": 32, **settings})  # type: ignore[arg-type]


def fit(classes: str, settings: object, **more: object) -> TrainedSynthesizer:
    return ga.fit(data(classes), settings, min_images=0, progress=False, **more)  # type: ignore[arg-type]


def started(init: TrainedSynthesizer, classes: str, **settings: object) -> Trainer:
    spec = NetworkSpec(channels=1, grid=GRID, num_classes=len(classes))
    trainer = Trainer(recipe(**settings), spec, seed=1, device=torch.device("cpu"))
    start_from(trainer, init, spec, list(classes))
    return trainer


@pytest.fixture(scope="module")
def pretrained() -> TrainedSynthesizer:
    return fit("abcd", recipe())


def test_classes_are_matched_by_name_and_new_ones_start_around_the_mean(pretrained: TrainedSynthesizer) -> None:
    trainer = started(pretrained, "dxby")
    for networks, name, key in (
        (trainer.networks, "generator", "embed.weight"),
        (trainer.averaged, "generator", "embed.weight"),
        (trainer.networks, "discriminator", "embed.parametrizations.weight.original"),
    ):
        old = pretrained.networks[name].state_dict()[key]
        new = networks[name].state_dict()[key]
        assert torch.equal(new[[0, 2]], old[[3, 1]])
        away = (new[[1, 3]] - old.mean(0)) / old.std(0, correction=0)
        assert away.square().mean().sqrt().item() == pytest.approx(1, abs=0.3)
        assert not torch.allclose(new[1], new[3])
    shared = [key for key in pretrained.networks["generator"].state_dict() if not key.startswith("embed")]
    here, there = trainer.networks["generator"].state_dict(), pretrained.networks["generator"].state_dict()
    assert all(torch.equal(here[key], there[key]) for key in shared)


def test_the_embedding_of_other_classes_is_under_spectral_norm_at_once(pretrained: TrainedSynthesizer) -> None:
    embed = started(pretrained, "dxb").networks["discriminator"].embed.eval()
    assert isinstance(embed, torch.nn.Module)
    norm = torch.linalg.matrix_norm(embed.weight, ord=2)
    torch.testing.assert_close(norm, torch.ones(()), atol=1e-3, rtol=0)


def test_the_same_classes_in_another_order_draw_the_same_images(pretrained: TrainedSynthesizer) -> None:
    trainer = started(pretrained, "cadb")
    latents = torch.randn(2, 64)
    generator, earlier = trainer.averaged["generator"].eval(), pretrained.networks["generator"]
    torch.testing.assert_close(generator(latents, torch.tensor([0, 3])), earlier(latents, torch.tensor([2, 1])))


def test_a_class_axis_is_told_from_one_of_the_same_length() -> None:
    """With 64 classes, the embedding `(64, 64)` has two axes of that length."""
    names = [str(i) for i in range(64)]
    spec = NetworkSpec(channels=1, grid=(8, 8), num_classes=64)
    networks = recipe().networks(spec)
    view = ga.RawView(data("ab", grid=(8, 8)), progress=False)
    init = TrainedSynthesizer(recipe(), networks, spec, class_names=names, image_spec=view.spec())
    fewer = NetworkSpec(channels=1, grid=(8, 8), num_classes=2)
    trainer = Trainer(recipe(), fewer, seed=0, device=torch.device("cpu"))
    start_from(trainer, init, fewer, ["5", "63"])
    expected = networks["generator"].state_dict()["embed.weight"][[5, 63]]
    assert torch.equal(trainer.networks["generator"].state_dict()["embed.weight"], expected)


@pytest.mark.parametrize("freeze", [1, 2])
def test_frozen_blocks_stay_bit_for_bit_and_the_others_move(pretrained: TrainedSynthesizer, freeze: int) -> None:
    tuned = fit("abx", recipe(), init=pretrained, freeze=freeze)
    before, after = (s.networks["discriminator"].state_dict() for s in (pretrained, tuned))
    kept = tuple(f"trunk.{block}." for block in range(freeze))
    for key, value in after.items():
        if key.startswith(kept):
            assert torch.equal(value, before[key]), key
        elif key.endswith("original"):
            assert value.shape != before[key].shape or not torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", ["icgan", "bagan_gp"])
def test_phases_hand_nothing_over_that_would_replace_what_was_given(name: str) -> None:
    """The one's generator would become its decoder, the other's critic its encoder, frozen blocks included."""
    settings = {"steps": 4, "batch_size": 8, "width": 32}
    given = fit("abcd", RECIPES[name](learning_rate=1e-3, **settings))  # type: ignore[arg-type]
    tuned = fit("abcd", RECIPES[name](learning_rate=1e-12, **settings), init=given, freeze=1)  # type: ignore[arg-type]
    for network in ("generator", "discriminator"):
        before, after = (s.networks[network].state_dict() for s in (given, tuned))
        for key, value in after.items():
            if not key.endswith(("_u", "_v")):
                torch.testing.assert_close(value, before[key], atol=1e-6, rtol=0, msg=f"{network} {key}")


def test_frozen_parameters_have_no_optimiser_state(pretrained: TrainedSynthesizer) -> None:
    trainer = started(pretrained, "ab")
    whole = len(trainer.optimizers["d"].param_groups[0]["params"])
    freeze_blocks(trainer, 1)
    block = next(iter(trainer.networks["discriminator"].trunk.children()))  # type: ignore[operator, union-attr]
    assert len(trainer.optimizers["d"].param_groups[0]["params"]) == whole - len(list(block.parameters()))


def test_resumed_equals_unbroken_with_frozen_blocks(pretrained: TrainedSynthesizer, tmp_path: Path) -> None:
    settings = {"init": pretrained, "freeze": 1, "checkpoint_every": 3}
    with stopped(5):
        fit("abx", recipe(), out=tmp_path / "gan", **settings)
    with pytest.raises(ga.ArtifactError, match="freeze 1 there, 2 now"):
        fit("abx", recipe(), out=tmp_path / "gan", **{**settings, "freeze": 2})
    resumed = fit("abx", recipe(), out=tmp_path / "gan", **settings)
    assert same_weights(resumed, fit("abx", recipe(), init=pretrained, freeze=1))


def test_what_the_first_training_saw_is_not_forgotten(pretrained: TrainedSynthesizer) -> None:
    tuned = fit("abx", recipe(2), init=pretrained)
    assert set(pretrained.fitted_on.images) < set(tuned.fitted_on.images)
    with pytest.raises(ga.DataError, match="shared"):
        ga.check_no_overlap(data("abcd"), tuned)


def test_moving_averages_of_a_loss_start_afresh(pretrained: TrainedSynthesizer) -> None:
    trainer = started(fit("abcd", recipe(lecam=0.1)), "abcd")
    assert "lecam" not in trainer.networks
    fresh = started(pretrained, "abcd", lecam=0.1).networks["lecam"]
    assert fresh.state_dict().keys() == LeCam().state_dict().keys()
    assert not fresh.state_dict()["anchors"].any()


def test_what_does_not_fit_is_shown(pretrained: TrainedSynthesizer) -> None:
    with pytest.raises(ga.ConfigError, match=r"freeze=1, found none"):
        fit("abx", recipe(), freeze=1)
    with pytest.raises(ga.ConfigError, match=r"freeze of at most 2, .* found 3"):
        fit("abx", recipe(), init=pretrained, freeze=3)
    with pytest.raises(ga.ConfigError, match=r"recipe dagan, found one of sngan"):
        fit("abx", DAGAN(steps=2, batch_size=8), init=pretrained)
    with pytest.raises(ga.ConfigError, match=r"bring its networks.* found str"):
        fit("abx", recipe(), init="runs/gan")
    with pytest.raises(ga.ArtifactError, match=r"of another shape: .*conv1\.bias \(32,\) instead of \(64,\)"):
        fit("abx", recipe(width=64), init=pretrained)
    with pytest.raises(
        ga.ArtifactError, match=r"of another shape: .*first\.weight \(512, 128\) instead of \(512, 96\)"
    ):
        fit("abx", recipe(latent_dim=32), init=pretrained)
    with pytest.raises(ga.ArtifactError, match=r"missing: low\.0\.bias"):
        fit("abx", recipe(shared=1), init=pretrained)


def test_another_size_is_told_with_the_way_out(pretrained: TrainedSynthesizer) -> None:
    side = 2 * max(GRID)
    with pytest.raises(ga.ArtifactError, match=rf"found 1x{side}x{side}; give image_size={max(GRID)}, or train anew"):
        fit("abx", recipe(), init=pretrained, image_size=side)


def test_the_command_line_tunes(pretrained: TrainedSynthesizer, tmp_path: Path) -> None:
    from PIL import Image
    from typer.testing import CliRunner

    from gan_augment.cli import app

    earlier = fit("abcd", DAGAN(steps=2, batch_size=8, width=32), out=tmp_path / "earlier")
    images = data("ab", 8)
    for index, (image, label) in enumerate(zip(images.images, images.targets, strict=True)):
        (tmp_path / "train" / "ab"[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "train" / "ab"[label] / f"{index}.png")
    told = ["fit", str(tmp_path / "train"), "--out", str(tmp_path / "gan"), "--init", str(tmp_path / "earlier")]
    ran = CliRunner().invoke(app, [*told, "--steps", "2", "--min-images", "0", "--quiet"])
    assert isinstance(ran.exception, ga.ArtifactError)  # the recipe's own width is another
    assert "of another shape" in str(ran.exception)
    earlier = fit("abcd", DAGAN(steps=2, batch_size=8), out=tmp_path / "wide")
    told[-1] = str(tmp_path / "wide")
    ran = CliRunner().invoke(app, [*told, "--steps", "2", "--min-images", "0", "--quiet", "--freeze", "1"])
    assert ran.exit_code == 0, ran.output
    assert set(earlier.fitted_on.images) < set(ga.load(tmp_path / "gan").fitted_on.images)


def digits() -> tuple[ArrayImages, ArrayImages, Callable[[TrainedSynthesizer], float]]:
    """Returns the digits 0 to 6, twelve each of 7, 8 and 9, and the share of samples that are what they should be."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images, targets = np.round(found.images * (255 / 16)).astype(np.uint8), found.target.astype(np.int64)
    many, rare = targets < 7, np.concatenate([np.flatnonzero(targets == label)[:12] for label in (7, 8, 9)])
    everything = ArrayImages(images, targets, "0123456789", to_tensor)
    oracle = ga.TrainedExtractor.fit(everything, steps=300, progress=False)

    def agreement(synthesizer: TrainedSynthesizer) -> float:
        labels = np.repeat([0, 1, 2], 100)
        probs = oracle.extract(synthesizer.sample(labels, np.arange(300)).images).probs
        assert probs is not None
        return float((probs.argmax(1) == labels + 7).mean())

    first = ArrayImages(images[many], targets[many], "0123456", to_tensor)
    return first, ArrayImages(images[rare], targets[rare] - 7, "789", to_tensor), agreement


@pytest.mark.slow
def test_tuning_beats_starting_from_scratch() -> None:
    first, rare, agreement = digits()
    settings = {"batch_size": 32, "learning_rate": 5e-4}
    pretrained = ga.fit(first, SNGAN(steps=300, **settings), min_images=0, progress=False)  # type: ignore[arg-type]
    few = SNGAN(steps=60, **settings)  # type: ignore[arg-type]
    scratch = ga.fit(rare, few, min_images=0, progress=False)
    tuned = ga.fit(rare, few, init=pretrained, min_images=0, progress=False)
    assert agreement(tuned) > agreement(scratch) + 0.1
