"""Does it help? The same classifier under several arms, with paired seeds."""

from gan_augment.evaluation.arms import Arm, check_no_overlap, score_arm
from gan_augment.evaluation.comparison import Comparison, compare

__all__ = ["Arm", "Comparison", "check_no_overlap", "compare", "score_arm"]
