"""The main job on scikit-learn's digits: a long-tailed set in, a rebalanced one out, and what it was worth."""

import json
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from gan_augment.artifacts import new_folder, storing, versions, write_json
from gan_augment.augmentation import Augmentation
from gan_augment.balance import MIN_IMAGES
from gan_augment.dataset import GANAugmentedDataset
from gan_augment.errors import ArtifactError, ConfigError, SmallClassWarning
from gan_augment.evaluation import Arm, Comparison, check_no_overlap, compare, score_arm
from gan_augment.features import TrainedExtractor
from gan_augment.machine import describe_machine
from gan_augment.pool import SyntheticPool
from gan_augment.recipes import RECIPES
from gan_augment.report import sample_grid, write_report
from gan_augment.seeds import derive
from gan_augment.selection import CentroidSelector
from gan_augment.source import RawView
from gan_augment.training import fit

__all__ = ["DemoSettings", "LongTailedDigits", "Replicate", "compare_scores", "long_tail", "run_demo"]

KIND = "gan_augment demo"
IMBALANCE_RATIO = 20
_TEST_PER_CLASS = 60
_AUGMENTATION = Augmentation(translate=0.06, rotate=0.1, scale=0.05)
"""Of every augmented arm: half a pixel of shift; the default's whole pixel cost oversampling more than it gave."""

_WITHOUT_SYNTHETIC = ("as_is", "oversampling", "oversampling_augmented", "balanced_softmax_augmented")


def to_tensor(image: Image.Image) -> Tensor:
    """Returns an 8-bit grey image as `(1, H, W)` float32 in [-1, 1]."""
    return torch.from_numpy(np.array(image, dtype=np.float32))[None] / 127.5 - 1


class LongTailedDigits(Dataset[Any]):
    """scikit-learn's 8x8 digits as PIL images, as any torchvision dataset would give them.

    Args:
        images: `(N, 8, 8)` uint8.
        targets: `(N,)`.
        transform: Applied to the PIL image.
    """

    classes = tuple("0123456789")

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        targets: npt.NDArray[np.int64],
        transform: Callable[[Image.Image], Any] | None = None,
    ) -> None:
        self.images, self.targets, self.transform = images, targets.tolist(), transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Any:
        """Returns (image, label)."""
        image: Any = Image.fromarray(self.images[index])
        return (image if self.transform is None else self.transform(image)), self.targets[index]


def long_tail(seed: int, imbalance_ratio: float = IMBALANCE_RATIO) -> tuple[LongTailedDigits, LongTailedDigits]:
    """Returns a long-tailed training split and a balanced test split of the digits.

    n_c = n_max * ratio^(-c / (C - 1)) for the c-th class of an order drawn from the seed (Cui et al. 2019); the test
    split, 60 images of each class, is drawn first.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    targets = digits.target.astype(np.int64)
    rng = np.random.Generator(np.random.Philox(derive(seed, "long tail")))
    order = rng.permutation(10)
    most = int(np.bincount(targets).min()) - _TEST_PER_CLASS
    train: list[int] = []
    test: list[int] = []
    for place, label in enumerate(order):
        rows = rng.permutation(np.flatnonzero(targets == label))
        test += rows[:_TEST_PER_CLASS].tolist()
        count = round(most * imbalance_ratio ** (-place / 9))
        train += rows[_TEST_PER_CLASS : _TEST_PER_CLASS + count].tolist()
    train, test = sorted(train), sorted(test)
    return (
        LongTailedDigits(images[train], targets[train], to_tensor),
        LongTailedDigits(images[test], targets[test], to_tensor),
    )


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """How long the demo trains.

    Attributes:
        gan_steps: Steps of each GAN.
        gan_learning_rate: Of each generator; higher than the recipes' own, for so short a training.
        judge_steps: Steps of the judge.
        classifier_steps: Steps of the classifier, the same for every arm.
        synthetic_share: Dose of every arm with synthetic images.
    """

    gan_steps: int = 600
    gan_learning_rate: float = 5e-4
    judge_steps: int = 300
    classifier_steps: int = 500
    synthetic_share: float = 0.5


def run_demo(
    out: str | Path,
    *,
    seeds: Sequence[int] = (0, 1, 2, 3),
    settings: DemoSettings | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Runs the main job and writes `result.json`, `samples.png`, `report.html` and the artifacts of the first seed.

    Args:
        out: Folder; one that an earlier demo wrote is replaced.
        seeds: Replicates; each draws anew the class order, the split, GANs, judge, pools and classifiers.
        settings: How long to train; None for the defaults.
        progress: Whether to show bars on a terminal.
        say: Takes a line about what is going on.

    Returns:
        What `result.json` holds.

    Raises:
        ConfigError: There are fewer than two seeds, or one is given twice.
        ArtifactError: `out` holds something that is no demo.
        StorageError: The disk refused.
    """
    settings = settings or DemoSettings()
    seeds = [int(seed) for seed in seeds]
    if len(seeds) < 2 or len(set(seeds)) < len(seeds):
        raise ConfigError(f"expected two or more different seeds, found {seeds}; an interval needs replicates")
    out = Path(out)
    _refuse_foreign(out)
    began = time.monotonic()
    scores = []
    with storing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.result")
    shutil.rmtree(aside, ignore_errors=True)
    with new_folder(aside, "demo") as work:
        for number, seed in enumerate(seeds):
            say(f"seed {seed} ({number + 1} of {len(seeds)})")
            replicate = Replicate(seed, settings, work / f"seed-{seed}" if number == 0 else None, progress=progress)
            scores.append(replicate.scores())
            if number == 0:
                first = replicate
        comparison = compare_scores(scores)
        result = _result(comparison, seeds, settings, time.monotonic() - began, first)
        write_json(work / "result.json", result)
        sample_grid(first.view, first.pools["dagan"], work / "samples.png")
        _write_page(work, comparison, first, result)
    if out.exists():
        shutil.rmtree(out)
    aside.replace(out)
    return result


def compare_scores(scores: Sequence[Mapping[str, Mapping[str, float]]]) -> Comparison:
    """Compares the demo's arms over replicates, each `{arm: {metric: value}}`."""
    return compare(
        scores, without_synthetic=_WITHOUT_SYNTHETIC, selected="selected_synthetic", random="random_synthetic"
    )


def _refuse_foreign(out: Path) -> None:
    """Raises unless `out` is new, empty, or what an earlier demo left."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        kind = json.loads((out / "result.json").read_bytes())["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        kind = None
    if kind != KIND:
        raise ArtifactError(
            f"expected {out} to be new or to hold an earlier demo, found something else; give another --out"
        )


class Replicate:
    """One seed: split, GANs, judge, pools, and the arms' scores.

    Args:
        seed: Of everything.
        settings: How long to train.
        folder: Where judge, GANs and pools go; None to keep them in memory.
        progress: Whether to show bars on a terminal.
    """

    def __init__(self, seed: int, settings: DemoSettings, folder: Path | None = None, *, progress: bool = True) -> None:
        self.seed, self.settings, self.progress = seed, settings, progress
        self.train, self.test = long_tail(seed)
        self.view = RawView(self.train)
        check_no_overlap(self.view, RawView(self.test))
        self.warnings: list[str] = []
        self.rare = np.flatnonzero(self.view.counts < MIN_IMAGES).tolist()
        self.pools = self._build_pools(folder)

    def _build_pools(self, folder: Path | None) -> dict[str, SyntheticPool]:
        def place(name: str) -> Path | None:
            return None if folder is None else folder / name

        settings, seed = self.settings, self.seed
        judge = TrainedExtractor.fit(self.view, steps=settings.judge_steps, seed=seed, progress=self.progress)
        if folder is not None:
            judge.save(folder / "judge")
        pools = {}
        for recipe in ("dagan", "sngan"):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", SmallClassWarning)
                gan = fit(
                    self.view,
                    RECIPES[recipe](steps=settings.gan_steps, learning_rate=settings.gan_learning_rate),
                    out=place(recipe),
                    seed=seed,
                    progress=self.progress,
                )
            if recipe == "dagan":  # both see the same classes
                self.warnings += [str(warning.message) for warning in caught]
            pools[recipe] = SyntheticPool.build(
                gan,
                self.view,
                selector=CentroidSelector(judge),
                out=place(f"{recipe}-pool"),
                seed=seed,
                progress=self.progress,
            )
        return pools

    def arms(self) -> list[Arm]:
        """Returns the arms; those with synthetic images share augmentation and dose."""
        augmentation, dagan = _AUGMENTATION, self.pools["dagan"]
        prior = [float(count) for count in self.view.counts]
        oversampled = self._mixed(None)
        synthetic = {
            "random_synthetic": dagan.sample(dagan.counts, seed=self.seed),
            "selected_synthetic": dagan,
            "sngan_synthetic": self.pools["sngan"],
        }
        return [
            Arm(name="as_is", data=self.train),
            Arm(name="oversampling", data=oversampled),
            Arm(name="oversampling_augmented", data=oversampled, augmentation=augmentation),
            Arm(name="balanced_softmax_augmented", data=self.train, augmentation=augmentation, prior=prior),
            *[
                Arm(name=name, data=self._mixed(pool, name), augmentation=augmentation, synthetic=True)
                for name, pool in synthetic.items()
            ],
        ]

    def _mixed(self, pool: SyntheticPool | None, arm: str = "") -> GANAugmentedDataset:
        share = 0.0 if pool is None else self.settings.synthetic_share
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SmallClassWarning)
            mixed = GANAugmentedDataset(self.view, pool, synthetic_share=share, seed=self.seed)
        self.warnings += [f"{arm}: {warning.message}" for warning in caught]
        return mixed

    def scores(self) -> dict[str, dict[str, float]]:
        """Returns arm to metric to value."""
        return {
            arm.name: score_arm(
                arm,
                self.test,
                num_classes=self.view.num_classes,
                rare=self.rare,
                steps=self.settings.classifier_steps,
                seed=self.seed,
                description=arm.name if self.progress else None,
            )
            for arm in self.arms()
        }

    def class_table(self) -> list[dict[str, Any]]:
        """Returns a row a class, the largest class first."""
        rows = [
            {
                "name": row["class"],
                "real": int(self.view.counts[label]),
                "candidates": row["candidates"],
                "kept": row["kept"],
                "disagrees": row["rejected"].get("judge disagrees", 0),
                "far": row["rejected"].get("far from its class", 0),
            }
            for label, row in enumerate(self.pools["dagan"].table())
        ]
        return sorted(rows, key=lambda row: -row["real"])


def _result(
    comparison: Comparison, seeds: Sequence[int], settings: DemoSettings, seconds: float, first: Replicate
) -> dict[str, Any]:
    return {
        "kind": KIND,
        "version": 1,
        **comparison.to_json(),
        "seconds": round(seconds, 1),
        "machine": describe_machine(),
        "versions": versions(),
        "seeds": list(seeds),
        "settings": vars(settings),
        "imbalance_ratio": IMBALANCE_RATIO,
        "classes": first.class_table(),
        "warnings": list(dict.fromkeys(first.warnings)),
    }


def _write_page(work: Path, comparison: Comparison, first: Replicate, result: Mapping[str, Any]) -> None:
    settings = result["settings"]
    write_report(
        work / "report.html",
        comparison,
        title="Digits with a long tail",
        subtitle=f"scikit-learn's 8x8 digits, imbalance ratio {IMBALANCE_RATIO}, {len(first.view)} training images, "
        f"{len(first.test)} test images",
        recipe="dagan",
        classes=result["classes"],
        samples=work / "samples.png",
        seeds=result["seeds"],
        rare_below=MIN_IMAGES,
        warnings=result["warnings"],
        facts={
            "machine": str(result["machine"]),
            "time": f"{result['seconds']:.0f} s",
            "steps": f"{settings['gan_steps']} a GAN, {settings['judge_steps']} the judge, "
            f"{settings['classifier_steps']} a classifier",
            "dose": f"a slot is synthetic with probability {settings['synthetic_share']}",
            "versions": ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        },
    )
