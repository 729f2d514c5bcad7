"""Unconditional generators for several classes: one a class, or labelled by a judge."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gan_augment as ga
from gan_augment.errors import ConfigError, SynthesizerError
from gan_augment.seeds import uniforms
from gan_augment.synthesizers import labelled_by, per_class, wrap
from gan_augment.types import Features, Synthesizer
from tests.helpers import Pictures, toy_synthesizer
from tests.synthesizers.released import dcgan, style, translator


def test_one_generator_a_class() -> None:
    a, b, both = style(0, seed=1), style(0, seed=2), style(3)
    gan = per_class({"nevus": a, "melanoma": b, "other": (both, 2)})
    assert isinstance(gan, Synthesizer)
    assert gan.class_names == ["nevus", "melanoma", "other"]
    images = gan.sample([1, 0, 2, 1], [1, 2, 3, 4]).images
    torch.testing.assert_close(images[[0, 3]], b.sample([0, 0], [1, 4]).images)
    torch.testing.assert_close(images[[1]], a.sample([0], [2]).images)
    torch.testing.assert_close(images[[2]], both.sample([2], [3]).images)
    assert gan.sample([], []).images.shape == (0, 1, 16, 16)
    assert gan.licence == "cc-by-4.0"
    assert gan.fingerprint != per_class({"nevus": b, "melanoma": a, "other": (both, 2)}).fingerprint
    assert not gan.needs_parents


def test_parts_that_make_images_of_images(tmp_path: Path) -> None:
    train = Pictures((9, 6, 5), channels=3, size=16)
    made, drawn = translator(class_names=["2"], parents={"2": "0"}), dcgan(0)
    gan = per_class({"2": made, "1": drawn})
    assert gan.needs_parents
    live = ga.GANAugmentedDataset(
        train, gan, sampling_strategy={"2": 9, "1": 9}, synthetic_share=1.0, live=True
    )  # which draws each as it is to be drawn
    labels = [int(live[row][1]) for row in range(len(train), len(live))]
    assert sorted(set(labels)) == [1, 2]
    pool = ga.SyntheticPool.build(gan, train, selector=None, counts={"1": 3, "2": 3}, reserve=1)
    parents = pool.candidates().parents[pool.candidates().labels == 2]
    assert set(ga.RawView.of(train).targets[parents]) == {0}


def test_licences_of_parts_are_joined() -> None:
    by, unknown = style(0), style(0)
    unknown.provenance = replace(unknown.provenance, licence=None)
    nc = style(0)
    nc.provenance = replace(nc.provenance, licence="cc-by-nc-4.0")
    assert per_class({"a": by, "b": nc}).licence == "cc-by-4.0; cc-by-nc-4.0"
    assert per_class({"a": nc, "b": unknown}).licence == "cc-by-nc-4.0; not known of one of its parts"
    assert per_class({"a": unknown}).licence is None
    assert [one["licence"] for one in per_class({"a": by, "b": nc}).origins] == ["cc-by-4.0", "cc-by-nc-4.0"]


def test_where_the_networks_are() -> None:
    from gan_augment.synthesizers.checks import _devices

    assert _devices(per_class({"a": style(0), "b": dcgan(0)})) == {"cpu"}
    assert _devices(labelled_by(per_class({"a": style(0).to("meta")}), LightJudge())) == {"meta"}


def test_parts_are_matched_by_name() -> None:
    gan = per_class({"b": style(class_names=["a", "b", "c"])})
    torch.testing.assert_close(gan.sample([0], [7]).images, style().sample([1], [7]).images)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({}, "a synthesizer for each class by name, found none"),
        ({9: style(0)}, "classes by name, as text, found 9"),
        ({"a": "x"}, "a synthesizer for a, found str"),
        ({"a": style()}, "a class a, or of a single class, found one of 3"),
        ({"a": (style(), 3)}, "from 0 to 2 for a, found 3"),
        ({"a": (style(class_names=["x", "y", "z"]), "q")}, "a class q"),
    ],
)
def test_parts_that_cannot_be(parts: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        per_class(parts)


def test_parts_of_other_shapes() -> None:
    gan = per_class({"a": style(0), "b": dcgan(0)})
    with pytest.raises(SynthesizerError, match=r"one shape from all parts, found .* give each as ga.adapt"):
        gan.sample([0, 1], [0, 1])


class LightJudge:
    """Takes an image for the class that its light is nearest to: -0.5, 0, 0.5."""

    classes = ("dark", "grey", "light")
    image_spec = None
    fingerprint = "light"

    def extract(self, images: torch.Tensor) -> Features:
        light = images.mean((1, 2, 3))[:, None].numpy()
        probs = np.exp(-20 * (light - np.array([[-0.5, 0, 0.5]])) ** 2)
        probs /= probs.sum(1, keepdims=True)
        return Features(light, probs, None)

    def save(self, folder: Any) -> Any:
        raise NotImplementedError


def any_light(labels: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
    light = torch.from_numpy(2 * uniforms(seeds.numpy(), 1)[:, 0] - 1).float()
    return light[:, None, None, None].expand(-1, 1, 8, 8)


def test_a_judge_labels_what_is_drawn() -> None:
    gan = labelled_by(wrap(any_light, num_classes=1, image_shape=(1, 8, 8)), LightJudge(), confidence=0.8)
    assert isinstance(gan, Synthesizer)
    labels, seeds = np.arange(60) % 3, np.arange(60)
    images = gan.sample(labels, seeds).images
    probs = LightJudge().extract(images).probs
    assert probs is not None
    assert (probs.argmax(1) == labels).all()
    assert probs.max(1).min() >= 0.8
    assert len(np.unique(images[:, 0, 0, 0])) == 60  # no image is given twice
    for rows in ([4], [4, 9, 2, 41], list(range(59, -1, -1))):  # whatever it is drawn with
        torch.testing.assert_close(gan.sample(labels[rows], seeds[rows]).images, images[rows])
    assert gan.sample([], []).images.shape == (0, 1, 8, 8)


def test_a_class_that_is_never_drawn_is_told_of() -> None:
    dark = wrap(lambda y, s: torch.full((len(y), 1, 8, 8), -0.5), num_classes=1, image_shape=(1, 8, 8))
    gan = labelled_by(dark, LightJudge(), tries=20)
    assert gan.sample([0], [1]).images.mean() == -0.5
    with pytest.raises(SynthesizerError, match=r"takes for light .* among 20 draws, found none"):
        gan.sample([0, 2], [1, 1])


def test_a_real_judge_of_another_grid() -> None:
    train = Pictures((12, 12, 12))
    judge = ga.TrainedExtractor.fit(train, steps=40, batch_size=16, width=32, progress=False)
    gan = labelled_by(toy_synthesizer(), judge, confidence=0.34, tries=200)
    assert gan.class_names == ["0", "1", "2"]
    images = gan.sample([0, 1, 2], [1, 2, 3]).images
    assert images[0].mean() < images[2].mean()
    pool = ga.SyntheticPool.build(gan, train, selector=None, counts={"2": 5}, reserve=1)
    assert len(pool) == 5


def test_judges_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="a judge with classes"):
        labelled_by(style(0), "judge")
    with pytest.raises(ConfigError, match="expected a synthesizer"):
        labelled_by("gan", LightJudge())
    with pytest.raises(ConfigError, match="confidence= from 0 to 1"):
        labelled_by(style(0), LightJudge(), confidence=2)
