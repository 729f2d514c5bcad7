"""icgan: features are frozen when neighbours are found, and finding them changes nothing."""

import torch

from gan_augment.recipes import ICGAN, Part
from tests.contracts.test_recipes import SPECS, trainer_of


def test_finding_neighbours_leaves_networks_and_random_numbers_alone() -> None:
    recipe = ICGAN(steps=4, batch_size=6)
    trainer, batches = trainer_of(recipe, SPECS["8x8"])
    for network in trainer.networks.values():
        network.train()
    trainer.networks["decoder"].eval()
    before = {n: {k: v.clone() for k, v in m.state_dict().items()} for n, m in trainer.networks.items()}
    state = torch.get_rng_state()
    batches(3, Part(0, 1, 6))
    assert torch.equal(state, torch.get_rng_state())
    for name, network in trainer.networks.items():
        assert all(module.training == (name != "decoder") for module in network.modules())
        for key, value in network.state_dict().items():
            assert torch.equal(value, before[name][key])


def test_features_stand_still_in_the_adversarial_phase() -> None:
    recipe = ICGAN(steps=6, batch_size=6, features_share=0.5)
    trainer, batches = trainer_of(recipe, SPECS["8x8"])
    states: dict[int, torch.Tensor] = {}
    images = batches(0, Part(0, 1, 6))["real"]
    trainer.run(batches, after_step=lambda step, _: states.update({step: trainer.embed(images)}))
    assert not torch.equal(states[2], states[3])
    assert all(torch.equal(states[3], states[step]) for step in (4, 5, 6))


def test_samples_depend_on_the_source_by_its_features_only() -> None:
    networks = ICGAN().networks(SPECS["8x8"])
    recipe, latents, labels = ICGAN(), torch.randn(4, 64), torch.tensor([0, 1, 2, 0])
    source = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        drawn = recipe.draw(networks, labels, latents, {"source": source})
        other = recipe.draw(networks, labels, latents, {"source": source.flip(0)})
        for parameter in networks["features"].parameters():
            parameter.zero_()
        blind = recipe.draw(networks, labels, latents, {"source": source})
        assert torch.equal(blind, recipe.draw(networks, labels, latents, {"source": source.flip(0)}))
    assert not torch.allclose(drawn, other)
    assert not torch.allclose(drawn, blind)
