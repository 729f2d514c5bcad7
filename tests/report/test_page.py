"""The page: what it says, with and without its parts, for every form of images, and nothing hostile in it."""

import base64
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

import gan_augment as ga
from gan_augment.evaluation import EvaluationResult
from gan_augment.quality import Audit
from gan_augment.report import write_report
from tests.helpers import Pictures, untrained_judge
from tests.report.conftest import row

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=y>&amp;\u202e\x00"


def written(path: Path, **settings: Any) -> str:
    write_report(path / "page.html", progress=False, **settings)
    return (path / "page.html").read_text(encoding="utf-8")


def pictures(page: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in found]


def text_of(page: str) -> str:
    """Returns what a reader sees, tags and style left out."""
    page = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


class Balance(HTMLParser):
    """Checks that every element is closed in order, that headings do not skip a level and that ids are single."""

    EMPTY = {"meta", "img", "br", "wbr"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.level, self.ids, self.links = 0, [], []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag not in self.EMPTY:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            assert int(tag[1]) <= self.level + 1, f"{tag} after h{self.level}"
            self.level = int(tag[1])
        if "id" in told:
            self.ids.append(told["id"])
        if (told.get("href") or "").startswith("#"):
            self.links.append((told["href"] or "")[1:])
        if tag == "img":
            assert told["alt"]
        if tag == "th":
            assert told.get("scope") in ("col", "row")
        if "scroll" in (told.get("class") or "").split():
            assert told["tabindex"] == "0"
            assert told["role"] == "region"
            assert told["aria-label"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"circle", "line", "rect"}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag


def check(page: str) -> None:
    balance = Balance()
    balance.feed(page)
    assert not balance.open
    assert len(set(balance.ids)) == len(balance.ids)
    assert set(balance.links) <= set(balance.ids)
    assert page.count("<caption>") == page.count("<table>")
    assert not re.search(r"(src|href)=[\"']?(https?:)?//|url\(|@import|<script", page)
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", text_of(page))


def test_a_whole_page(train: Pictures, pool: Any, audit: Audit, evaluation: EvaluationResult, tmp_path: Path) -> None:
    page = written(
        tmp_path, train=train, pool=pool, audit=audit, evaluation=evaluation, extractor=untrained_judge(),
        warnings=["a given one", "a given one"], facts={"machine": "mine", "empty": None}, advice="Get more.",
    )  # fmt: skip
    check(page)
    told = text_of(page)
    order = [told.index(text) for text in ("copies: half of them are", "a given one", "a note of the evaluation")]
    assert order == sorted(order)
    assert told.count("a given one") == 1
    assert "fewer than 20 training images of rarest (5), rare (8)" in told
    assert order[-1] < told.index("The synthetic images of mine helped: +10.0 points")
    assert "Get more." in told
    assert "the synthetic ones reach 50% of that" in told
    assert "Against control, as many candidates without the selector: +5.0 points" in told
    assert "Bad: do not train on these images" in told
    assert "the features of TrainedExtractor" in told
    assert "many recall" not in told
    assert "machine mine" in told
    assert "empty \N{EN DASH}" in told
    assert len(pictures(page)) > 20


def test_what_is_not_known_is_a_dash(
    train: Pictures, audit: Audit, evaluation: EvaluationResult, tmp_path: Path
) -> None:
    told = text_of(written(tmp_path, train=train, audit=audit, evaluation=evaluation))
    assert "FID" in told
    assert "1.25 real \N{EN DASH}" in told
    assert "KID" not in told  # no row has it
    assert "Vendi" not in told  # nor a value of it
    assert "idle" in told
    assert re.search(r"rarest 5 \N{EN DASH}", told)  # the gain of a class without test images


def test_one_seed_has_no_intervals(train: Pictures, evaluation: EvaluationResult, tmp_path: Path) -> None:
    about = {**evaluation.to_json(), "seeds": [0]}
    for arm in about["arms"].values():
        arm["recalls"] = arm["recalls"][:1]
        for metric in arm["metrics"].values():
            metric["values"] = metric["values"][:1]
    page = written(tmp_path, train=train, evaluation=EvaluationResult.from_json(about))
    check(page)
    assert "over 1 seed, in percent" in text_of(page)
    assert "one seed, no interval" in page


def test_parts_may_be_missing(train: Pictures, pool: Any, tmp_path: Path) -> None:
    plain = written(tmp_path, train=train)
    check(plain)
    assert not pictures(plain)
    assert "It was not measured here" in plain
    page = written(tmp_path, train=train, pool=pool)
    check(page)
    assert "The images were not audited" in page
    assert 'id="audit"' not in page
    assert 'id="evaluation"' not in page
    assert "pixels of the real images" in text_of(page)


def test_counts_before_and_after(train: Pictures, pool: Any, tmp_path: Path) -> None:
    told = text_of(written(tmp_path, train=train, pool=pool))
    kept = pool.counts.get(2, 0)
    assert re.search(rf"rarest fewer than 20 5 24 38 {kept} ", told)
    assert re.search(r"plain 24 24 0 0 \N{EN DASH}", told)


def test_half_of_the_steps_are_told(train: Pictures, evaluation: EvaluationResult, tmp_path: Path) -> None:
    about = evaluation.to_json()
    for gained, told in (([-0.001, 0.001, 0.0], "the steps are enough"), ([-0.05, -0.06, -0.04], "give more")):
        about["half_steps"] = {"values": gained}
        assert told in written(tmp_path, train=train, evaluation=EvaluationResult.from_json(about))


def test_hostile_names_are_shown_as_text(tmp_path: Path, evaluation: EvaluationResult) -> None:
    classes = [HOSTILE, f"2{HOSTILE}", "lone surrogate \udce9"]
    train = Pictures((9, 4, 2), "array", classes=classes)
    pool = ga.SyntheticPool.from_arrays(train.pixels, train.targets, classes=classes)
    about = evaluation.to_json()
    about |= {"classes": classes, "notes": [HOSTILE], "settings": {HOSTILE: HOSTILE}}
    about["arms"] = {f"{name}{HOSTILE}": arm for name, arm in about["arms"].items()}
    audit = Audit(
        verdict="bad",
        problems=frozenset({HOSTILE}),
        table=[row("all"), row(HOSTILE, taken_for=HOSTILE, notes=[HOSTILE])],
        warnings=[HOSTILE],
        settings={HOSTILE: [HOSTILE]},
    )
    page = written(
        tmp_path, train=train, pool=pool, audit=audit, evaluation=EvaluationResult.from_json(about), title=HOSTILE,
        subtitle=HOSTILE, advice=HOSTILE, warnings=[HOSTILE], facts={HOSTILE: HOSTILE},
    )  # fmt: skip
    check(page)
    assert "<script" not in page
    assert "<img src=x" not in page
    assert page.count("&lt;script&gt;alert(1)") > 20
    assert "lone surrogate \\udce9" in page
    assert "&amp;amp;\\u202e\\u0000" in page
    assert not re.search("[\u202a-\u202e\x00]", page)


def volumes(rng: np.random.Generator) -> tuple[Any, Any]:
    images = rng.integers(0, 4000, (12, 1, 8, 10, 12)).astype(np.int16)
    images[..., 4, :, :] = 1500  # the middle slice
    images[0, 0, 0, 0, :2] = 0, 3999
    return TensorDataset(torch.from_numpy(images), torch.arange(12) % 2), images[:, 0]


def sixteen_bits(rng: np.random.Generator) -> tuple[Any, Any]:
    images = rng.integers(20_000, 60_000, (12, 8, 9)).astype(np.uint16)
    return [(image, i % 2) for i, image in enumerate(images)], images


def colours(rng: np.random.Generator) -> tuple[Any, Any]:
    images = rng.integers(0, 255, (12, 9, 8, 3)).astype(np.uint8)
    return [(Image.fromarray(image), i % 2) for i, image in enumerate(images)], images


def grey_in_colour(rng: np.random.Generator) -> tuple[Any, Any]:
    data, images = colours(rng)
    return data, images[..., 0]


def large(rng: np.random.Generator) -> tuple[Any, Any]:
    images = rng.integers(0, 255, (12, 300, 200)).astype(np.uint8)
    return [(image, i % 2) for i, image in enumerate(images)], images


@pytest.mark.parametrize(
    ("made", "size", "mode"),
    [
        (volumes, (12, 10), "L"),
        (sixteen_bits, (9, 8), "L"),
        (colours, (8, 9), "RGB"),
        (grey_in_colour, (8, 9), "RGB"),
        (large, (85, 128), "L"),
    ],
)
def test_forms_of_images(made: Callable[..., Any], size: tuple[int, int], mode: str, tmp_path: Path) -> None:
    train, images = made(np.random.default_rng(0))
    pool = ga.SyntheticPool.from_arrays(images, np.arange(12) % 2)
    page = written(tmp_path, train=train, pool=pool)
    check(page)
    shown = pictures(page)
    assert {picture.size for picture in shown} == {size}
    assert {picture.mode for picture in shown} == {mode}
    assert "lower is better" not in page  # nobody scored them
    assert ("image-rendering: auto" in page) == (made is large)
    if made is volumes:
        assert {tuple(np.unique(np.asarray(picture))) for picture in shown} == {(round(1500 / 3999 * 255),)}
    else:
        assert np.asarray(shown[0]).std() > 20


def test_images_of_mixed_sizes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    train = [(rng.integers(0, 255, (8 + i % 3, 9)).astype(np.uint8), i % 2) for i in range(12)]
    pool = ga.SyntheticPool.from_arrays(rng.integers(0, 255, (4, 16, 16)).astype(np.uint8), [0, 1, 0, 1])
    page = written(tmp_path, train=train, pool=pool)
    check(page)
    assert {picture.size for picture in pictures(page)} == {(16, 16)}


def test_other_images_and_classes_are_refused(train: Pictures, tmp_path: Path) -> None:
    wide = ga.SyntheticPool.from_arrays(np.zeros((2, 8, 9), np.uint8), ["rare", "rare"])
    with pytest.raises(ga.DataError, match="shape"):
        written(tmp_path, train=train, pool=wide)
    foreign = ga.SyntheticPool.from_arrays(np.zeros((2, 8, 8), np.uint8), ["rare", "cat"])
    with pytest.raises(ga.DataError, match="found cat"):
        written(tmp_path, train=train, pool=foreign)
    with pytest.raises(ga.ConfigError, match="SyntheticPool or None"):
        written(tmp_path, train=train, pool=np.zeros((2, 8, 8)))


def test_a_pool_of_another_dataset_is_warned_of(pool: Any, tmp_path: Path) -> None:
    other = Pictures((24, 8, 5), "array", classes=["plain", "rare", "rarest"], seed=5)
    assert "built like another dataset" in written(tmp_path, train=other, pool=pool)


def test_many_classes_are_cut_and_said(tmp_path: Path) -> None:
    names = [f"class {i:02d}" for i in range(45)]
    train = Pictures([4] * 45, "array", classes=names)
    pool = ga.SyntheticPool.from_arrays(np.repeat(train.pixels, 4, 0), np.repeat(train.targets, 4), classes=names)
    page = written(tmp_path, train=train, pool=pool, columns=12)
    check(page)
    told = text_of(page)
    assert "Not shown, as there are so many classes: class 40, class 41, class 42, class 43, class 44." in told
    assert "The first 7 of each class" in told
    assert "No panel, as there are so many classes: class 12," in told
    assert "and 35 more" in told
    assert len(pictures(page)) == 40 * (4 + 7 + 7)


def test_nothing_of_the_users_is_replaced(train: Pictures, tmp_path: Path) -> None:
    mine = tmp_path / "page.html"
    mine.write_text("mine")
    for path in (mine, tmp_path, tmp_path / "\0", tmp_path / ("x" * 300)):
        with pytest.raises(ga.ConfigError, match="a new file such as"):
            write_report(path, train=train)
    assert mine.read_text() == "mine"
    found = write_report(tmp_path / "new" / "page.html", train=train, progress=False)
    assert write_report(found, train=train, title="again", progress=False) == found
    assert "<h1>again</h1>" in found.read_text()
    assert list(found.parent.iterdir()) == [found]
