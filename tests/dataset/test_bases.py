"""Every dataset that people have: wrapped, its synthetic items twins of its real ones, its own loader taking both."""

from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset
from torchvision import datasets as tv
from torchvision.transforms import v2

from gan_augment.dataset import Extras, GANAugmentedDataset
from gan_augment.errors import ConfigError, DataError
from gan_augment.evaluation import evaluate
from gan_augment.items import same
from gan_augment.pool import SyntheticPool
from gan_augment.quality import audit
from gan_augment.source import RawView
from gan_augment.training import fit
from tests.dataset import bases
from tests.helpers import toy_synthesizer

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:monai.*"),
    pytest.mark.filterwarnings("ignore::UserWarning:torchio.*"),
]
Pair = namedtuple("Pair", "image label")
TO_TENSOR = v2.Compose([v2.ToImage(), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)])


def wrapped(base: Any, *, share: float = 0.6, **settings: Any) -> GANAugmentedDataset:
    """Wraps a base with a pool that is drawn for it, as a user does; few images of a class are let pass."""
    view = RawView(base, progress=False)
    shape = (view.form.channels, *view.spec().grid)
    pool = SyntheticPool.build(toy_synthesizer(view.num_classes, shape), view, progress=False)
    return GANAugmentedDataset(base, pool, synthetic_share=share, min_images=0, progress=False, **settings)


def assert_twins(train: GANAugmentedDataset, collate: Any = torch.utils.data.default_collate) -> None:
    """Checks structure and types of every synthetic item, and that batches of all kinds collate as reals alone do."""
    by_kind: dict[str, list[int]] = {"real": [], "repeat": [], "synthetic": []}
    for index in range(len(train)):
        by_kind[train.origin(index).kind].append(index)
    assert all(map(len, by_kind.values())), {kind: len(found) for kind, found in by_kind.items()}
    first = train[0]
    for index in by_kind["synthetic"]:
        assert described(train[index]) == described(first)
    mixed = [index for found in by_kind.values() for index in found[:3]]
    reals, batch = collate([train[i] for i in by_kind["real"][:9]]), collate([train[i] for i in mixed[:9]])
    assert described(batch) == described(reals)


def described(item: Any) -> Any:
    """Returns structure, types, dtypes and shapes of an item, without its values."""
    if isinstance(item, dict):
        return type(item).__name__, {key: described(value) for key, value in item.items()}
    if isinstance(item, tuple | list):
        return type(item).__name__, [described(part) for part in item]
    if isinstance(item, torch.Tensor | np.ndarray):
        return type(item).__name__, str(item.dtype), tuple(item.shape), str(getattr(item, "device", ""))
    if isinstance(item, Image.Image):
        return "Image", item.mode, item.size
    return type(item).__name__


def brightness(item: Any) -> float:
    return float(np.asarray(item, np.float32).mean())


# -- torchvision ------------------------------------------------------------------------------------------------------


def loose(path: str) -> Any:
    with Image.open(path) as image:
        return image.copy()


@pytest.mark.parametrize("transform", [None, TO_TENSOR, v2.PILToTensor()], ids=["PIL", "v2", "uint8"])
def test_image_folder(tmp_path: Path, transform: Any) -> None:
    base = tv.ImageFolder(str(bases.image_folder(tmp_path)), transform=transform, loader=loose)
    train = wrapped(base)
    assert train.classes == ["a", "b", "c"]
    assert train.sampling_strategy_ == {1: 15, 2: 19}
    assert base.transform is transform
    assert_twins(train, list if transform is None else torch.utils.data.default_collate)


def test_image_folder_with_a_joint_transform(tmp_path: Path) -> None:
    def joint(image: Any, target: int) -> Any:
        return v2.functional.pil_to_tensor(image), target + 10

    folder = str(bases.image_folder(tmp_path))
    base: Any = tv.ImageFolder(folder, loader=loose)
    base.transforms = joint

    class Joint(tv.ImageFolder):
        def __getitem__(self, index: int) -> Any:
            path, target = self.samples[index]
            return self.transforms(self.loader(path), target)  # type: ignore[misc]

    base = Joint(folder, loader=loose)
    base.transforms = joint
    train = wrapped(base)
    assert set(train.targets.tolist()) == {10, 11, 12}
    assert_twins(train)


def test_mnist(tmp_path: Path) -> None:
    base = tv.MNIST(str(bases.mnist_files(tmp_path)), transform=v2.PILToTensor(), target_transform=str)
    train = wrapped(base)
    assert_twins(train)
    assert [train[i][1] for i in range(len(train))] == train.targets.tolist()


def test_subsets_and_concatenations_nested(tmp_path: Path) -> None:
    folder = tv.ImageFolder(str(bases.image_folder(tmp_path)), transform=TO_TENSOR, loader=loose)
    reads = folder.loader
    base = Subset(ConcatDataset([Subset(folder, range(2, 30)), folder]), range(1, 60))
    train = wrapped(base)
    expected = [folder.targets[i] for i in [*range(2, 30), *range(38)]][1:60]
    assert train.targets[: len(base)].tolist() == expected
    assert folder.loader is reads
    assert_twins(train)


def test_a_tensor_dataset() -> None:
    images = torch.from_numpy(bases.PIXELS)[:, None]
    assert_twins(wrapped(TensorDataset(images, torch.from_numpy(bases.LABELS))))
    assert_twins(wrapped(TensorDataset(images.float() / 255, torch.from_numpy(bases.LABELS).int())))


class Listed(Dataset[Any]):
    """Any class with __len__ and __getitem__."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def __len__(self) -> int:
        return len(bases.PIXELS)

    def __getitem__(self, index: int) -> Any:
        return self.make(bases.PIXELS[index], int(bases.LABELS[index]))


MADE: dict[str, Any] = {
    "tuple": lambda pixels, label: (pixels.copy(), label),
    "list": lambda pixels, label: [torch.from_numpy(pixels[None].copy()), torch.tensor(label)],
    "named tuple": lambda pixels, label: Pair(torch.from_numpy(pixels[None] / 255), label),
    "dict": lambda pixels, label: {"img": pixels[..., None].copy(), "y": np.int64(label)},
    "label of shape 1": lambda pixels, label: (pixels.copy(), np.array([label])),
    "string": lambda pixels, label: (pixels.copy(), "abc"[label]),
    "16 bit": lambda pixels, label: (pixels.astype(np.uint16) * 200, label),
    "int16 volume": lambda pixels, label: (np.stack([pixels.astype(np.int16) - 99] * 9), label),
    "float64": lambda pixels, label: (pixels[None] / 255.0, label),
}
PICTURES: dict[str, Any] = {
    "L": Image.fromarray,
    "RGB": lambda pixels: Image.fromarray(pixels).convert("RGB"),
    "I;16": lambda pixels: Image.fromarray(pixels.astype(np.uint16) * 200),
    "F": lambda pixels: Image.fromarray(pixels.astype(np.float32)),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_items_of_every_structure(make: Any) -> None:
    train = wrapped(Listed(make))
    assert_twins(train)
    batch = next(iter(DataLoader(train, batch_size=len(train))))
    assert described(batch)[0] in ("list", "dict", "Pair", "tuple")


@pytest.mark.parametrize("mode", PICTURES)
def test_pil_modes(mode: str) -> None:
    train = wrapped(Listed(lambda pixels, label: (PICTURES[mode](pixels), label)))
    assert_twins(train, list)
    assert {train[i][0].mode for i in range(len(train))} == {mode}


DTYPES = ("uint8", "int8", "uint16", "int16", "int32", "float16", "float32", "float64")
KINDS: dict[str, Any] = {"array": np.array, "tensor": lambda array: torch.from_numpy(array.copy())}
LABEL_KINDS: dict[str, Any] = {
    "int": int,
    "numpy": np.int32,
    "tensor": torch.tensor,
    "column": lambda label: torch.tensor([label]),
    "array": lambda label: np.array([label], np.uint8),
    "list": lambda label: [label],
    "name": "abc".__getitem__,
}
STRUCTURES: dict[str, Any] = {
    "tuple": lambda image, label: (image, label),
    "list": lambda image, label: [image, label],
    "named tuple": Pair,
    "dict": lambda image, label: {"image": image, "label": label},
    "dict, label first": lambda image, label: {"y": label, "x": image},
    "with a name": lambda image, label: (image, label, "real.png"),
    "dict with an age": lambda image, label: {"image": image, "age": 61.5, "target": label},
}
SHAPES = [(9, 9), (1, 9, 9), (3, 9, 9), (9, 9, 3), (1, 8, 9, 9)]


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    kind=st.sampled_from(sorted(KINDS)),
    label_kind=st.sampled_from(sorted(LABEL_KINDS)),
    structure=st.sampled_from(sorted(STRUCTURES)),
    shape=st.sampled_from(SHAPES),
)
def test_any_structure_and_dtype(
    dtype: str, kind: str, label_kind: str, structure: str, shape: tuple[int, ...]
) -> None:
    if kind == "tensor" and shape == (9, 9, 3):
        return  # a tensor is (C, H, W)
    rng = np.random.default_rng(0)
    labels = [0] * 7 + [1] * 3
    images = (rng.random((10, *shape)) * 100).astype(dtype)
    base = [
        STRUCTURES[structure](KINDS[kind](image), LABEL_KINDS[label_kind](label))
        for image, label in zip(images, labels, strict=True)
    ]
    drawn = (rng.random((20, *shape)) * 100).astype(dtype)
    names = ["b"] * 20 if label_kind == "name" else [1] * 20
    train = GANAugmentedDataset(
        base, SyntheticPool.from_arrays(drawn, names), synthetic_share=1, fill="like", progress=False
    )
    real, synthetic = train[9], train[13]
    assert train.origin(13).kind == "synthetic"
    assert described(synthetic) == described(real)
    row = train.origin(13).row
    found = train._view.structure.split(synthetic)[0]
    assert np.array_equal(np.asarray(found), drawn[row])
    if dtype in ("uint16",) and kind == "tensor":
        return  # torch cannot stack these on older releases
    torch.utils.data.default_collate([real, synthetic])


def test_tv_tensors() -> None:
    from torchvision import tv_tensors

    train = wrapped(Listed(lambda pixels, label: (tv_tensors.Image(torch.from_numpy(pixels[None].copy())), label)))
    assert_twins(train)
    assert all(type(train[i][0]) is tv_tensors.Image for i in range(len(train)))


# -- Hugging Face, MedMNIST -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [None, "torch", "numpy", "set_transform"])
def test_hugging_face(form: str | None) -> None:
    base = bases.hugging_face(form)
    view = RawView(base, progress=False)
    assert view.mode == "raw"
    assert view.classes == ["a", "b", "c"]
    assert view.targets.tolist() == bases.LABELS.tolist()
    assert view.form.kind == "pil"
    train = wrapped(base)
    assert_twins(train, list if form in (None, "numpy") else torch.utils.data.default_collate)
    if form == "set_transform":
        assert set(train[len(train) - 1]) == {"pixel_values", "label"}
        synthetic = [i for i in range(len(train)) if train.origin(i).kind == "synthetic"]
        assert not torch.equal(train[synthetic[0]]["pixel_values"], train[synthetic[0]]["pixel_values"])  # its noise


def test_hugging_face_labels_are_read_without_images() -> None:
    import datasets

    class Unread(datasets.Image):
        pass

    base = bases.hugging_face()
    decoded = []
    original = datasets.Image.decode_example
    try:
        datasets.Image.decode_example = lambda self, *args, **more: decoded.append(1) or original(self, *args, **more)
        RawView(base, progress=False)
    finally:
        datasets.Image.decode_example = original
    assert len(decoded) < 12  # the first item and one of each class, not all 38


def test_other_columns_need_a_filling() -> None:
    base = bases.hugging_face("torch").add_column("patient", [f"p{i}" for i in range(38)])
    with pytest.raises(ConfigError, match=r"fill= to say what .* \('patient'\), found None"):
        wrapped(base)
    train = wrapped(base, fill={"patient": "synthetic"})
    assert_twins(train)
    told = {train[i]["patient"] for i in range(len(train)) if train.origin(i).kind == "synthetic"}
    assert told == {"synthetic"}
    like = wrapped(base, fill="like")
    assert {like[i]["patient"] for i in range(38, len(like)) if like.origin(i).kind == "synthetic"} <= {"p24", "p33"}
    by_origin = wrapped(base, fill={"patient": lambda origin: f"row {origin.row}"})
    index = next(i for i in range(len(train)) if train.origin(i).kind == "synthetic")
    assert by_origin[index]["patient"] == f"row {by_origin.origin(index).row}"
    with pytest.raises(ConfigError, match=r"with a str for the part 'patient', .* the int 7"):
        wrapped(base, fill={"patient": 7})[index]


@pytest.mark.parametrize("as_rgb", [False, True])
@pytest.mark.parametrize("transform", [None, TO_TENSOR])
def test_medmnist(tmp_path: Path, monkeypatch: Any, as_rgb: bool, transform: Any) -> None:
    import medmnist

    bases.medmnist_file(tmp_path, "pneumoniamnist", False, monkeypatch)
    base = medmnist.PneumoniaMNIST("train", root=str(tmp_path), transform=transform, as_rgb=as_rgb)
    train = wrapped(base)
    assert train[len(train) - 1][1].shape == (1,)
    assert_twins(train, list if transform is None else torch.utils.data.default_collate)


@pytest.mark.parametrize("as_rgb", [False, True])
def test_medmnist_3d(tmp_path: Path, monkeypatch: Any, as_rgb: bool) -> None:
    import medmnist

    bases.medmnist_file(tmp_path, "organmnist3d", True, monkeypatch)
    base = medmnist.OrganMNIST3D("train", root=str(tmp_path), as_rgb=as_rgb)
    train = wrapped(base)
    assert train[len(train) - 1][0].shape == ((3 if as_rgb else 1), 28, 28, 28)
    assert_twins(train)


def test_a_multi_label_set_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    base = Listed(lambda pixels, label: (pixels.copy(), np.eye(3, dtype=int)[label]))
    with pytest.raises(DataError, match=r"found 3 values .* give targets="):
        RawView(base, progress=False)


# -- MONAI ------------------------------------------------------------------------------------------------------------


def monai_transform(files: bool) -> Any:
    from monai import transforms as mt

    load = [mt.LoadImaged("image"), mt.EnsureChannelFirstd("image")] if files else []
    return mt.Compose([*load, mt.ScaleIntensityd("image"), mt.RandFlipd("image", prob=0.5, spatial_axis=0),
                       mt.RandGaussianNoised("image", prob=1.0, std=0.01)])  # fmt: skip


@pytest.mark.parametrize("kind", ["Dataset", "CacheDataset", "PersistentDataset"])
@pytest.mark.parametrize("files", [False, True], ids=["arrays", "NIfTI"])
def test_monai(tmp_path: Path, kind: str, files: bool) -> None:
    from monai import data as md

    (tmp_path / "images").mkdir()
    items = bases.monai_items(tmp_path / "images" if files else None)
    more = {"Dataset": {}, "CacheDataset": {"progress": False}, "PersistentDataset": {"cache_dir": tmp_path / "cache"}}
    base = getattr(md, kind)(items, monai_transform(files), **more[kind])
    view = RawView(base, progress=False)
    assert view.mode == "raw"
    assert view.form.shape == (8, 8, 8)
    assert view.value_range[1] == (1.0,)  # scaled, which is not random, and so on this side of the seam
    train = wrapped(base)
    assert_twins(train, md.list_data_collate)
    synthetic = [i for i in range(len(train)) if train.origin(i).kind == "synthetic"]
    assert not torch.equal(train[synthetic[0]]["image"], train[synthetic[0]]["image"])  # random transforms run
    if files:
        item = train[synthetic[0]]["image"]
        if kind == "PersistentDataset":  # its cache keeps no metadata
            return
        assert item.affine.diag()[:3].abs().tolist() == [1.0, 1.5, 2.0]  # a flip turns a sign
        assert item.meta["filename_or_obj"] == "synthetic"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_monais_own_loader(workers: int) -> None:
    from monai import data as md

    train = wrapped(md.Dataset(bases.monai_items(), monai_transform(False)))
    context = {"multiprocessing_context": "fork"} if workers else {}
    batches = list(md.DataLoader(train, batch_size=6, num_workers=workers, **context))
    assert sum(len(batch["label"]) for batch in batches) == len(train)
    assert torch.cat([batch["label"] for batch in batches]).tolist() == train.targets.tolist()


@pytest.mark.parametrize("loader", ["DataLoader", "ThreadDataLoader"])
def test_monais_crops_of_an_item_are_a_list(loader: str) -> None:
    from monai import data as md
    from monai import transforms as mt

    crops = mt.RandSpatialCropSamplesd("image", roi_size=(6, 6, 6), num_samples=2, random_size=False)
    train = wrapped(md.CacheDataset(bases.monai_items(), crops, progress=False), extras=Extras(source=True))
    batches = list(getattr(md, loader)(train, batch_size=6))
    assert {tuple(batch["image"].shape[1:]) for batch in batches} == {(1, 6, 6, 6)}
    assert torch.cat([batch["label"] for batch in batches]).tolist() == np.repeat(train.targets, 2).tolist()
    synthetic = [int(train.origin(i).kind == "synthetic") for i in range(len(train))]
    assert torch.cat([batch["source"] for batch in batches]).tolist() == np.repeat(synthetic, 2).tolist()


# -- torchio ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [False, True], ids=["tensors", "NIfTI"])
def test_torchio(tmp_path: Path, files: bool) -> None:
    import torchio as tio

    transform = tio.Compose([tio.RescaleIntensity((0, 1)), tio.RandomFlip(), tio.RandomNoise(std=0.01)])
    subjects = bases.subjects(tmp_path if files else None)
    base = tio.SubjectsDataset(subjects, transform=transform)
    view = RawView(base, progress=False)
    assert view.mode == "raw"
    assert view.classes == ["0", "1", "2"]
    train = wrapped(base)
    synthetic = [i for i in range(len(train)) if train.origin(i).kind == "synthetic"]
    item = train[synthetic[0]]
    assert type(item) is tio.Subject
    assert type(item.t1) is tio.ScalarImage
    assert [type(step).__name__ for step in item.history][::9] == ["RescaleIntensity"]
    assert len(item.history) >= 2  # a flip is not always applied, noise is
    assert np.array_equal(item.t1.affine, train[0].t1.affine)
    assert item.t1["path"] == "synthetic"
    assert_twins(train, lambda items: [dict(item) for item in items])
    batches = list(tio.SubjectsLoader(train, batch_size=6))
    assert sum(len(batch["label"]) for batch in batches) == len(train)
    assert batches[-1]["t1"][tio.DATA].shape[1:] == (1, 8, 8, 8)


def test_torchios_queue_and_crops() -> None:
    import torchio as tio

    base = tio.SubjectsDataset(bases.subjects(), transform=tio.Pad(2))
    train = wrapped(base)

    class AsSubjects(tio.SubjectsDataset):
        """A Queue wants a SubjectsDataset."""

        def __init__(self) -> None:
            super().__init__([train[i] for i in range(len(train))])

    queue = tio.Queue(AsSubjects(), 20, 2, tio.UniformSampler(6), num_workers=0)
    patches = list(tio.SubjectsLoader(queue, batch_size=8))
    assert patches[0]["t1"][tio.DATA].shape[1:] == (1, 6, 6, 6)
    assert sum(len(batch["label"]) for batch in patches) == 2 * len(train)


# -- all of them, further on ------------------------------------------------------------------------------------------


def monai_base() -> Any:
    from monai import data as md
    from monai import transforms as mt

    return md.CacheDataset(bases.monai_items(), mt.Compose([mt.ScaleIntensityd("image")]), progress=False)


def torchio_base() -> Any:
    import torchio as tio

    return tio.SubjectsDataset(bases.subjects(), transform=tio.RescaleIntensity((0, 1)))


LIBRARIES: dict[str, Any] = {
    "Hugging Face": lambda: bases.hugging_face("torch"),
    "MONAI": monai_base,
    "torchio": torchio_base,
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_subsets_and_concatenations_of_other_libraries_sets(library: str) -> None:
    base = LIBRARIES[library]()
    both = ConcatDataset([Subset(base, [*range(20), *range(24, 36)]), base])
    view = RawView(both, progress=False)
    assert view.mode == "raw"
    assert view.targets.tolist() == [*[0] * 20, *[1] * 9, *[2] * 3, *bases.LABELS.tolist()]
    train = wrapped(both)
    items = [train[i] for i in range(len(train))]
    assert {str(described(item)) for item in items} == {str(described(items[0]))}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.filterwarnings("ignore::gan_augment.errors.SmallClassWarning")
def test_a_gan_is_trained_on_other_libraries_sets(library: str) -> None:
    base = LIBRARIES[library]()
    gan = fit(base, "dagan", steps=1, progress=False)
    train = GANAugmentedDataset(base, gan, cache=None, synthetic_share=1, min_images=0, progress=False)
    parents = {train.origin(i).parent for i in range(38, len(train))}
    assert None not in parents
    assert described(train[len(train) - 1]) == described(train[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", LIBRARIES)
def test_it_is_evaluated_and_audited_on_other_libraries_sets(library: str) -> None:
    train, test = (
        Subset(LIBRARIES[library](), [i for i in range(38) if (i % 3 == 0) is held]) for held in (False, True)
    )
    pool = SyntheticPool.build(toy_synthesizer(3, (1, *RawView(train).spec().grid)), train)
    result = evaluate(train, test, seeds=2, steps=2, pool=pool, progress=False)
    assert result.counts == [16, 6, 3]
    assert {"selected", "random"} <= set(result.kinds)
    assert audit(pool, train, steps=3, progress=False).verdict


def as_plain(item: Any) -> Any:
    """Returns an item with torchio's images as tensors, for `same`."""
    return {key: getattr(value, "data", value) if key == "t1" else value for key, value in item.items()}


def first_of(batch: list[Any]) -> Any:
    return as_plain(batch[0])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    "method", ["fork", *[pytest.param(name, marks=pytest.mark.slow) for name in ("spawn", "forkserver")]]
)
def test_workers_of_every_start_method_over_other_libraries_sets(library: str, method: str) -> None:
    train = wrapped(LIBRARIES[library]())
    loader = DataLoader(train, batch_size=1, num_workers=2, multiprocessing_context=method, collate_fn=first_of)
    for index, item in enumerate(loader):
        assert same(item, as_plain(train[index])), index


# -- what cannot be proven --------------------------------------------------------------------------------------------


def test_transforms_that_cannot_be_taken_apart_need_a_parameter() -> None:
    base = Listed(lambda pixels, label: (torch.from_numpy(pixels[None] / 255).float() + 0.1 * torch.rand(1), label))
    pool = SyntheticPool.from_arrays(np.full((25, 1, 12, 12), 0.5, np.float32), [2] * 25)
    with pytest.raises(ConfigError, match="Give transform= with the callable"):
        GANAugmentedDataset(base, pool, sampling_strategy={2: 24}, progress=False)
    given = GANAugmentedDataset(
        base, pool, sampling_strategy={2: 24}, transform=None, synthetic_share=1, progress=False
    )
    assert given[40][0].unique().tolist() == [0.5]
    given = GANAugmentedDataset(
        base, pool, sampling_strategy={2: 24}, transform=torch.neg, synthetic_share=1, progress=False
    )
    assert given[40][0].unique().tolist() == [-0.5]
