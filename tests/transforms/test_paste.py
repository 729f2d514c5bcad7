"""PasteSynthetic: patches of rare classes, and labels that go with the area."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from gan_augment.errors import ConfigError, DataError
from gan_augment.items import same
from gan_augment.transforms import PasteSynthetic
from tests.helpers import Pictures, toy_synthesizer
from tests.transforms.sources import MARK, Collated, marked_pool

POOL = marked_pool()
COUNTS = [100, 30, 10]


def zeros(labels: Any, dtype: torch.dtype = torch.float32) -> Any:
    return torch.zeros(len(labels), 1, 8, 8, dtype=dtype), torch.tensor(labels)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
def test_labels_go_with_the_area(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    pool = marked_pool((2,), dtype=str(dtype).removeprefix("torch."))
    paste = PasteSynthetic(pool, COUNTS, p=1.0)
    for _ in range(20):
        images, labels = zeros([0, 1, 0, 1], dtype)
        mixed, shares = paste(images, labels)
        assert not images.any()
        assert mixed.dtype == dtype
        assert shares.dtype == (dtype if dtype.is_floating_point else torch.float32)
        pasted = mixed > 0
        assert ((mixed[pasted].double() * (255 if dtype.is_floating_point else 1)).round() == MARK + 2).all()
        area = pasted.double().mean(dim=(1, 2, 3)).to(shares)
        torch.testing.assert_close(shares[:, 2], area)
        torch.testing.assert_close(shares[torch.arange(4), labels], 1 - area)


def test_classes_are_drawn_in_inverse_proportion_to_counts() -> None:
    torch.manual_seed(0)
    paste, mass = PasteSynthetic(POOL, {2: 10, 0: 100, 1: 30}, p=1.0), torch.zeros(4)
    for _ in range(1500):
        mass[:3] += paste(*zeros([0] * 16))[1].sum(0)
    weights = torch.tensor([1 / 100, 1 / 30, 1 / 10])
    torch.testing.assert_close(mass[1] / mass[2], weights[1] / weights[2], rtol=0.1, atol=0)


def test_labels_are_shares_whether_or_not_it_pastes() -> None:
    torch.manual_seed(0)
    whole = [PasteSynthetic(POOL, COUNTS)(*zeros([0, 1])) for _ in range(400)]
    assert all(shares.shape == (2, 3) for _, shares in whole)
    assert all(torch.allclose(shares.sum(1), torch.ones(2)) for _, shares in whole)
    assert 140 <= sum(bool(images.any()) for images, _ in whole) <= 240
    never = PasteSynthetic(POOL, COUNTS, p=0.0)(*zeros([0, 2]))
    assert never[1].tolist() == [[1, 0, 0], [0, 0, 1]]


def test_structures_live_synthesis_and_reproducibility() -> None:
    for source in (POOL, toy_synthesizer()):
        paste = PasteSynthetic(source, COUNTS, p=1.0)
        found = []
        for one in (paste, pickle.loads(pickle.dumps(paste)), copy.deepcopy(paste)):
            torch.manual_seed(5)
            found.append(
                one({"image": tv_tensors.Image(torch.zeros(3, 1, 8, 8)), "label": torch.tensor([[0], [1], [2]])})
            )
        assert same(found[0], found[1])
        assert same(found[0], found[2])
        assert type(found[0]["image"]) is tv_tensors.Image
        assert found[0]["label"].shape == (3, 3)
        assert not paste.state_dict()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_it_works_in_workers_and_before_mixup() -> None:
    steps = v2.Compose([PasteSynthetic(POOL, COUNTS), v2.MixUp()])
    loader = DataLoader(
        Pictures((20, 6, 4)), 10, num_workers=2, collate_fn=Collated(steps), multiprocessing_context="fork"
    )
    for _, shares in loader:
        torch.testing.assert_close(shares.sum(1), torch.ones(10))


def test_what_it_refuses() -> None:
    with pytest.raises(ConfigError, match=r"two dimensions \(N, C, H, W\), found shape \(2, 1, 4, 8, 8\)"):
        PasteSynthetic(marked_pool(shape=(1, 4, 8, 8)), COUNTS)(torch.zeros(2, 1, 4, 8, 8), torch.tensor([0, 1]))
    with pytest.raises(DataError, match="labels from 0 to 1, the classes of counts, found 2"):
        PasteSynthetic(POOL, [3, 3])(*zeros([0, 2]))
    with pytest.raises(ConfigError, match="put PasteSynthetic before MixUp/CutMix"):
        PasteSynthetic(POOL, COUNTS)(torch.zeros(2, 1, 8, 8), torch.ones(2, 3) / 3)
    for counts in ([3, 0, 1], {0: 3, 2: 1}, [3, -1], {"cat": 3}, []):
        with pytest.raises(ConfigError, match=r"counts|labels from 0; give classes="):
            PasteSynthetic(POOL, counts)
    with pytest.raises(ConfigError, match="synthetic images of a class of counts"):
        PasteSynthetic(marked_pool((7,)), COUNTS)
    with pytest.raises(ConfigError, match="p from 0 to 1"):
        PasteSynthetic(POOL, COUNTS, p=2)
    assert repr(PasteSynthetic(POOL, COUNTS)).startswith("PasteSynthetic(p=0.5, num_classes=3, source=")
