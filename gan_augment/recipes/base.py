"""The Recipe protocol: what one published GAN adds to the shared blocks, losses and the one training loop."""

import bisect
import dataclasses
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from torch import Tensor, nn

from gan_augment.augmentation import Augmentation
from gan_augment.errors import ArtifactError, ConfigError, whole
from gan_augment.losses import mode_seeking
from gan_augment.networks import NetworkSpec
from gan_augment.recipes.tools import Tools

__all__ = ["Batch", "Loss", "Need", "Networks", "Phase", "Recipe", "Update", "check_range"]

Networks = Mapping[str, nn.Module]
Batch = Mapping[str, Tensor]


Loss = Callable[[Networks, Batch, Tools], dict[str, Tensor]]


@dataclass(frozen=True)
class Need:
    """Tensors that each batch must hold.

    Attributes:
        pairing: "single" gives `names[0]`, `labels` and `weights`. "same-class" gives two different images of one
            class as `names[0]` and `names[1]`, besides. "unpaired" gives each name an independent draw of the class
            that stands at its position (a domain), and `{name}_labels`. "neighbours" gives an image as `names[0]` and
            one of the other images of its class that are nearest to it by `Recipe.embed` as `names[1]`, besides
            `labels` and `weights`. `weights` `(N,)` are 1 over how often the image's class is drawn, relative to all
            classes alike: terms weighted by them count every class alike, and their mean is 1 over many batches.
        names: What the image tensors, `(N, C, *grid)`, are called.
        nearest: For "neighbours", how many of the nearest are drawn from; fewer where a class has no more.
    """

    pairing: Literal["single", "same-class", "unpaired", "neighbours"]
    names: tuple[str, ...]
    nearest: int = 1


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
        schedule: Returns Adam's options (`lr`, `betas`) at a share of all steps; None where they stay.
        optimizer: Name of the optimiser, for updates that share one (a lazy penalty); None for one of its own.
    """

    name: str
    parameters: tuple[str, ...]
    loss: Loss
    learning_rate: float
    every: int = 1
    betas: tuple[float, float] = (0.0, 0.99)
    schedule: Callable[[float], Mapping[str, Any]] | None = None
    optimizer: str | None = None

    @property
    def optimizer_name(self) -> str:
        """Name of the optimiser that takes the step."""
        return self.optimizer or self.name


@dataclass(frozen=True)
class Phase:
    """A stretch of the training with updates of its own.

    Attributes:
        name: Shown in logs.
        share: Share of all steps.
        updates: Taken in this order in each step.
        need: What its batches hold; None for the recipe's need.
        begin: Called with the networks before its first step, to hand weights from one to another; averages start
            anew from what it leaves.
    """

    name: str
    share: float
    updates: tuple[Update, ...]
    need: Need | None = None
    begin: Callable[[Networks], None] | None = None


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
    judging: ClassVar[tuple[str, ...]] = ("discriminator",)
    """Names of the networks that `discriminate` uses."""

    pairs: ClassVar[bool] = False
    """Whether the discriminator sees each image beside what `companion` makes of a real one of its class."""

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
        check_range("diversity", self.diversity)
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"expected a learning_rate above 0, found {self.learning_rate}")
        for name in ("label_power", "ema"):
            check_range(name, getattr(self, name), 1)

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

    def _diversity(
        self, fake: Tensor, latents: Tensor, tools: Tools, generate: Callable[[Tensor, slice], Tensor]
    ) -> dict[str, Tensor]:
        """Returns the generator's mode-seeking term, none where `diversity` is 0.

        Args:
            fake: Images of the whole batch.
            latents: Which they were made from.
            tools: Of the loss.
            generate: Returns images for other latents and some rows of the batch's conditions.
        """
        if not self.diversity:
            return {}
        some = slice(None, None, 4)  # a quarter of the batch: the term is weak and costs a forward
        others = tools.latents(latents[some], self.latent_dim)
        term = mode_seeking(fake[some], generate(others, some), latents[some], others)
        return {"diversity": self.diversity * term}

    def phases(self) -> tuple[Phase, ...]:
        """Returns the phases of the training: one, unless a recipe says otherwise."""
        return (Phase("adversarial", 1.0, self.updates()),)

    def first_steps(self) -> list[int]:
        """Returns the first step of each phase."""
        shares = itertools.accumulate((phase.share for phase in self.phases()), initial=0.0)
        return [math.ceil(share * self.steps - 1e-9) for share in shares][:-1]

    def phase_at(self, step: int) -> Phase:
        """Returns the phase that a step is in."""
        return self.phases()[bisect.bisect_right(self.first_steps(), step) - 1]

    def decay(self, step: int) -> float:
        """Returns the decay of the moving average at a step: less at first, so that initial weights fade."""
        return min(self.ema, (1 + step) / (10 + step))

    def embed(self, networks: Networks, images: Tensor) -> Tensor:
        """Returns features `(N, D)` by which "neighbours" are found; only recipes with such a need have them."""
        raise NotImplementedError(f"{self.name} finds no neighbours")

    def discriminate(
        self, networks: Networks, images: Tensor, labels: Tensor, companions: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the discriminator's features `(N, D)` and its logits `(N,)`, higher for what looks more real.

        What a logit of 0 means, and of which scale logits are, depends on the recipe's loss.

        Args:
            networks: In eval mode; of them only those in `judging` are used.
            images: `(N, C, *grid)` in [-1, 1].
            labels: `(N,)` int64.
            companions: `(N, P)` of `companion`, or means of them; only where the recipe has `pairs`.

        Raises:
            ConfigError: The recipe has no such discriminator.
        """
        seeing: Any = networks.get("discriminator")
        if not hasattr(seeing, "features_and_logits"):
            raise ConfigError(
                f"expected a discriminator with features_and_logits() among the networks of {self.name}, found "
                f"{', '.join(networks)}; a recipe of another shape overrides discriminate()"
            )
        given = (images, labels) if companions is None else (images, labels, companions)
        features, logits = seeing.features_and_logits(*given)
        return features, logits

    def companion(self, networks: Networks, images: Tensor) -> Tensor:
        """Returns what the discriminator sees of real images that others stand beside, `(N, P)`.

        A logit is linear in it, so with the mean over the real images of a class a candidate gets the mean of its
        logits beside each of them.

        Args:
            networks: In eval mode.
            images: `(N, C, *grid)` in [-1, 1].
        """
        raise NotImplementedError(f"the discriminator of {self.name} sees no pairs")

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


def check_range(name: str, value: float, most: float = math.inf) -> None:
    """Raises a ConfigError unless a setting lies from 0 to `most`, and is finite."""
    if not 0 <= value <= most or value == math.inf:
        wanted = "of at least 0" if most == math.inf else f"from 0 to {most:g}"
        raise ConfigError(f"expected {name} {wanted}, found {value}")
