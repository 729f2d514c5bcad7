"""The one training loop. It names no recipe: updates, losses and needs come from the Recipe protocol."""

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gan_augment.errors import TrainingError
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import Phase, Recipe, Tools, Update
from gan_augment.seeds import derive

__all__ = ["Trainer"]

_CHECK_EVERY = 20


class Trainer:
    """Trains the networks of a recipe.

    All randomness of a step is a function of (seed, step), so the state is networks, averages, optimisers and the
    number of steps done.

    Args:
        recipe: What to train.
        spec: What to build for.
        seed: Of initial weights, latents and augmentation.
        device: Where to train.

    Attributes:
        networks: The networks as they train.
        averaged: Moving averages of those that the recipe names.
        step: Steps done.
    """

    def __init__(self, recipe: Recipe, spec: NetworkSpec, *, seed: int, device: torch.device) -> None:
        self.recipe, self.seed, self.device = recipe, seed, device
        with torch.random.fork_rng():
            torch.manual_seed(derive(seed, "weights"))
            self.networks = {name: network.to(device) for name, network in recipe.networks(spec).items()}
        self.averaged = {name: copy.deepcopy(self.networks[name]).requires_grad_(False) for name in recipe.averaged}
        self.step = 0
        self.optimizers: dict[str, torch.optim.Adam] = {}
        for phase in recipe.phases():
            for update in phase.updates:
                self.optimizers.setdefault(update.name, self._optimizer(update))

    def _optimizer(self, update: Update) -> torch.optim.Adam:
        parameters = [p for name in update.parameters for p in self.networks[name].parameters()]
        return torch.optim.Adam(parameters, lr=update.learning_rate, betas=update.betas)

    def result(self) -> dict[str, nn.Module]:
        """Returns all networks, the averages in place of those that have one."""
        return {**self.networks, **self.averaged}

    def run(
        self,
        batches: Callable[[int], Mapping[str, Tensor]],
        *,
        description: str | None = None,
        after_step: Callable[[int], None] | None = None,
    ) -> None:
        """Trains to the recipe's last step.

        Args:
            batches: Returns the batch of a step.
            description: Shown on a progress bar; None for no bar.
            after_step: Called with the number of steps done, after each.

        Raises:
            TrainingError: A loss became NaN or infinite.
        """
        for network in self.networks.values():
            network.train()
        steps = self.recipe.steps
        hidden = None if description else True
        with (
            torch.random.fork_rng(),
            tqdm(total=steps, initial=self.step, desc=description, disable=hidden, leave=False) as bar,
        ):
            while self.step < steps:
                torch.manual_seed(derive(self.seed, "step", self.step))
                terms = self._take_step(batches(self.step), self._phase(self.step / steps))
                if self.step % _CHECK_EVERY == 0 or self.step == steps - 1:
                    bar.set_postfix(self._checked(terms))
                self.step += 1
                bar.update()
                if after_step is not None:
                    after_step(self.step)

    def begun(self, step: int) -> set[str]:
        """Returns the names of the optimisers that have taken a step before `step`."""
        names: set[str] = set()
        for earlier in range(step):
            names |= {u.name for u in self._phase(earlier / self.recipe.steps).updates if earlier % u.every == 0}
            if len(names) == len(self.optimizers):
                break
        return names

    def _phase(self, progress: float) -> Phase:
        end = 0.0
        phases = self.recipe.phases()
        for phase in phases:
            end += phase.share
            if progress < end:
                return phase
        return phases[-1]

    def _take_step(self, batch: Mapping[str, Tensor], phase: Phase) -> dict[str, Tensor]:
        tools = Tools(self.recipe.augmentation, self.step / self.recipe.steps)
        terms: dict[str, Tensor] = {}
        for update in phase.updates:
            if self.step % update.every:
                continue
            for name, network in self.networks.items():
                network.requires_grad_(name in update.parameters)
            losses = update.loss(self.networks, batch, tools)
            optimizer = self.optimizers[update.name]
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(losses.values())).sum().backward()
            optimizer.step()
            terms.update({f"{update.name}_{name}": value.detach() for name, value in losses.items()})
        self._average()
        return terms

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))  # forgets the initial weights early on
        for name, average in self.averaged.items():
            own: list[Tensor] = list(average.parameters())
            live: list[Tensor] = list(self.networks[name].parameters())
            torch._foreach_lerp_(own, live, 1 - decay)
            for kept, buffer in zip(average.buffers(), self.networks[name].buffers(), strict=True):
                kept.copy_(buffer)

    def _checked(self, terms: Mapping[str, Tensor]) -> dict[str, str]:
        values = {name: float(value) for name, value in terms.items()}
        if not all(torch.isfinite(torch.tensor(value)) for value in values.values()):
            raise TrainingError(
                f"expected finite losses, found {values} at step {self.step}; the training diverged. Lower the "
                "learning rate, or look for images with extreme values"
            )
        return {name: f"{value:.3g}" for name, value in values.items()}
