"""Files that the how-to pages name: images, and small weights as each project's training writes them."""

import json
import os
import pickle
import types
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn

from gan_augment.networks.published import unfilled
from gan_augment.networks.published.dcgan import TorchganSettings
from gan_augment.networks.published.fastgan import FastGANSettings
from gan_augment.networks.published.lucidrains import LucidrainsSettings
from gan_augment.networks.published.stylegan2 import StyleGAN2Settings
from gan_augment.networks.published.stylegan2_discriminator import StyleGAN2DiscriminatorSettings
from gan_augment.networks.published.stylegan3 import StyleGAN3Settings
from gan_augment.pool import SyntheticPool
from tests.networks.published import test_dcgan, test_lucidrains, test_translators
from tests.synthesizers.programs import test_medigan
from tests.synthesizers.programs.generators import ByNumber, seeded
from tests.synthesizers.readers import test_biggan, test_network_pickle_r3gan, test_studiogan
from tests.synthesizers.readers.test_lucidrains import config_of
from tests.synthesizers.readers.test_network_pickle import Persistent, pickled

WIDTHS: dict[str, Any] = {"channel_base": 256, "channel_max": 16}
DCGAN: dict[str, Any] = {"encoding_dims": 16, "out_size": 32, "out_channels": 3, "step_channels": 4}


def images(folder: Path, side: int = 32, **counts: int) -> None:
    """A folder for each class of small colour images, whose light tells the class."""
    rng = np.random.default_rng(0)
    for number, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for k in range(count):
            pixels = np.clip(60 + 120 * number + rng.normal(0, 20, (side, side, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{k:03d}.png")


def digit_pool(path: Path) -> None:
    """A pool of scikit-learn's digits 0 to 2, forty of each, from the end of the set."""
    pixels, labels = load_digits(return_X_y=True)
    rows = np.concatenate([np.flatnonzero(labels == label)[-40:] for label in range(3)])
    pool = SyntheticPool.from_arrays(pixels[rows].reshape(-1, 1, 8, 8).astype(np.float32), labels[rows].tolist())
    pool.save(path, progress=False)


def digit_image_pool(path: Path) -> None:
    """The same as 8-bit images, 15 for each of the sixteen steps of light."""
    pixels, labels = load_digits(return_X_y=True)
    rows = np.concatenate([np.flatnonzero(labels == label)[-40:] for label in range(3)])
    pool = SyntheticPool.from_arrays((15 * pixels[rows]).reshape(-1, 1, 8, 8).astype(np.uint8), labels[rows].tolist())
    pool.save(path, progress=False)


def snapshot(path: Path, **networks: Any) -> None:
    """A network pickle as the training loops of StyleGAN2-ADA and its descendants write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({"training_set_kwargs": {"path": "/data/cases.zip"}, **networks}))


def stylegan2(path: Path, classes: int = 3, side: int = 32, seed: int = 0, **more: Any) -> None:
    settings = StyleGAN2Settings(
        img_resolution=side, c_dim=classes, z_dim=8, w_dim=8, mapping_layers=2, conv_clamp=256.0, **WIDTHS
    )
    judge = StyleGAN2DiscriminatorSettings(img_resolution=side, c_dim=classes, mapping_layers=2, **WIDTHS)
    torch.manual_seed(seed)
    network, seeing = unfilled("stylegan2", settings), unfilled("stylegan2_discriminator", judge)
    snapshot(
        path,
        G_ema=pickled(network, settings, {"_init_kwargs": dict(WIDTHS)}, lambda *_: None),
        D=pickled(seeing, judge, {"_init_kwargs": dict(WIDTHS)}, lambda *_: None),
        **more,
    )


def stylegan3(path: Path, classes: int = 3) -> None:
    settings = StyleGAN3Settings(img_resolution=16, c_dim=classes, z_dim=8, w_dim=8, num_layers=4, **WIDTHS)
    told = settings.to_json()
    torch.manual_seed(0)

    def change(name: str, state: dict[str, Any]) -> None:
        if name == "synthesis":
            state |= {key: told[key] for key in ("num_layers", "num_critical", "margin_size", "output_scale")}
        elif name == "mapping":
            state["num_layers"] = settings.mapping_layers

    own = {name: told[name] for name in ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")}
    network = pickled(unfilled("stylegan3", settings), settings, {**own, "_init_kwargs": dict(WIDTHS)}, change)
    snapshot(path, G_ema=network)


def plain(tensors: Mapping[str, Tensor], **own: Any) -> Persistent:
    """A module that has tensors of these dotted names, and attributes of its own."""
    parts: dict[str, dict[str, Tensor]] = {}
    here: dict[str, Any] = {}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        (parts.setdefault(first, {}) if rest else here)[rest or first] = tensor
    modules = {name: plain(inner) for name, inner in parts.items()}
    return Persistent("Module", {"_parameters": {}, "_buffers": here, "_modules": modules, **own})


def r3gan(path: Path) -> None:
    weights = test_network_pickle_r3gan.weights
    networks = {kind: plain(weights(kind), z_dim=5, c_dim=3) for kind in ("generator", "discriminator")}
    snapshot(path, G_ema=networks["generator"], D=networks["discriminator"])


def fastgan(path: Path) -> None:
    """Projected GAN's generator, by its repository's names; its spectral norms are folded."""
    settings = FastGANSettings(img_resolution=128, c_dim=3, z_dim=8, ngf=8)
    torch.manual_seed(0)
    state = unfilled("fastgan", settings).state_dict()
    names = {"embed.weight": "embed.weight", "first": "init.init.0.weight", "last.weight": "to_big.weight"}
    names |= {"last.bias": "to_big.bias"}
    stored = {"running_mean": "stored_mean", "running_var": "stored_var"}
    for name in state:
        top, *rest = name.split(".")
        if top == "first_norm":
            names[name] = f"init.init.1.{rest[0]}"
        elif top == "gates":
            names[name] = f"se_{rest[0]}.main.{1 if rest[1] == 'squeeze' else 3}.weight"
        elif top == "blocks" and rest[2] == "weight":
            names[name] = f"feat_{rest[0]}.conv{int(rest[1]) + 1}.weight"
        elif top == "blocks" and rest[2] == "noise_strength":
            names[name] = f"feat_{rest[0]}.noise.weight"
        elif top == "blocks":
            kind = {"gain": "gain.", "shift": "bias."}.get(rest[3], "")
            names[name] = f"feat_{rest[0]}.bn{int(rest[1]) + 1}.{kind}{stored.get(rest[-1], rest[-1])}"
    tensors = {f"synthesis.{names[name]}": tensor for name, tensor in state.items()}
    snapshot(path, G_ema=plain(tensors, z_dim=8, c_dim=3, img_resolution=128, img_channels=3), D=plain({}))


def studiogan(path: Path, config: Path) -> None:
    written = test_studiogan.written(path.parent, test_studiogan.biggan().state_dict(), None, path.name)
    assert written == path
    config.write_text(json.dumps(test_studiogan.BIGGAN))


def lucidrains(path: Path, package: Any) -> None:
    settings = LucidrainsSettings(**test_lucidrains.SMALL)
    path.parent.mkdir(parents=True)
    torch.save({"GAN": test_lucidrains.reference(package, settings).state_dict(), "version": "1.9.0"}, path)
    (path.parent / ".config.json").write_text(json.dumps(config_of(settings)))


def torchgan(path: Path, models: Any, **more: Any) -> None:
    """A state dict, or, where the name ends as the trainer's do, a checkpoint of the trainer."""
    state = test_dcgan.reference(models, TorchganSettings(**DCGAN, **more)).state_dict()
    trainer = {"epoch": 3, "loss_information": {}, "loss_objects": {}, "metric_objects": None, "loss_logs": {}}
    torch.save({**trainer, "generator": state} if path.suffix == ".model" else state, path)


def biggan(folder: Path, package: types.ModuleType) -> None:
    config = {**test_biggan.SMALL, "num_classes": 1000}
    test_biggan.stored(test_biggan.released(package, config), config, folder)


def translator(path: Path, kind: str) -> None:
    torch.manual_seed(0)
    network: nn.Module
    if kind == "cyclegan":
        network = test_translators.Resnet(3, 3, 4, 2, nn.InstanceNorm2d, bias=True)
    else:
        network = test_translators.Unet(3, 3, 4, 5, nn.BatchNorm2d, bias=False)
    torch.save(test_translators.stirred(network).state_dict(), path)


def torchscript(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = (torch.zeros(2, 8), torch.zeros(2, dtype=torch.int64))
        torch.jit.save(torch.jit.trace(seeded(ByNumber), example), path)


def medigan(package: Path, config: Path) -> str:
    config.write_text(json.dumps(test_medigan.config()))
    return test_medigan.packed(package, test_medigan.FILES)[1]


class Payload:
    """Pickled, it makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.canary}",)


def generator_module(path: Path, name: str = "my_code.py") -> None:
    """A user's own code: a module whose class has a generator."""
    path.joinpath(name).write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "class Generator(nn.Module):\n"
        "    def __init__(self, latent_dim=16, num_classes=2):\n"
        "        super().__init__()\n"
        "        self.embed = nn.Embedding(num_classes, latent_dim)\n"
        "        self.net = nn.Sequential(nn.Linear(latent_dim, 3 * 32 * 32), nn.Tanh())\n\n"
        "    def forward(self, z, y):\n"
        "        return self.net(z + self.embed(y)).reshape(-1, 3, 32, 32)\n"
    )


def monai_datalist(folder: Path, **counts: int) -> None:
    """NIfTI volumes of 1 x 1 x 2 mm, and MONAI's list of them as of a Medical Segmentation Decathlon."""
    import nibabel

    rng, listed = np.random.default_rng(0), []
    for label, (name, count) in enumerate(counts.items()):
        for k in range(count):
            voxels = np.clip(300 + 400 * label + rng.normal(0, 90, (8, 8, 8)), 0, 1000).astype(np.int16)
            nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1, 2, 1])), folder / f"{name}-{k:02d}.nii.gz")
            listed.append({"image": f"{name}-{k:02d}.nii.gz", "label": label})
    (folder / "dataset.json").write_text(json.dumps({"training": listed}))
