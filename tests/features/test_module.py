"""ModuleExtractor: what of a network it reads, how it leaves it, and folders that are damaged on purpose."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.errors import ArtifactError, ConfigError, SynthesizerError
from gan_augment.features import ModuleExtractor, load_extractor
from gan_augment.fingerprint import FittedOn
from tests.conftest import untouched_rng
from tests.features.networks import Net
from tests.helpers import set_in

IMAGES = torch.rand(5, 3, 9, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


class Odd(nn.Module):
    """Parts that give what is no plain feature map."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.pair, self.unused = nn.Linear(3, 4), nn.LSTM(3, 6, batch_first=True), nn.ReLU()
        self.count, self.twice = nn.Identity(), nn.Tanh()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        rows = images.flatten(2).movedim(1, 2)
        self.count(images.flatten(1).argmax(1))
        self.twice(self.twice(images * 3))
        return {"tokens": self.tokens(rows), "pair": self.pair(rows)[0]}


def state_of(network: nn.Module) -> tuple[Any, ...]:
    hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in network.modules()]
    modes = [part.training for part in network.modules()]
    return hooks, modes, {name: value.clone() for name, value in network.state_dict().items()}


def assert_untouched(network: nn.Module, before: tuple[Any, ...]) -> None:
    hooks, modes, weights = state_of(network)
    assert (hooks, modes) == before[:2]
    assert all(torch.equal(value, before[2][name]) for name, value in weights.items())


# -- what it reads ----------------------------------------------------------------------------------------------------


def test_a_layer_is_averaged_over_space() -> None:
    network = Net()
    expected = network.eval().body[:3](IMAGES).mean((2, 3)).detach().numpy()
    seen = ModuleExtractor(network, "body.2").extract(IMAGES)
    assert seen.features == pytest.approx(expected, abs=1e-6)
    assert (seen.probs, seen.entropy) == (None, None)
    assert (ModuleExtractor(network, "body.1").extract(IMAGES).features < 0).any()  # though the next works in place


def test_the_input_of_a_layer_and_the_networks_own_output() -> None:
    network = Net().eval()
    hidden = network.body(IMAGES).flatten(2).mean(2)
    assert ModuleExtractor(network, "head", take="input").extract(IMAGES).features == pytest.approx(
        hidden.detach().numpy(), abs=1e-6
    )
    logits = network.head(hidden)
    seen = ModuleExtractor(network, classes=["a", "b", "c", "d"]).extract(IMAGES)
    assert seen.features == pytest.approx(logits.detach().numpy(), abs=1e-6)
    assert seen.probs == pytest.approx(logits.softmax(1).detach().numpy(), abs=1e-6)
    assert seen.probs is not None
    assert seen.entropy == pytest.approx(-(seen.probs * np.log(seen.probs)).sum(1), abs=1e-5)


def test_tokens_several_outputs_and_layers_that_run_twice() -> None:
    network = Odd()
    rows = IMAGES.flatten(2).movedim(1, 2)
    expected = {
        "tokens": network.tokens(rows).mean(1),
        "pair": network.pair(rows)[0].mean(1),
        "twice": (IMAGES * 3).tanh().tanh().mean((2, 3)),
    }
    for layer, values in expected.items():
        seen = ModuleExtractor(network, layer).extract(IMAGES).features
        assert seen == pytest.approx(values.detach().numpy(), abs=1e-6)


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        ("unused", "the layer 'unused' to run"),
        ("count", r"the layer 'count' to give a tensor with a row for each of 5 images, found \(5,\)"),
        (None, "found dict"),
    ],
)
def test_what_is_no_feature(layer: str | None, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        ModuleExtractor(Odd(), layer).extract(IMAGES)


def test_images_are_normalised_as_torchvision_does() -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    seen = ModuleExtractor(nn.Identity(), normalise=(mean, std)).extract(IMAGES)
    shown = (IMAGES + 1) / 2
    expected = (shown - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)
    assert seen.features == pytest.approx(expected.mean((2, 3)).numpy(), abs=1e-6)


def test_grey_images_are_repeated_and_all_resized() -> None:
    grey = IMAGES[:, :1]
    assert np.array_equal(
        ModuleExtractor(Net(), "body", channels=3).extract(grey).features,
        ModuleExtractor(Net(), "body").extract(grey.expand(-1, 3, -1, -1)).features,
    )
    shapes: list[tuple[int, ...]] = []

    class Looks(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            shapes.append(tuple(images.shape))
            return images

    ModuleExtractor(Looks(), image_size=12).extract(IMAGES)
    ModuleExtractor(Looks(), image_size=(4, 6)).extract(IMAGES)
    ModuleExtractor(Looks(), image_size=4, channels=2).extract(torch.zeros(2, 1, 8, 9, 10))
    assert shapes == [(5, 3, 12, 12), (5, 3, 4, 6), (2, 2, 4, 4, 4)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_networks_of_another_type(dtype: torch.dtype) -> None:
    seen = ModuleExtractor(Net().to(dtype), "body").extract(IMAGES).features
    assert seen.dtype == np.float32
    assert seen == pytest.approx(ModuleExtractor(Net(), "body").extract(IMAGES).features, abs=0.02)


@pytest.mark.parametrize("shape", [(2, 2, 8, 8), (2, 3, 8), (2, 3, 8, 8, 8, 8)])
def test_images_of_another_form(shape: tuple[int, ...]) -> None:
    with pytest.raises(SynthesizerError, match=r"expected images \(N, 3 or 1, \*spatial\)"):
        ModuleExtractor(Net(), channels=3).extract(torch.zeros(shape))
    with pytest.raises(SynthesizerError, match="of 3 dimensions"):
        ModuleExtractor(Net(), image_size=(8, 8, 8)).extract(torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"layer": "bodi.0"}, r"expected layer= among body\.\d, .*found 'bodi.0'"),
        ({"layer": "body.9"}, r"drop, head, found 'body\.9'"),
        ({"take": "middle"}, "take= 'output' or 'input'"),
        ({"image_size": 0}, "image_size of at least 1"),
        ({"image_size": (8, 8, 8, 8)}, "1 to 3 sides"),
        ({"channels": 0}, "channels of at least 1"),
        ({"normalise": ((0.5,), (0.0,))}, "std above 0"),
        ({"normalise": ((0.5, 0.5), (0.5, 0.5)), "channels": 3}, "a mean and a std for each channel"),
        ({"normalise": 3}, r"normalise= \(mean, std\)"),
        ({"classes": ["a"]}, "at least two distinct class names"),
        ({"classes": ["a", "a"]}, "at least two distinct class names"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        ModuleExtractor(Net(), **settings)


def test_other_numbers_of_logits_than_classes() -> None:
    with pytest.raises(ConfigError, match=r"logits \(N, 2\), one for each of a, b, found \(5, 4\)"):
        ModuleExtractor(Net(), "body", classes=["a", "b"]).extract(IMAGES)
    with pytest.raises(ConfigError, match=r"expected a torch.nn.Module, found function"):
        ModuleExtractor(functional.relu)  # type: ignore[arg-type]


# -- how it leaves the network ----------------------------------------------------------------------------------------


def test_the_network_is_left_as_it_was() -> None:
    network = Net().train()
    network.body[1].eval()  # frozen by its owner
    before = state_of(network)
    with untouched_rng():
        first = ModuleExtractor(network, "head", take="input").extract(IMAGES)
    assert_untouched(network, before)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert np.array_equal(
        first.features, ModuleExtractor(network.eval(), "head", take="input").extract(IMAGES).features
    )


@pytest.mark.parametrize("take", ["input", "output"])
def test_the_network_is_left_as_it_was_by_an_error(take: Any) -> None:
    network = Net().train()
    before = state_of(network)
    with pytest.raises(RuntimeError, match="channels"):
        ModuleExtractor(network, "head", take=take).extract(torch.zeros(2, 7, 8, 8))
    with pytest.raises(ConfigError, match="logits"):
        ModuleExtractor(network, "head", take=take, classes=["a", "b"]).extract(IMAGES)
    assert_untouched(network, before)


def test_several_threads_may_ask_one_network() -> None:
    network = Net().train()
    readers = {layer: ModuleExtractor(network, layer) for layer in ("body.0", "body.3", "head")}
    expected = {layer: reader.extract(IMAGES).features for layer, reader in readers.items()}
    before, wrong = state_of(network), []

    def ask(layer: str) -> None:
        for _ in range(30):
            if not np.array_equal(readers[layer].extract(IMAGES).features, expected[layer]):
                wrong.append(layer)

    threads = [threading.Thread(target=ask, args=(layer,)) for layer in [*readers, *readers]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert_untouched(network, before)


# -- fingerprint and folder -------------------------------------------------------------------------------------------


def test_the_fingerprint_tells_what_features_depend_on() -> None:
    def strided(stride: int) -> nn.Module:
        torch.manual_seed(0)
        return nn.Conv2d(3, 4, 3, stride=stride)

    trained = Net()
    trained.head.weight.data += 1
    readers = [
        *[ModuleExtractor(Net(), layer) for layer in (None, "body", "head")],
        ModuleExtractor(Net(), "head", take="input"),
        ModuleExtractor(Net(), channels=3),
        ModuleExtractor(Net(), image_size=9),
        ModuleExtractor(Net(), normalise=([0.5], [0.5])),
        ModuleExtractor(Net(), classes=["a", "b", "c", "d"]),
        ModuleExtractor(trained),
        *[ModuleExtractor(strided(stride)) for stride in (1, 2)],
    ]
    assert len({reader.fingerprint for reader in readers}) == len(readers)
    assert ModuleExtractor(Net().train()).fingerprint == ModuleExtractor(Net().eval()).fingerprint


def make(**settings: Any) -> ModuleExtractor:
    fitted = FittedOn(np.array([1, 5]), np.array([7]))
    return ModuleExtractor(
        Net(), "body.2", image_size=(8, 10), channels=3, normalise=([0.5], [0.2]), fitted_on=fitted, **settings
    )


def test_loaded_into_a_network_of_the_same_architecture(tmp_path: Path) -> None:
    extractor, other = make(classes=["a", "b", "c", "d"]), Net()
    folder = extractor.save(tmp_path / "own")
    nn.init.zeros_(other.head.weight)
    again = ModuleExtractor.load(folder, other)
    assert again.fingerprint == extractor.fingerprint
    assert again.settings() == extractor.settings()
    assert again.fitted_on.images.tolist() == [1, 5]
    assert again.fitted_on.groups.tolist() == [7]
    assert again.module is other
    one, two = extractor.extract(IMAGES), again.extract(IMAGES)
    assert np.array_equal(one.features, two.features)
    assert np.array_equal(one.probs, two.probs)
    with pytest.raises(ConfigError, match="holds a ModuleExtractor's weights and not its code; give network="):
        load_extractor(folder)
    with pytest.raises(ArtifactError, match=r"found others: .* of another shape"):
        ModuleExtractor.load(folder, Net(num_classes=2))
    with pytest.raises(ArtifactError, match=r"found others: .*missing: bias, weight"):
        load_extractor(folder, nn.Linear(2, 2))


def test_weights_that_are_shared_or_not_finite(tmp_path: Path) -> None:
    tied = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
    tied[1].weight = tied[0].weight
    folder = ModuleExtractor(tied, "1").save(tmp_path / "tied")
    fresh = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
    expected = ModuleExtractor(tied, "1").extract(IMAGES).features
    assert np.array_equal(ModuleExtractor.load(folder, fresh).extract(IMAGES).features, expected)
    tied[0].bias.data[0] = torch.nan
    with pytest.raises(ConfigError, match=r"finite weights to save, found NaN or infinity in 0\.bias"):
        ModuleExtractor(tied, "1").save(tmp_path / "nan")
    assert [path.name for path in tmp_path.iterdir()] == ["tied"]


class Remembers(nn.Module):
    """Its state is more than tensors."""

    def forward(self, images: Tensor) -> Tensor:
        return images

    def get_extra_state(self) -> Any:
        return {"code": "print(1)"}

    def set_extra_state(self, state: Any) -> None:
        raise AssertionError("nothing but tensors may come out of a file")


def test_state_that_is_no_tensor_is_not_pickled(tmp_path: Path) -> None:
    extractor = ModuleExtractor(Remembers())
    assert extractor.extract(IMAGES).features.shape == (5, 3)
    with pytest.raises(ConfigError, match="whose state are tensors, found others: _extra_state"):
        extractor.save(tmp_path / "own")


def other_weights(folder: Path) -> None:
    tensors = load_file(folder / "weights.safetensors")
    save_file({**tensors, "module.head.bias": tensors["module.head.bias"] + 1}, folder / "weights.safetensors")


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no json": (lambda folder: (folder / "extractor.json").unlink(), "found no extractor.json"),
    "json is a list": (lambda folder: (folder / "extractor.json").write_text("[]"), "found kind None"),
    "json is deep": (lambda folder: (folder / "extractor.json").write_text("[" * 10**5), "expected JSON"),
    "no weights": (lambda folder: (folder / "weights.safetensors").unlink(), "found no such file"),
    "a pickle": (lambda folder: torch.save(Net().state_dict(), folder / "weights.safetensors"), "damaged file"),
    "other weights": (other_weights, "found others; the file is damaged"),
    "no such layer": (set_in("layer", "tail"), "expected layer= among"),
    "layer is a list": (set_in("layer", ["body"]), "damaged"),
    "take what": (set_in("take", "all"), "take="),
    "size is text": (set_in("image_size", "large"), "damaged"),
    "channels are many": (set_in("channels", -3), "damaged"),
    "one std": (set_in("normalise", [[0.5]]), "damaged"),
    "classes are a number": (set_in("classes", 4), "damaged"),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_is_refused(tmp_path: Path, damage: Callable[[Path], Any], told: str) -> None:
    folder = make().save(tmp_path / "own")
    damage(folder)
    with pytest.raises(ArtifactError, match=told):
        ModuleExtractor.load(folder, Net())
