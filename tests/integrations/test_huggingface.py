"""Hugging Face: `datasets` as the base, rebalanced datasets in the Trainer, and the callback that tells the epoch."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import accelerate
import datasets
import numpy as np
import pytest
import torch
from packaging.version import Version
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import IterableDataset, default_collate
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

from gan_augment.dataset import GANAugmentedDataset, GANAugmentedIterableDataset, PhaseOut
from gan_augment.errors import DependencyError
from gan_augment.integrations.huggingface import GANAugmentTrainerCallback
from tests.helpers import ROOT, Pictures
from tests.transforms.sources import marked_pool

# transformers calls torch, pandas and its own as older versions of them wanted; old accelerate a GradScaler.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

COUNTS = (30, 10, 8)
LENGTH = 90


def pictures() -> Any:
    """A set with an Image column and a ClassLabel column, as of the Hub."""
    toy = Pictures(COUNTS, kind="pil")
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["a", "b", "c"]))
    rows = [toy[i] for i in range(len(toy))]
    return datasets.Dataset.from_dict({"image": [row[0] for row in rows], "label": [row[1] for row in rows]}, features)


def prepared(examples: dict[str, Any]) -> dict[str, Any]:
    """What a user gives `set_transform`: batches of PIL images in, tensors out."""
    pixels = [torch.from_numpy(np.array(image, np.float32) / 255)[None] for image in examples["image"]]
    return {"pixel_values": pixels, "labels": examples["label"]}


def transformed() -> Any:
    ready = pictures()
    ready.set_transform(prepared)
    return ready


def augmented(base: Any = None, **settings: Any) -> GANAugmentedDataset:
    pool = marked_pool(dtype=np.uint8)
    base = transformed() if base is None else base
    return GANAugmentedDataset(base, pool, progress=False, min_images=1, **settings)


class Tiny(nn.Module):
    """Keeps the sum of every image that it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 3)
        self.seen: list[float] = []

    def forward(self, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
        self.seen += pixel_values.double().sum((1, 2, 3)).tolist()
        logits = self.layer(pixel_values.flatten(1))
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def trained(folder: Path, train: Any, model: Any = None, resume: Any = None, **settings: Any) -> Any:
    callbacks = settings.pop("callbacks", [GANAugmentTrainerCallback()])
    quiet: dict[str, Any] = {
        "per_device_train_batch_size": 15, "num_train_epochs": 2, "use_cpu": True, "report_to": "none",
        "disable_tqdm": True, "save_strategy": "no", "dataloader_pin_memory": False, "logging_strategy": "no",
        "remove_unused_columns": False,
    }  # fmt: skip
    arguments = TrainingArguments(str(folder), **{**quiet, **settings})
    trainer = Trainer(Tiny() if model is None else model, arguments, train_dataset=train, callbacks=callbacks)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def expected(train: Any, epoch: int) -> list[float]:
    train.set_epoch(epoch)
    return sorted(item["pixel_values"].double().sum().item() for item in train)


def by_epoch(seen: list[float]) -> list[list[float]]:
    return [sorted(seen[start : start + LENGTH]) for start in range(0, len(seen), LENGTH)]


# -- datasets as a base -----------------------------------------------------------------------------------------------


def test_labels_come_from_the_class_label_column() -> None:
    train = augmented()
    assert list(train.classes) == ["a", "b", "c"]
    assert train.sampling_strategy_ == {1: 20, 2: 22}
    assert np.bincount(train.targets).tolist() == [30, 30, 30]


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")  # arrays of datasets are not
@pytest.mark.parametrize("kind", ["plain", "torch", "numpy", "mapped", "transformed", "shuffled"])
def test_a_synthetic_item_is_like_a_real_one(kind: str) -> None:
    def bright(row: dict[str, Any]) -> dict[str, Any]:
        return {"image": Image.fromarray(np.minimum(np.array(row["image"]), 250))}

    bases = {
        "plain": pictures,
        "torch": lambda: pictures().with_format("torch"),
        "numpy": lambda: pictures().with_format("numpy"),
        "mapped": lambda: pictures().map(bright).with_format("torch"),
        "transformed": transformed,
        "shuffled": lambda: pictures().shuffle(seed=3).with_format("torch"),
    }
    train = augmented(bases[kind](), synthetic_share=1.0)
    real, drawn = train[0], train[len(train) - 1]
    assert train.origin(len(train) - 1).kind == "synthetic"
    assert list(real) == list(drawn)
    for key, value in real.items():
        assert isinstance(value, type(drawn[key]))  # a PIL image that was read knows of its file
        assert getattr(drawn[key], "dtype", None) == getattr(value, "dtype", None)
        assert np.shape(drawn[key]) == np.shape(value)
    if kind != "plain":
        default_collate([real, drawn])


# -- the Trainer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unused", [False, True])
def test_a_vision_transformer_trains_on_balanced_classes(tmp_path: Path, unused: bool) -> None:
    config = ViTConfig(
        image_size=8, patch_size=4, num_channels=1, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=8, num_labels=3,
    )  # fmt: skip
    labels: list[int] = []

    def note(module: Any, given: Any, named: dict[str, Any]) -> None:
        labels.extend(named["labels"].tolist())

    model = ViTForImageClassification(config)
    model.register_forward_pre_hook(note, with_kwargs=True)
    trainer = trained(tmp_path, augmented(), model, remove_unused_columns=unused)
    assert trainer.state.global_step == 12
    assert np.bincount(labels).tolist() == [60, 60, 60]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("seedable", [False, True])
def test_each_epoch_has_its_own_synthetic_images(tmp_path: Path, seedable: bool, workers: int) -> None:
    train, model = augmented(), Tiny()
    trained(
        tmp_path, train, model, num_train_epochs=3, dataloader_num_workers=workers,
        dataloader_persistent_workers=workers > 0, accelerator_config={"use_seedable_sampler": seedable},
    )  # fmt: skip
    found = by_epoch(model.seen)
    assert found == [pytest.approx(expected(train, epoch)) for epoch in range(3)]
    assert found[0] != found[1] != found[2]


def test_a_schedule_moves_on(tmp_path: Path) -> None:
    train, model = augmented(synthetic_share=1.0, schedule=PhaseOut(4, until=0.5)), Tiny()
    trained(tmp_path, train, model, num_train_epochs=4)
    marks = [64 * (200 + label) / 255 for label in range(3)]
    found = [sum(any(abs(total - mark) < 1e-3 for mark in marks) for total in seen) for seen in by_epoch(model.seen)]
    assert found == [42, 42, 0, 0]


@pytest.mark.parametrize(("at", "workers"), [
    (8, 1),
    pytest.param(6, 0, marks=pytest.mark.slow),
    pytest.param(6, 1, marks=pytest.mark.slow),
    pytest.param(8, 0, marks=pytest.mark.slow),
])  # fmt: skip
def test_a_resumed_training_is_as_an_unbroken_one(tmp_path: Path, at: int, workers: int) -> None:
    """From the end of an epoch, and from within one, whose rest accelerate does not tell."""
    if at == 8 and Version(accelerate.__version__) < Version("1.7"):
        pytest.skip("tells the rest of an epoch that it is epoch 0, after every callback")
    settings: dict[str, Any] = {"num_train_epochs": 3, "seed": 5, "dataloader_num_workers": workers}
    whole = Tiny()
    trained(tmp_path / "whole", augmented(), whole, **settings, save_strategy="steps", save_steps=at)
    resumed, train = Tiny(), augmented()
    numpys = [np._core.multiarray._reconstruct, np.ndarray, np.dtype, type(np.dtype(np.uint32))]
    with torch.serialization.safe_globals(numpys):  # transformers 4.46 does not say that its random state is harmless
        trained(tmp_path / "again", train, resumed, tmp_path / "whole" / f"checkpoint-{at}", **settings)
    assert len(resumed.seen) == 3 * LENGTH - 15 * at
    assert sorted(resumed.seen) == pytest.approx(sorted(whole.seen[15 * at :]))
    assert sorted(resumed.seen[-LENGTH:]) == pytest.approx(expected(train, 2))


class Stream(IterableDataset[Any]):
    def __init__(self) -> None:
        self.items = transformed()

    def __iter__(self) -> Any:
        return (self.items[i] for i in range(len(self.items)))


def test_a_stream_learns_the_epoch(tmp_path: Path) -> None:
    def stream() -> GANAugmentedIterableDataset:
        return GANAugmentedIterableDataset(
            Stream(), marked_pool(), counts=COUNTS, classes=["a", "b", "c"], synthetic_share=0.5
        )

    train, model, alone = stream(), Tiny(), stream()
    trained(tmp_path, train, model, max_steps=12)
    assert by_epoch(model.seen) == [pytest.approx(expected(alone, epoch)) for epoch in range(2)]


RANKS = """
import json, sys, torch
from pathlib import Path
from tests.integrations.test_huggingface import Tiny, augmented, trained
model = Tiny()
trained(Path(sys.argv[1]), augmented(), model, ddp_backend="gloo")
Path(sys.argv[1], f"{torch.distributed.get_rank()}.json").write_text(json.dumps(model.seen))
"""


@pytest.mark.slow
def test_two_processes_share_each_epoch_between_them(tmp_path: Path) -> None:
    """In which accelerate tells the epoch to its sampler, and so not to the dataset."""
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, script, tmp_path], capture_output=True, text=True, timeout=200, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    train, half = augmented(), LENGTH // 2
    for epoch in range(2):
        both = [total for seen in ranks for total in seen[epoch * half : (epoch + 1) * half]]
        assert sorted(both) == pytest.approx(expected(train, epoch))


# -- versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["4.45.2", "6.0.0", None])
def test_an_unsupported_version_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    stub = None
    if version is not None:
        stub = ModuleType("transformers")
        stub.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", stub)
    monkeypatch.delitem(sys.modules, "gan_augment.integrations.huggingface")
    expected = f"found {version}; pip" if version else "found that it is not installed; pip"
    with pytest.raises(DependencyError, match=expected) as told:
        import_module("gan_augment.integrations.huggingface")
    assert str(told.value).startswith("expected transformers")
    assert "pip install 'gan_augment[huggingface]'" in str(told.value)


def test_the_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from docs.examples import huggingface_trainer

    huggingface_trainer.main(["--quick", "--out", str(tmp_path)])
    told = capsys.readouterr().out
    assert told.startswith("389 training images, ")
    assert all(f"\n{arm}" in told for arm in ("as it is", "repeated", "half synthetic"))
