"""The log of a training: JSON lines, TensorBoard, and grids of samples as they change."""

import json
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gan_augment.artifacts import storing, write_bytes
from gan_augment.images import picture, resize
from gan_augment.optional import needed

__all__ = ["TrainingLog", "draw_grid"]

_LINES, _SAMPLES = "log.jsonl", "samples"
_DIGITS = 6
_CELL, _GAP, _MARGIN, _FONT = 64, 2, 8, 13
_MOST_ROWS, _LONGEST_NAME = 60, 24


class TrainingLog:
    """Writes what a training tells of itself.

    `log.jsonl` holds an object a line: step, images seen, seconds, and what else was handed over. `samples` holds a
    grid of each look. A resumed training drops what was written after its checkpoint's step, so that no step is told
    of twice.

    Args:
        folder: Where they are written; None for nowhere. It is made when there is something to write.
        tensorboard: Folder for TensorBoard; None for none.
        step: Steps done already.
        batch_size: Images a step.

    Raises:
        DependencyError: `tensorboard` is given, and not installed.
        StorageError: The disk refused.
    """

    def __init__(
        self, folder: Path | None, *, tensorboard: str | Path | None = None, step: int = 0, batch_size: int = 1
    ) -> None:
        self.folder, self._batch_size = folder, batch_size
        self._writer = None if tensorboard is None else _writer(tensorboard, step)
        self._before = 0.0
        if folder is not None:
            with storing(folder):
                self._before = _take_up(folder, step)
        self._last = self._began = time.monotonic()
        self._last_step = step

    def write(self, step: int, **told: Any) -> None:
        """Appends a line, and to TensorBoard every number in it.

        Args:
            step: Steps done.
            told: JSON values; those that are None or empty are left out.
        """
        now = time.monotonic()
        rate = (step - self._last_step) * self._batch_size / max(now - self._last, 1e-9)
        self._last, self._last_step = now, step
        line = {
            "step": step,
            "images": step * self._batch_size,
            "seconds": self._before + now - self._began,
            "images_per_second": rate or None,
            **told,
        }
        line = {name: _rounded(value) for name, value in line.items() if value is not None and value != {}}
        if self.folder is not None:
            with storing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                with open(self.folder / _LINES, "a", encoding="utf-8") as file:
                    file.write(json.dumps(line, allow_nan=False) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
        if self._writer is not None:
            for name, value in _numbers(told):
                self._writer.add_scalar(name, value, step)

    def grid(self, step: int, images: Mapping[int, Tensor], classes: Sequence[str], counts: Sequence[int]) -> None:
        """Writes the grid of a look; see `draw_grid`."""
        if self.folder is None and self._writer is None:
            return
        drawn = draw_grid(images, classes, counts, f"after step {step}; the same seeds in every grid")
        if self.folder is not None:
            with storing(self.folder):
                (self.folder / _SAMPLES).mkdir(parents=True, exist_ok=True)
                drawn.save(self.folder / _SAMPLES / f"step-{step:05d}.png")
        if self._writer is not None:
            self._writer.add_image("samples", np.asarray(drawn), step, dataformats="HWC")

    def keep(self, artifact: Path) -> None:
        """Moves what was written into the folder of the synthesizer."""
        if self.folder is None or not self.folder.is_dir():
            return
        with storing(artifact):
            for name in (_LINES, _SAMPLES):
                if (self.folder / name).exists():
                    os.replace(self.folder / name, artifact / name)
        self.discard()

    def discard(self) -> None:
        """Removes what was written beside the checkpoint."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Closes TensorBoard's file."""
        if self._writer is not None:
            self._writer.close()


def _writer(folder: str | Path, step: int) -> Any:
    needed("tensorboard", "tensorboard", "tensorboard=")
    from torch.utils.tensorboard import SummaryWriter

    with storing(folder):
        return SummaryWriter(str(folder), purge_step=step + 1 if step else None)


def _take_up(folder: Path, step: int) -> float:
    """Drops lines and grids of steps after `step`, and half a line of a killed process; returns the seconds so far."""
    for path in folder.glob(f"{_SAMPLES}/step-*.png"):
        number = path.stem.removeprefix("step-")
        if not step or (number.isdecimal() and int(number) > step):
            path.unlink()
    path = folder / _LINES
    if not path.is_file():
        return 0.0
    kept, seconds = [], 0.0
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if step else []:
        try:
            line = json.loads(text)
            if not 0 <= line["step"] <= step or not math.isfinite(line["seconds"]):
                continue
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
        seconds = float(line["seconds"])
        kept.append(text + "\n")
    write_bytes(path, "".join(kept).encode())
    return seconds


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _rounded(inner) for name, inner in value.items()}
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value


def _numbers(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            found.append((prefix + name, float(value)))
    return found


def draw_grid(
    images: Mapping[int, Tensor], classes: Sequence[str], counts: Sequence[int] | None, title: str
) -> Image.Image:
    """Returns a picture with a row for each class, the one with the fewest real images first.

    Of more than 60 classes the 60 rarest are shown, of volumes the middle slice.

    Args:
        images: `(n, C, *grid)` in [-1, 1], by class index.
        classes: Class names.
        counts: Number of real images of each class; None for rows in the order of the classes.
        title: Written above.
    """
    order = sorted(images, key=lambda label: (0 if counts is None else counts[label], label))[:_MOST_ROWS]
    cells = [[_cell(image) for image in images[label]] for label in order]
    labels = [_short(classes[label]) + ("" if counts is None else f" ({counts[label]})") for label in order]
    font = ImageFont.load_default(_FONT)
    indent = 2 * _MARGIN + round(max(font.getlength(label) for label in labels))
    height, width = cells[0][0].shape[:2]
    head = _FONT + 2 * _MARGIN
    columns = max(map(len, cells))
    size = (indent + columns * (width + _GAP) + _MARGIN, head + len(cells) * (height + _GAP) + _MARGIN)
    drawn = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(drawn)
    if len(order) < len(images):
        title += f", the {len(order)} rarest of {len(images)} classes"
    pen.text((indent, _MARGIN), title, fill="black", font=font)
    for row, (label, own) in enumerate(zip(labels, cells, strict=True)):
        top = head + row * (height + _GAP)
        pen.text((indent - _MARGIN, top + height / 2), label, fill="black", font=font, anchor="rm")
        for column, cell in enumerate(own):
            drawn.paste(Image.fromarray(cell), (indent + column * (width + _GAP), top))
    return drawn


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."


def _cell(image: Tensor) -> npt.NDArray[np.uint8]:
    """Returns an image `(C, *grid)` as `(H, W, 3)`: small ones in whole enlarged pixels, large ones shrunk."""
    shown = np.round(picture(image) * 255).astype(np.uint8)
    shown = shown if shown.ndim == 3 else np.repeat(shown[..., None], 3, axis=2)
    longest = max(shown.shape[:2])
    if longest > 2 * _CELL:
        planes = torch.from_numpy(shown).movedim(-1, 0)[None].float()
        shape = tuple(max(1, round(side * 2 * _CELL / longest)) for side in shown.shape[:2])
        return resize(planes, shape)[0].movedim(0, -1).round().clamp(0, 255).byte().numpy()
    times = max(1, _CELL // longest)
    return shown.repeat(times, axis=0).repeat(times, axis=1)
