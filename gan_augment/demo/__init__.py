"""The main job on real images, and what it was worth."""

from gan_augment.demo.digits import ArrayImages, long_tail, to_tensor
from gan_augment.demo.replicate import DemoSettings, Replicate, compare_scores
from gan_augment.demo.run import KIND, run_demo, run_replicates

__all__ = [
    "KIND",
    "ArrayImages",
    "DemoSettings",
    "Replicate",
    "compare_scores",
    "long_tail",
    "run_demo",
    "run_replicates",
    "to_tensor",
]
