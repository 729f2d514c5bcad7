"""Are own generators as fast as the packages that weights are from, and what does wrapping cost? make bench-pretrained

Each beside the package that the weights are from, with the same weights, latents and labels; then samples of a wrapped
network and of a pretrained synthesizer beside calls of the network. A killed run goes on where it was.

    python -m benchmarks.pretrained                     everything

    python -m benchmarks.pretrained --only stylegan2_torch,wrapping

    python -m benchmarks.pretrained --quick             small networks; writes runs/pretrained-quick
"""

import functools
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch

from benchmarks import common, pretrained_jobs
from benchmarks.common import measured_on, unit, write_table
from benchmarks.lines import HEADS as PLAIN_HEADS
from benchmarks.lines import Line, Measured, of_rounds
from benchmarks.options import only_of, program, quick_of, run_groups
from gan_augment.artifacts import write_json

Size = tuple[int, int]
"""Side of the images, and what the architecture's width is counted in."""


@dataclass(frozen=True)
class Sizes:
    """What is measured; in a round each side is called for `seconds`, once where that takes longer."""

    sides: tuple[tuple[str, tuple[Size, ...]], ...] = (
        ("stylegan2_torch", ((64, 16384), (128, 16384))),
        ("stylegan2_pytorch", ((64, 16), (128, 16))),
        ("pytorch_pretrained_biggan", ((128, 128),)),
        ("torchgan", ((64, 64), (128, 64))),
    )
    batches: tuple[int, ...] = (1, 8)
    rounds: int = 7
    seconds: float = 0.5
    wrapped: tuple[tuple[str, Size, tuple[int, ...]], ...] = (
        ("dcgan", (32, 64), (1, 8, 32)),
        ("torchgan_dcgan", (64, 64), (1, 8, 32)),
        ("stylegan2", (64, 16384), (1, 8)),
        ("biggan_deep", (128, 128), (1, 8)),
    )

    def settings(self, size: Size, batch: int) -> dict[str, Any]:
        """Returns what a piece of work is told."""
        side, width = size
        return {"side": side, "width": width, "batch": batch, "seconds": self.seconds, "rounds": self.rounds}


QUICK = Sizes(
    sides=(
        ("stylegan2_torch", ((16, 256),)),
        ("stylegan2_pytorch", ((16, 4),)),
        ("pytorch_pretrained_biggan", ((128, 8),)),
        ("torchgan", ((16, 8),)),
    ),
    batches=(2,),
    rounds=2,
    seconds=0.02,
    wrapped=(("dcgan", (32, 8), (2,)), ("stylegan2", (16, 256), (2,))),
)
SHOWN = {
    "stylegan2_torch": ("StyleGAN2", "stylegan2-torch"),
    "stylegan2_pytorch": ("LucidrainsStyleGAN2", "stylegan2_pytorch"),
    "pytorch_pretrained_biggan": ("BigGANDeep", "pytorch-pretrained-biggan"),
    "torchgan": ("TorchganDCGAN", "torchgan"),
    "dcgan": ("a DCGAN", ""),
    "torchgan_dcgan": ("TorchganDCGAN", ""),
    "stylegan2": ("StyleGAN2", ""),
    "biggan_deep": ("BigGANDeep", ""),
}
HEADS = [*PLAIN_HEADS, "largest difference"]
DEAREST = 1.02


@dataclass(frozen=True, kw_only=True)
class Compared(Line):
    """A figure of two sides whose images were compared."""

    difference: float
    largest: float

    def cells(self) -> list[str]:
        """Returns the row of the table."""
        return [*super().cells(), f"{self.difference:.1e} of {self.largest:.2g}"]


Found = tuple[list[Compared], list[Measured]]


def compared(case: str, result: Measured, side: str, beside: str, **rest: Any) -> Compared:
    line = asdict(of_rounds(case, result, side, beside, **rest))
    return Compared(**line, difference=result["difference"], largest=result["largest"])


def each(result: Measured, name: str, label: str) -> str:
    return f"{label}: {1000 * statistics.median(result['rounds'][name]['wall']) / result['images']:,.2f} ms"


def told(size: Size, batch: int) -> str:
    return f"{size[0]}x{size[0]}, width {size[1]}, batches of {batch}"


def packages(package: str, sizes: Sizes, folder: Path) -> Found:
    lines, results = [], []
    ours, theirs = SHOWN[package]
    for size in dict(sizes.sides)[package]:
        for batch in sizes.batches:
            settings = sizes.settings(size, batch)
            work = functools.partial(pretrained_jobs.beside, folder, package, **settings)
            results.append(result := unit(f"pretrained/{package}-{size[0]}-{batch}", settings, work))
            case = f"{ours}, {told(size, batch)}"
            sides = {"ours": each(result, "ours", "own"), "other": each(result, "theirs", theirs)}
            lines.append(compared(case, result, "ours", "theirs", **sides, what="of B's speed", least=1.0))
    return lines, results


def wrapping(sizes: Sizes, folder: Path) -> Found:
    lines, results = [], []
    for architecture, size, batches in sizes.wrapped:
        for batch in batches:
            settings = sizes.settings(size, batch)
            work = functools.partial(pretrained_jobs.wrapping, architecture, **settings)
            results.append(result := unit(f"pretrained/wrapping-{architecture}-{size[0]}-{batch}", settings, work))
            for name, label in (("wrapped", "ga.wrap"), ("pretrained", "PretrainedSynthesizer")):
                for other, shown in (("bare", "the call"), ("bare and normals", "the call, and normals of the seeds")):
                    if name in result["rounds"]:
                        case = f"{label}, {SHOWN[architecture][0]}, {told(size, batch)}"
                        sides = {"ours": each(result, name, "sample"), "other": each(result, other, shown)}
                        shares = {"what": "of B's time", "most": DEAREST}
                        lines.append(compared(case, result, other, name, **sides, **shares))
    return lines, results


GROUPS: dict[str, Callable[[Sizes, Path], Found]] = {
    **{package: functools.partial(packages, package) for package in pretrained_jobs.PAIRS},
    "wrapping": wrapping,
}


def notes(sizes: Sizes, results: list[Measured]) -> list[str]:
    found = {result["package"] for result in results if "package" in result}
    return [
        f"One thread. The sides are called in turn, each turn begun by another; {sizes.rounds} rounds, of each the "
        f"median of as many calls as the slowest side makes in {sizes.seconds:g} s, one at least. A figure is the "
        "ratio of the medians over rounds, in brackets the range of the rounds' own; times are an image's. Of "
        "packages above 1 means that this project's generator is the faster; of wrapping above 1 is what it adds. "
        "Largest difference: of any value of the two sides' images, of their largest value.",
        "",
        "Widths: channel_base of StyleGAN2 (16384 is NVIDIA's for these sizes), network_capacity of "
        "LucidrainsStyleGAN2, channel_width of BigGANDeep (128 was released), step_channels of TorchganDCGAN. Weights "
        "are random: they do not change what drawing costs. Both sides have the same weights, latents, labels and "
        f"noise; BigGANDeep draws with truncation {pretrained_jobs.TRUNCATION}, LucidrainsStyleGAN2 without noise. "
        "The package stylegan2-torch does not run on a CPU: its compiled filter, which has no code for one, is "
        "replaced by one depthwise convolution of torch, the fastest that was found; kornia's filter by the same.",
        "",
        "Wrapping: `sample` of labels and seeds, images copied to where they belong, checked and limited to [-1, 1], "
        "beside a call of the network in eval mode without gradients on latents held in memory; or on latents that "
        "are drawn from the seeds for each call, as a sample has to be. The networks are untrained.",
        "",
        "R3GAN, StyleGAN3, FastGAN, StudioGAN's and the translators have no package that installs beside this torch: "
        "nothing is measured of them here.",
        "",
        f"torch {torch.__version__}, {', '.join(sorted(found))}. {measured_on(results)} Written by "
        "`make bench-pretrained`.",
    ]


def main(
    only: Annotated[str, only_of(GROUPS)] = "",
    quick: Annotated[bool, quick_of("pretrained", "Small networks")] = False,
) -> None:
    sizes = QUICK if quick else Sizes()
    lines, results = run_groups("pretrained", GROUPS, sizes, Compared.cells, only=only, quick=quick)
    if not only:
        document = {"lines": [{**asdict(line), "kept": line.kept} for line in lines]}
        write_json(common.RESULTS / "pretrained.json", document)
        title = "What generators of released weights cost"
        write_table("pretrained", title, HEADS, [line.cells() for line in lines], notes(sizes, results))


app = program(main, __doc__)

if __name__ == "__main__":
    app()
