"""The audit of a synthetic set."""

from gan_augment.audit.audit import audit
from gan_augment.audit.result import Audit

__all__ = ["Audit", "audit"]
