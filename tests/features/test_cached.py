"""CachedExtractor: never a wrong feature, whatever happens to its file."""

import contextlib
import copy
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gan_augment.errors import ConfigError, StorageError
from gan_augment.features import CachedExtractor, CrossFittedExtractor, PixelExtractor, TrainedExtractor
from gan_augment.features.store import Store
from gan_augment.types import CrossFitted, Features, HasLogits, IntArray
from tests.helpers import ROOT, Pictures, SeeingJudge, run_python, untrained_judge, view

IMAGES = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


class Counting:
    """A judge that counts the images it is shown."""

    def __init__(self, judge: Any = None) -> None:
        self.judge = untrained_judge() if judge is None else judge
        self.shown: list[int] = []

    @property
    def fingerprint(self) -> str:
        return self.judge.fingerprint

    def extract(self, images: Tensor) -> Features:
        self.shown.append(len(images))
        return self.judge.extract(images)

    def save(self, folder: str | Path) -> Path:
        return self.judge.save(folder)


class CountingFitted(Counting):
    def extract_fitted(self, images: Tensor, hashes: IntArray) -> Features:
        self.shown.append(len(images))
        return self.judge.extract_fitted(images, hashes)


def assert_same(one: Features, other: Features) -> None:
    for name in ("features", "probs", "entropy", "fold"):
        assert np.array_equal(getattr(one, name), getattr(other, name))


def assert_right(seen: Features) -> None:
    expected = untrained_judge().extract(IMAGES)
    for name in ("features", "probs", "entropy"):
        assert np.allclose(getattr(seen, name), getattr(expected, name), atol=1e-5)


def file_of(folder: Path) -> Path:
    (found,) = folder.glob("*.sqlite")
    return found


# -- what it keeps ----------------------------------------------------------------------------------------------------


def test_what_was_seen_is_not_computed_again(tmp_path: Path) -> None:
    inner = Counting()
    first = CachedExtractor(inner, tmp_path).extract(IMAGES[:30])
    assert_same(first, inner.judge.extract(IMAGES[:30]))  # bit for bit, where nothing was there
    assert inner.shown == [30]
    again = CachedExtractor(inner, tmp_path)  # as after a restart
    assert_same(again.extract(IMAGES[:30]), first)
    assert inner.shown == [30]
    mixed = again.extract(IMAGES[[39, 3, 38, 3, 39]])
    assert inner.shown == [30, 3]
    assert np.array_equal(mixed.features[1], first.features[3])
    assert np.array_equal(mixed.features[0], mixed.features[4])
    assert_same(again.extract(IMAGES[[39, 3, 38, 3, 39]]), mixed)
    assert len(again) == 32
    again.clear()
    assert len(again) == 0
    assert_same(again.extract(IMAGES[:30]), first)
    assert inner.shown == [30, 3, 30]


def test_content_and_shape_make_the_image(tmp_path: Path) -> None:
    inner = Counting(PixelExtractor(4))
    cached = CachedExtractor(inner, tmp_path)
    one = torch.zeros(1, 1, 8, 8)
    for image, shown in ((one, 1), (one - 0.0, 1), (-one, 1), (one.double(), 1), (one + 1e-7, 2), (one[:, :, :4], 3)):
        cached.extract(image)
        assert len(inner.shown) == shown
    wide, tall = torch.rand(1, 1, 4, 16), None
    tall = wide.reshape(1, 1, 16, 4)
    assert not np.array_equal(cached.extract(wide).features, cached.extract(tall).features)


def test_another_extractor_has_a_file_of_its_own(tmp_path: Path) -> None:
    judge = untrained_judge()
    more = TrainedExtractor(judge.network, judge.spec, classes=judge.classes, passes=3)
    for extractor in (judge, more, PixelExtractor(4)):
        assert_same(CachedExtractor(extractor, tmp_path).extract(IMAGES), extractor.extract(IMAGES))
    assert len(list(tmp_path.glob("*.sqlite"))) == 3


def test_a_network_that_is_trained_further_is_asked_again(tmp_path: Path) -> None:
    judge = untrained_judge()
    cached = CachedExtractor(judge, tmp_path)
    first = cached.extract(IMAGES)
    judge.network.linear.weight.data += 1
    assert not np.array_equal(cached.extract(IMAGES).probs, first.probs)
    assert_same(cached.extract(IMAGES), judge.extract(IMAGES))


def test_it_stands_for_its_extractor(tmp_path: Path) -> None:
    judges = CrossFittedExtractor.fit(Pictures(), steps=2, width=32, progress=False)
    cached = CachedExtractor(judges, tmp_path / "cache")
    assert isinstance(cached, CrossFitted)
    assert not isinstance(cached, HasLogits)
    for name in ("classes", "image_spec", "fitted_on", "fingerprint"):
        assert getattr(cached, name) == getattr(judges, name)
    assert CachedExtractor(PixelExtractor(), tmp_path / "cache").stores_images
    assert not cached.stores_images
    seeing = CachedExtractor(SeeingJudge(), tmp_path / "cache")
    assert isinstance(seeing, HasLogits)
    assert not isinstance(seeing, CrossFitted)
    assert np.array_equal(seeing.logits(IMAGES, np.zeros(40)), SeeingJudge().logits(IMAGES, np.zeros(40)))
    for twin in (copy.deepcopy(cached), pickle.loads(pickle.dumps(cached))):
        assert isinstance(twin, CrossFitted)
        assert_same(twin.extract(IMAGES), cached.extract(IMAGES))


def test_real_images_keep_their_own_judge(tmp_path: Path) -> None:
    judges = CrossFittedExtractor.fit(Pictures(), steps=2, width=32, progress=False)
    inner, real = CountingFitted(judges), view(Pictures())
    assert judges.image_spec is not None
    images = real.images(spec=judges.image_spec)
    for _ in range(2):
        cached = CachedExtractor(inner, tmp_path)
        assert_same(cached.extract_fitted(images, real.hashes), judges.extract_fitted(images, real.hashes))
        assert_same(cached.extract(images), judges.extract(images))
        strange = cached.extract_fitted(images, real.hashes + 1)
        assert strange.fold is not None
        assert (strange.fold == -1).all()
    assert inner.shown == [19, 19, 19]
    with pytest.raises(ConfigError, match="a hash for each of 19 images, found 2"):
        cached.extract_fitted(images, real.hashes[:2])


def test_the_oldest_are_dropped_above_the_bound(tmp_path: Path) -> None:
    cached = CachedExtractor(PixelExtractor(32), tmp_path, max_bytes=400_000)
    many = torch.rand(400, 1, 32, 32)  # 4 KiB each
    for start in range(0, 400, 20):
        part = many[start : start + 20]
        assert_same(cached.extract(part), PixelExtractor(32).extract(part))
    assert file_of(tmp_path).stat().st_size < 700_000
    assert 40 < len(cached) < 100
    inner = Counting(PixelExtractor(32))
    CachedExtractor(inner, tmp_path, max_bytes=400_000).extract(many[-40:])
    assert inner.shown == []


@pytest.mark.parametrize("extractor", [TrainedExtractor, "judge", None])
def test_what_is_no_extractor(tmp_path: Path, extractor: Any) -> None:
    with pytest.raises(ConfigError, match="expected an extractor, fitted"):
        CachedExtractor(extractor, tmp_path)
    with pytest.raises(ConfigError, match="max_bytes of at least 1"):
        CachedExtractor(untrained_judge(), tmp_path, max_bytes=0)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        CachedExtractor(untrained_judge(), tmp_path / "file" / "cache")


# -- damage -----------------------------------------------------------------------------------------------------------


def sql(*statements: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        connection = sqlite3.connect(path)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    return damage


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:9000])


def overwrite(path: Path) -> None:
    content = bytearray(path.read_bytes())
    noise = np.random.default_rng(0).integers(0, 256, 6000, dtype=np.uint8).tobytes()
    content[4096 : 4096 + len(noise)] = noise
    path.write_bytes(content)


BEGUN_ANEW: dict[str, Callable[[Path], Any]] = {
    "text": lambda path: path.write_text("no database" * 1000),
    "cut": cut,
    "overwritten": overwrite,
    "another table": sql("DROP TABLE rows", "CREATE TABLE rows (name TEXT)"),
    "another kind of rows": sql("DROP TABLE rows", "CREATE VIEW rows AS SELECT 1 AS key, 2 AS value, 3 AS checksum"),
}

ROWS_DAMAGED: dict[str, Callable[[Path], Any]] = {
    "values swapped": sql(
        "CREATE TABLE other AS SELECT * FROM rows",
        "UPDATE rows SET value = (SELECT value FROM other WHERE other.key > rows.key ORDER BY other.key LIMIT 1), "
        "checksum = (SELECT checksum FROM other WHERE other.key > rows.key ORDER BY other.key LIMIT 1) "
        "WHERE key < (SELECT max(key) FROM other)",
    ),
    "values cut": sql("UPDATE rows SET value = substr(value, 1, 40)"),
    "values are text": sql("UPDATE rows SET value = 'features'"),
    "checksums are gone": sql("UPDATE rows SET checksum = x''"),
    "checksums are numbers": sql("UPDATE rows SET checksum = 7"),
    "some are gone": sql("DELETE FROM rows WHERE rowid % 2 = 0"),
    "all is gone": lambda path: path.write_bytes(b""),
    "the file is gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", BEGUN_ANEW.values(), ids=BEGUN_ANEW)
def test_a_damaged_file_is_begun_anew(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    CachedExtractor(untrained_judge(), tmp_path).extract(IMAGES)
    damage(file_of(tmp_path))
    inner = Counting()
    cached = CachedExtractor(inner, tmp_path)
    with pytest.warns(RuntimeWarning, match=r"the cache of features .*\.sqlite was damaged .*: it is begun anew"):
        assert_right(cached.extract(IMAGES))
    assert_right(cached.extract(IMAGES))
    shown = list(inner.shown)
    assert_right(CachedExtractor(inner, tmp_path).extract(IMAGES))
    assert inner.shown == shown


@pytest.mark.parametrize("damage", ROWS_DAMAGED.values(), ids=ROWS_DAMAGED)
def test_rows_that_are_not_what_was_written_are_computed_again(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    CachedExtractor(untrained_judge(), tmp_path).extract(IMAGES)
    damage(file_of(tmp_path))
    inner = Counting()
    assert_right(CachedExtractor(inner, tmp_path).extract(IMAGES))
    assert sum(inner.shown) >= 20
    shown = list(inner.shown)
    assert_right(CachedExtractor(inner, tmp_path).extract(IMAGES))
    assert inner.shown == shown


def test_any_byte_may_be_wrong(tmp_path: Path) -> None:
    CachedExtractor(untrained_judge(), tmp_path).extract(IMAGES)
    path = file_of(tmp_path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in [*range(0, 100, 9), *rng.integers(0, len(content), 40).tolist()]:
        changed = bytearray(content)
        changed[place] ^= int(rng.integers(1, 256))
        path.write_bytes(changed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            assert_right(CachedExtractor(untrained_judge(), tmp_path).extract(IMAGES))


def test_what_cannot_be_written_is_computed_each_time(tmp_path: Path) -> None:
    inner = Counting()
    cached = CachedExtractor(inner, tmp_path)
    cached._store().path.mkdir()
    with pytest.warns(RuntimeWarning, match="could not use the cache of features .*: they are computed each time"):
        assert_right(cached.extract(IMAGES))
    assert_right(cached.extract(IMAGES))
    assert inner.shown == [40, 40]


def test_a_full_disk(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    store = Store(tmp_path / "rows.sqlite", 2**30)
    store.write({b"a": {"features": np.zeros(4, np.float32)}})
    many = {bytes([number]): {"features": np.zeros(5000, np.float32)} for number in range(50)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))  # files cannot grow further
    try:
        with pytest.warns(RuntimeWarning, match="could not use the cache of features"):
            store.write(many)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(store.read([b"a", *many])) == [b"a"]
    store.write(many)
    assert len(store) == 51


# -- processes and threads --------------------------------------------------------------------------------------------

FILL = """
import sys, torch
from gan_augment.features import CachedExtractor
from tests.features.test_cached import Counting
cached = CachedExtractor(Counting(), sys.argv[1])
generator = torch.Generator().manual_seed(int(sys.argv[2]))
print("ready", flush=True)
for _ in range(int(sys.argv[3])):
    cached.extract(torch.rand(6, 1, 8, 8, generator=generator) * 2 - 1)
print("done", flush=True)
"""


def batches(seed: int, count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(6, 1, 8, 8, generator=generator) * 2 - 1 for _ in range(count)]


def start(folder: Path, seed: int, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FILL, str(folder), str(seed), str(count)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_several_processes_and_threads_of_which_some_are_killed(tmp_path: Path) -> None:
    killed, finishing = [start(tmp_path, seed, 10**6) for seed in (0, 1)], start(tmp_path, 0, 15)
    judge, wrong = untrained_judge(), []
    cached = CachedExtractor(judge, tmp_path)

    def ask(seed: int) -> None:
        for images in batches(seed, 40):
            if not np.allclose(cached.extract(images).features, judge.extract(images).features, atol=1e-5):
                wrong.append(seed)

    for process in killed:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    threads = [threading.Thread(target=ask, args=(seed,)) for seed in (0, 1, 2)]
    for thread in threads:
        thread.start()
    for process, wait in zip(killed, (0.05, 0.2), strict=True):
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)  # in the middle of a write, most likely
        process.communicate(timeout=30)
    assert finishing.communicate(timeout=120)[0] == "ready\ndone\n"
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not wrong
    ask(0)  # all of which are there by now
    assert not wrong
    with contextlib.closing(sqlite3.connect(file_of(tmp_path))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM rows").fetchone()[0] >= 3 * 40 * 6


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_in_a_forked_process(tmp_path: Path) -> None:
    code = """
import os, sys, torch, numpy as np
from gan_augment.features import CachedExtractor
from tests.features.test_cached import IMAGES, Counting
torch.set_num_threads(1)
inner = Counting()
cached = CachedExtractor(inner, sys.argv[1])
first = cached.extract(IMAGES)
child = os.fork()
if child == 0:
    same = np.array_equal(cached.extract(IMAGES).features, first.features)
    cached.extract(IMAGES + 0.01)
    os._exit(0 if same and inner.shown == [40, 40] else 1)
assert os.waitpid(child, 0)[1] == 0
cached.extract(IMAGES + 0.01)
assert inner.shown == [40], inner.shown
"""
    done = run_python(code, tmp_path, timeout=60)
    assert done.returncode == 0, done.stderr
