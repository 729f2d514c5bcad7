"""Plots: axes enclose their values, marks stand where they should, nothing hostile and nothing unknown is drawn."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_augment.evaluation import EvaluationResult
from gan_augment.metrics import interval
from gan_augment.report.plot import arms_plot, gain_plot, mark, ticks, write
from gan_augment.report.scatter import scatter
from gan_augment.report.shown import Nearest, Shown
from tests.helpers import Pictures, view
from tests.report.conftest import NAN


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_ticks_enclose(first: float, second: float) -> None:
    low, high = min(first, second), max(first, second)
    found = ticks(low, high)
    assert found[0] <= low + 1e-6
    assert high - 1e-6 <= found[-1]
    assert 2 <= len(found) <= 9


def circles(svg: str, kind: str) -> list[float]:
    return [float(x) for x in re.findall(rf'<circle class="{kind}" cx="([\d.]+)"', svg)]


def test_arms_stand_in_order_and_colour(evaluation: EvaluationResult) -> None:
    svg = arms_plot(evaluation, "balanced_accuracy")
    (free, worse), (mine, control, held) = circles(svg, "plain"), circles(svg, "synthetic")
    assert worse < free < control < mine < held
    assert svg.count(" dot") == 15
    assert "nan" not in svg
    assert arms_plot(evaluation, "many_recall") == ""


def test_text_is_escaped_and_cut() -> None:
    assert write(0, 0, "<b>&") == '<text class="" x="0" y="0" text-anchor="middle">&lt;b&gt;&amp;</text>'
    assert "x" * 40 not in write(0, 0, "x" * 40)
    assert mark("line", "a", stroke_width=2) == '<line class="a" stroke-width="2"/>'


def gain(name: str, images: int, values: list[float]) -> dict:
    return {"class": name, "images": images, "gain": interval(values)}


def test_gains_stand_by_their_counts() -> None:
    rows = [
        gain("<i>", 5, [0.1, 0.2]),
        gain("b", 5, [0.1]),
        gain("c", 500, [-0.2, 0.0]),
        gain("d", 9, [NAN, 0.1]),
        gain("empty", 0, [0.0, 0.0]),
    ]
    svg = gain_plot(sorted(rows, key=lambda row: row["images"]))
    places = circles(svg, "synthetic")
    assert len(places) == 4  # a class without test images has no mark
    assert (np.diff(sorted(places)) > 5).all()
    assert "<i>" not in svg
    assert "nan" not in svg
    assert gain_plot([gain("a", 3, [NAN])]) == ""
    assert gain_plot([]) == ""


def test_the_nearest_is_found_and_the_parent_left_out(train: Pictures, pool) -> None:
    shown = Shown.of(view(train), pool)
    rows = np.arange(len(shown.labels))[:6]
    near = Nearest.of(shown, rows)
    reals, drawn = shown.pixels(np.arange(len(train)), real=True), shown.pixels(rows, real=False)
    distances = np.linalg.norm(drawn[:, None] - reals[None], axis=2)
    assert [near.row[row] for row in rows.tolist()] == distances.argmin(1).tolist()
    assert not near.parent
    born = Shown(shown.view, shown.pool, shown.spec, shown.labels, np.full(len(shown.labels), distances[0].argmin()))
    again = Nearest.of(born, rows[:1])
    assert again.row[0] == np.argsort(distances[0])[1]
    assert again.parent[0] < again.relative[0]


def test_usual_is_one_for_a_real_image(train: Pictures) -> None:
    """A pool of real images of another draw is as far from the training images as those are from each other."""
    import gan_augment as ga

    other = Pictures((24, 8, 5), "array", seed=1)
    same = Shown.of(view(train), ga.SyntheticPool.from_arrays(other.pixels, other.targets, classes=train.classes))
    near = Nearest.of(same, np.arange(len(other)))
    assert 0.8 < np.median(list(near.relative.values())) < 1.2
    copies = Shown.of(view(train), ga.SyntheticPool.from_arrays(train.pixels, train.targets, classes=train.classes))
    assert max(Nearest.of(copies, np.arange(len(train))).relative.values()) == 0


def test_scatter_has_a_panel_for_each_class_with_images(train: Pictures, pool) -> None:
    found = scatter(Shown.of(view(train), pool))
    assert found is not None
    assert [panel["name"] for panel in found.panels] == [
        name for name in ("rarest", "rare") if pool.counts.get(train.classes.index(name))
    ]
    assert found.space == "pixels"
    assert 0 < found.variance[1] <= found.variance[0] <= 1
    first = found.panels[0]
    assert first["svg"].count('"ring"') == 5


@pytest.mark.parametrize("same", [True, False])
def test_no_scatter_where_there_is_nothing_to_see(same: bool) -> None:
    import gan_augment as ga

    flat = [(np.full((8, 8), 7 + (i == 0 and not same), np.uint8), i % 2) for i in range(4)]
    shown = Shown.of(view(flat), ga.SyntheticPool.from_arrays(np.stack([flat[1][0]]), [0]))
    found = scatter(shown)
    assert found is None or "nan" not in found.panels[0]["svg"]
