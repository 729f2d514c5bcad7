"""A dry run: what it counts, and that it leaves no trace."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gan_augment.cli import app
from gan_augment.recipes import R3GAN, RECIPES
from gan_augment.training.plan import PhasePlan, Plan, plan
from tests.conftest import untouched_rng
from tests.contracts.cyclegan import CycleShaped
from tests.test_cli import digits_folder
from tests.training.test_trainer import data, fit, quick, same_weights


def test_counts_are_those_of_the_networks() -> None:
    recipe = quick()
    planned = plan(data(), recipe, min_images=0, progress=False)  # type: ignore[arg-type]
    networks = fit(recipe).networks
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
    assert planned.networks == counts
    assert planned.memory["Adam"] == 2 * 4 * sum(counts.values())
    assert planned.memory["weights"] >= 4 * sum(counts.values())  # type: ignore[operator]
    assert 4 * counts["generator"] == planned.memory["averages"]
    assert planned.memory["peak"] > planned.memory["weights"]  # type: ignore[operator]
    assert planned.steps == 12
    assert planned.batch_size == 8


def test_time_is_of_all_phases() -> None:
    phases = [
        PhasePlan(name="first", steps=100, seconds_a_step=0.5),
        PhasePlan(name="second", steps=300, seconds_a_step=0.1),
    ]
    known = {"device": "cpu", "precision": "fp32", "networks": {}, "memory": {}, "classes": []}
    planned = Plan(recipe="two", batch_size=8, phases=phases, **known)  # type: ignore[arg-type]
    assert planned.seconds == 80
    assert planned.images_per_second == 40
    assert "time expected: 80 s, 40 images/s" in planned.sentences()


@pytest.mark.parametrize("recipe", [*RECIPES.values(), CycleShaped], ids=lambda cls: cls.name)
def test_every_recipe_can_be_planned(recipe: type) -> None:
    planned = plan(data(), recipe(steps=20, batch_size=8), min_images=0, progress=False)
    assert planned.steps == 20
    assert all(phase.seconds_a_step > 0 for phase in planned.phases)


def test_a_lazy_penalty_is_timed_in_its_share_of_the_steps() -> None:
    seen: list[bool] = []

    class Noting(R3GAN):
        def _discriminator(self, *arguments: Any) -> Any:
            terms = super()._discriminator(*arguments)
            seen.append("penalty" in terms)
            return terms

    plan(data(), Noting(steps=20, batch_size=8), min_images=0, progress=False)
    assert np.mean(seen[1:]) == 1 / Noting().penalty_every  # the first one warms up


def test_what_is_seen_of_a_class() -> None:
    images = [image for image, _ in data(30)]
    rare = [(image, int(i >= 27)) for i, image in enumerate(images)]
    even = plan(rare, quick(label_power=0.0, steps=100), min_images=0, progress=False)  # type: ignore[arg-type]
    natural = plan(rare, quick(label_power=1.0, steps=100), min_images=0, progress=False)  # type: ignore[arg-type]
    assert [row.images for row in even.classes] == [27, 3]
    assert even.classes[1].times_an_image == pytest.approx(100 * 8 * 0.5 / 3)
    assert natural.classes[1].times_an_image == pytest.approx(100 * 8 / 30)
    assert natural.classes[1].batches == pytest.approx(100 * (1 - 0.9**8))


def test_nothing_changes() -> None:
    with untouched_rng():
        plan(data(), quick(), min_images=0, progress=False)  # type: ignore[arg-type]
    before = fit(quick())
    plan(data(), quick(), min_images=0, progress=False)  # type: ignore[arg-type]
    assert same_weights(before, fit(quick()))
    assert torch.is_grad_enabled()


def test_dry_run_of_the_command_line_writes_nothing(tmp_path: Path) -> None:
    folder = digits_folder(tmp_path / "images", {"digit 3": 24, "digit 7": 21})
    before = sorted(tmp_path.rglob("*"))
    command = ["fit", str(folder), "--out", str(tmp_path / "runs" / "gan"), "--dry-run", "--quiet"]
    told = CliRunner().invoke(app, command).stdout
    assert "generator" in told
    assert "time expected" in told
    result = json.loads(CliRunner().invoke(app, [*command, "--steps", "7", "--json"]).stdout)
    assert result["steps"] == 7
    assert [row["images"] for row in result["classes"]] == [24, 21]
    assert sorted(tmp_path.rglob("*")) == before
