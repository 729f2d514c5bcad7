"""The one training loop. It names no recipe: updates, losses and needs come from the Recipe protocol."""

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gan_augment.errors import ConfigError, TrainingError
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import Part, Recipe, Tools, Update
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
        accumulate: Parts that a batch is worked off in, one after the other; the result is that of one part.

    Attributes:
        networks: The networks as they train.
        averaged: Moving averages of those that the recipe names.
        step: Steps done.

    Raises:
        ConfigError: The batch cannot be cut into equal parts.
    """

    def __init__(
        self, recipe: Recipe, spec: NetworkSpec, *, seed: int, device: torch.device, accumulate: int = 1
    ) -> None:
        self.recipe, self.seed, self.device = recipe, seed, device
        self._parts = _parts(recipe.batch_size, accumulate)
        with torch.random.fork_rng():
            torch.manual_seed(derive(seed, "weights"))
            self.networks = {name: network.to(device) for name, network in recipe.networks(spec).items()}
        self.averaged = {name: copy.deepcopy(self.networks[name]).requires_grad_(False) for name in recipe.averaged}
        self.step = 0
        self.optimizers: dict[str, torch.optim.Adam] = {}
        for phase in recipe.phases():
            for update in phase.updates:
                self.optimizers.setdefault(update.optimizer_name, self._optimizer(update))

    def _optimizer(self, update: Update) -> torch.optim.Adam:
        parameters = [p for name in update.parameters for p in self.networks[name].parameters()]
        return torch.optim.Adam(parameters, lr=update.learning_rate, betas=update.betas)

    def result(self) -> dict[str, nn.Module]:
        """Returns all networks, the averages in place of those that have one."""
        return {**self.networks, **self.averaged}

    def run(
        self,
        batches: Callable[[int, Part], Mapping[str, Tensor]],
        *,
        description: str | None = None,
        after_step: Callable[[int], None] | None = None,
    ) -> None:
        """Trains to the recipe's last step.

        Args:
            batches: Returns a part of the batch of a step.
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
                terms = self._take_step(batches)
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
            names |= {u.optimizer_name for u in self.recipe.phase_at(earlier).updates if earlier % u.every == 0}
            if len(names) == len(self.optimizers):
                break
        return names

    def _take_step(self, batches: Callable[[int, Part], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        phase = self.recipe.phase_at(self.step)
        if phase.begin is not None and self.step in self.recipe.first_steps():
            phase.begin(self.networks)
        parts = [(part, batches(self.step, part)) for part in self._parts]
        terms: dict[str, Tensor] = {}
        for update in phase.updates:
            if self.step % update.every == 0:
                terms.update(self._update(update, parts))
        self._average()
        return terms

    def _update(self, update: Update, parts: Sequence[tuple[Part, Mapping[str, Tensor]]]) -> dict[str, Tensor]:
        for name, network in self.networks.items():
            network.requires_grad_(name in update.parameters)
        progress = self.step / self.recipe.steps
        optimizer = self.optimizers[update.optimizer_name]
        if update.schedule is not None:
            optimizer.param_groups[0].update(update.schedule(progress))
        optimizer.zero_grad(set_to_none=True)
        terms: dict[str, Tensor] = {}
        state = torch.get_rng_state()
        for part, batch in parts:
            torch.set_rng_state(state)  # each part draws the numbers of the whole batch, and keeps its own
            losses = update.loss(self.networks, batch, Tools(self.recipe.augmentation, progress, self.step, part))
            (torch.stack(list(losses.values())).sum() / len(parts)).backward()
            for name, value in losses.items():
                key = f"{update.name}_{name}"
                terms[key] = terms.get(key, torch.zeros_like(value)) + value.detach() / len(parts)
        optimizer.step()
        return terms

    @torch.no_grad()
    def _average(self) -> None:
        decay = self.recipe.decay(self.step)
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


def _parts(batch_size: int, accumulate: int) -> list[Part]:
    if batch_size % accumulate:
        raise ConfigError(
            f"expected a batch_size that {accumulate} parts divide evenly, found {batch_size}; change batch_size or "
            "accumulate"
        )
    return [Part(index, accumulate, batch_size // accumulate) for index in range(accumulate)]
