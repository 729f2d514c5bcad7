"""Runs a medigan package in a process of its own: JSON lines in, JSON lines and `.npy` files out.

Started by `medigan.open_medigan` as a file, with an unpacked package in its working folder. It imports nothing of this
library.
"""

import importlib
import json
import os
import random
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np


def _seed(seed: int) -> None:
    """Seeds every source of random numbers that is loaded."""
    random.seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None:
        tensorflow.random.set_seed(seed % 2**31)


def _load(model_id: str, package: str, function: str, weights: str) -> tuple[Any, str]:
    """Returns the function that draws and the path of its weights; the package lies in a folder of its own or not."""
    for parts in ((model_id, package), (model_id,)):
        folder = Path("models", *parts)
        if (folder / "__init__.py").is_file():
            found = getattr(importlib.import_module(".".join(("models", *parts))), function, None)
            if callable(found):
                return found, str(folder / weights)
    raise AttributeError(f"no function {function} in the package")


def _image(drawn: Any) -> Any:
    """Returns the first image of whatever a package returns, as `(C, H, W)`."""
    if isinstance(drawn, tuple):  # images, then masks
        drawn = drawn[0]
    while isinstance(drawn, list | tuple):
        if not len(drawn):
            raise ValueError("no image was returned")
        drawn = drawn[0]
    if hasattr(drawn, "detach"):
        drawn = drawn.detach().cpu().numpy()
    image = np.asarray(drawn)
    if image.dtype == object or image.dtype.kind not in "uifb":
        raise ValueError(f"an image of {image.dtype} was returned")
    if image.ndim == 4 or (image.ndim == 3 and image.shape[0] == 1 and image.shape[-1] not in (1, 3, 4)):
        image = image[0]
    if image.ndim == 2:
        return image[None]
    if image.ndim != 3:
        raise ValueError(f"an image of shape {image.shape} was returned")
    return np.moveaxis(image, -1, 0) if image.shape[-1] in (1, 2, 3, 4) and image.shape[0] > 4 else image


def main() -> None:
    """Answers requests until the input ends."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the package prints is no reply
    requests = os.fdopen(os.dup(0), "r")
    sys.stdin = open(os.devnull)  # noqa: SIM115
    sys.path.insert(0, str(Path.cwd()))
    function, weights = None, ""
    for line in requests:
        request = json.loads(line)
        reply: dict[str, Any] = {"done": True}
        try:
            if function is None:
                function, weights = _load(**request["load"])
            _seed(request["seed"])
            fixed = {"model_file": weights, "num_samples": 1, "save_images": False, "output_path": "output"}
            image = _image(function(**{**request["arguments"], **fixed}))
            np.save(request["file"], np.ascontiguousarray(image), allow_pickle=False)
        except ModuleNotFoundError as error:
            reply = {"missing": error.name or str(error)}
        except Exception as error:  # a package may raise anything
            traceback.print_exc()
            reply = {"failed": f"{type(error).__name__}: {error}"[:2000]}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
