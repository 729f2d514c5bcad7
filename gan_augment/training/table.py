"""fit_table: a table of features in, a synthesizer of rows out."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gan_augment.balance import item_weights
from gan_augment.errors import DataError
from gan_augment.networks import VectorSpec
from gan_augment.recipes import CGAN, Part
from gan_augment.seeds import derive, normals
from gan_augment.synthesizers.checks import checked_request
from gan_augment.training.trainer import Trainer
from gan_augment.types import as_tensor

__all__ = ["Columns", "TableSynthesizer", "fit_table"]

_LATENT_STREAM = 0
_CONSTANT = 1e-12
"""Deviation, as a share of a column's largest value, below which it is constant: that of rounding errors."""

Table = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Columns:
    """How the columns of a table map to mean 0 and deviation 1; a constant column maps to 0.

    Attributes:
        size: Largest absolute value of each column `(D,)`; 1 where that is 0. Columns are divided by it first, so that
            squares of huge values do not overflow.
        mean: Of what is left.
        deviation: Of what is left; 1 for a constant column.
        low: Least value of each column.
        high: Greatest value of each column.
    """

    size: Table
    mean: Table
    deviation: Table
    low: Table
    high: Table

    @classmethod
    def of(cls, table: Table) -> "Columns":
        """Measures the columns of a table `(N, D)`."""
        size = np.abs(table).max(axis=0)
        size[size == 0] = 1
        divided = table / size
        deviation = divided.std(axis=0)
        deviation[deviation < _CONSTANT] = 1
        return cls(size, divided.mean(axis=0), deviation, table.min(axis=0), table.max(axis=0))

    def standardised(self, table: Table) -> Tensor:
        """Returns rows `(N, D)` as vectors `(N, D, 1, 1)` float32."""
        values = (table / self.size - self.mean) / self.deviation
        return torch.from_numpy(values.astype(np.float32))[..., None, None]

    def restored(self, vectors: Tensor) -> Table:
        """Returns vectors as rows `(N, D)`; no value is beyond those that its column had."""
        values = vectors.flatten(1).double().numpy()
        return np.clip((values * self.deviation + self.mean) * self.size, self.low, self.high)


class TableSynthesizer:
    """Draws rows of a wanted class; a row is a function of class and seed.

    Args:
        recipe: What was trained.
        networks: All networks by name; moved to eval mode.
        columns: How rows map to what the networks see.
        num_classes: Number of classes.
        losses: Loss terms of each step `(steps,)` by name.
    """

    def __init__(
        self,
        recipe: CGAN,
        networks: Mapping[str, nn.Module],
        columns: Columns,
        num_classes: int,
        losses: Mapping[str, npt.NDArray[np.float32]],
    ) -> None:
        self.recipe, self.columns, self.num_classes, self.losses = recipe, columns, num_classes, dict(losses)
        self.networks = {name: network.eval().requires_grad_(False) for name, network in networks.items()}

    def __repr__(self) -> str:
        return f"TableSynthesizer({self.recipe.name}, {self.num_classes} classes, {len(self.columns.size)} features)"

    def sample(self, labels: npt.ArrayLike, seeds: npt.ArrayLike) -> Table:
        """Returns one row for each label and seed.

        Args:
            labels: `(N,)` class indices.
            seeds: `(N,)` from 0 to 2**63 - 1.

        Returns:
            `(N, D)` float64 in the units of the table.

        Raises:
            SynthesizerError: There is no such class.
        """
        labels, seeds = checked_request(labels, seeds, self.num_classes, None)
        if not len(labels):
            return np.empty((0, len(self.columns.size)))
        latents = torch.from_numpy(normals(seeds, self.recipe.latent_dim, _LATENT_STREAM))
        with torch.no_grad():
            return self.columns.restored(self.recipe.draw(self.networks, as_tensor(labels), latents, {}))


def fit_table(
    table: npt.ArrayLike, targets: npt.ArrayLike, recipe: CGAN | None = None, *, seed: int = 0
) -> TableSynthesizer:
    """Trains a class-conditional GAN on the rows of a table, on the CPU; leaves the global random state as it was.

    Every column is taken for a continuous one. No value of a sample lies beyond those that its column has here.

    Args:
        table: `(N, D)` finite numbers.
        targets: `(N,)` class indices from 0.
        recipe: The recipe with its settings; None for the defaults.
        seed: Of weights, batches and latents.

    Raises:
        DataError: The table has another shape, no rows, or values that are not finite.
        TrainingError: The training diverged.

    Example:
        >>> table = np.random.default_rng(0).normal(size=(60, 4))
        >>> gan = fit_table(table, np.repeat([0, 1], [50, 10]), CGAN(steps=5))
        >>> gan.sample([1, 1], seeds=[0, 1]).shape
        (2, 4)
    """
    rows = np.ascontiguousarray(table, np.float64)  # sums depend on the order in memory
    labels = np.asarray(targets, np.int64)
    if rows.ndim != 2 or not rows.size or labels.shape != rows.shape[:1] or labels.min() < 0:
        raise DataError(f"expected a table (N, D) and N targets from 0, found {rows.shape} and {labels.shape}")
    if not np.isfinite(rows).all():
        raise DataError("expected finite values, found NaN or infinity in the table; impute or drop them first")
    recipe, num_classes = recipe or CGAN(), int(labels.max()) + 1
    columns = Columns.of(rows)
    spec = VectorSpec(channels=rows.shape[1], num_classes=num_classes)
    trainer = Trainer(recipe, spec, seed=seed, device=torch.device("cpu"))
    vectors, classes = columns.standardised(rows), as_tensor(labels)
    weights = item_weights(labels, recipe.label_power)

    def batches(step: int, part: Part) -> dict[str, Tensor]:
        rng = np.random.Generator(np.random.Philox(derive(seed, "batch", step)))
        picked = torch.from_numpy(rng.choice(len(labels), recipe.batch_size, p=weights))
        return {"real": vectors[picked], "labels": classes[picked]}

    steps: list[dict[str, float]] = []

    def after_step(step: int, terms: Mapping[str, Tensor]) -> None:
        steps.append({name: float(term) for name, term in terms.items()})

    trainer.run(batches, after_step=after_step)
    losses = {name: np.array([terms[name] for terms in steps], np.float32) for name in steps[0]}
    return TableSynthesizer(recipe, trainer.result(), columns, num_classes, losses)
