"""Who draws: synthesizers trained here, pretrained elsewhere, and generators of the user's own."""

from gan_augment.synthesizers.adapted import AdaptedSynthesizer, adapt
from gan_augment.synthesizers.fetching.provenance import Provenance
from gan_augment.synthesizers.files.convert import convert
from gan_augment.synthesizers.files.load import load
from gan_augment.synthesizers.knobs import Knobs
from gan_augment.synthesizers.pretrained import PretrainedSynthesizer
from gan_augment.synthesizers.several import LabelledSynthesizer, PerClassSynthesizer, labelled_by, per_class
from gan_augment.synthesizers.trained import TrainedSynthesizer, load_trained
from gan_augment.synthesizers.translating import TranslatingSynthesizer
from gan_augment.synthesizers.wrapped import WrappedSynthesizer, wrap

__all__ = [
    "AdaptedSynthesizer",
    "Knobs",
    "LabelledSynthesizer",
    "PerClassSynthesizer",
    "PretrainedSynthesizer",
    "Provenance",
    "TrainedSynthesizer",
    "TranslatingSynthesizer",
    "WrappedSynthesizer",
    "adapt",
    "convert",
    "labelled_by",
    "load",
    "load_trained",
    "per_class",
    "wrap",
]
