"""load and convert: every kind of file becomes a synthesizer that draws what the original draws, and a folder."""

import json
import os
import pickle
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import gan_augment as ga
from gan_augment.errors import ArtifactError, ConfigError, LicenceWarning
from gan_augment.networks.published.dcgan import TorchganSettings
from gan_augment.seeds import normals
from gan_augment.synthesizers import (
    AdaptedSynthesizer,
    Knobs,
    PretrainedSynthesizer,
    TranslatingSynthesizer,
    load,
    per_class,
)
from gan_augment.synthesizers.files.convert import convert
from gan_augment.synthesizers.files.stored import store
from tests.helpers import Pictures, ToyGenerator
from tests.networks.published.test_dcgan import SMALL, models, reference
from tests.networks.published.test_translators import reference as translating
from tests.synthesizers.programs.generators import ByNumber, ByVector, seeded
from tests.synthesizers.programs.test_medigan import FILES, config, packed
from tests.synthesizers.readers.test_network_pickle import discriminator_of, foreign, generator_of, tree_of
from tests.synthesizers.released import discriminator, style, translator
from tests.test_cli import refused, run

__all__ = ["foreign", "models"]

SEEDS, LABELS = [4, 5, 6], [0, 2, 1]


def like(images: torch.Tensor) -> Any:
    return Pictures((6, 5, 4), channels=images.shape[1], size=images.shape[2])


def network_pickle(tmp_path: Path) -> tuple[Path, torch.Tensor]:
    (network, g_ema), (_, g), (_, d) = generator_of(0), generator_of(1), discriminator_of()
    tree_of(tmp_path, G=g, D=d, G_ema=g_ema)
    latents = torch.from_numpy(normals(SEEDS, network.latent_dim))
    return tmp_path / "network-snapshot-000200.pkl", network(latents, torch.tensor(LABELS)).clamp(-1, 1)


def torchgan(tmp_path: Path, models: Any) -> tuple[Path, torch.Tensor]:
    settings = TorchganSettings(**SMALL | {"num_classes": 5, "labels": "times"})
    generator = reference(models, settings)
    torch.save(generator.state_dict(), tmp_path / "generator.pth")
    latents = torch.from_numpy(normals(SEEDS, settings.encoding_dims))
    return tmp_path / "generator.pth", generator(latents, torch.tensor(LABELS)).clamp(-1, 1)


@torch.no_grad()
def test_a_network_pickle(tmp_path: Path) -> None:
    path, expected = network_pickle(tmp_path)
    gan = load(path, progress=False)
    assert isinstance(gan, PretrainedSynthesizer)
    torch.testing.assert_close(gan.sample(LABELS, SEEDS).images, expected, atol=1e-5, rtol=1e-5)
    assert gan.discriminator is not None
    assert gan.provenance.source == path.name
    folder = tmp_path / "gan"
    found = convert(path, folder, class_names=["a", "b", "c"], licence="cc-by-4.0", progress=False)
    again = load(folder)
    torch.testing.assert_close(again.sample(LABELS, SEEDS).images, expected, atol=1e-5, rtol=1e-5)
    assert (again.class_names, again.licence) == (["a", "b", "c"], "cc-by-4.0")
    assert again.discriminator is not None
    assert again.fingerprint == found.synthesizer.fingerprint
    assert sorted(file.name for file in folder.iterdir()) == ["pretrained.json", "weights.safetensors"]
    train = Pictures((6, 5, 4), size=16, channels=1, classes=["a", "b", "c"])
    adapted = load(folder, class_map={"b": "c", "a": 0}, like=train)
    assert isinstance(adapted, AdaptedSynthesizer)
    with pytest.raises(ga.SynthesizerError, match="samples of 3 channels as in the dataset, found 2"):
        load(folder, like=Pictures((6, 5, 4), size=16, channels=3))


@torch.no_grad()
def test_torchgan_and_a_pool(tmp_path: Path, models: Any) -> None:
    path, expected = torchgan(tmp_path, models)
    train = like(expected)
    gan = load(path, class_map={"1": 4, "2": 0}, like=train, progress=False)
    cut = load(path, class_map={"1": 4, "2": 0}, like=train, knobs={"truncation": {"2": 0.0}}, progress=False)
    assert (cut.sample([1, 1], [1, 2]).images.diff(dim=0).abs().max()) < 1e-5
    images = gan.sample([1], SEEDS[:1]).images
    torch.testing.assert_close(images, expected[:1], atol=1e-4, rtol=1e-4)
    pool = ga.SyntheticPool.build(gan, train, selector=None, counts={"2": 3}, reserve=1)
    assert len(pool) == 3
    assert pool.verify(gan)


@torch.no_grad()
def test_a_translator(tmp_path: Path) -> None:
    original = translating("resnet", "instance")
    torch.save(original.state_dict(), tmp_path / "latest_net_G_A.pth")
    gan = load(tmp_path / "latest_net_G_A.pth", class_names=["lesion"], parents={"lesion": "healthy"}, progress=False)
    assert isinstance(gan, TranslatingSynthesizer)
    source = torch.rand(2, 3, 32, 32) * 2 - 1
    made = gan.sample([0, 0], [1, 2], conditions={"source": source}).images
    torch.testing.assert_close(made, original(source).clamp(-1, 1), atol=1e-5, rtol=1e-5)
    convert(tmp_path / "latest_net_G_A.pth", tmp_path / "gan", class_names=["lesion"], progress=False)
    again = load(tmp_path / "gan", parents={"lesion": "healthy"})
    assert again.parents == {"lesion": "healthy"}
    torch.testing.assert_close(again.sample([0, 0], [1, 2], conditions={"source": source}).images, made)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_programs(kind: str, tmp_path: Path) -> None:
    module, path = seeded(ByNumber), tmp_path / f"generator.{kind}"
    example = (torch.zeros(2, 8), torch.zeros(2, dtype=torch.int64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = torch.export.Dim("batch", min=2, max=256)
        exported = torch.export.export(module, example, dynamic_shapes=({0: batch}, {0: batch}))
        if kind == "pt2":
            torch.export.save(exported, path)
        else:
            torch.onnx.export(exported, dynamo=True, external_data=False).save(str(path))
    latents = torch.from_numpy(normals(SEEDS, 8))
    expected = module(latents, torch.tensor(LABELS))
    gan = load(path, num_classes=3, progress=False)
    torch.testing.assert_close(gan.sample(LABELS, SEEDS).images, expected, atol=1e-5, rtol=1e-5)
    assert gan.fingerprint["weights"] != "unknown"
    convert(path, tmp_path / "gan", num_classes=3, class_names=["a", "b", "c"], licence="mit", progress=False)
    again = load(tmp_path / "gan")
    torch.testing.assert_close(again.sample(LABELS, SEEDS).images, expected, atol=1e-5, rtol=1e-5)
    assert (again.class_names, again.licence, again.provenance.source) == (["a", "b", "c"], "mit", path.name)
    torch.testing.assert_close(pickle.loads(pickle.dumps(again)).sample(LABELS, SEEDS).images, expected)
    program = next((tmp_path / "gan").glob("program.*2" if kind == "pt2" else "program.onnx"))
    program.write_bytes(program.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="the program that was stored"):
        load(tmp_path / "gan")


@torch.no_grad()
def test_weights_beside_a_program_go_with_it(tmp_path: Path) -> None:
    module, path = seeded(ByNumber), tmp_path / "generator.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.onnx.export(module, (torch.zeros(2, 8), torch.zeros(2, dtype=torch.int64)), dynamo=True)
        assert exported is not None
        exported.save(str(path), external_data=True)
    gan = load(path, num_classes=3, progress=False)
    convert(path, tmp_path / "gan", num_classes=3, progress=False)
    again = load(tmp_path / "gan")
    torch.testing.assert_close(again.sample(LABELS, SEEDS).images, gan.sample(LABELS, SEEDS).images)
    assert again.fingerprint["weights"] == gan.fingerprint["weights"] != gan.provenance.sha256
    data = tmp_path / "gan" / "generator.onnx.data"
    data.write_bytes(data.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="the program that was stored"):
        load(tmp_path / "gan")


@torch.no_grad()
def test_torchscript_only_where_trusted(tmp_path: Path) -> None:
    module, path = seeded(ByNumber), tmp_path / "generator.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(module, (torch.zeros(2, 8), torch.zeros(2, dtype=torch.int64))), path)
        with pytest.raises(ArtifactError, match="trust=True"):
            load(path, latent_dim=8, num_classes=3, progress=False)
        gan = load(path, latent_dim=8, num_classes=3, trust=True, progress=False)
        expected = module(torch.from_numpy(normals(SEEDS, 8)), torch.tensor(LABELS))
        torch.testing.assert_close(gan.sample(LABELS, SEEDS).images, expected, atol=1e-5, rtol=1e-5)
        with pytest.raises(ConfigError, match="runs code of others"):
            convert(path, tmp_path / "gan", latent_dim=8, num_classes=3, trust=True, progress=False)
    assert not (tmp_path / "gan").exists()


def test_medigan_only_where_trusted_and_pinned(tmp_path: Path) -> None:
    path, sha256 = packed(tmp_path / "tiny.zip", FILES)
    (tmp_path / "global.json").write_text(json.dumps(config(condition=None)))
    settings: dict[str, Any] = {
        "config": tmp_path / "global.json",
        "model_id": "00042_TINY",
        "label_argument": "condition",
        "label_values": (0, 1),
        "progress": False,
    }
    with pytest.raises(ArtifactError, match="trust=True"):
        load(path, sha256=sha256, **settings)
    gan = load(path, sha256=sha256, trust=True, class_names=["benign", "mass"], **settings)
    images = gan.sample([0, 1, 0], [1, 2, 1]).images
    assert images.shape == (3, 3, 8, 10)
    assert torch.equal(images[0], images[2])
    assert images.max() <= 1
    assert gan.licence == "MIT"
    gan._call.generator.program.call.close()


def test_options_of_a_program_count(tmp_path: Path) -> None:
    module, path = seeded(ByVector), tmp_path / "generator.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.onnx.export(module, (torch.zeros(2, 5), torch.zeros(2, 6)), dynamo=True)
        assert exported is not None
        exported.save(str(path))
    one = load(path, progress=False)
    other = load(path, output=exported.model.graph.outputs[1].name, progress=False)  # what is chosen might be another
    assert one.fingerprint == load(path, progress=False).fingerprint
    assert one.fingerprint != other.fingerprint


def test_pools_tell_where_the_weights_come_from(tmp_path: Path) -> None:
    train = Pictures((6, 5, 4), size=16)
    pool = ga.SyntheticPool.build(style(3), train, selector=None, counts={"2": 3}, reserve=1, out=tmp_path / "pool")
    (origin,) = pool.about["origins"]
    assert (origin["source"], origin["sha256"], origin["citation"]) == ("weights.pkl", "0" * 64, "Doe 2020")
    other = style(3)
    other.provenance = replace(other.provenance, source="other.pkl", licence="cc-by-nc-4.0")
    pool.extend(other, train, selector=None, counts={"1": 3}, reserve=1)
    pool = ga.SyntheticPool.open(tmp_path / "pool")
    assert pool.about["licence"] == "cc-by-4.0; cc-by-nc-4.0"
    assert [one["source"] for one in pool.about["origins"]] == ["weights.pkl", "other.pkl"]
    path = tmp_path / "pool" / "pool.json"
    whole = path.read_text()
    for wrong in (-1, "x", [3], None):
        document = json.loads(whole)
        document["parts"][0]["origins"] = wrong
        path.write_text(json.dumps(document))
        with pytest.raises(ArtifactError):
            ga.SyntheticPool.open(tmp_path / "pool")
    path.write_text(whole)
    pool.export(tmp_path / "out", "folder")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "other.pkl" in card
    assert "cc-by-nc-4.0" in card


def test_what_released_weights_were_fitted_on_is_not_known(tmp_path: Path) -> None:
    train, test = Pictures((6, 5, 4), size=16), Pictures((3, 3, 3), size=16, seed=9)
    pool = ga.SyntheticPool.build(style(3), train, selector=None, counts={"2": 3}, reserve=1, out=tmp_path / "pool")
    for thing in (style(3), pool, ga.SyntheticPool.open(tmp_path / "pool"), per_class({"a": style(0)})):
        with pytest.warns(ga.DataMismatchWarning, match="draws on weights that others released"):
            ga.check_no_overlap(test, thing)


def test_a_state_dict_of_a_module_of_ones_own(tmp_path: Path) -> None:
    trained = ToyGenerator()
    with torch.no_grad():
        trained.weight.mul_(3)
    expected = ga.wrap(trained, num_classes=3, image_shape=(1, 8, 8), latent_dim=6).sample(LABELS, SEEDS).images
    settings: dict[str, Any] = {"num_classes": 3, "latent_dim": 6, "progress": False}
    files = {
        "plain": trained.state_dict(),
        "parallel": {f"module.{name}": value for name, value in trained.state_dict().items()},
        "checkpoint": {"epoch": 3, "generator": trained.state_dict()},
    }
    for name, content in files.items():
        torch.save(content, tmp_path / f"{name}.pth")
        gan = load(tmp_path / f"{name}.pth", module=ToyGenerator(), **settings)
        torch.testing.assert_close(gan.sample(LABELS, SEEDS).images, expected)
    torch.save(
        {"a": trained.state_dict(), "b": {"c": trained.state_dict()}, "d": trained.state_dict()}, tmp_path / "x.pt"
    )
    with pytest.raises(ArtifactError, match="found 'a', 'd'; give key="):
        load(tmp_path / "x.pt", module=ToyGenerator(), **settings)
    gan = load(tmp_path / "x.pt", module=ToyGenerator(), key="b/c", **settings)
    torch.testing.assert_close(gan.sample(LABELS, SEEDS).images, expected)
    with pytest.raises(ArtifactError, match="expected 'b/z'"):
        load(tmp_path / "x.pt", module=ToyGenerator(), key="b/z", **settings)
    torch.save({"bias": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ArtifactError, match="1 missing: weight; 1 not expected: bias"):
        load(tmp_path / "other.pth", module=ToyGenerator(), **settings)
    with pytest.raises(ConfigError, match="module=, a module whose state dict"):
        load(tmp_path / "plain.pth", kind="state_dict", progress=False)


@pytest.mark.parametrize("make", [
    lambda: style(3, class_names=["a", "b", "c"], discriminator=discriminator(3), knobs=Knobs(truncation={"a": 0.5})),
    lambda: style(0),
    lambda: translator(parents={"lesion": "healthy"}, image_size=32),
])  # fmt: skip
def test_folders(make: Any, tmp_path: Path) -> None:
    gan = make()
    store(gan, tmp_path / "gan")
    again = load(tmp_path / "gan")
    assert repr(again) == repr(gan)
    assert again.fingerprint == gan.fingerprint
    assert again.provenance == gan.provenance
    assert (again.discriminator is None) == (gan.discriminator is None)
    if gan.discriminator is not None:
        assert all(torch.equal(again.discriminator.state[k], v) for k, v in gan.discriminator.state.items())


def test_what_is_said_anew_of_a_folder(tmp_path: Path) -> None:
    store(style(3), tmp_path / "gan")
    gan = load(tmp_path / "gan", class_names=["x", "y", "z"], knobs={"truncation": {"z": 0.2}}, licence="mit")
    assert (gan.class_names, gan.knobs.truncation, gan.licence) == (["x", "y", "z"], {"z": 0.2}, "mit")
    with pytest.raises(ConfigError, match="3 different class_names="):
        load(tmp_path / "gan", class_names=["x"])
    with pytest.raises(ConfigError, match="no parents= and no image_size="):
        load(tmp_path / "gan", image_size=32)
    with pytest.raises(ConfigError, match="options none for a folder of this library, found config"):
        load(tmp_path / "gan", config="x.yaml")


def test_damaged_folders(tmp_path: Path) -> None:
    store(style(3), tmp_path / "gan")
    path = tmp_path / "gan" / "pretrained.json"
    about = json.loads(path.read_text())
    settings = about["settings"]
    changes: list[dict[str, Any]] = [
        {"architecture": "os.system"},
        {"architecture": ["stylegan2"]},
        {"settings": {**settings, "img_resolution": 10**9}},
        {"settings": {**settings, "z_dim": 10**12}},
        {"settings": {**settings, "w_dim": 9}},
        {"settings": {**settings, "mapping_layers": "2"}},
        {"settings": {**settings, "unknown": 1}},
        {"settings": None},
        {"discriminator": {"architecture": "stylegan2_discriminator"}},
        {"discriminator": 3},
        {"provenance": {}},
        {"provenance": {"source": "/home/someone/x.pkl"}},
        {"classes": ["a", "a", "b"]},
        {"classes": ["a", "b"]},
        {"knobs": {"truncation": 7}},
        {"knobs": {"nothing": 7}},
        {"knobs": []},
        {"parents": {"a": "b"}},
        {"fingerprint": {"weights": "0"}},
        {"fingerprint": 7},
        {"version": 99},
    ]
    for change in changes:
        path.write_text(json.dumps({**about, **change}))
        with pytest.raises(ArtifactError):
            load(tmp_path / "gan")
    path.write_text(json.dumps(about))
    weights = tmp_path / "gan" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(ArtifactError):
        load(tmp_path / "gan")


def test_licences_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], models: Any) -> None:
    path, _ = torchgan(tmp_path, models)
    with pytest.warns(LicenceWarning, match="forbids commercial use"):
        gan = load(path, licence="cc-by-nc-4.0", progress=False)
    assert gan.licence == "cc-by-nc-4.0"
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n# A model\n")
    with pytest.warns(LicenceWarning):
        assert load(path, progress=False).licence == "cc-by-nc-sa-4.0"
    assert load(path, licence="mit", progress=False).licence == "mit"
    (tmp_path / "README.md").unlink()
    load(path, progress=False)
    assert "no licence is stated, ask before use" in capsys.readouterr().err


def test_what_is_no_synthesizer(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "model": {"x": torch.zeros(3)}}, tmp_path / "model.pth")
    with pytest.raises(ArtifactError, match=r"a format that is read .* found a dict with 'epoch', 'model'"):
        load(tmp_path / "model.pth", progress=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="or one file of weights, found none"):
        load(tmp_path / "empty")
    with pytest.raises(ArtifactError):
        load(tmp_path / "nothing.pth")
    with pytest.raises(ConfigError, match="expected kind= one of folder, network_pickle"):
        load(tmp_path / "model.pth", kind="gan")
    with pytest.raises(ArtifactError, match=r"SHA-256|sha256"):
        load(tmp_path / "model.pth", sha256="0" * 64, progress=False)
    store(style(3), tmp_path / "gan")
    with pytest.raises(ArtifactError, match="found a file of it; give"):
        load(tmp_path / "gan" / "pretrained.json")
    with pytest.raises(ArtifactError, match="not to exist yet"):
        convert(tmp_path / "model.pth", tmp_path / "gan")
    convert(tmp_path / "gan", tmp_path / "named", class_names=["a", "b", "c"])
    assert load(tmp_path / "named").class_names == ["a", "b", "c"]
    ga.fit(Pictures((6, 5)), steps=1, out=tmp_path / "own", progress=False, min_images=1)
    with pytest.raises(ConfigError, match="it was trained here and needs none"):
        convert(tmp_path / "own", tmp_path / "other")


def test_a_pickle_with_a_payload_runs_nothing(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'canary'}",)

    for name, content in (("a.pkl", {"G_ema": Payload()}), ("b.pkl", Payload())):
        (tmp_path / name).write_bytes(pickle.dumps(content))
        with pytest.raises(ArtifactError):
            load(tmp_path / name, progress=False)
    torch.save({"state_dict": {"x": Payload()}}, tmp_path / "c.pth")
    with pytest.raises(ArtifactError):
        load(tmp_path / "c.pth", progress=False)
    assert not (tmp_path / "canary").exists()


def test_one_file_of_weights_in_a_folder(tmp_path: Path, models: Any) -> None:
    path, _ = torchgan(tmp_path, models)
    assert load(tmp_path, progress=False).architecture == "torchgan_dcgan"
    (tmp_path / "second.pth").write_bytes(path.read_bytes())
    with pytest.raises(ArtifactError, match=r"2 files of weights \(generator.pth, second.pth\); name one"):
        load(tmp_path, progress=False)


def test_the_command_line(tmp_path: Path, models: Any) -> None:
    path, _ = torchgan(tmp_path, models)
    out = tmp_path / "gan"
    names = ["a", "b", "c", "d", "rare"]
    options = [text for name in names for text in ("--class", name)]
    done = run("convert", path, out, *options, "--licence", "cc-by-nc-4.0", "--truncation", "0.8", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["kind"], told["classes"]) == ("torchgan", names)
    assert told["provenance"]["licence"] == "cc-by-nc-4.0"
    assert "forbids commercial use" in done.stderr
    assert (out / "samples.png").stat().st_size > 500
    assert load(out, licence="mit").knobs.truncation == 0.8
    assert "not to exist yet" in refused("convert", path, out)
    assert "expected options generator" in refused("convert", path, tmp_path / "x", "--option", "config=y")
    assert not (tmp_path / "x").exists()
