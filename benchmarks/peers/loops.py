"""One loop a function: each trains the same DCGAN on the batches that a stopwatch hands out.

The peers run as shipped, on their own training call; what they do at the end of an epoch (torchgan: a checkpoint and a
sheet of samples) is left out, and so are vegans's printing and loss logs. torchgan's sums of gradients and loss logs of
each step belong to its loop and cannot be switched off.
"""

import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.peers.dcgan import BATCH, BETAS, LATENT, RATE, networks, recipe
from benchmarks.peers.stopwatch import Stopwatch
from gan_augment.losses import logistic_discriminator, logistic_generator
from gan_augment.networks import NetworkSpec
from gan_augment.seeds import derive
from gan_augment.training.trainer import Trainer


def ours(watch: Stopwatch[Tensor], seed: int = 0, width: int = 64) -> dict[str, nn.Module]:
    """Trains by the library's trainer, moving averages and all; returns the networks."""
    spec = NetworkSpec(channels=1, grid=(32, 32), num_classes=1)
    trainer = Trainer(recipe(watch.steps, width), spec, seed=seed, device=torch.device("cpu"))
    labels = torch.zeros(BATCH, dtype=torch.int64)
    trainer.run(lambda step, part: {"real": watch[step], "labels": labels})
    watch.stamp()
    return trainer.networks


def bare(watch: Stopwatch[Tensor], seed: int = 0, width: int = 64, *, reseed: bool = False) -> dict[str, nn.Module]:
    """Trains by nothing but forward, backward and step; returns the networks.

    With `reseed`, the random numbers of each step are the library's, and so are the resulting weights, bit for bit.
    """
    nets = networks(seed, width)
    g, d = nets["generator"], nets["discriminator"]
    g_adam, d_adam = (torch.optim.Adam(net.parameters(), lr=RATE, betas=BETAS) for net in (g, d))
    for step, real in enumerate(watch):
        if reseed:
            torch.manual_seed(derive(seed, "step", step))
        with torch.no_grad():
            fake = g(torch.randn(BATCH, LATENT))
        d_adam.zero_grad()
        logistic_discriminator(d(real), d(fake)).backward()
        d_adam.step()
        d.requires_grad_(False)
        g_adam.zero_grad()
        logistic_generator(d(g(torch.randn(BATCH, LATENT)))).backward()
        g_adam.step()
        d.requires_grad_(True)
    return nets


class _Done(Exception):  # noqa: N818  (no error: the batches of a round are used up)
    pass


class _Loader(DataLoader[Tensor]):
    """A loader over the stopwatch's batches that ends the training before what a peer does after an epoch."""

    def __init__(self, watch: Stopwatch[Tensor]) -> None:
        super().__init__([None] * watch.steps * BATCH, batch_size=BATCH)  # type: ignore[arg-type]
        self.watch = watch

    def __iter__(self) -> Any:
        return _Batches(self.watch)


class _Batches:
    def __init__(self, watch: Stopwatch[Tensor]) -> None:
        self._batches = iter(watch)

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        try:
            return next(self._batches)
        except StopIteration:
            raise _Done from None

    next = __next__  # vegans calls it by Python 2's name


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Runs in a folder of its own without printing, until the batches are used up."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as work, contextlib.redirect_stdout(io.StringIO()):
        os.chdir(work)
        try:
            with contextlib.suppress(_Done):
                yield
        finally:
            os.chdir(before)


def torchgan(watch: Stopwatch[Tensor]) -> None:
    """Trains by torchgan's Trainer, with its losses in the order of its documentation."""
    from torchgan.losses import MinimaxDiscriminatorLoss, MinimaxGeneratorLoss
    from torchgan.models import Discriminator, Generator
    from torchgan.trainer import Trainer as Theirs

    nets = networks(0)

    class G(Generator):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(LATENT)
            self.model = nets["generator"]

        def forward(self, latents: Tensor) -> Any:
            return self.model(latents)

    class D(Discriminator):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(1)
            self.model = nets["discriminator"]

        def forward(self, images: Tensor) -> Any:
            return self.model(images)

    adam = {"name": torch.optim.Adam, "args": {"lr": RATE, "betas": BETAS}}
    models = {"generator": {"name": G, "optimizer": adam}, "discriminator": {"name": D, "optimizer": adam}}
    with _quietly():
        losses = [MinimaxGeneratorLoss(), MinimaxDiscriminatorLoss()]
        Theirs(models, losses, device=torch.device("cpu"), epochs=1, sample_size=BATCH)(_Loader(watch))


def vegans(watch: Stopwatch[Tensor]) -> None:
    """Trains by vegans's VanillaGAN; its discriminator ends in a sigmoid, as it demands."""
    from vegans import VanillaGAN

    nets = networks(0)
    adversary = nn.Sequential(*nets["discriminator"].children(), nn.Sigmoid())
    options = {"lr": RATE, "betas": BETAS}
    with _quietly():
        gan = VanillaGAN(
            nets["generator"],
            adversary,
            x_dim=(1, 32, 32),
            z_dim=LATENT,
            optim_kwargs={"Generator": options, "Adversary": options},
            device="cpu",
            folder=None,
        )
        gan.fit(_Loader(watch), epochs=1, batch_size=BATCH, print_every=None, save_losses_every=None)


LOOPS: dict[str, Callable[[Stopwatch[Tensor]], Any]] = {
    "bare": bare,
    "gan_augment": ours,
    "torchgan": torchgan,
    "vegans": vegans,
}
"""What is measured, by name."""
