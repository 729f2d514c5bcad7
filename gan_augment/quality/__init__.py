"""The audit of a synthetic set."""

from gan_augment.quality.audit import audit
from gan_augment.quality.result import Audit

__all__ = ["Audit", "audit"]
