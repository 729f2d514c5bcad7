"""BalancedBatchSampler: fixed shares, every real once, and several processes."""

import pickle
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from gan_augment.dataset import GANAugmentedDataset
from gan_augment.errors import ConfigError
from gan_augment.items import same
from gan_augment.pool import SyntheticPool
from gan_augment.transforms import BalancedBatchSampler
from tests.helpers import Pictures
from tests.transforms.sources import marked


def train(share: float = 1.0) -> GANAugmentedDataset:
    labels = [0] * 10 + [1] * 25 + [2] * 25
    return GANAugmentedDataset(
        Pictures((40, 12, 10)),
        SyntheticPool.from_arrays(marked(labels, dtype="float32"), labels),
        synthetic_share=share,
    )


@given(st.integers(1, 60), st.integers(1, 40), st.integers(1, 12), st.integers(0, 11), st.integers(1, 4), st.booleans())
def test_every_real_once_in_batches_of_fixed_shares(
    reals: int, slots: int, size: int, extra: int, ranks: int, drop: bool
) -> None:
    settings = {
        "synthetic_share": min(extra, size) / size,
        "reals": range(100, 100 + reals),
        "slots": range(1000, 1000 + slots),
        "drop_last": drop,
        "num_replicas": ranks,
    }
    try:
        samplers = [BalancedBatchSampler(None, size, rank=rank, **settings) for rank in range(ranks)]
    except ConfigError:
        assume(False)
    batches = [list(sampler) for sampler in samplers]
    assert {len(part) for part in batches} == {len(samplers[0])}
    every = [batch for part in batches for batch in part]
    found = Counter(i for batch in every for i in batch)
    own = {i: n for i, n in found.items() if i < 1000}
    assert set(own.values()) <= {1}
    assert drop or set(own) == set(range(100, 100 + reals))
    drawn = [found[i] for i in range(1000, 1000 + slots)]
    assert max(drawn) - min(drawn) <= 1
    full = 0
    for batch in every:
        few = sum(i < 1000 for i in batch)
        assert 1 <= few <= size - extra
        assert len(batch) - few == round(few * extra / (size - extra))
        full += few == size - extra
    assert full == len(every) or (not drop and full >= len(every) - 2 * ranks)


def test_the_batches_of_a_dataset() -> None:
    data = train()
    sampler = BalancedBatchSampler(data, batch_size=16, synthetic_share=0.25)
    loader = DataLoader(data, batch_sampler=sampler)
    assert len(sampler) == len(loader) == 6  # 62 reals, 12 a batch
    kinds = [Counter(data.origin(i).kind for i in batch) for batch in sampler]
    assert all(kind == {"real": 12, "synthetic": 4} for kind in kinds[:5])
    assert kinds[5] == {"real": 2, "synthetic": 1}
    assert len(BalancedBatchSampler(data, 16, synthetic_share=0.25, drop_last=True)) == 5
    assert [len(images) for images, _ in loader] == [16] * 5 + [3]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_give_the_same_batches(method: str) -> None:
    data = train(0.5)
    sampler = BalancedBatchSampler(data, batch_size=10, seed=3)
    here = list(DataLoader(data, batch_sampler=sampler))
    assert same(here, list(DataLoader(data, batch_sampler=sampler, num_workers=2, multiprocessing_context=method)))


def test_batches_are_a_function_of_seed_and_epoch() -> None:
    data = train()
    one, two = (BalancedBatchSampler(data, 10, seed=1) for _ in range(2))
    torch.manual_seed(0)
    first = list(one)
    torch.manual_seed(1)
    assert first == list(one) == list(two) == list(pickle.loads(pickle.dumps(one)))
    data.set_epoch(1)
    assert list(one) != first
    one.set_epoch(0)
    assert list(one) == first
    one.set_epoch(1)
    assert list(one) == list(two)
    assert list(BalancedBatchSampler(data, 10, seed=2)) != list(two)


def test_reals_and_slots_are_mixed_within_a_batch() -> None:
    data = train()
    leading = [sum(i < 62 for i in batch[:10]) for batch in BalancedBatchSampler(data, 20, synthetic_share=0.5)]
    assert set(leading[:-1]) != {10}


def test_share_zero_gives_reals_alone() -> None:
    plain = GANAugmentedDataset(Pictures((40, 12, 10)), None, synthetic_share=0)
    batches = list(BalancedBatchSampler(plain, 16, synthetic_share=0))
    assert sorted(i for batch in batches for i in batch) == list(range(62))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size of at least 1"),
        ({"synthetic_share": 1.0}, "at least one real and one slot a batch, found 0 and 16"),
        ({"synthetic_share": 0.01}, "at least one real and one slot a batch, found 16 and 0"),
        ({"synthetic_share": 2}, "synthetic_share from 0 to 1"),
        ({"slots": []}, "slots in the dataset, found none"),
        ({"reals": []}, "found 0 reals"),
        ({"reals": range(3), "num_replicas": 4}, "found 3 reals for 4 processes"),
        ({"reals": range(3), "drop_last": True}, "found 3 reals for 1 processes of 8 a batch"),
        ({"reals": [1, 1]}, "different whole numbers"),
        ({"reals": [0.5]}, "different whole numbers"),
        ({"slots": None}, "both reals= and slots="),
        ({"num_replicas": 2, "rank": 2}, "rank from 0 to 1, found 2"),
        ({"num_replicas": 0}, "num_replicas of at least 1"),
    ],
)
def test_what_cannot_work(settings: dict[str, Any], message: str) -> None:
    given = {"batch_size": 16, "reals": range(60), "slots": range(60, 90), **settings}
    with pytest.raises(ConfigError, match=message):
        BalancedBatchSampler(None, **given)


def test_a_plain_dataset_needs_lists() -> None:
    with pytest.raises(ConfigError, match="a GANAugmentedDataset, or both reals= and slots=, found Pictures"):
        BalancedBatchSampler(Pictures(), 4)
