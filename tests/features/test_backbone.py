"""TorchvisionExtractor: what it gives the network, where weights come from, and what happens where they do not."""

import functools
import hashlib
import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision import models
from torchvision.models import Weights, WeightsEnum
from torchvision.transforms._presets import ImageClassification

from gan_augment.errors import ArtifactError, ConfigError, SynthesizerError
from gan_augment.features import TorchvisionExtractor
from gan_augment.images import resize
from tests.conftest import untouched_rng
from tests.helpers import set_in

SMALL = "shufflenet_v2_x0_5"
IMAGES = torch.rand(3, 3, 40, 30, generator=torch.Generator().manual_seed(0)) * 2 - 1


@functools.cache
def weights_of(model: str) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return models.get_model(model, weights=None).state_dict()


@pytest.fixture
def small(tmp_path: Path) -> TorchvisionExtractor:
    save_file(weights_of(SMALL), tmp_path / "small.safetensors")
    return TorchvisionExtractor(SMALL, weights_path=tmp_path / "small.safetensors", image_size=32, device="cpu")


def test_it_is_the_network_without_its_last_layer(small: TorchvisionExtractor) -> None:
    network = models.get_model(SMALL, weights=None).eval()
    network.load_state_dict(weights_of(SMALL))
    network.fc = torch.nn.Identity()
    mean, std = (torch.tensor(part).reshape(3, 1, 1) for part in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = network(((resize(IMAGES, (32, 32)) + 1) / 2 - mean) / std).detach().numpy()
    assert small.extract(IMAGES).features == pytest.approx(expected, abs=1e-5)
    grey = IMAGES[:, :1]
    assert np.array_equal(small.extract(grey).features, small.extract(grey.expand(-1, 3, -1, -1)).features)


def test_of_a_volume_the_middle_slices_are_seen(small: TorchvisionExtractor) -> None:
    volume = torch.rand(2, 1, 9, 12, 15) * 2 - 1
    slices = [volume[:, :, 4], volume[:, :, :, 6], volume[:, :, :, :, 7]]
    seen = small.extract(volume).features
    assert seen.shape == (2, 3 * 1024)
    assert np.array_equal(seen, np.concatenate([small.extract(part).features for part in slices], axis=1))
    others = volume.clone()
    others[:, :, 1, 1, 1] = 0
    assert np.array_equal(small.extract(others).features, seen)


def test_random_weights_come_from_the_seed_alone() -> None:
    torch.manual_seed(9)
    with untouched_rng():
        one = TorchvisionExtractor(SMALL, None, image_size=32)
    torch.manual_seed(1)
    assert TorchvisionExtractor(SMALL, None, image_size=32).fingerprint == one.fingerprint
    other = TorchvisionExtractor(SMALL, None, image_size=32, seed=1)
    assert other.fingerprint != one.fingerprint
    assert "weights random, from seed 1" in repr(other)
    assert TorchvisionExtractor(SMALL, None, image_size=40).fingerprint != one.fingerprint


def test_another_layer() -> None:
    one = TorchvisionExtractor(SMALL, None, "stage2", image_size=32)
    assert one.extract(IMAGES).features.shape == (3, 48)
    with pytest.raises(ConfigError, match=r"expected layer= among stage4, stage3, stage2, .*found 'stage9'"):
        TorchvisionExtractor(SMALL, None, "stage9", image_size=32)


@pytest.mark.parametrize(
    ("model", "settings", "told"),
    [
        ("resnet19", {}, "classification model of torchvision among alexnet, .*found 'resnet19'"),
        ("mnasnet1_0", {}, "found 'mnasnet1_0'"),
        ("r3d_18", {}, "found 'r3d_18'"),
        (SMALL, {"weights": "BEST"}, "among DEFAULT, IMAGENET1K_V1, or None, found 'BEST'"),
        (SMALL, {"weights": 7}, "found 7"),
        (SMALL, {"weights": None, "seed": -1}, "seed of at least 0"),
        (
            "densenet121",
            {"weights": None, "image_size": 16},
            r"image_size= that densenet121 can take .*at 224\), found",
        ),
    ],
)
def test_what_cannot_be_had(model: str, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        TorchvisionExtractor(model, **settings)


def test_images_of_other_channels(small: TorchvisionExtractor) -> None:
    for shape in ((2, 2, 8, 8), (2, 4, 8, 8, 8), (2, 3, 8)):
        with pytest.raises(SynthesizerError, match="3 or 1"):
            small.extract(torch.zeros(shape))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "length"),
    [
        ("alexnet", 4096),
        ("convnext_tiny", 768),
        ("densenet121", 1024),
        ("efficientnet_b0", 1280),
        ("googlenet", 1024),
        ("inception_v3", 2048),
        ("maxvit_t", 512),
        ("mobilenet_v3_small", 1024),
        ("regnet_y_400mf", 440),
        ("resnet18", 512),
        ("squeezenet1_1", 512),
        ("swin_t", 768),
        ("vit_b_32", 768),
    ],
)
def test_every_family(model: str, length: int, tmp_path: Path) -> None:
    extractor = TorchvisionExtractor(model, None)
    seen = extractor.extract(IMAGES[:1]).features
    assert seen.shape == (1, length)
    again = TorchvisionExtractor.load(extractor.save(tmp_path / "own"))
    assert again.fingerprint == extractor.fingerprint
    assert np.array_equal(again.extract(IMAGES[:1]).features, seen)


# -- weights of a file ------------------------------------------------------------------------------------------------


def test_weights_under_the_names_of_older_files(tmp_path: Path) -> None:
    import re

    state = weights_of("densenet121")
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): value for name, value in state.items()}
    old = {name: value for name, value in old.items() if not name.endswith("num_batches_tracked")}
    assert any(".norm.1." in name for name in old)
    extractors = []
    for name, weights in {"old": old, "new": state}.items():
        save_file(weights, tmp_path / name)
        extractors.append(TorchvisionExtractor("densenet121", weights_path=tmp_path / name, image_size=32))
    assert extractors[0].fingerprint == extractors[1].fingerprint


def test_weights_with_auxiliary_classifiers(tmp_path: Path) -> None:
    network = models.googlenet(weights=None, aux_logits=True, init_weights=False, transform_input=True)
    save_file(network.state_dict(), tmp_path / "google")
    extractor = TorchvisionExtractor("googlenet", weights_path=tmp_path / "google", image_size=64)
    network.fc = torch.nn.Identity()
    expected = network.eval()(extractor._eyes._prepared(IMAGES)).detach().numpy()
    assert extractor.extract(IMAGES).features == pytest.approx(expected, abs=1e-5)


def test_weights_of_another_network_and_files_that_are_none(tmp_path: Path) -> None:
    save_file(weights_of(SMALL), tmp_path / "small")
    with pytest.raises(ArtifactError, match=r"architecture of torchvision's shufflenet_v2_x1_0, found others"):
        TorchvisionExtractor("shufflenet_v2_x1_0", weights_path=tmp_path / "small")
    torch.save(weights_of(SMALL), tmp_path / "pickled.pth")
    with pytest.raises(ArtifactError, match="expected safetensors"):
        TorchvisionExtractor(SMALL, weights_path=tmp_path / "pickled.pth")
    with pytest.raises(ArtifactError, match="found no such file"):
        TorchvisionExtractor(SMALL, weights_path=tmp_path / "nothing")


# -- downloads --------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that torch.hub downloads to, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address of a server that serves it."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def member(url: str) -> Any:
    """Weights of an address, as torchvision's own enums hold them."""
    preset = functools.partial(ImageClassification, crop_size=32)
    return WeightsEnum("Own", {"V1": Weights(url, preset, {})}).V1  # type: ignore[attr-defined]


def test_without_a_network_it_says_what_to_do(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ArtifactError) as caught:
        TorchvisionExtractor("resnet18", progress=False)
    told = str(caught.value)
    assert told.startswith(
        "expected to download the weights ResNet18_Weights.IMAGENET1K_V1 of resnet18, found no way ("
    )
    for remedy in (
        "fetch https://download.pytorch.org/models/resnet18-f37072fd.pth on another machine",
        f"put it at {hub / 'resnet18-f37072fd.pth'}",
        "weights_path= a safetensors file",
        "weights=None for random weights",
        "TrainedExtractor",
    ):
        assert remedy in told
    assert not list(hub.iterdir())


def test_downloaded_once_and_checked(served: tuple[Path, str], hub: Path, small: TorchvisionExtractor) -> None:
    folder, address = served
    torch.save(weights_of(SMALL), folder / "net.pth")
    digest = hashlib.sha256((folder / "net.pth").read_bytes()).hexdigest()[:8]
    name = f"net-{digest}.pth"
    (folder / "net.pth").rename(folder / name)
    weights = member(f"{address}/{name}")
    first = TorchvisionExtractor(SMALL, weights, progress=False)
    assert np.array_equal(first.extract(IMAGES).features, small.extract(IMAGES).features)
    shutil.rmtree(folder)  # a second download would fail
    again = TorchvisionExtractor(SMALL, weights, progress=False)
    assert again.fingerprint == first.fingerprint
    content = (hub / name).read_bytes()
    (hub / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match=rf"expected a file of SHA-256 {digest}\.\.\. at .*copied in part"):
        TorchvisionExtractor(SMALL, weights, progress=False)


def test_a_file_that_is_not_there_or_not_what_its_name_says(served: tuple[Path, str], hub: Path) -> None:
    folder, address = served
    with pytest.raises(ArtifactError, match=r"found no way \(HTTP Error 404"):
        TorchvisionExtractor(SMALL, member(f"{address}/net-00000000.pth"), progress=False)
    torch.save(weights_of(SMALL), folder / "net-00000000.pth")
    with pytest.raises(ArtifactError, match=r"found a damaged file \(RuntimeError: invalid hash value"):
        TorchvisionExtractor(SMALL, member(f"{address}/net-00000000.pth"), progress=False)
    assert not list(hub.iterdir())
    torch.save([1, 2], folder / "list.pth")
    with pytest.raises(ArtifactError, match="expected a state dict of tensors"):
        TorchvisionExtractor(SMALL, member(f"{address}/list.pth"), progress=False)


class Runs:
    """Runs a command where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def test_code_in_a_downloaded_file_is_not_run(served: tuple[Path, str], hub: Path, tmp_path: Path) -> None:
    folder, address = served
    torch.save({**weights_of(SMALL), "payload": Runs(tmp_path / "ran")}, folder / "evil.pth")
    with pytest.raises(ArtifactError, match="found a damaged file"):
        TorchvisionExtractor(SMALL, member(f"{address}/evil.pth"), progress=False)
    assert not (tmp_path / "ran").exists()


# -- folders ----------------------------------------------------------------------------------------------------------


def other_weights(folder: Path) -> None:
    tensors = load_file(folder / "weights.safetensors")
    save_file({**tensors, "module.fc.bias": tensors["module.fc.bias"] + 1}, folder / "weights.safetensors")


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no json": (lambda folder: (folder / "extractor.json").unlink(), "found no extractor.json"),
    "no weights": (lambda folder: (folder / "weights.safetensors").unlink(), "found no such file"),
    "other weights": (other_weights, "found another; the folder is damaged"),
    "another model": (set_in("model", "shufflenet_v2_x1_0"), "found others"),
    "a model that is none": (set_in("model", "os.system"), "found 'os.system'"),
    "absurd side": (set_in("side", 10**9), "a side of 1000000000"),
    "a setting missing": (set_in("normalise", [1]), "damaged"),
    "no such layer": (set_in("layer", "tail"), "expected layer="),
    "another size": (set_in("image_size", [33]), "found another"),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_is_refused(
    tmp_path: Path, small: TorchvisionExtractor, damage: Callable[[Path], Any], told: str
) -> None:
    folder = small.save(tmp_path / "own")
    damage(folder)
    with pytest.raises(ArtifactError, match=told):
        TorchvisionExtractor.load(folder)
