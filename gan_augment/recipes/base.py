"""The Recipe protocol: what one published GAN adds to the shared blocks, losses and the one training loop."""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from torch import Tensor, nn

from gan_augment.augmentation import Augmentation
from gan_augment.errors import ArtifactError, ConfigError, whole
from gan_augment.networks import NetworkSpec

__all__ = ["Batch", "Loss", "Need", "Networks", "Phase", "Recipe", "Tools", "Update"]

Networks = Mapping[str, nn.Module]
Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Tools:
    """What a loss function is handed besides networks and batch.

    Attributes:
        augment: The recipe's augmentation; differentiable, fresh random numbers at each call.
        progress: Share of all steps done, 0 to 1.
    """

    augment: Callable[[Tensor], Tensor]
    progress: float


Loss = Callable[[Networks, Batch, Tools], dict[str, Tensor]]


@dataclass(frozen=True)
class Need:
    """Tensors that each batch must hold.

    Attributes:
        pairing: "single" gives `names[0]` and `labels`. "same-class" gives two different images of one class as
            `names[0]` and `names[1]`, and `labels`. "unpaired" gives each name an independent draw of the class
            that stands at its position (a domain), and `{name}_labels`.
        names: What the image tensors, `(N, C, *grid)`, are called.
    """

    pairing: Literal["single", "same-class", "unpaired"]
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Update:
    """One optimiser step: which networks move, by which loss, how often.

    Attributes:
        name: Shown in logs.
        parameters: Names of the networks that move; all others stand still.
        loss: Returns named terms; their sum is minimised.
        every: Take it in every so-manieth step.
        learning_rate: Adam's.
        betas: Adam's.
    """

    name: str
    parameters: tuple[str, ...]
    loss: Loss
    learning_rate: float
    every: int = 1
    betas: tuple[float, float] = (0.0, 0.99)


@dataclass(frozen=True)
class Phase:
    """A stretch of the training with updates of its own.

    Attributes:
        name: Shown in logs.
        share: Share of all steps.
        updates: Taken in this order in each step.
    """

    name: str
    share: float
    updates: tuple[Update, ...]


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """One published GAN. A subclass is a frozen dataclass that holds only what makes it different.

    Attributes:
        steps: Steps of the training.
        batch_size: Images a step.
        latent_dim: Length of the latents.
        width: Channels at the bottom of the networks; None for 32 doubled with each halving, 128 at most.
        label_power: Classes are drawn in proportion to n_c to this power: 1 as in the data, 0 all alike.
        learning_rate: Of the generator; a discriminator's is twice that.
        ema: Decay a step of the moving average of the generator's weights, less in the first steps.
        diversity: Weight of a mode-seeking term for the generator; 0 for none.
        augmentation: Applied to all that the discriminator sees, real and generated alike.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    need: ClassVar[Need]
    averaged: ClassVar[tuple[str, ...]] = ("generator",)
    conditions: ClassVar[tuple[str, ...]] = ()

    steps: int = 3000
    batch_size: int = 64
    latent_dim: int = 64
    width: int | None = None
    label_power: float = 0.5
    learning_rate: float = 2e-4
    ema: float = 0.995
    diversity: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "latent_dim"):
            whole(name, getattr(self, name))
        if self.width is not None and (self.width < 32 or self.width % 8):
            raise ConfigError(f"expected width of at least 32 and a multiple of 8, found {self.width}")
        if not 0 <= self.diversity < math.inf:
            raise ConfigError(f"expected diversity of at least 0, found {self.diversity}")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"expected a learning_rate above 0, found {self.learning_rate}")
        for name in ("label_power", "ema"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"expected {name} from 0 to 1, found {getattr(self, name)}")

    def width_for(self, spec: NetworkSpec) -> int:
        """Returns the channels at the bottom of the networks for a grid."""
        return self.width or spec.default_width

    @abstractmethod
    def networks(self, spec: NetworkSpec) -> dict[str, nn.Module]:
        """Returns the networks by name, freshly initialised."""

    @abstractmethod
    def updates(self) -> tuple[Update, ...]:
        """Returns the updates of one step."""

    @abstractmethod
    def draw(self, networks: Networks, labels: Tensor, latents: Tensor, conditions: Batch) -> Tensor:
        """Returns images `(N, C, *grid)` from the averaged networks, in eval mode.

        Args:
            networks: The averaged networks.
            labels: `(N,)` int64.
            latents: `(N, latent_dim)`.
            conditions: A tensor for each name in `conditions`.
        """

    def _alternating(self, discriminator: Loss, generator: Loss) -> tuple[Update, ...]:
        """Returns the updates of a GAN with one discriminator and one generator.

        Two time scales after Heusel et al. 2017 (TTUR): the discriminator's rate is twice the generator's.
        """
        rate = self.learning_rate
        return (
            Update(name="d", parameters=("discriminator",), loss=discriminator, learning_rate=2 * rate),
            Update(name="g", parameters=("generator",), loss=generator, learning_rate=rate),
        )

    def phases(self) -> tuple[Phase, ...]:
        """Returns the phases of the training: one, unless a recipe says otherwise."""
        return (Phase("adversarial", 1.0, self.updates()),)

    def to_json(self) -> dict[str, Any]:
        """Returns name and settings as JSON values."""
        return {"name": self.name, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Reads what `to_json` wrote.

        Raises:
            ArtifactError: A setting is unknown or has another type.
        """
        settings = {key: setting for key, setting in value.items() if key != "name"}
        try:
            settings["augmentation"] = Augmentation(**settings["augmentation"])
            return cls(**settings)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"expected the settings of recipe {cls.name}, found others: {error}") from None
