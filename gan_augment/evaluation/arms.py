"""Arms: what is different between the trainings that are compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from gan_augment.augmentation import Augmentation
from gan_augment.errors import ConfigError
from gan_augment.pool import SyntheticPool

__all__ = ["ARM_SETS", "LOSSES", "MIXES", "Arm", "Loss", "Synthetic", "arm_set"]

Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES = ("cross_entropy", "balanced_softmax", "class_weights", "focal", "ldam_drw")
MIXES = ("mixup", "cutmix", "remix", "cmo", "m2m")
ROWS = ("selected", "random", "prefiltered", "all", "unused", "deep_smote")
SAMPLING = {"natural": 1.0, "sqrt": 0.5, "balanced": 0.0}
"""A class's share of the batches is in proportion to n_c to this power."""


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """Which synthetic images fill the slots of an arm, and in what dose.

    Attributes:
        rows: "selected" (the rows of the pool as given), "random" (as many of each class among all its candidates, the
            selector's control), "prefiltered" (as many among the candidates whose class the judge confirms, the control
            of what the selector does beyond that), "all" (every candidate), "unused" (real images that no arm trains
            on: the ceiling), or "deep_smote" (DeepSMOTE's, a rival without a GAN).
        share: Probability that a slot is synthetic, 0 to 1.
        until: Share of the training after which slots repeat reals, 0 to 1.
        weight: Of a synthetic image in the loss.
        pool: A pool of its own; None for the evaluation's.
    """

    rows: Literal["selected", "random", "prefiltered", "all", "unused", "deep_smote"] = "selected"
    share: float = 0.5
    until: float = 1.0
    weight: float = 1.0
    pool: SyntheticPool | None = None

    def __post_init__(self) -> None:
        if self.rows not in ROWS:
            raise ConfigError(f"expected rows among {', '.join(ROWS)}, found {self.rows!r}")
        for name in ("share", "until"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"expected {name} from 0 to 1, found {getattr(self, name)}")
        if not 0 <= self.weight < float("inf"):
            raise ConfigError(f"expected a weight of at least 0, found {self.weight}")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of training the classifier.

    Attributes:
        name: Shown in tables.
        sampling: Classes are drawn as in the data ("natural"), in proportion to the square root of their images
            ("sqrt"), or all alike ("balanced"). Done with the slots of a `GANAugmentedDataset`: without synthetic
            images it is random oversampling.
        loss: A name of `LOSSES`, or the user's own function of logits `(N, num_classes)` and labels `(N,)` (class
            shares `(N, num_classes)` where the arm mixes images or weighs synthetic ones). Balanced
            softmax takes the class shares of the batches as sampled for its prior, so with balanced sampling it is
            cross-entropy.
        augment: True for the evaluation's augmentation, or an `Augmentation` of its own.
        mix: A name of `MIXES`, applied to batches.
        synthetic: None for an arm without synthetic images.
        last_layer: In the last fifth of the steps the last layer alone is trained anew: on reals with classes drawn
            alike ("balanced": cRT, Kang et al. 2020; with synthetic images before, SYNAuG, Ye-Bin et al. 2023), or on
            real features balanced by SMOTE ("smote").
        data: The user's own training set instead of the evaluation's, as any dataset of image tensors and class
            indices; drawn item by item, shuffled.
        only: Train on synthetic images alone (the classification accuracy score, Ravuri and Vinyals 2019).
    """

    name: str
    sampling: Literal["natural", "sqrt", "balanced"] = "natural"
    loss: str | Loss = "cross_entropy"
    augment: bool | Augmentation = False
    mix: str | None = None
    synthetic: Synthetic | None = None
    last_layer: Literal["balanced", "smote"] | None = None
    data: Any = None
    only: bool = False

    def __post_init__(self) -> None:
        if self.sampling not in SAMPLING:
            raise ConfigError(f"expected sampling among {', '.join(SAMPLING)}, found {self.sampling!r}")
        if not callable(self.loss) and self.loss not in LOSSES:
            raise ConfigError(f"expected loss among {', '.join(LOSSES)} or a function, found {self.loss!r}")
        if self.mix is not None and self.mix not in MIXES:
            raise ConfigError(f"expected mix among {', '.join(MIXES)}, or None, found {self.mix!r}")
        if self.last_layer not in (None, "balanced", "smote"):
            raise ConfigError(f"expected last_layer 'balanced', 'smote' or None, found {self.last_layer!r}")
        if self.synthetic is not None and self.sampling == "natural" and self.data is None and not self.only:
            raise ConfigError(
                f"expected sampling 'sqrt' or 'balanced' for the arm {self.name!r} with synthetic images, found "
                "'natural', under which there are no slots to fill"
            )
        if self.only and self.synthetic is None:
            raise ConfigError(f"expected synthetic= for the arm {self.name!r} that trains on nothing else")
        soft = self.mix in ("mixup", "cutmix", "remix", "cmo")
        weighted = self.synthetic is not None and self.synthetic.weight != 1
        if self.loss == "ldam_drw" and (soft or weighted):
            raise ConfigError(f"expected whole labels for ldam_drw in the arm {self.name!r}, found mixed or weighted")

    @property
    def kind(self) -> str:
        """What it is in a comparison: "free" of a GAN, "oracle" (unused reals), "only", or the kind of its rows."""
        if self.only:
            return "only"
        if self.synthetic is None or self.synthetic.rows == "deep_smote":
            return "free"
        return "oracle" if self.synthetic.rows == "unused" else self.synthetic.rows


def _grid() -> list[Arm]:
    arms = []
    for loss, short in (("cross_entropy", "ce"), ("balanced_softmax", "bs")):
        for sampling in ("natural", "sqrt", "balanced"):
            if (loss, sampling) == ("balanced_softmax", "balanced"):
                continue  # the prior is flat: this is cross-entropy
            for told, augment, mix in (
                ("", False, None),
                ("_augmented", True, None),
                ("_cutmix", True, "cutmix"),
                ("_cmo", True, "cmo"),
            ):
                arms.append(
                    Arm(name=f"{short}_{sampling}{told}", sampling=sampling, loss=loss, augment=augment, mix=mix)
                )
    return arms


def _methods() -> list[Arm]:
    return [
        Arm(name="class_weights", loss="class_weights", augment=True),
        Arm(name="focal", loss="focal", augment=True),
        Arm(name="ldam_drw", loss="ldam_drw", augment=True),
        Arm(name="mixup", mix="mixup", augment=True),
        Arm(name="remix", mix="remix", augment=True),
        Arm(name="m2m", sampling="balanced", mix="m2m", augment=True),
        Arm(name="crt", last_layer="balanced", augment=True),
        Arm(name="smote_features", last_layer="smote", augment=True),
        Arm(name="deep_smote", synthetic=Synthetic(rows="deep_smote"), **_BASE),
    ]


def _synthetic(**base: Any) -> list[Arm]:
    def arm(name: str, last_layer: Any = None, **settings: Any) -> Arm:
        return Arm(name=name, synthetic=Synthetic(**settings), last_layer=last_layer, **base)

    return [
        arm("selected"),
        arm("random", rows="random"),
        arm("prefiltered", rows="prefiltered"),
        arm("all", rows="all"),
        *[arm(f"selected_share_{share:g}", share=share) for share in (0.25, 1.0)],
        *[arm(f"selected_until_{until:g}", until=until) for until in (0.3, 0.6)],
        arm("selected_weight_0.5", weight=0.5),
        arm("synaug", last_layer="balanced", share=1.0),
        Arm(name="synthetic_only", synthetic=Synthetic(rows="all"), only=True, augment=True),
    ]


_BASE: dict[str, Any] = {"sampling": "balanced", "augment": True}
ARM_SETS = ("quick", "grid", "all")


def arm_set(name: str, *, synthetic: bool = True, unused: bool = False) -> list[Arm]:
    """Returns a ready list of arms.

    Args:
        name: "quick" (two free ones; selected, random), "grid" (loss by sampling by augmentation, twenty free ones, and
            the same synthetic ones), or "all" (also class weights, focal, LDAM-DRW, mixup, Remix, M2m, cRT, SMOTE on
            features, DeepSMOTE, and every dose and phase).
        synthetic: Whether there is a pool to draw from.
        unused: Whether there are unused real images, for the ceiling.

    Raises:
        ConfigError: There is no such list.
    """
    if name not in ARM_SETS:
        raise ConfigError(f"expected arms= among {', '.join(ARM_SETS)}, or a list of ga.Arm, found {name!r}")
    grid = _grid()
    quick = [arm for arm in grid if arm.name in ("ce_balanced_augmented", "bs_natural_augmented")]
    free = quick if name == "quick" else grid if name == "grid" else [*grid, *_methods()]
    mixed = _synthetic(**_BASE)
    drawn = mixed if name == "all" else mixed[:2]
    arms = [*free, *(drawn if synthetic else [])]
    if unused:
        arms.append(Arm(name="unused_reals", synthetic=Synthetic(rows="unused", share=1.0), **_BASE))
    return arms


def check_arms(arms: Sequence[Arm], *, pool: bool, unused: bool) -> None:
    """Raises if arms cannot be told apart, or lack what they train on.

    Raises:
        ConfigError: Says which.
    """
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names) or not names:
        raise ConfigError(f"expected arms with different names, found {', '.join(names) or 'none'}")
    for arm in arms:
        lacking = arm.synthetic is not None and arm.synthetic.pool is None and arm.data is None
        if lacking and arm.kind == "oracle" and not unused:
            raise ConfigError(f"expected unused= (real images that are not trained on) for the arm {arm.name!r}")
        if lacking and arm.kind not in ("oracle", "free") and not pool:
            raise ConfigError(f"expected pool= for the arm {arm.name!r} with synthetic images, found none")
