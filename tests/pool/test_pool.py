"""Pools as views, pools of arrays, and folders that are damaged on purpose."""

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gan_augment.errors import ArtifactError, ConfigError, DataError
from gan_augment.pool import SyntheticPool
from gan_augment.pool.layout import part_name
from gan_augment.pool.read import read_store
from gan_augment.pool.shards import npy_writer
from gan_augment.selection import CentroidSelector
from tests.helpers import Pictures, toy_synthesizer

IMAGES = f"{part_name(0)}/images-00000.npy"
PART: tuple[Any, ...] = ("parts", 0)


def selective(kind: str = "tensor", **settings: Any) -> SyntheticPool:
    """A pool of which a selector kept half."""
    selector = CentroidSelector(keep_share=0.5, agreement=False)
    return SyntheticPool.build(
        toy_synthesizer(), Pictures(kind=kind), selector=selector, reserve=4, progress=False, **settings
    )


@pytest.fixture(scope="module")
def pool() -> SyntheticPool:
    return selective()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pool") / "pool"
    selective("pil", out=out)
    return out


# -- views ------------------------------------------------------------------------------------------------------------


def test_a_pool_shows_the_kept_rows(pool: SyntheticPool) -> None:
    assert 0 < len(pool) < len(pool.candidates()) == 68
    assert pool.kept.all()
    assert set(pool.reasons) == {""}
    assert sum(pool.counts.values()) == len(pool)


def test_kept_and_rejected_are_the_candidates(pool: SyntheticPool) -> None:
    rejected = pool.rejected()
    assert not rejected.kept.any()
    assert set(rejected.reasons) == {"far from its class"}
    assert sorted([*pool.rows, *rejected.rows]) == list(range(68)) == pool.candidates().rows.tolist()


def test_a_filter_picks_rows_of_the_view(pool: SyntheticPool) -> None:
    best = pool.filter(pool.scores < np.median(pool.scores))
    assert 0 < len(best) < len(pool)
    assert set(best.rows) < set(pool.rows)
    assert best.scores.max() < np.median(pool.scores)
    assert len(best.candidates()) == 68
    with pytest.raises(ConfigError, match=f"a mask of {len(pool)} booleans, found bool of shape"):
        pool.filter(np.ones(3, bool))


def test_random_k_has_the_counts_of_the_kept_and_ignores_the_decision(pool: SyntheticPool) -> None:
    control = pool.sample(pool.counts, seed=1)
    assert control.counts == pool.counts
    assert not control.kept.all()
    assert control.kept.any()
    assert len(np.unique(control.rows)) == len(control)
    assert (pool.sample(pool.counts, seed=1).rows == control.rows).all()
    assert not np.array_equal(pool.sample(pool.counts, seed=2).rows, control.rows)


def test_random_k_is_uniform_over_the_candidates(pool: SyntheticPool) -> None:
    drawn = np.concatenate([pool.sample(8, seed=seed).rows for seed in range(400)])
    frequency = np.bincount(drawn, minlength=68) / 400
    expected = 8 / np.bincount(pool.candidates().labels)[pool.candidates().labels]
    assert np.abs(frequency - expected).max() < 0.12  # 4.5 standard deviations


def test_random_k_by_number(pool: SyntheticPool) -> None:
    assert pool.sample(3).counts == {1: 3, 2: 3}
    assert len(pool.sample(np.int64(5), per_class=False)) == 5
    assert len(pool.sample({2: 0})) == 0


@pytest.mark.parametrize(
    ("k", "per_class"), [(10**6, True), (10**6, False), (-1, True), (-1, False), ({9: 1}, True), ({1: 2}, False)]
)
def test_random_k_that_is_not_there(pool: SyntheticPool, k: Any, per_class: bool) -> None:
    with pytest.raises(ConfigError, match=r"expected (k from 0 to|a class of 0, 1, 2)"):
        pool.sample(k, per_class=per_class)


def test_images_of_a_view_are_its_rows(pool: SyntheticPool) -> None:
    spec = pool.image_spec
    assert spec is not None
    assert torch.equal(pool.images(), torch.stack([spec.normalise(pool.raw(row)) for row in pool.rows]))
    assert pool.images([]).shape == (0, 1, 8, 8)
    assert pool.images([3]).shape == (1, 1, 8, 8)


@pytest.mark.parametrize("place", ["memory", "folder"])
def test_a_pool_is_read_only(place: str, folder: Path, pool: SyntheticPool) -> None:
    pool = pool if place == "memory" else SyntheticPool.open(folder)
    with pytest.raises(ValueError, match="read-only"):
        pool.array(0)[:] = 0
    raw = pool.raw(0)  # what is handed to a transform may be changed
    if place == "memory":
        before = pool.array(0).copy()
        raw[:] = 0
        assert (pool.array(0) == before).all()
    else:
        raw.putpixel((0, 0), 255 - raw.getpixel((0, 0)))
        assert raw.getpixel((0, 0)) != pool.raw(0).getpixel((0, 0))
    for row in (-1, 68):
        with pytest.raises(IndexError, match="a row from 0 to 67"):
            pool.array(row)


def test_opening_gives_what_was_built(folder: Path) -> None:
    built, opened = selective("pil"), SyntheticPool.open(folder)
    assert (built.rows == opened.rows).all()
    for name in ("labels", "seeds", "scores", "reasons", "parents"):
        assert (getattr(built.candidates(), name) == getattr(opened.candidates(), name)).all()
    assert all((built.array(row) == opened.array(row)).all() for row in range(68))
    assert isinstance(opened.raw(0), Image.Image)
    assert (built.classes, built.form, built.image_spec) == (opened.classes, opened.form, opened.image_spec)


def test_a_view_is_pickled_as_a_path(folder: Path) -> None:
    opened = SyntheticPool.open(folder).rejected()
    content = pickle.dumps(opened)
    again = pickle.loads(content)
    assert len(content) < 6000
    assert (again.rows == opened.rows).all()
    assert (again.array(5) == opened.array(5)).all()


def resharded(folder: Path, sizes: list[int]) -> None:
    """Splits the one shard of a pool into several, without telling `pool.json`."""
    images = np.load(folder / IMAGES)
    for number, part in enumerate(np.split(images, np.cumsum(sizes)[:-1])):
        np.save(folder / part_name(0) / f"images-{number:05d}.npy", part)


@pytest.mark.parametrize("size", [1, 30, 34])
def test_several_shards_are_one_pool(tmp_path: Path, folder: Path, size: int) -> None:
    whole = SyntheticPool.open(folder)
    shutil.copytree(folder, tmp_path / "pool")
    sizes = [size] * (68 // size) + ([68 % size] if 68 % size else [])
    resharded(tmp_path / "pool", sizes)

    def change(about: Any) -> None:
        files = {f"images-{number:05d}.npy": "0" * 64 for number in range(len(sizes))}
        about["parts"][0] |= {"chunk": 1, "shard_rows": size, "files": {**about["parts"][0]["files"], **files}}

    rewrite(tmp_path / "pool", change)
    opened = SyntheticPool.open(tmp_path / "pool")
    read = opened.reader()
    for row in range(68):
        assert (whole.array(row) == opened.array(row)).all()
        assert (whole.array(row) == read(row)).all()


@given(pieces=st.lists(st.integers(0, 7), max_size=8))
def test_a_file_is_what_numpy_would_have_saved(tmp_path_factory: pytest.TempPathFactory, pieces: list[int]) -> None:
    rows, folder = sum(pieces), tmp_path_factory.mktemp("files")
    images = np.arange(rows * 4, dtype=np.int16).reshape(rows, 1, 2, 2)
    with npy_writer(folder / "a.npy", images.shape, "int16") as writer:
        for part in np.split(images, np.cumsum(pieces)[:-1]) if pieces else []:
            writer.append(part)
        told = writer.close()
    np.save(folder / "b.npy", images)
    assert (folder / "a.npy").read_bytes() == (folder / "b.npy").read_bytes()
    assert hashlib.sha256((folder / "a.npy").read_bytes()).hexdigest() == told
    assert not list(folder.glob(".*"))


# -- pools of arrays --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["hw", "chw", "hwc", "tensor", "volume"])
def test_arrays_come_out_as_they_went_in(layout: str) -> None:
    shape = {"hw": (9, 8), "chw": (3, 9, 8), "hwc": (9, 8, 3), "tensor": (3, 9, 8), "volume": (1, 9, 8, 8)}[layout]
    images: Any = np.random.default_rng(0).integers(0, 255, (4, *shape)).astype(np.int16)
    images = torch.from_numpy(images) if layout == "tensor" else images
    pool = SyntheticPool.from_arrays(images, torch.tensor([3, 7, 7, 3]))
    assert pool.classes == ["3", "7"]
    assert pool.labels.tolist() == [0, 1, 1, 0]
    assert all((np.asarray(pool.raw(i)) == np.asarray(images[i])).all() for i in range(4))
    assert pool.seeds.tolist() == [-1] * 4
    assert np.isnan(pool.scores).all()
    with pytest.raises(ConfigError, match="found one made of arrays"):
        pool.images()


def test_labels_of_arrays_may_be_names_or_numbers() -> None:
    images, names = np.zeros((3, 8, 8)), ["cat", "dog"]
    assert SyntheticPool.from_arrays(images, ["dog", "cat", "dog"], names).labels.tolist() == [1, 0, 1]
    assert SyntheticPool.from_arrays(images, [1, 0, 1], names).labels.tolist() == [1, 0, 1]
    assert SyntheticPool.from_arrays(images, [[1], [0], [1]]).labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("images", "labels", "classes", "told"),
    [
        (np.zeros((3, 8, 8)), [0, 1], None, "found 3 images and 2 labels"),
        (np.zeros((0, 8, 8)), [], None, "found 0 images"),
        (np.zeros((2, 8, 8)), [0, 2], ["a", "b"], "labels from 0 to 1, or names among a, b, found 2"),
        (np.zeros((2, 8, 8)), ["a", "x"], ["a", "b"], "found x"),
        (np.zeros((2, 8, 8)), [0, -1], None, "whole numbers from 0"),
        (np.zeros((2, 8, 8), bool), [0, 1], None, "one of the types .*, found bool"),
    ],
)
def test_arrays_that_cannot_be_used(images: Any, labels: Any, classes: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        SyntheticPool.from_arrays(images, labels, classes)


# -- damaged folders --------------------------------------------------------------------------------------------------


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    about = json.loads((folder / "pool.json").read_text())
    change(about)
    (folder / "pool.json").write_text(json.dumps(about))


def set_in(*path: Any) -> Callable[[Path], None]:
    """Sets the value at a path of keys in pool.json: `set_in("shards", 0, "name", value)`."""

    def damage(folder: Path) -> None:
        def change(about: Any) -> None:
            *keys, last, value = path
            for key in keys:
                about = about[key]
            about[last] = value

        rewrite(folder, change)

    return damage


def remove_key(name: str) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder, lambda about: about.pop(name))


def remove_file(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut(name: str, keep: float) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * keep)])

    return damage


def replace_images(images: Any) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / IMAGES, images, allow_pickle=True)


def column(name: str, change: Callable[[np.ndarray[Any, Any]], Any] | None) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / part_name(0) / f"{name}.npy"
        values = np.load(path)
        path.unlink()
        if change is not None:
            np.save(path, change(values), allow_pickle=True)

    return damage


def header_of_absurd_shape(folder: Path) -> None:
    content = (folder / IMAGES).read_bytes()
    assert content.count(b"(68, 1, 8, 8), }     ") == 1
    content = content.replace(b"(68, 1, 8, 8), }     ", b"(680000, 1, 8, 8), } ")
    (folder / IMAGES).write_bytes(content)
    set_in("rows", 680000)(folder)
    set_in("parts", 0, "rows", 680000)(folder)
    set_in("parts", 0, "shard_rows", 256 * 4000)(folder)


def npz_instead(folder: Path) -> None:
    with open(folder / IMAGES, "wb") as file:
        np.savez(file, np.zeros(3))


def one_shard_too_many(folder: Path) -> None:
    set_in("parts", 0, "shard_rows", 34)(folder)
    set_in("parts", 0, "chunk", 34)(folder)


def very_many_shards(folder: Path) -> None:
    for name in ("chunk", "shard_rows"):
        set_in(*PART, name, 1)(folder)


def part_elsewhere(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        shutil.copytree(folder / part_name(0), folder.parent / "secret")
        set_in("parts", 0, "folder", name.format(folder.parent))(folder)

    return damage


def file_named(name: str) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder, lambda about: about["parts"][0]["files"].update({name: "0"}))


def twice(folder: Path) -> None:
    rewrite(folder, lambda about: about.update(parts=about["parts"] * 2, rows=136))


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "no json": remove_file("pool.json"),
    "no column": remove_file(f"{part_name(0)}/score.npy"),
    "no images": remove_file(IMAGES),
    "no hashes": remove_file(f"{part_name(0)}/fitted_on.safetensors"),
    "json cut": cut("pool.json", 0.5),
    "json empty": cut("pool.json", 0),
    "json is a list": lambda folder: (folder / "pool.json").write_text("[1, 2]"),
    "json is no text": lambda folder: (folder / "pool.json").write_bytes(b"\xff\xfe\x00"),
    "json is deep": lambda folder: (folder / "pool.json").write_text("[" * 100_000),
    "column cut": cut(f"{part_name(0)}/label.npy", 0.9),
    "column empty": cut(f"{part_name(0)}/label.npy", 0),
    "hashes cut": cut(f"{part_name(0)}/fitted_on.safetensors", 0.9),
    "images cut": cut(IMAGES, 0.99),
    "images cut in the header": cut(IMAGES, 0.001),
    "images empty": cut(IMAGES, 0),
    "newer version": set_in("version", 3),
    "older version": set_in("version", 1),
    "version is text": set_in("version", "2"),
    "another kind": set_in("kind", "gan_augment extractor"),
    **{
        f"no {name}": remove_key(name)
        for name in ("classes", "named", "values", "form", "image_spec", "rows", "reasons", "parts")
    },
    "no part": set_in("parts", []),
    "part is text": set_in(*PART, "images"),
    "parts are many": set_in("parts", [{}] * 1000),
    "the part twice": twice,
    **{f"no {name} of a part": set_in(*PART, name, None) for name in ("rows", "shard_rows", "chunk", "masks", "files")},
    "no folder of a part": set_in(*PART, "folder", None),
    "rows are text": set_in("rows", "many"),
    "rows are fewer": set_in("rows", 67),
    "rows are infinite": set_in("rows", float("inf")),
    "rows of a part are fewer": set_in(*PART, "rows", 67),
    "rows of a part are a fraction": set_in(*PART, "rows", 68.0),
    "shards are empty": set_in(*PART, "shard_rows", 0),
    "shards are negative": set_in(*PART, "shard_rows", -256),
    "shards are no whole chunks": set_in(*PART, "shard_rows", 257),
    "shards are very many": very_many_shards,
    "chunk is true": set_in(*PART, "chunk", True),
    "masks that are not there": set_in(*PART, "masks", True),
    "masks are text": set_in(*PART, "masks", "no"),
    "header and rows are absurd": header_of_absurd_shape,
    "one shard too many": one_shard_too_many,
    "files beside": file_named("../../secret.npy"),
    "checksum is a number": set_in(*PART, "files", "label.npy", 5),
    "like is text": set_in(*PART, "like", "me"),
    "fingerprint is text": set_in(*PART, "fingerprint", "me"),
    "classes are a number": set_in("classes", 3),
    "fewer classes": set_in("classes", ["0", "1"]),
    "fewer values": set_in("values", [0, 1]),
    "values are lists": set_in("values", [[0], [1], [2]]),
    "named is a number": set_in("named", 1),
    "fewer reasons": set_in("reasons", [""]),
    "form of another shape": set_in("form", "shape", [16, 16]),
    "form of mixed sizes": set_in("form", "shape", None),
    "form of another dtype": set_in("form", "dtype", "float32"),
    "form has more": set_in("form", "colour", "red"),
    "spec of another shape": set_in("image_spec", "form", "shape", [9, 9]),
    "spec without range": set_in("image_spec", "low", []),
    "spec is text": set_in("image_spec", "grey"),
    "outside the folder": part_elsewhere("../secret"),
    "absolute path": part_elsewhere("{}/secret"),
    "the folder itself": set_in(*PART, "folder", "."),
    "pickled objects": replace_images(np.array([{"a": 1}] * 68, dtype=object)),
    "images of another dtype": replace_images(np.zeros((68, 1, 8, 8), np.int16)),
    "images of another shape": replace_images(np.zeros((68, 1, 4, 16), np.uint8)),
    "images in another order": replace_images(np.asfortranarray(np.zeros((68, 1, 8, 8), np.uint8))),
    "fewer images": replace_images(np.zeros((60, 1, 8, 8), np.uint8)),
    "npz": npz_instead,
    "no labels": column("label", None),
    "fewer labels": column("label", lambda values: values[:-1]),
    "labels of two dimensions": column("label", lambda values: values[:, None]),
    "labels beyond the classes": column("label", lambda values: values + 3),
    "labels below 0": column("label", lambda values: values - 5),
    "labels are fractions": column("label", lambda values: values.astype(np.float32)),
    "labels are objects": column("label", lambda values: values.astype(object)),
    "reasons beyond the texts": column("reason", lambda values: values + 7),
    "keep is a number": column("keep", lambda values: values.astype(np.int64)),
    "one score": column("score", lambda values: values[0]),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_is_refused(tmp_path: Path, folder: Path, damage: Callable[[Path], Any]) -> None:
    shutil.copytree(folder, tmp_path / "pool")
    assert len(SyntheticPool.open(tmp_path / "pool").candidates()) == 68
    damage(tmp_path / "pool")
    with pytest.raises(ArtifactError, match=r"expected .* found "):
        SyntheticPool.open(tmp_path / "pool")


def test_pickles_are_not_run(tmp_path: Path, folder: Path) -> None:
    shutil.copytree(folder, tmp_path / "pool")
    trap = f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()"

    class Trap:
        def __reduce__(self) -> Any:
            return exec, (trap,)

    for write in (
        lambda path: np.save(path, np.array([Trap()], dtype=object), allow_pickle=True),
        lambda path: path.write_bytes(pickle.dumps(Trap())),
    ):
        write(tmp_path / "pool" / IMAGES)
        with pytest.raises(ArtifactError):
            SyntheticPool.open(tmp_path / "pool")
        assert not (tmp_path / "ran").exists()
    with pytest.raises(ArtifactError, match=r"found no pool\.json there"):
        read_store(tmp_path)


@given(data=st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_are_refused_or_found_out(tmp_path_factory: pytest.TempPathFactory, folder: Path, data: Any) -> None:
    """Files with bytes changed, taken out or put in do not open, or `check` finds them; nothing else comes out."""
    out = tmp_path_factory.mktemp("fuzz") / "pool"
    shutil.copytree(folder, out)
    files = sorted(path for path in out.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files), label="file")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        new = data.draw(st.binary(max_size=6))
        content[at : at + data.draw(st.integers(0, 6))] = new
    changed = bytes(content) != path.read_bytes()
    path.write_bytes(bytes(content))
    try:
        opened = SyntheticPool.open(out)
        opened.candidates().images()
        opened.table()
        opened.check(progress=False)
    except ArtifactError:
        return
    assert not changed or path.name in ("pool.json", "review.npy")  # the document has no checksum but its own sense
    shutil.rmtree(out.parent)


HOSTILE = (None, -1, 0, 2.5, 10**30, float("nan"), float("inf"), True, "", "x", "../..", [], ["x"], [[1]], {}, {"x": 1})


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, as a path of keys."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, own in inner for place in places(own, (*path, key)))][0 if path else 1 :]


@pytest.mark.filterwarnings("ignore:.* rows have the class and the seed")
@given(data=st.data())
@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_value_in_the_document_is_refused_or_means_something(
    tmp_path_factory: pytest.TempPathFactory, folder: Path, data: Any
) -> None:
    out = tmp_path_factory.mktemp("fuzz") / "pool"
    shutil.copytree(folder, out)
    document = json.loads((out / "pool.json").read_text())
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places(document)))
        set_in(*path, data.draw(st.sampled_from(HOSTILE)))(out)
        document = json.loads((out / "pool.json").read_text())
    try:
        opened = SyntheticPool.open(out)
        opened.candidates().images()
        opened.raw(3)
        opened.table()
        opened.check(progress=False)
        repr(opened), opened.reasons, opened.counts
        SyntheticPool.merge([opened, opened.rejected()]) if len(opened.rejected()) else None
    except (ArtifactError, ConfigError, DataError):
        pass
    shutil.rmtree(out.parent)
