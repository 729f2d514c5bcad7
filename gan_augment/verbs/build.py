"""The verb build of the command line."""

import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gan_augment.errors import ConfigError
from gan_augment.options import Json, Quiet, example, pairs, show

if TYPE_CHECKING:
    from gan_augment.pool import SyntheticPool
    from gan_augment.ranks import Ranks
    from gan_augment.source import RawView
    from gan_augment.types import Extractor, Selector, Synthesizer

__all__ = ["BUILD_EXAMPLE", "build"]

BUILD_EXAMPLE = example(
    "gan-augment build runs/gan --like data/train --out runs/pool",
    "gan-augment build runs/gan --like data/train --out runs/pool --count melanoma=500 --reserve 4",
    "gan-augment build runs/gan --like data/train --out runs/pool --selector label --selector duplicate",
    "gan-augment build runs/gan --like data/train --out runs/pool --selector centroid:keep_share=0.25-0.75",
    "gan-augment build runs/gan --like data/train --out runs/pool --extend --count melanoma=500",
    "accelerate launch --num_processes 4 -m gan_augment build runs/gan --like data/train --out runs/pool",
)


def build(
    gan: Annotated[
        str, typer.Argument(help="Folder of a synthesizer that fit or convert wrote, or hf://user/name of one.")
    ],
    like: Annotated[Path, typer.Option(help="Training images: which classes need more, and what they look like.")],
    out: Annotated[Path, typer.Option(help="Folder for the pool; one that was not finished is gone on with.")],
    extend: Annotated[
        bool, typer.Option("--extend", help="OUT is a pool: draw further images into it, of the same or other classes.")
    ] = False,
    select: Annotated[bool, typer.Option(help="Have a judge select; --no-select keeps every candidate.")] = True,
    selector: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME or NAME:SETTING=VALUE,...; several are applied in order. Names: gan-augment selectors.",
            show_default="centroid:agreement=none,keep_share=0.5-1",
        ),
    ] = None,
    domains: Annotated[
        int | None,
        typer.Option(min=2, help="Select within each of so many clusters of the real images: sites, scanners."),
    ] = None,
    judge: Annotated[
        Path | None,
        typer.Option(help="Folder of the judge; trained and saved there where it does not exist. In OUT by default."),
    ] = None,
    judges: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Judges, each trained on all folds but one, so that real images can set limits; 1 for one of all.",
            show_default="1, and 3 with --selector",
        ),
    ] = None,
    sampling_strategy: Annotated[
        str, typer.Option(help="imbalanced-learn's (auto, minority, not minority, all), sqrt or effective.")
    ] = "auto",
    count: Annotated[
        list[str] | None, typer.Option(help="CLASS=NUMBER of images needed instead; may be given several times.")
    ] = None,
    class_map: Annotated[
        list[str] | None,
        typer.Option(
            "--map", help="CLASS=CLASS: a class of the images and the synthesizer's, by number or name; for each one."
        ),
    ] = None,
    reserve: Annotated[float, typer.Option(help="Candidates drawn for each image needed.")] = 2.0,
    floor: Annotated[
        float,
        typer.Option(help="Least share of candidates to be kept of a class; of others a few are drawn, to look at."),
    ] = 0.01,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the images, such as CC-BY-4.0; it goes with them.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    image_size: Annotated[
        int | None, typer.Option(help="Side that a new judge works at; the synthesizer's by default.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Of all randomness: the same seed gives the same result on one machine.",
            show_default="0, and one of its own with --extend",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Draw candidates, select, and store them as a pool.

    A build that was stopped or killed goes on where it was when the same command is given again; the pool is then the
    same as if it had never been stopped. With --extend a command that has ended draws further when it is given again.
    Under accelerate launch or torchrun all processes share the work in one folder, which several machines may see.

    Beside the pool, OUT-samples.png shows real, kept and rejected images of each class.
    """
    from gan_augment.folders import open_folder
    from gan_augment.ranks import Ranks, is_first
    from gan_augment.report import sample_grid
    from gan_augment.selection import parse_selector
    from gan_augment.source import RawView
    from gan_augment.synthesizers import load

    began = time.monotonic()
    if not select and (selector or domains):
        raise ConfigError("expected --selector or --domains without --no-select, found both")
    if out.resolve().is_relative_to(like.resolve()):
        raise ConfigError(f"expected --out outside of the images in {like}, found {out}; its folders would be classes")
    for text in selector or ():
        parse_selector(text, None)
    asked: dict[str, Any] = {
        "sampling_strategy": sampling_strategy,
        "counts": _counts(count),
        "reserve": reserve,
        "floor": floor,
        "licence": licence,
        "progress": not quiet,
    }
    if not is_first():
        warnings.simplefilter("ignore")  # the first process tells them
    with Ranks.find(device) as ranks:
        synthesizer = load(gan, device=ranks.device, class_map=pairs(class_map, "--map"))
        view = RawView(open_folder(like), progress=not quiet and ranks.first)
        if unknown := [name for name in pairs(class_map, "--map") or () if name not in view.classes]:
            raise ConfigError(
                f"expected --map of classes of {like}, {', '.join(view.classes)}, found {', '.join(unknown)}"
            )
        chosen = None
        ranks.told(lambda: _check(synthesizer, view, out, extend, asked))  # a slip is told before a judge is trained
        if select:
            resized = synthesizer.image_spec is not None and synthesizer.image_spec.fit == "resize"
            settings = {
                "image_size": image_size or (synthesizer.spec.grid if resized else None),  # what the synthesizer sees
                "seed": seed or 0,
                "device": device,
                "progress": not quiet and ranks.first,
            }
            extractor = _judge(view, judge, out, judges or (3 if selector else 1), ranks, settings)
            chosen = _selector(selector, domains, extractor, synthesizer, view)
        asked |= {"selector": chosen, "distributed": ranks.count > 1}
    pool = _drawn(synthesizer, view, out, extend, seed, asked)
    if not is_first():
        return
    picture = out.with_name(f"{out.name}-samples.png")
    sample_grid(view, pool, picture)
    _tell(pool, out, picture, time.monotonic() - began, as_json)


def _check(synthesizer: "Synthesizer", view: "RawView", out: Path, extend: bool, asked: dict[str, Any]) -> None:
    from gan_augment.pool import SyntheticPool
    from gan_augment.pool.drawing import drawer_of
    from gan_augment.pool.folder import check_place
    from gan_augment.pool.order import Order

    if extend:
        SyntheticPool.open(out)
    elif not (out / "pool.json").exists():
        check_place(out)
    drawer_of(Order.of(synthesizer, view, selector=None, domains=None, seed=0, **asked))


def _drawn(
    synthesizer: "Synthesizer", view: "RawView", out: Path, extend: bool, seed: int | None, asked: dict[str, Any]
) -> "SyntheticPool":
    from gan_augment.pool import SyntheticPool

    if extend:
        return SyntheticPool.open(out).extend(synthesizer, view, seed=seed, **asked)
    return SyntheticPool.build(synthesizer, view, out=out, seed=seed or 0, **asked)


def _tell(pool: "SyntheticPool", out: Path, picture: Path, seconds: float, as_json: bool) -> None:
    from gan_augment.selection.tables import Table

    table = [row for row in pool.table() if row["candidates"]]
    result = {
        "out": str(out),
        "candidates": len(pool.candidates()),
        "kept": len(pool),
        "samples": str(picture),
        "classes": table,
        "selector": pool.about["selector"],
        "notes": pool.about["notes"],
        "stopped": pool.about["stopped"],
        "domains": pool.about.get("domain_report"),
        "fingerprint": pool.about["fingerprint"],
        "seconds": round(seconds, 1),
    }
    lines = [f"{'class':<20}{'candidates':>12}{'kept':>8}  rejected"]
    for row in table:
        why = ", ".join(f"{number} {text}" for text, number in row["rejected"].items()) or "none"
        lines.append(f"{row['class']:<20}{row['candidates']:>12}{row['kept']:>8}  {why}")
    if report := pool.about.get("domain_report"):
        lines += ["", str(Table(report)), ""]
    lines += [f"note: {note}" for note in pool.about["notes"]]
    lines.append(f"Look at {picture}: real, kept and rejected images of each class.")
    following = f"Next, in Python: ga.GANAugmentedDataset(train_set, ga.SyntheticPool.open({str(out)!r}))"
    lines.append(following if len(pool) else "Nothing was kept: this pool fills no slot.")
    show(result, "\n".join(lines), as_json)


def _selector(
    texts: list[str] | None, domains: int | None, extractor: "Extractor", synthesizer: Any, view: "RawView"
) -> "Selector":
    from gan_augment.features import DiscriminatorExtractor
    from gan_augment.selection import Compose, DomainSelector, default_selector, parse_selector

    own = DiscriminatorExtractor(synthesizer, view) if _asks(texts, "discriminator") else None
    steps = [parse_selector(text, own if _asks([text], "discriminator") else extractor) for text in texts or ()]
    chosen: Selector = Compose(*steps) if steps else default_selector(extractor)
    return chosen if domains is None else DomainSelector(chosen, domains)


def _asks(selectors: list[str] | None, name: str) -> bool:
    return any(text.partition(":")[0].strip() == name for text in selectors or ())


def _judge(
    view: "RawView", folder: Path | None, out: Path, judges: int, ranks: "Ranks", settings: dict[str, Any]
) -> "Extractor":
    """Returns the judge of a folder, or trains one, or several by cross-fitting, and saves it there.

    By default it is kept in the pool's folder, under a name that tells its data and settings: a build that goes on has
    the judge that it began with, and so have all processes, of which the first trains it.
    """
    from gan_augment.features import CrossFittedExtractor, TrainedExtractor, load_extractor
    from gan_augment.fingerprint import hash_items, hash_json

    if folder is None:
        told = [hash_items(view.hashes), view.identity, view.classes, judges, settings["image_size"], settings["seed"]]
        folder = out / f"judge-{hash_json(told)}"

    def train() -> None:
        if not folder.exists():
            if judges > 1:
                trained: Extractor = CrossFittedExtractor.fit(view, folds=judges, **settings)
            else:
                trained = TrainedExtractor.fit(view, **settings)
            trained.save(folder)

    ranks.told(train)
    return load_extractor(folder)


def _counts(given: list[str] | None) -> dict[str, int] | None:
    if not given:
        return None
    counts = {}
    for text in given:
        name, _, number = text.rpartition("=")
        if not name or not number.isdigit():
            raise ConfigError(f"expected --count CLASS=NUMBER, found {text!r}")
        counts[name] = int(number)
    return counts
