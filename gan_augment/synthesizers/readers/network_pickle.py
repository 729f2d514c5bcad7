"""Reads network pickles: of StyleGAN2-ADA (PyTorch), StyleGAN3, projected GAN and R3GAN, which bring their own source.

None of that source runs, nor is it looked at: what a network is shows in its parts, tensors and attributes.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.synthesizers.fetching.provenance import plain
from gan_augment.synthesizers.readers.found import Found, Part
from gan_augment.synthesizers.readers.unpickle import Inert

__all__ = ["child", "read", "real", "recognises"]

_GENERATORS = ("G_ema", "G")
_TENSORFLOW = "dnnlib.tflib."
_STYLEGAN2 = "Karras et al. 2020, Training Generative Adversarial Networks with Limited Data, arXiv 2006.06676"
_NVIDIA = (
    "the file does not say who trained it: weights that NVIDIA released are under a non-commercial licence (NVIDIA "
    "Source Code License); give licence= where you know it"
)
_LONGEST_TOLD = 300
_OTHERS = "the file does not say who trained it, nor under which licence; give licence= where you know it"


def _stylegan2(module: Inert) -> Part:
    from gan_augment.synthesizers.readers.network_pickle_stylegan2 import read_stylegan2

    return read_stylegan2(module)


def _stylegan2_discriminator(module: Inert) -> Part:
    from gan_augment.synthesizers.readers.network_pickle_stylegan2 import read_stylegan2_discriminator

    return read_stylegan2_discriminator(module)


def _stylegan3(module: Inert) -> Part:
    from gan_augment.synthesizers.readers.network_pickle_stylegan3 import read_stylegan3

    return read_stylegan3(module)


def _fastgan(module: Inert) -> Part:
    from gan_augment.synthesizers.readers.network_pickle_fastgan import read_fastgan

    return read_fastgan(module)


def _r3gan(module: Inert) -> Part:
    from gan_augment.synthesizers.readers.network_pickle_r3gan import read_r3gan

    return read_r3gan(module)


def _r3gan_discriminator(module: Inert) -> Part:
    from gan_augment.synthesizers.readers.network_pickle_r3gan import read_r3gan_discriminator

    return read_r3gan_discriminator(module)


_Kind = tuple[tuple[str, ...], Callable[[Inert], Part], str, str, str]
_KINDS: tuple[_Kind, ...] = (
    (("mapping", "synthesis.b4.conv1"), _stylegan2, "StyleGAN2", _STYLEGAN2, _NVIDIA),
    (
        ("mapping", "synthesis.input"),
        _stylegan3,
        "StyleGAN3",
        "Karras et al. 2021, Alias-Free Generative Adversarial Networks, arXiv 2106.12423",
        _NVIDIA,
    ),
    (
        ("synthesis.init", "synthesis.feat_8", "synthesis.to_big"),
        _fastgan,
        "projected GAN (FastGAN)",
        "Sauer et al. 2021, Projected GANs Converge Faster, arXiv 2111.01007; Liu et al. 2021, Towards Faster and "
        "Stabilized GAN Training, arXiv 2101.04775",
        _OTHERS,
    ),
    (
        ("Model.MainLayers",),
        _r3gan,
        "R3GAN",
        "Huang et al. 2024, The GAN is dead; long live the GAN! A Modern Baseline GAN, arXiv 2501.05441",
        _OTHERS,
    ),
)
"""Parts that a generator of each kind has, its reader, its name, whom to cite, and what is known of licences."""

_DISCRIMINATORS: tuple[tuple[tuple[str, ...], Callable[[Inert], Part]], ...] = (
    (("b8.conv0", "b4.fc", "b4.out"), _stylegan2_discriminator),
    (("Model.MainLayers",), _r3gan_discriminator),
)


def recognises(tree: Any, path: Path) -> bool:
    """Tells whether a pickle holds networks as StyleGAN2-ADA's training loop and its descendants save them."""
    if isinstance(tree, Mapping):
        return any(isinstance(tree.get(name), Inert) for name in _GENERATORS)
    return _is_tensorflow(tree) or child(tree, "synthesis") is not None or child(tree, "Model") is not None


def read(tree: Any, path: Path, *, which: str = "G_ema") -> Found:
    """Reads the generator, and the discriminator where it is one that is known here.

    Args:
        tree: What the file holds: a dict of networks, or one generator.
        path: Where it lies.
        which: "G_ema" for the moving average of the weights, which images are made with, or "G" for the weights.

    Raises:
        ArtifactError: It is a pickle of TensorFlow's networks, there is no generator, or none that is known here.
        ConfigError: `which` is neither.
    """
    if which not in _GENERATORS:
        raise ConfigError(f"expected which to be G_ema or G, found {which!r}")
    if _is_tensorflow(tree):
        raise ArtifactError(
            f"expected networks of PyTorch in {path}, found those of TensorFlow (StyleGAN, StyleGAN2): they are read "
            "after legacy.py of StyleGAN2-ADA (PyTorch) or StyleGAN3 has converted them"
        )
    notes: list[str] = []
    generator = _generator(tree, path, which, notes)
    _, reader, name, citation, licences = _kind(generator, path)
    part = reader(generator)
    return Found(
        form=f"{name} network pickle",
        generator=part,
        discriminator=_discriminator(tree, notes),
        citation=citation,
        notes=[*notes, licences],
        about={"cur_nimg": seen} if isinstance(seen := _of(tree, "cur_nimg"), int) else {},
    )


def child(module: Any, path: str) -> Inert | None:
    """Returns a part of a pickled module by its dotted name, None where there is none."""
    for name in path.split("."):
        state = module.state if isinstance(module, Inert) else None
        parts = state.get("_modules") if isinstance(state, dict) else None
        module = parts.get(name) if isinstance(parts, dict) else None
    return module if isinstance(module, Inert) else None


def real(value: float) -> float:
    """Returns a number as a float: infinite, which settings refuse, where it is a whole number beyond floats."""
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value > 0 or -1)


def _is_tensorflow(tree: Any) -> bool:
    members = list(tree.values()) if isinstance(tree, Mapping) else tree if isinstance(tree, tuple | list) else [tree]
    return any(isinstance(member, Inert) and member.origin.startswith(_TENSORFLOW) for member in members)


def _of(tree: Any, name: str) -> Any:
    return tree.get(name) if isinstance(tree, Mapping) else None


def _generator(tree: Any, path: Path, which: str, notes: list[str]) -> Inert:
    if isinstance(tree, Inert):
        return tree
    found = [name for name in _GENERATORS if isinstance(_of(tree, name), Inert)]
    if not found:
        raise ArtifactError(f"expected a generator G_ema or G in {path}, found neither; give a whole network pickle")
    if which not in found:
        if which != "G_ema":
            raise ArtifactError(f"expected {which} in {path}, found {', '.join(found)}; leave out which=")
        notes.append(f"the file holds no {which}; {found[0]} was taken")
    generator: Inert = tree[which if which in found else found[0]]
    return generator


def _kind(generator: Inert, path: Path) -> _Kind:
    for kind in _KINDS:
        if all(child(generator, part) is not None for part in kind[0]):
            return kind
    state = generator.state if isinstance(generator.state, dict) else {}
    parts = state.get("_modules")
    told = ", ".join(f"{name!s:.40}" for name in list(parts)[:10]) if isinstance(parts, dict) and parts else "nothing"
    raise ArtifactError(
        f"expected a generator of {', '.join(kind[2] for kind in _KINDS)} in {path}, found {generator.origin!r:.100} "
        f"made of {told}. Export it as ONNX or with torch.export.save, or give module="
    )


def _discriminator(tree: Any, notes: list[str]) -> Part | None:
    """Returns the discriminator; one of another kind is left out, as images are made without."""
    found = _of(tree, "D")
    if not isinstance(found, Inert):
        return None
    for parts, reader in _DISCRIMINATORS:
        if all(child(found, part) is not None for part in parts):
            try:
                return reader(found)
            except Exception as error:  # whatever it holds
                told = str(error) if isinstance(error, ArtifactError) else f"{type(error).__name__}: {error}"
                notes.append(f"the discriminator was left out: {plain(told, _LONGEST_TOLD)}")
                return None
    notes.append("the discriminator was left out: it is of no kind that is known here")
    return None
