"""What a file may take in all: steps, keys and copied bytes."""

from gan_augment.errors import ArtifactError
from gan_augment.synthesizers.readers.source import DamagedError

__all__ = ["Limits"]

_MOST_STEPS = 4_000_000
_MOST_KEYS = 50_000


class Limits:
    """What a file may take in all, with what is nested in it.

    Args:
        size: Bytes of the file.
    """

    def __init__(self, size: int) -> None:
        self.steps = _MOST_STEPS
        self.keys = _MOST_KEYS
        self.bytes = size + 2**20

    def step(self, count: int = 1) -> None:
        """Counts opcodes, or as much work as that many.

        Raises:
            ArtifactError: There were too many.
        """
        self.steps -= count
        if self.steps < 0:
            raise ArtifactError(
                f"expected at most {_MOST_STEPS} steps to read a checkpoint, found more; export the weights alone"
            )

    def key(self) -> None:
        """Counts keys that are not text.

        Raises:
            ArtifactError: There were too many.
        """
        self.keys -= 1
        if self.keys < 0:
            raise DamagedError(f"expected at most {_MOST_KEYS} keys that are not text, found more")

    def copy(self, count: int) -> None:
        """Counts bytes that are copied out of the file.

        Raises:
            ArtifactError: They are more than the file has: it uses them again and again.
        """
        self.bytes -= count
        if self.bytes < 0:
            raise DamagedError("expected at most as much data as the file is long, found more")
