"""What is known of the rows of a shard beside their images, and how it is kept until the part is whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.types import Candidates, Decision, Features, IntArray

__all__ = ["ShardRows", "packed", "unpacked"]

_FEATURES = ("features", "probs", "entropy", "fold")
_SEEN = (*_FEATURES, "labels", "d_logits", "domain", "seeds", "parents", "groups")


@dataclass(frozen=True, eq=False)
class ShardRows:
    """What is known of the rows of a shard beside their images.

    Attributes:
        parents: `(n,)`, -1 for none.
        decision: The selector's, where it decides row by row.
        seen: What a selector of whole sets is to decide on.
    """

    parents: IntArray
    decision: Decision | None = None
    seen: Candidates | None = None

    def count(self) -> int:
        """Returns the number of rows.

        Raises:
            ValueError: The columns are of different lengths.
        """
        columns: list[npt.NDArray[Any]] = [self.parents]
        if self.decision is not None:
            columns += [self.decision.keep, self.decision.score, self.decision.reason]
        if self.seen is not None:
            columns += [self.seen.labels, self.seen.features[..., 0]]
        if {len(column) for column in columns} != {len(self.parents)}:
            raise ValueError("columns of different lengths")
        return len(self.parents)


def packed(rows: ShardRows) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns rows as tensors, and as JSON values what no tensor holds."""
    arrays: dict[str, Any] = {"parents": rows.parents}
    about: dict[str, Any] = {"reasons": []}
    if (decision := rows.decision) is not None:
        texts, codes = np.unique(decision.reason, return_inverse=True)
        about["reasons"] = texts.tolist()
        arrays |= {"keep": decision.keep, "score": decision.score.astype(np.float32), "reason": codes.astype(np.int64)}
        arrays |= {} if decision.weight is None else {"weight": decision.weight.astype(np.float32)}
    if (seen := rows.seen) is not None:
        arrays |= {f"seen/{name}": getattr(seen, name) for name in _SEEN}
        for key, other in seen.also.items():
            arrays |= {f"also/{key}/{name}": getattr(other, name) for name in _FEATURES}
    known = {name: array for name, array in arrays.items() if array is not None}
    return {name: torch.from_numpy(np.array(array, order="C")) for name, array in known.items()}, about


def unpacked(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> ShardRows:
    """Returns what `packed` took apart.

    Raises:
        KeyError, TypeError, ValueError: It is something else.
    """
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    decision = seen = None
    if "keep" in arrays:
        if arrays["keep"].dtype != bool or (arrays["reason"] < 0).any():
            raise ValueError("decisions")
        reason = np.array(about["reasons"], np.str_)[arrays["reason"]]
        decision = Decision(arrays["keep"], arrays["score"], reason, arrays.get("weight"))
    if "seen/features" in arrays:
        keys = sorted({name.split("/")[1] for name in arrays if name.startswith("also/")})
        also = {key: Features(**{name: arrays.get(f"also/{key}/{name}") for name in _FEATURES}) for key in keys}  # type: ignore[arg-type]
        seen = Candidates(**{name: arrays.get(f"seen/{name}") for name in _SEEN}, also=also)  # type: ignore[arg-type]
    return ShardRows(arrays["parents"], decision, seen)
