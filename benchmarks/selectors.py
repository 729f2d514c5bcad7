"""Which selector beats random choice? python -m benchmarks.selectors run --help

Long-tailed Fashion-MNIST of half the side (14x14), development seeds, two generators. Of each class twice as many
candidates are drawn as it lacks images; a selector keeps some of them, and a classifier is trained with half of the
slots filled from those. Beside each stands its control: as many candidates of each class, drawn at random. A selector
of a replicate is a file of its own in `results/selectors/`, so that a run that was killed goes on.
"""

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks import common, selectors_table
from benchmarks.ablation import SETTING, Replicate, oracle, recipe_of, slug
from benchmarks.longtail import WORK, seed_range
from benchmarks.samples import Measured
from gan_augment import selection
from gan_augment.errors import SmallClassWarning
from gan_augment.evaluation import Arm, Synthetic
from gan_augment.features import CrossFittedExtractor, DiscriminatorExtractor, TrainedExtractor
from gan_augment.pool import SyntheticPool
from gan_augment.synthesizers import load
from gan_augment.training import fit
from gan_augment.types import Extractor, Selector

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, rich_markup_mode=None)

GANS = ("dagan", "dagan, delta")
JUDGE_STEPS, FOLDS = 400, 3
RESERVE = 2.0
TRAININGS = 2
"""Trainings of each arm; their mean counts as one value of a replicate."""

MOST_MEASURED = 100
HALF = "random half"
"""The control that all selectors share which keep half of each class."""


class Judges:
    """What selectors see images by; trained when first asked for, and kept in `runs/`.

    Args:
        drawn: The replicate.
    """

    def __init__(self, drawn: "Drawn") -> None:
        self.drawn = drawn
        self.settings: dict[str, Any] = {
            "steps": JUDGE_STEPS, "augmentation": SETTING.augmentation, "seed": drawn.seed, "progress": False,
        }  # fmt: skip

    @functools.cached_property
    def plain(self) -> Extractor:
        """A judge that was trained on all training images."""
        folder = self.drawn.work / "judge"
        if not folder.exists():
            TrainedExtractor.fit(self.drawn.view, **self.settings).save(folder)
        return TrainedExtractor.load(folder)

    @functools.cached_property
    def crossed(self) -> Extractor:
        """Judges that each were trained on all folds but one."""
        folder = self.drawn.work / "judges"
        if not folder.exists():
            CrossFittedExtractor.fit(self.drawn.view, folds=FOLDS, **self.settings).save(folder)
        return CrossFittedExtractor.load(folder)

    @functools.cached_property
    def own(self) -> Extractor:
        """The GAN's own discriminator."""
        return DiscriminatorExtractor(self.drawn.gan, self.drawn.view)


def selectors_of() -> dict[str, Callable[[Judges], Selector | None]]:
    s = selection
    half: dict[str, Any] = {"agreement": None, "keep_share": 0.5}
    return {
        "everything": lambda j: None,
        "centroid, argmax, half": lambda j: s.CentroidSelector(j.plain),
        "centroid, half": lambda j: s.CentroidSelector(j.plain, **half),
        "centroid, band": lambda j: s.CentroidSelector(j.plain, agreement=None, keep_share=(0.25, 0.75)),
        "centroid, far half": lambda j: s.CentroidSelector(j.plain, agreement=None, keep_share=(0.5, 1.0)),
        "centroid, real 95": lambda j: s.CentroidSelector(j.plain, agreement=None, real_share=0.95),
        "label guard": lambda j: s.LabelGuard(j.crossed),
        "four guards": lambda j: _guards(j.crossed),
        "herding, half": lambda j: s.HerdingSelector(j.crossed),
        "discriminator, half": lambda j: s.DiscriminatorSelector(j.own),
        "informative, half": lambda j: s.InformativenessSelector(j.crossed),
        "guards, far half": lambda j: s.Compose(
            _guards(j.crossed), s.CentroidSelector(j.crossed, agreement=None, keep_share=(0.5, 1.0))
        ),
        "centroid, cross-fitted, far half": lambda j: s.CentroidSelector(
            j.crossed, agreement=None, keep_share=(0.5, 1.0)
        ),
        "gradient": lambda j: s.GradientSelector(j.crossed),
        "k-center, half": lambda j: s.KCenterSelector(j.crossed),
        "outlier guard": lambda j: s.OutlierGuard(j.crossed),
        "centroid, cross-fitted, real 95": lambda j: s.CentroidSelector(j.crossed, agreement=None, real_share=0.95),
        "neighbour, half": lambda j: s.NeighbourSelector(j.crossed),
        "manifold, real 95": lambda j: s.ManifoldSelector(j.crossed),
        "mahalanobis, half": lambda j: s.CentroidSelector(j.crossed, metric="mahalanobis", **half),
        "realism, half": lambda j: s.RealismSelector(j.crossed),
    }


def _guards(judges: Extractor) -> Selector:
    s = selection
    return s.Compose(s.LabelGuard(judges), s.OutlierGuard(judges), s.CopyGuard(judges), s.DuplicateGuard(judges))


class Drawn(Replicate):
    """One development seed with a generator's candidates.

    Args:
        order: "random" or "confusable".
        seed: Of everything.
        gan: A variant of the ablation.
    """

    def __init__(self, order: str, seed: int, gan: str) -> None:
        super().__init__(order, seed)
        self.trainings = TRAININGS
        self.work = WORK.parent / "selectors" / f"{order}-{seed}-{slug(gan)}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SmallClassWarning)
            if not (self.work / "gan").exists():
                fit(self.view, recipe_of(gan), out=self.work / "gan", seed=seed, watch_every=0, progress=False)
        self.gan = load(self.work / "gan").bind(self.view)
        most = int(self.view.counts.max())
        self.judges = Judges(self)
        self.counts = {label: max(most - int(count), 1) for label, count in enumerate(self.view.counts)}

    def pool(self, selector: Selector | None) -> SyntheticPool:
        """Returns the candidates with what a selector decided; the candidates are the same for all."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SmallClassWarning)
            return SyntheticPool.build(
                self.gan, self.view, selector=selector, counts=self.counts, reserve=RESERVE, seed=self.seed,
                progress=False,
            )  # fmt: skip

    def unit(self, name: str) -> dict[str, Any]:
        """Returns what the file of a selector, or of the shared control, holds."""
        made = self.half() if name == HALF else self.selected(name)
        return {**made, "counts": sorted(self.view.counts.tolist(), reverse=True)}

    def half(self) -> dict[str, Any]:
        """Returns the control of selectors that keep half of each class."""
        pool = self.pool(None)
        halves = {label: -(-number // 2) for label, number in pool.counts.items()}
        return {"arms": {"random": self._scored(pool.sample(halves, seed=self.seed), "selected")}}

    def selected(self, name: str) -> dict[str, Any]:
        """Returns the arm with what a selector keeps, its control, and measures of what it keeps of rare classes."""
        pool = self.pool(selectors_of()[name](self.judges))
        every = pool.candidates()
        share = [pool.counts.get(label, 0) / number for label, number in every.counts.items() if number > 20]
        halves = all(abs(one - 0.5) < 0.05 for one in share)
        arms = {"selected": self._scored(pool, "selected")}
        if len(pool) < len(every) and not halves:
            arms["random"] = self._scored(pool, "random")
        dropped: dict[str, int] = {}
        for row in pool.table():
            for reason, number in row["rejected"].items():
                dropped[reason] = dropped.get(reason, 0) + number
        order = np.argsort(-self.view.counts, kind="stable").tolist()
        return {
            "arms": arms,
            "control": None if len(pool) == len(every) else HALF if halves else "random",
            "kept": [pool.counts.get(label, 0) for label in order],
            "candidates": [every.counts[label] for label in order],
            "dropped": dropped,
            "notes": list(pool.about["notes"]),
            "samples": self._kept(pool),
        }

    def _scored(self, pool: SyntheticPool, rows: Any) -> dict[str, Any]:
        self.training.pool = pool
        return self.score(Arm(name=rows, sampling="balanced", augment=True, synthetic=Synthetic(rows=rows)))

    def _kept(self, pool: SyntheticPool) -> dict[str, float]:
        """Returns agreement, distance and Vendi score of up to 100 kept rows of each rare class; their means."""
        images: dict[int, Tensor] = {}
        parents = {}
        for label in self.rare:
            rows = np.flatnonzero(pool.labels == label)[:MOST_MEASURED]
            if len(rows) > 1:
                images[label], parents[label] = pool.images(pool.rows[rows]), pool.parents[rows]
        found: Mapping[int, Mapping[str, float]] = Measured(self.view, self.held, oracle())(images, parents)
        names = ("agreement", "distance", "vendi")
        return {name: float(np.mean([one[name] for one in found.values()])) for name in names} if found else {}


def unit_of(order: str, seed: int, gan: str, name: str) -> tuple[str, dict[str, Any]]:
    """Returns the name and the settings of the file of a selector."""
    about = {
        "order": order, "seed": seed, "gan": recipe_of(gan).to_json(), "reserve": RESERVE, "trainings": TRAININGS,
        "selector": name, "judge_steps": JUDGE_STEPS, "folds": FOLDS,
    }  # fmt: skip
    return f"selectors/{order}-{seed}-{slug(gan)}/{slug(name)}", about


@app.command(
    epilog="\b\nExample:\n  python -m benchmarks.selectors run --seeds 0-1\n"
    "  python -m benchmarks.selectors run --orders random --gans 'dagan, delta' --selectors 'label guard;herding, half'"
)
def run(
    seeds: Annotated[str, typer.Option(help="Development seeds, under 100.")] = "0-1",
    orders: Annotated[str, typer.Option(help="random, confusable, or both with a comma.")] = "random,confusable",
    gans: Annotated[str, typer.Option(help="Generators, with semicolons between.")] = ";".join(GANS),
    selectors: Annotated[str, typer.Option(help="Names, with semicolons between; all without.")] = "",
) -> None:
    """Run selectors, one after the other; what has a result already is not run again."""
    torch.set_num_threads(1)
    names = [HALF, *(selectors.split(";") if selectors else selectors_of())]
    for seed in seed_range(seeds):
        for gan in gans.split(";"):
            for order in orders.split(","):
                unit = functools.partial(unit_of, order, seed, gan)
                make = functools.partial(Drawn, order, seed, gan)
                common.fill(names, unit, make, Drawn.unit)
    selectors_table.write()


@app.command()
def tables() -> None:
    """Write the table of all results there are."""
    selectors_table.write()


if __name__ == "__main__":
    app()
