"""What happens besides after a step: losses are logged, samples looked at, and the training ended where that is due."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gan_augment.machine import peak_memory
from gan_augment.source import RawView
from gan_augment.training.log import TrainingLog
from gan_augment.training.trainer import Trainer
from gan_augment.training.watch import Watch, gradient_norms

__all__ = ["Observer"]

_EVERY = 50


class Observer:
    """Called after each step with its loss terms; tells whether to end the training.

    Every 50 steps losses are logged. Where a look is due, rank 0 takes it and tells the others what it saw.

    Args:
        trainer: Whose steps they are.
        watch: Takes the looks.
        log: Where it is written, by rank 0.
        view: The dataset.
    """

    def __init__(self, trainer: Trainer, watch: Watch, log: TrainingLog, view: RawView) -> None:
        self.trainer, self.watch, self.log, self.view = trainer, watch, log, view
        if trainer.ranks.first and watch.on and not trainer.step:
            log.write(0, watched_against=watch.described())

    def __call__(self, step: int, terms: Mapping[str, Tensor]) -> bool:
        """Logs and looks, where either is due."""
        due = self.watch.due(step)
        if not due and step % _EVERY and step != self.trainer.recipe.steps:
            return False
        means = self.trainer.ranks.average(torch.stack(list(terms.values()))).tolist()
        told: dict[str, Any] = {"losses": dict(zip(terms, means, strict=True))}
        ends = False
        if due:
            record = self._look(step)
            ends, accused = self.watch.note(step, record, self.trainer.result())
            if self.trainer.ranks.first:
                self.watch.warn(step, record, accused)
            self.trainer.shown = {"KID": f"{record['kid']:.3g}"}
            if record["collapsed"]:
                self.trainer.shown["collapsed"] = str(len(record["collapsed"]))
            told |= {"gradient_norms": gradient_norms(self.trainer.networks), **record}
        if self.trainer.ranks.first:
            peak = peak_memory(self.trainer.device)
            self.log.write(step, peak_mib=None if peak is None else peak >> 20, **told)
        return ends

    def _look(self, step: int) -> dict[str, Any]:
        found = None
        if self.trainer.ranks.first:
            look = self.watch.look(self.trainer.result())
            self.log.grid(step, look.images, self.view.classes, self.view.counts.tolist())
            found = json.dumps(look.record).encode()
        record: dict[str, Any] = json.loads(self.trainer.ranks.share(found) or b"{}")
        return record
