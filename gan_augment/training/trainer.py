"""The one training loop. It names no recipe: updates, losses and needs come from the Recipe protocol."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gan_augment.errors import ConfigError, TrainingError
from gan_augment.networks import NetworkSpec
from gan_augment.ranks import Ranks
from gan_augment.recipes import Part, Recipe, Tools, Update
from gan_augment.seeds import derive
from gan_augment.training.precision import lower_precision

__all__ = ["Trainer"]

_CHECK_EVERY = 20

_Loaded = tuple[Part, Mapping[str, Tensor]]


class Trainer:
    """Trains the networks of a recipe.

    All randomness of a step is a function of (seed, step), so the state is networks, averages, optimisers and the
    number of steps done.

    However many processes and parts share a batch, the result is that of one, but for rounding, for every recipe
    whose losses are means over images and whose networks keep no batch statistics (batch normalisation). A term that
    takes every fourth image (`diversity`), or every second (`delta`), asks for parts of a multiple of so many images
    besides. Iterates that networks keep in buffers, such as spectral norm's and moving averages, start each part from
    the same values and end as the mean over the parts; those fed with batch means go through `Tools.average`, so that
    processes agree.

    Args:
        recipe: What to train.
        spec: What to build for.
        seed: Of initial weights, latents and augmentation.
        device: Where to train.
        accumulate: Parts that a process works its share of a batch off in, one after the other.
        ranks: The processes that train together; None for this one alone.
        precision: "fp32", "bf16" or "fp16" for the networks; all else is float32.
        channels_last: Whether tensors of 2-D images lie in memory with the channels last.

    Attributes:
        networks: The networks as they train.
        averaged: Moving averages of those that the recipe names.
        scaler: Keeps fp16 gradients from vanishing; does nothing in other precisions.
        step: Steps done.
        hands_over: Whether phases begin by handing weights from one network to another; not where all networks start
            from those of a synthesizer.
        shown: What else the progress bar shows.

    Raises:
        ConfigError: The batch cannot be cut into equal parts.
    """

    def __init__(
        self,
        recipe: Recipe,
        spec: NetworkSpec,
        *,
        seed: int,
        device: torch.device,
        accumulate: int = 1,
        ranks: Ranks | None = None,
        precision: str = "fp32",
        channels_last: bool = False,
    ) -> None:
        self.ranks = ranks or Ranks(device)
        self.recipe, self.seed, self.device, self.precision = recipe, seed, device, precision
        self._parts = _parts(recipe.batch_size, self.ranks, accumulate)
        self._layout = torch.channels_last if channels_last and spec.ndim == 2 else torch.preserve_format
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        with self._forked():
            torch.manual_seed(derive(seed, "weights"))
            fresh = recipe.networks(spec)
        self.networks = {n: network.to(memory_format=self._layout).to(device) for n, network in fresh.items()}
        self.averaged = {name: copy.deepcopy(self.networks[name]).requires_grad_(False) for name in recipe.averaged}
        self.step = 0
        self.hands_over = True
        self.shown: dict[str, str] = {}
        self.freeze([])

    def freeze(self, modules: Sequence[nn.Module]) -> None:
        """Takes modules out of the training before its first step.

        They get no gradients and no optimiser state, and are in eval mode, so their buffers stay as they are too.
        """
        self._frozen = list(modules)
        self.optimizers: dict[str, torch.optim.Adam] = {}
        for phase in self.recipe.phases():
            for update in phase.updates:
                self.optimizers.setdefault(update.optimizer_name, self._optimizer(update))

    def _optimizer(self, update: Update) -> torch.optim.Adam:
        frozen = {id(parameter) for module in self._frozen for parameter in module.parameters()}
        every = [p for name in update.parameters for p in self.networks[name].parameters() if id(p) not in frozen]
        return torch.optim.Adam(every, lr=update.learning_rate, betas=update.betas)

    def result(self) -> dict[str, nn.Module]:
        """Returns all networks, the averages in place of those that have one."""
        return {**self.networks, **self.averaged}

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Returns the recipe's features `(N, D)` of images by the networks in eval mode; changes no state of theirs."""
        modes = {module: module.training for network in self.networks.values() for module in network.modules()}
        for network in self.networks.values():
            network.eval()
        try:
            return self.recipe.embed(self.networks, images)
        finally:
            for module, mode in modes.items():
                module.training = mode

    def run(
        self,
        batches: Callable[[int, Part], Mapping[str, Tensor]],
        *,
        description: str | None = None,
        after_step: Callable[[int, Mapping[str, Tensor]], bool | None] | None = None,
    ) -> None:
        """Trains to the recipe's last step.

        Args:
            batches: Returns a part of the batch of a step.
            description: Shown on a progress bar; None for no bar.
            after_step: Called with the number of steps done and the last one's loss terms, after each; True ends the
                training.

        Raises:
            TrainingError: A loss became NaN or infinite.
        """
        steps = self.recipe.steps
        hidden = None if description else True
        with (
            self.training(),
            tqdm(total=steps, initial=self.step, desc=description, disable=hidden, leave=False) as bar,
        ):
            while self.step < steps:
                torch.manual_seed(derive(self.seed, "step", self.step))
                terms = self._take_step(batches)
                if self.step % _CHECK_EVERY == 0 or self.step == steps - 1:
                    bar.set_postfix({**self._checked(terms), **self.shown, **self._speed(bar)})
                self.step += 1
                bar.update()
                if after_step is not None and after_step(self.step, terms):
                    break
        weights = [tensor for network in self.result().values() for tensor in network.state_dict().values()]
        self.ranks.same(weights)
        if not all(bool(tensor.isfinite().all()) for tensor in weights):
            raise TrainingError(
                f"expected finite weights after step {self.step}, found NaN or infinity; the training diverged. Lower "
                "the learning rate"
            )

    @contextmanager
    def training(self) -> Iterator[None]:
        """Has the networks train, in their precision, and leaves the global random state as it was."""
        for network in self.networks.values():
            network.train()
        with self._forked(), lower_precision(self.networks, self.device, self.precision):
            yield

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
        if self.hands_over and phase.begin is not None and self.step in self.recipe.first_steps():
            phase.begin(self.networks)
            for name, average in self.averaged.items():  # of what is no longer there, it would fade slowly
                average.load_state_dict(self.networks[name].state_dict())
        parts = self.load(batches)
        terms: dict[str, Tensor] = {}
        for update in phase.updates:
            if self.step % update.every == 0:
                terms.update(self.update(update, parts))
        self.average()
        return terms

    def load(self, batches: Callable[[int, Part], Mapping[str, Tensor]]) -> list[_Loaded]:
        """Returns this process's parts of the batch of the step."""
        parts = [(part, batches(self.step, part)) for part in self._parts]
        if self._layout is torch.preserve_format:
            return parts
        return [
            (part, {n: t.contiguous(memory_format=self._layout) if t.ndim == 4 else t for n, t in batch.items()})
            for part, batch in parts
        ]

    def update(self, update: Update, parts: Sequence[_Loaded]) -> dict[str, Tensor]:
        """Takes one optimiser step on a batch; returns the means of its loss terms over this process's parts."""
        for name, network in self.networks.items():
            network.requires_grad_(name in update.parameters)
        for module in self._frozen:
            module.requires_grad_(False).eval()
        progress = self.step / self.recipe.steps
        optimizer = self.optimizers[update.optimizer_name]
        if update.schedule is not None:
            optimizer.param_groups[0].update(update.schedule(progress))
        optimizer.zero_grad(set_to_none=True)
        terms: dict[str, Tensor] = {}
        for part, batch in self._each(parts):
            tools = Tools(self.recipe.augmentation, progress, self.step, part, self.ranks.average)
            losses = update.loss(self.networks, batch, tools)
            self.scaler.scale(torch.stack(list(losses.values())).sum() / len(parts)).backward()
            for name, value in losses.items():
                key = f"{update.name}_{name}"
                terms[key] = terms.get(key, torch.zeros_like(value)) + value.detach() / len(parts)
        self.ranks.average_gradients(optimizer.param_groups[0]["params"])
        self.scaler.step(optimizer)
        self.scaler.update()
        return terms

    def _each(self, parts: Sequence[_Loaded]) -> Iterator[_Loaded]:
        """Goes through the parts: each finds random state and buffers as the first did; the buffers' means remain."""
        if len(parts) == 1:
            yield parts[0]
            return
        state = torch.get_rng_state()  # each part draws the numbers of the whole batch, and keeps its own
        buffers = [buffer for network in self.networks.values() for buffer in network.buffers()]
        before = [buffer.clone() for buffer in buffers]
        sums = [torch.zeros_like(buffer, dtype=torch.float64) for buffer in buffers]
        for part in parts:
            torch.set_rng_state(state)
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
            yield part
            for buffer, total in zip(buffers, sums, strict=True):
                total.add_(buffer)
        for buffer, total in zip(buffers, sums, strict=True):
            buffer.copy_(total / len(parts))

    @torch.no_grad()
    def average(self) -> None:
        """Moves the averages a step towards the networks."""
        decay = self.recipe.decay(self.step)
        for name, average in self.averaged.items():
            own: list[Tensor] = list(average.parameters())
            live: list[Tensor] = list(self.networks[name].parameters())
            torch._foreach_lerp_(own, live, 1 - decay)
            for kept, buffer in zip(average.buffers(), self.networks[name].buffers(), strict=True):
                kept.copy_(buffer)

    def _checked(self, terms: Mapping[str, Tensor]) -> dict[str, str]:
        means = self.ranks.average(torch.stack(list(terms.values()))).tolist()
        values = dict(zip(terms, means, strict=True))
        if not all(map(math.isfinite, means)):
            raise TrainingError(
                f"expected finite losses, found {values} at step {self.step}; the training diverged. Lower the "
                "learning rate, or look for images with extreme values"
            )
        return {name: f"{value:.3g}" for name, value in values.items()}

    def _speed(self, bar: Any) -> dict[str, str]:
        rate = bar.format_dict["rate"]
        return {"images/s": f"{rate * self.recipe.batch_size:.3g}"} if rate else {}

    def _forked(self) -> AbstractContextManager[Any]:
        """Leaves the global random state, of the CPU and of the device in use, as it was."""
        return torch.random.fork_rng([self.device] if self.device.type == "cuda" else [])


def _parts(batch_size: int, ranks: Ranks, accumulate: int) -> list[Part]:
    count = ranks.count * accumulate
    if batch_size % count:
        raise ConfigError(
            f"expected a batch_size that {count} parts divide evenly (processes {ranks.count}, accumulate "
            f"{accumulate}), found {batch_size}; change one of them"
        )
    return [Part(ranks.index * accumulate + index, count, batch_size // count) for index in range(accumulate)]
