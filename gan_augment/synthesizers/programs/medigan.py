"""Draws from medigan models (Osuala et al. 2023, doi 10.1117/1.JMI.10.6.061403), which are downloaded Python packages.

A model is a zip with a package whose `generate` function is imported and called: foreign code. None of it runs unless
`trust=True`, and then only of a zip with the SHA-256 that the caller pins. It runs in a process of its own, in a
temporary folder, without the caller's environment, under a time limit; images come back as `.npy` files that are read
without pickle. That keeps its mistakes away from the caller. It is no jail: the code has the rights of the user.

Such models draw from their process's own random numbers, so every sample is drawn alone, after Python's, numpy's and
torch's numbers were seeded with the sample's seed: slower than in batches, but a sample is a function of its seed.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from gan_augment.errors import ArtifactError, ConfigError, SynthesizerError, whole
from gan_augment.synthesizers.programs.call import Program, file_size
from gan_augment.synthesizers.programs.medigan_process import Worker

__all__ = ["MediganGenerator", "open_medigan"]

_MOST_BYTES = 2**34
_MOST_CONFIG = 16 * 2**20


class MediganGenerator:
    """A medigan model, called as `(seeds, labels)`; made by `open_medigan`.

    Its process starts at the first call and again after a failure; each process that calls it has one of its own.
    """

    def __init__(
        self,
        package: Path,
        sha256: str,
        entry: dict[str, Any],
        labels: tuple[str, tuple[Any, ...]] | None,
        time_limit: float,
        threads: int,
        most_bytes: int,
    ) -> None:
        self._package, self._sha256, self._entry, self._labels = package, sha256, entry, labels
        self._time_limit, self._threads, self._most_bytes = time_limit, threads, most_bytes
        self._worker: Worker | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_worker": None}

    def __repr__(self) -> str:
        return f"MediganGenerator({self._entry['model_id']})"

    def __call__(self, seeds: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns images `(N, C, H, W)` as the model returns them, for seeds `(N,)` and labels `(N,)` or None.

        Raises:
            ConfigError: A Python package that the model needs is not installed.
            SynthesizerError: The model failed, took too long, ended, or returned no images.
            ArtifactError: The zip is not the pinned one any more.
        """
        extras: list[dict[str, Any]] = [{} for _ in seeds]
        if self._labels is not None:
            name, values = self._labels
            if labels is None or tuple(labels.shape) != (len(seeds),):
                raise SynthesizerError(f"expected a label for each of {len(seeds)} seeds, found none or others")
            extras = [{name: values[int(label)]} for label in labels]
        images = [
            torch.from_numpy(self._ready().draw(int(seed), extra, self._time_limit))
            for seed, extra in zip(seeds, extras, strict=True)
        ]
        if len({(image.shape, image.dtype) for image in images}) != 1:
            shapes = sorted({tuple(image.shape) for image in images})
            raise SynthesizerError(f"expected images of one shape from {self._entry['model_id']}, found {shapes}")
        return torch.stack(images)

    def close(self) -> None:
        """Ends its process, where there is one."""
        if self._worker is not None and self._worker.pid == os.getpid():
            self._worker.close()
        self._worker = None

    def _ready(self) -> "Worker":
        if self._worker is None or self._worker.pid != os.getpid() or not self._worker.alive:
            self.close()
            self._worker = Worker(self._package, self._sha256, self._entry, self._threads, self._most_bytes)
        return self._worker


def open_medigan(
    package: str | Path,
    config: Mapping[str, Any] | str | Path,
    model_id: str,
    *,
    sha256: str,
    trust: bool = False,
    label_argument: str | None = None,
    label_values: Sequence[Any] = (),
    arguments: Mapping[str, Any] | None = None,
    time_limit: float = 600.0,
    threads: int = 1,
    most_bytes: int = _MOST_BYTES,
) -> Program:
    """Opens a medigan model, starts its process and draws one image twice, to see that the seed settles it.

    Args:
        package: The zip, as it was downloaded.
        config: medigan's `global.json`: the file, or what it holds.
        model_id: Which of its models, such as "00008_C-DCGAN_MMG_MASSES".
        sha256: SHA-256 of the zip, 64 hexadecimal digits, from where you trust it; mandatory.
        trust: Whether you trust whoever made the package. Its code runs with your rights.
        label_argument: Name of the argument of its `generate` function that takes the class, such as "condition".
        label_values: What that argument is given for each class, in order, such as `(0, 1)`.
        arguments: Other arguments for `generate`, over those of the configuration; JSON values.
        time_limit: Seconds that an image may take, the first with the package's own start.
        threads: Of its process.
        most_bytes: Bytes that the zip may unpack to.

    Raises:
        ArtifactError: `trust` is False, and nothing was run; the zip is missing, damaged, hostile, or not the pinned
            one.
        ConfigError: There is no such model in the configuration, a parameter does not fit, or the model needs a
            Python package that is not installed; nothing is ever installed.
        SynthesizerError: The model failed, or draws different images from one seed.
    """
    if trust is not True:
        raise ArtifactError(
            f"expected weights, found a medigan model: {model_id} is a Python package that is run to draw images. "
            "Give trust=True if you trust whoever made it"
        )
    if not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ConfigError(f"expected sha256= of 64 hexadecimal digits, found {sha256!r:.80}")
    if (label_argument is None) != (len(label_values) == 0):
        raise ConfigError(
            f"expected label_argument= and label_values= together, found {label_argument!r}, {label_values}"
        )
    if not time_limit > 0:
        raise ConfigError(f"expected time_limit= of more than 0 seconds, found {time_limit!r}")
    entry, about = _entry(config, model_id, dict(arguments or {}))
    labels = None if label_argument is None else (label_argument, tuple(label_values))
    call = MediganGenerator(
        Path(package).absolute(), sha256.lower(), entry, labels, time_limit, whole("threads", threads), most_bytes
    )
    try:
        first, second = (_one(call, labels is not None) for _ in range(2))
        _check_same(first, second, model_id)
    except BaseException:
        call.close()
        raise
    bright = "0 to 255" if first.dtype == torch.uint8 else f"{first.dtype}, here {first.min():.3g} to {first.max():.3g}"
    return Program(
        call=call,
        latent_dim=None,
        num_classes=len(label_values),
        labels="none" if labels is None else "int",
        image_shape=tuple(first.shape[1:]),
        form="medigan",
        notes=(f"values are {bright}", "each sample is drawn alone, from its own seed"),
        licence=about["licence"],
        citation=about["citation"],
    )


def _one(call: MediganGenerator, labelled: bool) -> Tensor:
    return call(torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64) if labelled else None)


def _check_same(first: Tensor, second: Tensor, model_id: str) -> None:
    same = first.shape == second.shape and torch.allclose(first.float(), second.float(), rtol=1e-3, atol=1e-3)
    if not same and not (first.dtype == torch.uint8 and first.shape == second.shape and _close(first, second)):
        raise SynthesizerError(
            f"expected {model_id} to draw the same image from the same seed, found two; it draws from random numbers "
            "that cannot be seeded from outside, and its samples could not be drawn again"
        )


def _close(first: Tensor, second: Tensor) -> bool:
    return bool((first.int() - second.int()).abs().max() <= 1)


def _entry(
    config: Mapping[str, Any] | str | Path, model_id: str, arguments: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, str | None]]:
    """Returns what of a model's configuration is needed, checked."""
    if not isinstance(config, Mapping):
        file_size(config, "medigan's global.json", _MOST_CONFIG)
        try:
            config = json.loads(Path(config).read_bytes())
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"expected JSON in {config}, found something else ({error!s:.100})") from None
    if not isinstance(config, Mapping) or model_id not in config:
        known = sorted(map(str, config))[:40] if isinstance(config, Mapping) else []
        raise ConfigError(f"expected a model of the configuration, found {model_id!r:.80}; it has {', '.join(known)}")
    try:
        model = config[model_id]
        execution, method = model["execution"], model["execution"]["generate_method"]
        entry = {
            "model_id": model_id,
            "package": execution["package_name"],
            "function": method["name"],
            "weights": f"{execution['model_name']}{execution['extension']}",
            "arguments": {**method["args"]["custom"], **arguments},
            "dependencies": [str(name) for name in execution.get("dependencies") or ()],
        }
        json.dumps(entry["arguments"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(f"expected medigan's description of {model_id}, found one without {error!s:.80}") from None
    for name, pattern in (("model_id", r"[\w-]+"), ("package", r"[\w-]+"), ("function", r"[^\W\d]\w*")):
        if not isinstance(entry[name], str) or not re.fullmatch(pattern, entry[name]):
            raise ConfigError(
                f"expected a plain {name} name in the description of {model_id}, found {entry[name]!r:.80}"
            )
    weights = PurePosixPath(entry["weights"])
    if weights.is_absolute() or ".." in weights.parts or "\\" in entry["weights"]:
        raise ConfigError(f"expected weights inside the package of {model_id}, found {entry['weights']!r:.80}")
    return entry, _about(model)


def _about(model: Mapping[str, Any]) -> dict[str, str | None]:
    licence = (model.get("selection") or {}).get("license")
    doi = (model.get("description") or {}).get("doi")
    places = [str(place) for place in doi] if isinstance(doi, list) else [doi] if isinstance(doi, str) else []
    return {"licence": licence if isinstance(licence, str) else None, "citation": "; ".join(places) or None}
