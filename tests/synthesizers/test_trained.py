"""TrainedSynthesizer: parents, conditions, and folders that are damaged on purpose."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gan_augment.artifacts import read_json
from gan_augment.errors import ArtifactError, SynthesizerError
from gan_augment.synthesizers import TrainedSynthesizer, load
from gan_augment.training import fit
from tests.helpers import Pictures, set_in, view

damaged_in = functools.partial(set_in, name="synthesizer.json")


def fitted(recipe: str = "dagan", base: Any = None, **settings: Any) -> TrainedSynthesizer:
    base = Pictures((9, 6, 5), classes=["cat", "dog", "eel"]) if base is None else base
    return fit(base, recipe, steps=1, min_images=2, progress=False, **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("gan") / "gan"
    fitted(out=out, groups=[f"patient {i // 2}" for i in range(20)])
    return out


# -- parents ----------------------------------------------------------------------------------------------------------


def test_parents_are_of_the_class_asked_for_and_drawn_by_the_seed(folder: Path) -> None:
    base = Pictures((9, 6, 5), classes=["cat", "dog", "eel"])
    gan = load(folder).bind(base)
    labels, seeds = np.arange(300) % 3, np.arange(300)
    parents = gan.sample(labels, seeds).parents
    assert parents is not None
    assert (np.array(base.targets)[parents] == labels).all()
    for label, size in enumerate((9, 6, 5)):
        counts = np.bincount(parents[labels == label])[-size:]
        assert counts.min() > 100 / size / 3  # uniform within the class
        assert counts.max() < 100 / size * 2.5
    turned = gan.sample(labels[::-1], seeds[::-1]).parents
    assert turned is not None
    assert (turned[::-1] == parents).all()


def test_parents_are_matched_by_class_name(folder: Path) -> None:
    base = Pictures((5, 6, 9), classes=["eel", "dog", "cat"])
    parents = load(folder).bind(base).sample([0, 2] * 20, range(40)).parents
    assert parents is not None
    assert {base.classes[base.targets[parent]] for parent in parents[::2]} == {"cat"}
    assert {base.classes[base.targets[parent]] for parent in parents[1::2]} == {"eel"}


def test_a_given_source_is_the_parent(folder: Path) -> None:
    base = Pictures((9, 6, 5), classes=["cat", "dog", "eel"])
    gan = load(folder).bind(base)
    drawn = gan.sample([0, 1], [3, 4])
    assert drawn.parents is not None
    assert gan.image_spec is not None
    source = view(base).images(drawn.parents, spec=gan.image_spec)
    unbound = load(folder)
    assert not unbound.is_bound
    given = unbound.sample([0, 1], [3, 4], conditions={"source": source})
    assert given.parents is None
    assert torch.equal(given.images, drawn.images)
    assert not torch.equal(unbound.sample([0, 1], [3, 4], conditions={"source": -source}).images, drawn.images)


@pytest.mark.parametrize(
    "conditions",
    [{"mask": torch.zeros(2, 1, 8, 8)}, {"source": torch.zeros(1, 1, 8, 8)}, {"source": torch.zeros(2, 3, 8, 8)}],
)
def test_conditions_that_do_not_fit(folder: Path, conditions: dict[str, torch.Tensor]) -> None:
    with pytest.raises(SynthesizerError, match=r"expected conditions for dagan: source \(2, 1, 8, 8\); found"):
        load(folder).sample([0, 1], [3, 4], conditions=conditions)


def test_a_recipe_without_conditions_refuses_them() -> None:
    gan = fitted("sngan")
    assert not gan.needs_parents
    assert gan.sample([0], [0]).parents is None
    with pytest.raises(SynthesizerError, match="expected conditions for sngan: none; found"):
        gan.sample([0], [0], conditions={"source": torch.zeros(1, 1, 8, 8)})


def test_parents_that_are_missing(folder: Path) -> None:
    gan = load(folder)
    with pytest.raises(SynthesizerError, match=r"Call bind\(dataset\) first"):
        gan.sample([0], [0])
    gan.bind(Pictures((9, 6), classes=["cat", "eel"]))
    assert gan.sample([0, 2], [0, 0]).parents is not None
    with pytest.raises(SynthesizerError, match="found none of dog"):
        gan.sample([0, 1], [0, 0])


@pytest.mark.parametrize(
    ("settings", "told"), [({"channels": 3}, "channels 1 against 3"), ({"kind": "array"}, "dtype")]
)
def test_parents_of_another_form_are_refused(folder: Path, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(SynthesizerError, match=told):
        load(folder).bind(Pictures(classes=["cat", "dog", "eel"], **settings))


# -- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_tells_what_stands_behind_it_and_stores_no_image(folder: Path) -> None:
    base = Pictures((9, 6, 5), classes=["cat", "dog", "eel"])
    gan = load(folder)
    assert (gan.fitted_on.images == np.sort(view(base).hashes)).all()
    assert len(gan.fitted_on.groups) == 10
    assert gan.class_names == ["cat", "dog", "eel"]
    about = read_json(folder / "synthesizer.json", "gan_augment synthesizer", 1)
    assert about["fingerprint"] == gan.fingerprint
    assert about["images"] == 20
    assert b"patient" not in (folder / "synthesizer.json").read_bytes() + (folder / "weights.safetensors").read_bytes()
    names = set(load_file(folder / "weights.safetensors"))
    assert {name.split("/")[0] for name in names} == {*gan.networks, "fitted_on", "groups"}


def test_loading_leaves_the_users_random_state_alone(folder: Path) -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    gan = load(folder)
    assert torch.equal(torch.get_rng_state(), state)
    parameters = [p for network in gan.networks.values() for p in network.parameters()]
    assert parameters
    assert not any(p.requires_grad for p in parameters)
    assert not any(network.training for network in gan.networks.values())


def test_a_numpy_seed_is_stored(tmp_path: Path) -> None:
    gan = fitted("sngan")
    gan.seed = np.int64(4)  # type: ignore[assignment]
    assert load(gan.save(tmp_path / "gan")).seed == 4
    with pytest.raises(ArtifactError, match="not to exist yet"):
        gan.save(tmp_path / "gan")


def weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "weights.safetensors")
        change(tensors)
        save_file(tensors, folder / "weights.safetensors")

    return damage


def another_shape(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in tensors if name.startswith("generator/") and tensors[name].ndim > 1)
    tensors[name] = tensors[name][:1].contiguous()


def cut(folder: Path) -> None:
    content = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(content[:-7])


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no json": (lambda folder: (folder / "synthesizer.json").unlink(), "found no synthesizer.json"),
    "no weights": (lambda folder: (folder / "weights.safetensors").unlink(), "found no such file"),
    "json cut": (lambda folder: (folder / "synthesizer.json").write_text('{"kind"'), "expected JSON"),
    "weights cut": (cut, "damaged file"),
    "a pickle": (lambda folder: torch.save({}, folder / "weights.safetensors"), "damaged file"),
    "newer version": (damaged_in("version", 2), "a newer release of gan_augment is needed"),
    "another kind": (damaged_in("kind", "gan_augment pool"), "found kind 'gan_augment pool'"),
    "unknown recipe": (damaged_in("recipe", "name", "biggan"), "found 'biggan'"),
    "recipe is text": (damaged_in("recipe", "dagan"), "damaged"),
    "recipe is a list": (damaged_in("recipe", "name", []), "damaged"),
    "unknown setting": (damaged_in("recipe", "speed", 3), "settings of recipe dagan"),
    "another width": (damaged_in("recipe", "width", 96), "of another shape"),
    "no grid": (damaged_in("spec", {}), "damaged"),
    "another grid": (damaged_in("spec", "grid", [16, 16]), "fit the networks"),
    "absurd grid": (
        lambda folder: [damaged_in(*path, "grid", [8, 2**40])(folder) for path in (["spec"], ["image_spec"])],
        "e",
    ),
    "absurd width": (damaged_in("recipe", "width", 2**33), "expected"),
    "absurd latents": (damaged_in("recipe", "latent_dim", 2**40), "expected"),
    "more than absurd": (damaged_in("recipe", "latent_dim", 2**70), "expected"),
    "fewer classes": (damaged_in("classes", ["cat"]), "fit the networks"),
    "classes are a number": (damaged_in("classes", 3), "damaged"),
    "seed is text": (damaged_in("seed", "zero"), "damaged"),
    "no range": (damaged_in("image_spec", "low", []), "damaged"),
    "key missing": (weights(lambda tensors: tensors.pop(min(k for k in tensors if k.startswith("gen")))), "1 missing"),
    "key left over": (
        weights(lambda tensors: tensors.update({"generator/more": torch.zeros(1)})),
        "generator/more|more",
    ),
    "another shape": (weights(another_shape), "1 of another shape"),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_is_refused(tmp_path: Path, folder: Path, damage: Callable[[Path], Any], told: str) -> None:
    shutil.copytree(folder, tmp_path / "gan")
    load(tmp_path / "gan")
    damage(tmp_path / "gan")
    with pytest.raises(ArtifactError, match=told) as refused:
        load(tmp_path / "gan")
    assert "found" in str(refused.value)
