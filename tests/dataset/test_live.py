"""Synthesizers as a source: a pool drawn once and found again, or images drawn live."""

import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from gan_augment.dataset import GANAugmentedDataset
from gan_augment.errors import ArtifactError, ConfigError, DataError, SynthesizerError
from gan_augment.evaluation import check_no_overlap
from gan_augment.items import same
from gan_augment.pool.cached import cache_folder, cached_pool
from gan_augment.source import RawView
from gan_augment.synthesizers import wrap
from gan_augment.training import fit
from tests.helpers import Pictures, ToyGenerator, draw_by_seed, pil_to_tensor, toy_synthesizer

COUNTS = (60, 25, 22)


def live(base: Any = None, source: Any = None, **settings: Any) -> GANAugmentedDataset:
    base = Pictures(COUNTS, "pil", transform=pil_to_tensor) if base is None else base
    source = toy_synthesizer() if source is None else source
    return GANAugmentedDataset(base, source, live=True, progress=False, **settings)


# -- a pool drawn once ------------------------------------------------------------------------------------------------


def counting(calls: list[int]) -> Any:
    class Counting(ToyGenerator):
        def forward(self, latents: Any, labels: Any) -> Any:
            calls.append(len(labels))
            return super().forward(latents, labels)

    return wrap(Counting(), num_classes=3, image_shape=(1, 8, 8), latent_dim=6)


def test_a_pool_is_drawn_once_and_found_again(tmp_path: Path) -> None:
    calls: list[int] = []
    base, gan = Pictures(COUNTS), counting(calls)
    first = GANAugmentedDataset(base, gan, cache=tmp_path, progress=False)
    drawn = len(calls)
    again = GANAugmentedDataset(Pictures(COUNTS), counting(calls), cache=tmp_path, progress=False)
    assert len(calls) == drawn
    assert all(same(first[i], again[i]) for i in range(len(first)))
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1
    for settings in ({"seed": 1}, {"sampling_strategy": "minority"}):
        GANAugmentedDataset(base, gan, cache=tmp_path, progress=False, **settings)
    GANAugmentedDataset(Pictures(COUNTS, seed=5), gan, cache=tmp_path, progress=False)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 4


def test_where_pools_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == Path(os.environ["GAN_AUGMENT_CACHE"])
    monkeypatch.delenv("GAN_AUGMENT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "gan_augment" / "pools"
    GANAugmentedDataset(Pictures(COUNTS), toy_synthesizer(), progress=False)
    assert len(list(cache_folder().iterdir())) == 1
    GANAugmentedDataset(Pictures(COUNTS), toy_synthesizer(), seed=3, cache=None, progress=False)
    by_function = wrap(draw_by_seed, num_classes=3, image_shape=(1, 8, 8))
    GANAugmentedDataset(Pictures(COUNTS), by_function, progress=False)  # nothing is known of a function
    assert len(list(cache_folder().iterdir())) == 1


def test_a_pool_that_is_found_again_warns_as_when_it_was_drawn(tmp_path: Path) -> None:
    gan = fit(Pictures(COUNTS), "sngan", steps=1, progress=False)
    for _ in range(2):
        with pytest.warns(UserWarning, match="of which 107 are not in the dataset"):
            GANAugmentedDataset(Pictures((30, 24, 24), seed=7), gan, cache=tmp_path, progress=False)


def test_a_damaged_pool_is_not_used(tmp_path: Path) -> None:
    GANAugmentedDataset(Pictures(COUNTS), toy_synthesizer(), cache=tmp_path, progress=False)
    (kept,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    (kept / "part-00000" / "images-00000.npy").write_bytes(b"no images")
    with pytest.raises(ArtifactError, match=kept.name):
        GANAugmentedDataset(Pictures(COUNTS), toy_synthesizer(), cache=tmp_path, progress=False)


def draw_into(folder: Path, queue: Any) -> None:
    pool = cached_pool(
        toy_synthesizer(), RawView(Pictures(COUNTS), progress=False), {1: 400}, folder=folder, progress=False
    )
    queue.put((len(pool), int(pool.array(7).view(np.uint32).sum())))


def test_several_processes_that_want_one_pool_get_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    ranks = [context.Process(target=draw_into, args=(tmp_path, queue)) for _ in range(3)]
    for rank in ranks:
        rank.start()
    found = [queue.get(timeout=120) for _ in ranks]
    for rank in ranks:
        rank.join(60)
    assert len(set(found)) == 1
    assert found[0][0] == 400
    assert len(list(tmp_path.iterdir())) == 1  # no lock, and nothing half-written


# -- drawn live -------------------------------------------------------------------------------------------------------


def test_live_items_are_twins_and_a_function_of_seed_epoch_and_index() -> None:
    train = live()
    origins = [train.origin(i) for i in range(len(train))]
    kinds = {origin.kind for origin in origins}
    assert kinds == {"real", "repeat", "synthetic"}
    items = [train[i] for i in range(len(train))]
    assert all(same(train[i], item) for i, item in enumerate(items))
    batch, reals = default_collate(items), default_collate([train.base[i] for i in range(107)])
    assert (batch[0].dtype, batch[0].shape[1:], batch[1].dtype) == (reals[0].dtype, reals[0].shape[1:], reals[1].dtype)
    seeds = [origin.seed for origin in origins if origin.kind == "synthetic"]
    assert len(set(seeds)) == len(seeds)
    train.set_epoch(1)
    assert not set(seeds) & {train.origin(i).seed for i in range(107, 180)}
    train.set_epoch(0)
    assert [train.origin(i) for i in range(180)] == origins
    assert all(origin.row is None for origin in origins)
    assert live(seed=1).origin(150) != train.origin(150)


def test_live_items_come_from_batches_as_one_by_one() -> None:
    train = live()
    together = train.__getitems__(list(range(len(train))))
    for index, item in enumerate(together):
        torch.testing.assert_close(item[0], train[index][0], atol=1 / 255 + 1e-6, rtol=0)
        assert item[1] == train[index][1]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_live_items_do_not_depend_on_workers() -> None:
    train = live()
    one = list(DataLoader(train, batch_size=30))
    two = list(DataLoader(train, batch_size=30, num_workers=2, multiprocessing_context="fork"))
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a[0], b[0], atol=1 / 255 + 1e-6, rtol=0)
        assert torch.equal(a[1], b[1])


def test_an_image_conditioned_synthesizer_draws_from_the_item_at_hand() -> None:
    base = Pictures(COUNTS)
    gan = fit(base, "dagan", steps=1, progress=False)
    train = live(base, gan, synthetic_share=1)
    assert gan.image_spec is not None
    for index in (110, 140, 179):
        origin = train.origin(index)
        assert origin.parent is not None
        assert base.targets[origin.parent] == origin.label
        source = gan.image_spec.normalise(base[origin.parent][0])[None]
        drawn = gan.sample([origin.label], [origin.seed], conditions={"source": source}).images
        wanted = gan.image_spec.encode(drawn)[0]
        np.testing.assert_allclose(train[index][0].numpy(), wanted, atol=1e-5)
    parents = {train.origin(i).parent for i in range(142, 180)}
    assert len(parents) > 10


def test_live_takes_a_synthesizer_and_nothing_else() -> None:
    from gan_augment.pool import SyntheticPool

    pool = SyntheticPool.build(toy_synthesizer(), Pictures(COUNTS), progress=False)
    with pytest.raises(ConfigError, match="expected a Synthesizer, which draws with live=True, found a SyntheticPool"):
        live(Pictures(COUNTS), pool)
    with pytest.raises(ConfigError, match=r"expected a SyntheticPool, a Synthesizer, or the path of one, found list"):
        live(Pictures(COUNTS), ["gan"])


def test_what_a_live_synthesizer_was_fitted_on_is_known() -> None:
    gan = fit(Pictures(COUNTS), "sngan", steps=1, progress=False)
    train = live(Pictures(COUNTS), gan)
    assert set(gan.fitted_on.images) <= set(train.fitted_on.images)
    other = Pictures((30, 24, 24), seed=7)
    with pytest.warns(UserWarning, match="of which 107 are not in the dataset"):
        train = live(other, gan)
    with pytest.raises(DataError, match="107"):
        check_no_overlap(Pictures(COUNTS), train)


class Elsewhere:
    """A synthesizer whose network is moved off the CPU once the dataset is made, as a training loop may do."""

    def __init__(self) -> None:
        self.inner = toy_synthesizer()
        self.num_classes, self.class_names, self.image_spec = 3, None, None
        self.device = torch.device("meta")

    def sample(self, labels: Any, seeds: Any, *, conditions: Any = None) -> Any:
        return self.inner.sample(labels, seeds)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_another_device_is_refused_in_workers() -> None:
    train = live(source=Elsewhere(), synthetic_share=1)
    train[150]  # the main process may draw anywhere
    loader = DataLoader(train, batch_size=30, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(SynthesizerError, match=r"a forked worker and networks on meta.*num_workers=0"):
        list(loader)
