"""Does it help? The same classifier under several arms, with paired seeds."""

from gan_augment.evaluation.arms import Arm, Synthetic, arm_set
from gan_augment.evaluation.data import TrainingSet
from gan_augment.evaluation.deepsmote import deep_smote
from gan_augment.evaluation.evaluate import evaluate
from gan_augment.evaluation.finished import HeldOut, held_out_set
from gan_augment.evaluation.overlap import check_no_overlap
from gan_augment.evaluation.recommend import Recommendation, recommend
from gan_augment.evaluation.result import MAIN_METRIC, EvaluationResult, by_rank
from gan_augment.evaluation.training import Protocol, Scored, score_arm

__all__ = [
    "MAIN_METRIC",
    "Arm",
    "EvaluationResult",
    "HeldOut",
    "Protocol",
    "Recommendation",
    "Scored",
    "Synthetic",
    "TrainingSet",
    "arm_set",
    "by_rank",
    "check_no_overlap",
    "deep_smote",
    "evaluate",
    "held_out_set",
    "recommend",
    "score_arm",
]
