import json
from pathlib import Path

import numpy as np
import pytest

from gan_augment.errors import ArtifactError, ConfigError, DataError
from gan_augment.pool import SyntheticPool
from gan_augment.pool.references import Pools, is_reference, references
from tests.helpers import Pictures, toy_synthesizer
from tests.transforms.sources import marked_pool


def in_folder(pool: SyntheticPool, folder: Path) -> SyntheticPool:
    pool.save(folder, progress=False)
    return SyntheticPool.open(folder)


def test_a_reference_leads_to_its_row_in_any_process(tmp_path: Path) -> None:
    masks = np.arange(6, dtype=np.uint8).reshape(6, 1, 1) + np.zeros((6, 8, 8), np.uint8)
    pool = in_folder(marked_pool(masks=masks), tmp_path / "pool")
    for masked in (False, True):
        names = references(pool, range(6), masks=masked)
        assert len(set(names)) == 6
        assert all(map(is_reference, names))
        json.dumps(names)
        for row, name in enumerate(names):
            found, at, is_mask = Pools().find(name)
            assert (at, is_mask) == (row, masked)
            assert np.array_equal(found.array(at), pool.array(row))


def test_a_pool_that_grows_keeps_its_references(tmp_path: Path) -> None:
    data, gan = Pictures((12, 4, 3)), toy_synthesizer()
    pool = SyntheticPool.build(gan, data, out=tmp_path / "pool", progress=False)
    before, pools = references(pool, [0, 1]), Pools()
    first = [pools.find(name)[0].array(row) for row, name in enumerate(before)]
    grown = pool.extend(gan, data, counts={2: 5}, progress=False)
    assert references(grown, [0, 1]) == before
    last = int(grown.rows[-1])
    (name,) = references(grown, [last])
    found, at, _ = pools.find(name)  # it had opened the smaller one
    assert np.array_equal(found.array(at), grown.array(last))
    assert all(np.array_equal(pools.find(name)[0].array(row), first[row]) for row, name in enumerate(before))
    with pytest.raises(DataError, match="found another; make the list again"):
        pools.find(name.replace(f"{last:06d}-", "000000-"))  # the hash is that of the other part


def test_memory_and_missing_masks_have_no_reference(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found one in memory; save it first"):
        references(marked_pool(), [0])
    with pytest.raises(ConfigError, match="expected a pool with masks"):
        references(in_folder(marked_pool(), tmp_path / "pool"), [0], masks=True)


def test_a_folder_that_went_away_is_told(tmp_path: Path) -> None:
    (name,), pools = references(in_folder(marked_pool(), tmp_path / "pool"), [0]), Pools()
    pools.find(name)
    (tmp_path / "pool" / "pool.json").unlink()
    with pytest.raises(ArtifactError, match=r"pool\.json"):
        pools.find(name)
