"""The switchable parts of the class-conditional networks: shared stages, the ramp, the parameters of a class."""

from collections.abc import Callable

import pytest
import torch

from gan_augment.errors import ConfigError
from gan_augment.networks import ClassGenerator, NetworkSpec, ProjectionDiscriminator

SPECS = [
    NetworkSpec(channels=1, grid=(8, 8), num_classes=3),
    NetworkSpec(channels=3, grid=(32, 48), num_classes=3),
    NetworkSpec(channels=2, grid=(8, 16, 8), num_classes=3),
]
WIDTH = 64


def every_shared() -> list[object]:
    return [
        pytest.param(spec, shared, id=f"{'x'.join(map(str, spec.grid))} {shared}")
        for spec in SPECS
        for shared in range(1, spec.levels + 1)
    ]


@pytest.mark.parametrize(("spec", "shared"), every_shared())
def test_shared_stages_do_not_see_the_class_and_the_others_do(spec: NetworkSpec, shared: int) -> None:
    generator = ClassGenerator(spec, 16, WIDTH, shared=shared)
    latents = torch.randn(2, 16)
    drawn = [generator(latents, torch.tensor([y, y]), whole=True) for y in (0, 1)]
    (first, first_low, _), (second, second_low, _) = drawn
    assert first_low is not None
    assert second_low is not None
    assert first_low.shape == (2, spec.channels, *[side * 2 ** (shared - 1) for side in spec.bottom])
    assert torch.equal(first_low, second_low)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize(("spec", "shared"), every_shared())
def test_low_images_are_judged_whatever_their_batch(spec: NetworkSpec, shared: int) -> None:
    discriminator = ProjectionDiscriminator(spec, WIDTH, shared=shared).eval()
    images = torch.rand(3, spec.channels, *[side * 2 ** (shared - 1) for side in spec.bottom]) * 2 - 1
    logits = discriminator(images)
    assert logits.shape == (3,)
    torch.testing.assert_close(discriminator(images[1:2]), logits[1:2])


@pytest.mark.parametrize(
    "build",
    [
        lambda **kw: ClassGenerator(SPECS[0], 16, WIDTH, **kw),
        lambda **kw: ProjectionDiscriminator(SPECS[0], WIDTH, **kw),
    ],
)
def test_a_class_must_be_seen_by_some_stage(build: Callable[..., object]) -> None:
    with pytest.raises(ConfigError, match=r"shared of at most 1 .* found 2"):
        build(shared=2)


def test_at_the_foot_of_the_ramp_no_class_is_seen_and_at_its_top_all_of_it() -> None:
    generator = ClassGenerator(SPECS[0], 16, WIDTH)
    latents, labels = torch.randn(3, 16), torch.tensor([0, 1, 2])
    foot = generator.condition(latents, labels, 0.0)
    assert torch.equal(foot[:, :16], latents)
    assert not foot[:, 16:].any()
    drawn = generator(latents, labels, 0.0)
    assert torch.equal(drawn, generator(latents, labels.flip(0), 0.0))
    assert torch.equal(generator(latents, labels, 1.0), generator(latents, labels))
    assert not torch.allclose(drawn, generator(latents, labels))


def test_the_unconditional_head_does_not_see_the_class() -> None:
    discriminator = ProjectionDiscriminator(SPECS[0], WIDTH, unconditional=True).eval()
    images = torch.rand(3, 1, 8, 8)
    first, free = discriminator(images, torch.tensor([0, 0, 0]), both=True)
    second, free_too = discriminator(images, torch.tensor([1, 1, 1]), both=True)
    assert torch.equal(free, free_too)
    assert not torch.allclose(first, second)
    assert torch.equal(first, discriminator(images, torch.tensor([0, 0, 0])))


@pytest.mark.parametrize("mapping", [False, True])
def test_class_parameters_are_what_a_class_adds_to_scale_and_shift(mapping: bool) -> None:
    spec = SPECS[1]
    generator = ClassGenerator(spec, 16, WIDTH, shared=1, mapping=mapping)
    parameters = generator.class_parameters()
    norms = [norm for block in generator.blocks for norm in (block.norm1, block.norm2)]
    assert [tuple(p.shape) for p in parameters] == [(3, norm.norm.num_channels) for norm in norms for _ in range(2)]
    condition = generator.condition(torch.zeros(1, 16), torch.tensor([2]))
    expected = norms[1].affine(condition)[0]
    torch.testing.assert_close(torch.cat([parameters[2][2], parameters[3][2]]), expected)


def test_without_switches_there_are_no_more_weights() -> None:
    """Synthesizers that were stored before the switches load."""
    generator, discriminator = ClassGenerator(SPECS[0], 16, WIDTH), ProjectionDiscriminator(SPECS[0], WIDTH)
    assert {key.split(".")[0] for key in generator.state_dict()} == {"embed", "first", "blocks", "last"}
    assert {key.split(".")[0] for key in discriminator.state_dict()} == {"embed", "trunk", "linear"}
