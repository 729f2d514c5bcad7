"""Rebalance an imbalanced image training set with GAN samples, inside the training loop you already have.

>>> import gan_augment as ga
"""

from gan_augment.augmentation import Augmentation
from gan_augment.balance import Balance
from gan_augment.dataset import Extras, GANAugmentedDataset, GANAugmentedIterableDataset, PhaseOut
from gan_augment.errors import (
    ArtifactError,
    CollapseWarning,
    ConfigError,
    DataError,
    DataMismatchWarning,
    GanAugmentError,
    SmallClassWarning,
    StorageError,
    SynthesizerError,
    TrainingError,
)
from gan_augment.evaluation import (
    Arm,
    EvaluationResult,
    Recommendation,
    Synthetic,
    arm_set,
    check_no_overlap,
    evaluate,
    recommend,
)
from gan_augment.features import (
    CachedExtractor,
    CrossFittedExtractor,
    DiscriminatorExtractor,
    ModuleExtractor,
    PixelExtractor,
    PrecomputedFeatures,
    TorchvisionExtractor,
    TrainedExtractor,
    load_extractor,
)
from gan_augment.folders import open_folder
from gan_augment.images import ImageSpec
from gan_augment.pool import SyntheticPool
from gan_augment.quality import Audit, audit
from gan_augment.report import write_report
from gan_augment.selection import (
    CentroidSelector,
    Compose,
    CopyGuard,
    DiscriminatorSelector,
    DomainSelector,
    DuplicateGuard,
    GradientSelector,
    HerdingSelector,
    InformativenessSelector,
    KCenterSelector,
    LabelGuard,
    ManifoldSelector,
    NeighbourSelector,
    OutlierGuard,
    RealismSelector,
    default_selector,
    load_selector,
    random_control,
    select_reals,
)
from gan_augment.source import RawView
from gan_augment.synthesizers import TrainedSynthesizer, load, wrap
from gan_augment.training import fit
from gan_augment.training.plan import plan
from gan_augment.transforms import BalancedBatchSampler, PasteSynthetic, SynthesizeBatch, SynthesizeSameClass
from gan_augment.types import Candidates, Decision, Extractor, Features, Origin, Samples, Selector, Synthesizer

__all__ = [
    "Arm",
    "ArtifactError",
    "Audit",
    "Augmentation",
    "Balance",
    "BalancedBatchSampler",
    "CachedExtractor",
    "Candidates",
    "CentroidSelector",
    "CollapseWarning",
    "Compose",
    "ConfigError",
    "CopyGuard",
    "CrossFittedExtractor",
    "DataError",
    "DataMismatchWarning",
    "Decision",
    "DiscriminatorExtractor",
    "DiscriminatorSelector",
    "DomainSelector",
    "DuplicateGuard",
    "EvaluationResult",
    "Extractor",
    "Extras",
    "Features",
    "GANAugmentedDataset",
    "GANAugmentedIterableDataset",
    "GanAugmentError",
    "GradientSelector",
    "HerdingSelector",
    "ImageSpec",
    "InformativenessSelector",
    "KCenterSelector",
    "LabelGuard",
    "ManifoldSelector",
    "ModuleExtractor",
    "NeighbourSelector",
    "Origin",
    "OutlierGuard",
    "PasteSynthetic",
    "PhaseOut",
    "PixelExtractor",
    "PrecomputedFeatures",
    "RawView",
    "RealismSelector",
    "Recommendation",
    "Samples",
    "Selector",
    "SmallClassWarning",
    "StorageError",
    "SynthesizeBatch",
    "SynthesizeSameClass",
    "Synthesizer",
    "SynthesizerError",
    "Synthetic",
    "SyntheticPool",
    "TorchvisionExtractor",
    "TrainedExtractor",
    "TrainedSynthesizer",
    "TrainingError",
    "arm_set",
    "audit",
    "check_no_overlap",
    "default_selector",
    "evaluate",
    "fit",
    "load",
    "load_extractor",
    "load_selector",
    "open_folder",
    "plan",
    "random_control",
    "recommend",
    "select_reals",
    "wrap",
    "write_report",
]
