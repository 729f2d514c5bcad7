"""The quality of a synthetic set: is it varied, new, rightly labelled and like the real images?"""

from typing import Any

from gan_augment.errors import whole
from gan_augment.pool import SyntheticPool
from gan_augment.quality.checks import Finding, findings, mostly_few
from gan_augment.quality.closeness import closeness
from gan_augment.quality.material import Material
from gan_augment.quality.measures import row
from gan_augment.quality.result import Audit, Verdict
from gan_augment.quality.spaces import cross_fitted, given_space
from gan_augment.types import Extractor

__all__ = ["audit"]

_MANY = 0.1


def audit(
    pool: SyntheticPool,
    train: Any,
    holdout: Any = None,
    extractor: Extractor | None = None,
    *,
    steps: int = 600,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> Audit:
    """Measures synthetic images against the real ones they are meant to join, and says what is wrong with them.

    Every measure of the pool stands beside the same measure of real images in the pool's place, and a problem is what
    exceeds it by more than chance. A judge sees images that it was trained on otherwise than new ones; so three
    judges are trained, each on two thirds of `train` (whole groups), and real images are looked at by the judge that
    has not seen them. None of them selected the pool.

    The copy check compares pixels and tolerates shifts of a pixel or two. It finds copies; that it finds none does
    not show that nothing was memorised.

    Args:
        pool: The synthetic images: a view of a pool, such as the kept ones.
        train: The training split, or a RawView of it with groups.
        holdout: Real images that neither GAN nor judge has seen: calibrates the copy check and gives C_T.
        extractor: Measures in this one's features instead. Where it was trained on `train`, give `holdout` too.
        steps: Optimiser steps of each judge.
        seed: Of judges, folds and draws; the same arguments give the same audit on one machine.
        device: Where judges train: "auto", "cpu" or "cuda".
        progress: Whether to show a bar on a terminal.

    Raises:
        ConfigError: A parameter has a value that cannot work.
        DataError: The pool is empty or has other images or classes than `train`, a class of `train` has fewer than
            two images, or `holdout` shares images with `train`.
    """
    steps, seed = whole("steps", steps), whole("seed", seed, 0)
    material = Material.of(pool, train, holdout, progress=progress)
    if extractor is None:
        material.spaces = cross_fitted(material, steps=steps, seed=seed, device=device, progress=progress)
    else:
        _warn_of_selector(pool, extractor, material)
        material.spaces = given_space(material, extractor)
    close = closeness(material, seed)
    table = [row(material, close, label, seed) for label in (None, *range(len(material.classes)))]
    found = findings(material, close, table)
    return Audit(
        verdict=_verdict(found, table),
        problems=frozenset(finding.problem for finding in found),
        table=table,
        warnings=[
            *[f"{finding.problem}: {finding.text}" for finding in sorted(found, key=lambda f: not f.severe)],
            *material.warnings,
            *_asides(close.parent_copies, table),
        ],
        settings={
            "seed": seed,
            "steps": steps if extractor is None else None,
            "judges": len(material.spaces) if extractor is None else 0,
            "extractor": None if extractor is None else extractor.fingerprint,
            "holdout": None if material.holdout is None else len(material.holdout),
        },
    )


def _warn_of_selector(pool: SyntheticPool, extractor: Any, material: Material) -> None:
    chain = pool.about.get("fingerprint")
    selector = chain.get("extractor") if isinstance(chain, dict) else None
    if selector is not None and selector == getattr(extractor, "fingerprint", None):
        material.warnings.append(
            "the extractor is the judge that selected this pool, and agrees with its own choice: labels are not "
            "checked independently; give another, or extractor=None"
        )


def _verdict(found: list[Finding], table: list[dict[str, Any]]) -> Verdict:
    if any(finding.severe for finding in found):
        return "bad"
    mild = any(finding.problem != "too few to tell" for finding in found)
    return "doubtful" if mild or mostly_few(table) else "good"


def _asides(parent_copies: float | None, table: list[dict[str, Any]]) -> list[str]:
    """Returns what is no problem of its own, but should be known."""
    told = []
    if parent_copies is not None and parent_copies > 0.5:
        told.append(f"{parent_copies:.0%} of the images made from a real one differ little from it: they add little")
    if table[0]["copies_real"] > _MANY:
        told.append(
            f"{table[0]['copies_real']:.0%} of the real images are near-copies of others: the copy check is blunt; "
            "where train repeats images, leave the repeats out, and where patients have several, give groups"
        )
    value = table[0]["c_t"]
    if value is not None and value < -3:
        told.append(
            f"the synthetic images lie closer to the training images than held-out ones do (C_T {value:.1f}): they "
            "vary less, or are close to being copies"
        )
    return told
