"""What does a training step cost? make bench-steps

The library's loop against a bare one and against torchgan and vegans on the same DCGAN; gradient penalties; precision
and memory layout; loading. All on one thread, in one process, in turn. The peers are in an environment of their own,
which sees the library's torch: `make bench-steps` builds it.
"""

import functools
import statistics
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import measured_on, unit, write_table
from benchmarks.peers.dcgan import BATCH
from benchmarks.peers.loops import LOOPS
from benchmarks.peers.stopwatch import WARM_UP, Rounds, Stopwatch, in_turn, ratio
from benchmarks.sets import load
from gan_augment.demo import ArrayImages
from gan_augment.losses import hinge_discriminator, hinge_generator, zero_centred_penalty
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import RECIPES, Part, Recipe, Tools
from gan_augment.source import RawView
from gan_augment.training.batches import Batches
from gan_augment.training.trainer import Trainer

PEERS = {"torchgan": "0.1.0", "vegans": "0.4.0"}
STEPS, FEW, ROUNDS, IMAGES, LAZY = 8, 4, 5, 2048, 16
CPU = torch.device("cpu")

Loops = dict[str, Callable[[Stopwatch[Any]], Any]]


def view_of(size: int) -> RawView:
    """Returns Fashion-MNIST's first images, or the digits where 8x8 is asked for."""
    images = load("digits" if size == 8 else "FashionMNIST")
    pixels, targets = images.train
    return RawView(ArrayImages(pixels[:IMAGES], targets[:IMAGES], images.classes), progress=False)


def held(recipe: Recipe, size: int) -> tuple[NetworkSpec, list[dict[str, Tensor]]]:
    """Returns what the networks are built for, and batches in memory."""
    view = view_of(size)
    image_spec = view.spec(size)
    batches = Batches(view, image_spec, recipe, seed=0, device=CPU)
    spec = NetworkSpec(channels=1, grid=image_spec.grid, num_classes=view.num_classes)
    return spec, [batches(step, Part(rows=recipe.batch_size)) for step in range(8)]


def bare(recipe: Recipe, spec: NetworkSpec, watch: Stopwatch[dict[str, Tensor]]) -> None:
    """Trains a recipe's networks by its losses and nothing else."""
    networks = {name: network.train() for name, network in recipe.networks(spec).items()}
    moving = {u.name: [p for name in u.parameters for p in networks[name].parameters()] for u in recipe.updates()}
    adams = {u.name: torch.optim.Adam(moving[u.name], u.learning_rate, u.betas) for u in recipe.updates()}
    tools = Tools(recipe.augmentation, part=Part(rows=recipe.batch_size))
    for batch in watch:
        for update in recipe.updates():
            for name, network in networks.items():
                network.requires_grad_(name in update.parameters)
            adams[update.name].zero_grad()
            torch.stack(list(update.loss(networks, batch, tools).values())).sum().backward()
            adams[update.name].step()


def engine(recipe: Recipe, spec: NetworkSpec, watch: Stopwatch[dict[str, Tensor]], **options: Any) -> None:
    """Trains by the library's trainer."""
    Trainer(recipe, spec, seed=0, device=CPU, **options).run(lambda step, part: watch[step])
    watch.stamp()


def against_peers() -> dict[str, Any]:
    view = view_of(32)
    images = view.images(np.arange(IMAGES), spec=view.spec(32))
    return {"rounds": in_turn(LOOPS, images.split(BATCH), steps=STEPS, rounds=ROUNDS)}


def overhead(name: str, size: int, steps: int) -> dict[str, Any]:
    recipe = RECIPES[name](steps=steps + WARM_UP)
    spec, batches = held(recipe, size)
    loops: Loops = {
        "bare": functools.partial(bare, recipe, spec),
        "gan_augment": functools.partial(engine, recipe, spec),
    }
    return {"rounds": in_turn(loops, batches, steps=steps, rounds=ROUNDS)}


def penalties() -> dict[str, Any]:
    recipe = RECIPES["sngan"](width=64)
    spec, batches = held(recipe, 32)

    def train(on: str, watch: Stopwatch[dict[str, Tensor]]) -> None:
        networks = {name: network.train() for name, network in recipe.networks(spec).items()}
        generator, discriminator = networks["generator"], networks["discriminator"]
        adams = [torch.optim.Adam(network.parameters(), 2e-4, (0.0, 0.99)) for network in (discriminator, generator)]
        for batch in watch:
            labels, penalty = batch["labels"], torch.zeros(())
            with torch.no_grad():
                fake = generator(torch.randn(len(labels), recipe.latent_dim), labels)
            sides = [batch["real"].detach().requires_grad_("R1" in on), fake.requires_grad_("R2" in on)]
            real_logits, fake_logits = discriminator(torch.cat(sides), torch.cat([labels, labels])).chunk(2)
            for logits, side in zip((real_logits, fake_logits), sides, strict=True):
                penalty = penalty + zero_centred_penalty(logits, side) if side.requires_grad else penalty
            adams[0].zero_grad()
            (hinge_discriminator(real_logits, fake_logits) + penalty / 2).backward()
            adams[0].step()
            discriminator.requires_grad_(False)
            adams[1].zero_grad()
            latents = torch.randn(len(labels), recipe.latent_dim)
            hinge_generator(discriminator(generator(latents, labels), labels)).backward()
            adams[1].step()
            discriminator.requires_grad_(True)

    loops: Loops = {on: functools.partial(train, on) for on in ("no penalty", "R1", "R1 and R2")}
    return {"rounds": in_turn(loops, batches, steps=FEW, rounds=ROUNDS)}


def precision() -> dict[str, Any]:
    recipe = RECIPES["dagan"](steps=FEW + WARM_UP)
    spec, batches = held(recipe, 32)
    options: dict[str, dict[str, Any]] = {
        "fp32": {},
        "fp32, channels last": {"channels_last": True},
        "bf16": {"precision": "bf16"},
        "bf16, channels last": {"precision": "bf16", "channels_last": True},
    }
    loops: Loops = {name: functools.partial(engine, recipe, spec, **chosen) for name, chosen in options.items()}
    return {"rounds": in_turn(loops, batches, steps=FEW, rounds=ROUNDS)}


def loading(name: str) -> dict[str, Any]:
    recipe = RECIPES[name]()
    view = view_of(32)
    batches = Batches(view, view.spec(32), recipe, seed=0, device=CPU)

    def draw(watch: Stopwatch[int]) -> None:
        for step in watch:
            batches(step, Part(rows=recipe.batch_size))

    return {"rounds": in_turn({"Batches": draw}, range(10_000), steps=200, rounds=ROUNDS)}


def row(job: str, rounds: Rounds, name: str, reference: str, label: str = "") -> list[str]:
    wall, cpu = (statistics.median(rounds[name][kind]) for kind in ("wall", "cpu"))
    ratios = [ratio(rounds, name, reference, kind) if name != reference else "1" for kind in ("cpu", "wall")]
    return [job, label or name, f"{1 / wall:.2f}", f"{1000 * cpu:.2f}", *ratios]


def check_peers() -> None:
    """Ends with what to do if a peer is not here."""
    for name, wanted in PEERS.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "none"
        if found != wanted:
            sys.exit(f"expected {name} {wanted} beside the library, found {found}; run make bench-steps, which gets it")


def main() -> None:
    check_peers()
    torch.set_num_threads(1)
    settings = {"rounds": ROUNDS, "threads": 1, "batch": BATCH}
    results = [unit("train_step/peers", {**settings, "steps": STEPS, "peers": PEERS}, against_peers)]
    rows = [row("DCGAN, 32x32", results[0]["rounds"], name, "gan_augment") for name in results[0]["rounds"]]
    rows.append(row("overhead: DCGAN, 32x32", results[0]["rounds"], "gan_augment", "bare"))
    for name, size, steps in (("sngan", 32, FEW), ("dagan", 32, FEW), ("dagan", 8, 40)):
        work = functools.partial(overhead, name, size, steps)
        results.append(unit(f"train_step/{name}-{size}", {**settings, "steps": steps}, work))
        rows.append(row(f"overhead: {name}, {size}x{size}", results[-1]["rounds"], "gan_augment", "bare"))
    results.append(unit("train_step/penalties", {**settings, "steps": FEW}, penalties))
    rows += [
        row("penalty: sngan of width 64, 32x32", results[-1]["rounds"], name, "no penalty")
        for name in results[-1]["rounds"]
    ]
    plain, dear = (statistics.median(results[-1]["rounds"][name]["cpu"]) for name in ("no penalty", "R1"))
    lazily = (plain + (dear - plain) / LAZY) / plain
    results.append(unit("train_step/precision", {**settings, "steps": FEW}, precision))
    rows += [row("precision: dagan, 32x32", results[-1]["rounds"], name, "fp32") for name in results[-1]["rounds"]]
    for name in ("sngan", "dagan"):
        results.append(unit(f"train_step/loading-{name}", {**settings, "steps": 200}, functools.partial(loading, name)))
        rows.append(row("loading only, 32x32", results[-1]["rounds"], "Batches", "Batches", f"batches of {name}"))
    heads = ["job", "what", "steps/s", "CPU ms a step", "CPU time, ratio (range)", "wall time, ratio (range)"]
    write_table("train_step", "What a training step costs", heads, rows, notes(results, lazily))


def notes(results: list[dict[str, Any]], lazily: float) -> list[str]:
    return [
        f"Batches of {BATCH} held in memory, one thread, medians of {ROUNDS} rounds in turn, each begun by another; a "
        "round is the median of its steps after two that are not counted. Ratios are of one round, to the first "
        "row of the job; for the DCGAN to gan_augment (above 1: the other is slower), for overhead to a bare loop of "
        "forward, backward and step over the same networks and losses. The library's loop keeps its moving average.",
        "",
        f"R1 in every {LAZY}th step only would cost {lazily:.3f} of a step without penalty (computed from the rows).",
        "",
        "torchgan and vegans run as published, on the torch named here; networks, loss, Adam and batches are the same. "
        "What they do at the end of an epoch, and vegans's printing and logs, are left out. vegans's own loss is half "
        "of the sum over reals and fakes, through a sigmoid.",
        "",
        f"torch {torch.__version__}. {measured_on(results)} Written by `make bench-steps`.",
    ]


if __name__ == "__main__":
    main()
