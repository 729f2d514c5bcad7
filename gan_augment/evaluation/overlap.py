"""No image or patient of the test set may have been seen by anything fitted."""

import warnings
from typing import Any

from gan_augment.errors import ConfigError, DataMismatchWarning
from gan_augment.fingerprint import FittedOn, check_disjoint
from gan_augment.source import RawView

__all__ = ["check_no_overlap"]


def check_no_overlap(test: Any, *fitted: Any) -> None:
    """Raises if an image, or a group, of the test set was fitted on.

    Args:
        test: The test set, or a RawView of it (with `groups=`, so that patients are checked too).
        fitted: What must not have seen it: training sets, synthesizers, judges, pools.

    Raises:
        DataError: Names how many are shared.
        ConfigError: Something does not say what it was fitted on.

    Warns:
        DataMismatchWarning: Something draws on released weights, of which that is not known.
    """
    held_out = RawView.of(test, progress=False).fitted_on
    for thing in fitted:
        known = FittedOn.of(thing) if hasattr(thing, "fitted_on") else None
        if known is None and hasattr(thing, "__getitem__"):
            known = RawView.of(thing, progress=False).fitted_on
        if known is None or not (len(known) or not known.complete):
            raise ConfigError(
                f"expected something that says what it was fitted on (a dataset, or a synthesizer, judge or pool made "
                f"here), found {thing!r:.80}, which does not; give the dataset it was fitted on instead"
            )
        if not known.complete:
            warnings.warn(
                f"{thing!r:.80} draws on weights that others released, without saying what they were fitted on: "
                "whether the test set was among it cannot be checked. Ask where the weights come from",
                DataMismatchWarning,
                stacklevel=2,
            )
        check_disjoint(known.images, held_out.images, "images")
        check_disjoint(known.groups, held_out.groups, "groups")
