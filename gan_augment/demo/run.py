"""Running the demo: replicates side by side, one thread each, then the table, the picture and the page."""

import functools
import json
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from gan_augment.artifacts import new_folder, storing, versions, write_json
from gan_augment.demo.digits import IMBALANCE_RATIO, long_tail
from gan_augment.demo.replicate import STAGES, DemoSettings, Replicate, compare_scores
from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.evaluation import EvaluationResult
from gan_augment.features import TrainedExtractor
from gan_augment.machine import describe_machine
from gan_augment.pool import SyntheticPool
from gan_augment.quality import Audit, audit
from gan_augment.report import sample_grid, write_report
from gan_augment.source import RawView

__all__ = ["KIND", "run_demo", "run_replicates"]

KIND = "gan_augment demo"
_ADVICE = "More seeds are in benchmarks/results/digits.md (make bench-all writes it)."


def run_demo(
    out: str | Path,
    *,
    seeds: Sequence[int] = (0, 1, 2, 3),
    settings: DemoSettings | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Runs the main job and writes `result.json`, `samples.png`, `report.html` and the artifacts of the first seed.

    Args:
        out: Folder; one that an earlier demo wrote is replaced.
        seeds: Replicates; each draws anew the class order, the split, GANs, judge, pools and classifiers.
        settings: How long to train; None for the defaults.
        progress: Whether to show a bar on a terminal.

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
    aside = out.with_name(f".{out.name}.result")
    with storing(out):
        shutil.rmtree(aside, ignore_errors=True)
    with new_folder(aside, "demo") as work:
        replicates = list(run_replicates(seeds, settings, folder=work / f"seed-{seeds[0]}", progress=progress))
        view = RawView(long_tail(seeds[0])[0], progress=False)
        pool = SyntheticPool.open(work / f"seed-{seeds[0]}" / "dagan-pool")
        found = audit(pool, view, steps=settings.judge_steps, seed=seeds[0], progress=progress)
        evaluation = compare_scores(replicates, settings)
        result = _result(evaluation, found, replicates[0], settings, time.monotonic() - began)
        write_json(work / "result.json", result)
        with storing(work / "samples.png"):
            sample_grid(view, pool, work / "samples.png")
        _write_page(work, view, pool, evaluation, result, found)
    with storing(out):
        _replace(out, aside)
    return result


def _result(
    evaluation: EvaluationResult, found: Audit, first: Mapping[str, Any], settings: DemoSettings, seconds: float
) -> dict[str, Any]:
    """Returns what `result.json` holds; `first` is the first replicate."""
    return {
        **evaluation.to_json(),
        "kind": KIND,
        "version": 2,
        "seconds": round(seconds, 1),
        "machine": describe_machine(),
        "versions": versions(),
        "advice": _ADVICE if evaluation.difference("selected_synthetic").verdict == 0 else "",
        "settings": vars(settings),
        "imbalance_ratio": IMBALANCE_RATIO,
        "pool": first["classes"],
        "audit": found.to_json(),
        "warnings": first["warnings"],
    }


def _replace(out: Path, new: Path) -> None:
    """Puts `new` in the place of an earlier demo, which is there until the new one is."""
    old = out.with_name(f".{out.name}.earlier")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.replace(old)
    new.replace(out)
    shutil.rmtree(old, ignore_errors=True)


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


def run_replicates(
    seeds: Sequence[int], settings: DemoSettings, *, folder: Path | None = None, progress: bool = True
) -> Iterator[dict[str, Any]]:
    """Runs replicates in processes of one thread each, as many at a time as there are cores.

    One thread each makes small networks as fast as it gets, and the numbers the same on any number of cores.

    Args:
        seeds: The replicates.
        settings: How long to train.
        folder: Where the artifacts of the first go; None to keep none.
        progress: Whether to show a bar on a terminal.

    Yields:
        For each replicate, in order, its `scores`, `classes`, `warnings` and `seconds`.
    """
    context = multiprocessing.get_context("spawn")
    stages = context.SimpleQueue()
    workers = max(1, min(len(seeds), os.cpu_count() or 1))
    folders = [folder, *[None] * (len(seeds) - 1)]
    with (
        _bar(stages, len(seeds) * STAGES, progress),
        ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(stages,)) as executor,
    ):
        yield from executor.map(_replicate, seeds, [settings] * len(seeds), folders)


_stages: Any = None


def _begin(stages: Any) -> None:
    """Prepares a worker process."""
    global _stages  # noqa: PLW0603  (an initializer has no other way to hand something to its process)
    _stages = stages
    torch.set_num_threads(1)


def _replicate(seed: int, settings: DemoSettings, folder: Path | None) -> dict[str, Any]:
    began = time.monotonic()
    found = Replicate(seed, settings, folder, functools.partial(_tell, seed)).result()
    return {**found, "seconds": round(time.monotonic() - began, 1)}


def _tell(seed: int, stage: str) -> None:
    _stages.put(f"seed {seed}: {stage} done")


@contextmanager
def _bar(stages: Any, total: int, progress: bool) -> Iterator[None]:
    """Shows on one bar what the workers tell."""
    with tqdm(total=total, desc="demo", unit="stage", disable=None if progress else True) as bar:

        def follow() -> None:
            while (told := stages.get()) is not None:
                bar.set_postfix_str(told, refresh=False)
                bar.update()

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stages.put(None)
            thread.join()


def _write_page(
    work: Path, view: RawView, pool: SyntheticPool, evaluation: EvaluationResult, about: Any, found: Audit
) -> None:
    """Writes the page of the first seed's dagan pool and of all seeds' scores."""
    settings, first = about["settings"], work / f"seed-{about['seeds'][0]}"
    write_report(
        work / "report.html",
        train=view,
        pool=pool,
        audit=found,
        evaluation=evaluation,
        extractor=TrainedExtractor.load(first / "judge"),
        advice=about["advice"],
        title="Digits with a long tail",
        subtitle=f"scikit-learn's 8x8 digits, imbalance ratio {IMBALANCE_RATIO}, {len(view)} training images, "
        f"600 test images. Images are those of seed {about['seeds'][0]}; scores are of {len(about['seeds'])} seeds, "
        "each of which draws anew which classes are rare, which images are kept, GANs, judge and classifiers",
        warnings=about["warnings"],
        facts={
            "synthesizer of the images": "dagan",
            "machine": about["machine"],
            "time": f"{about['seconds']:.0f} s",
            "steps": f"{settings['gan_steps']} a GAN, {settings['judge_steps']} the judge, "
            f"{settings['classifier_steps']} a classifier",
            "dose": f"a slot is synthetic with probability {settings['synthetic_share']}",
        },
        progress=False,
    )
