"""Hugging Face's Trainer: a callback that tells rebalanced datasets which epoch begins."""

from typing import Any

from gan_augment.optional import needed

needed("transformers", "huggingface", "gan_augment.integrations.huggingface", oldest="4.46", below="6")

from transformers import TrainerCallback

from gan_augment.dataset.loaders import augmented_within
from gan_augment.errors import ConfigError

__all__ = ["GANAugmentTrainerCallback"]

_MOST_EPOCHS = 2**31


class GANAugmentTrainerCallback(TrainerCallback):  # type: ignore[misc]  # transformers' types are not followed
    """Tells every rebalanced dataset of the Trainer's training loader which epoch begins.

    The Trainer does so itself, through accelerate, but not where its sampler is seeded (the default) and there are
    several processes, or the rest of an epoch is resumed, or accelerate is an older one (1.0). Then every epoch would
    have the same synthetic images, and a `schedule=PhaseOut(...)` would not move.

    Example:
        >>> Trainer(model, args, train_dataset=train, callbacks=[GANAugmentTrainerCallback()])  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self._epoch = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Takes up the epoch of a checkpoint.

        Raises:
            ConfigError: The checkpoint tells none.
        """
        epoch = state.epoch or 0
        if not isinstance(epoch, int | float) or not 0 <= epoch < _MOST_EPOCHS:
            raise ConfigError(
                f"expected an epoch from 0 in the state of the Trainer, found {epoch!r}; its checkpoint is damaged"
            )
        self._epoch = int(epoch)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any) -> None:
        """Tells the epoch."""
        for dataset in augmented_within(train_dataloader):
            dataset.set_epoch(self._epoch)
        self._epoch += 1
