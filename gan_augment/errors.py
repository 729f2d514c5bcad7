"""Every error of the library, as one tree.

::

    GanAugmentError
    ├── ConfigError(ValueError)        a parameter has a value that cannot work
    │   └── DependencyError(ImportError)   an optional library is missing, or of a version that does not work
    ├── DataError(ValueError)          the user's dataset, folder, labels or images
    ├── SynthesizerError(ValueError)   a generator that lacks a class, or gives the wrong shape or range
    ├── ArtifactError(RuntimeError)    a folder on disk: missing, damaged, another version or architecture
    ├── TrainingError(RuntimeError)    a training that diverged, or lost one of its processes
    └── StorageError(OSError)          the disk refused: full, read-only

Each message says what was expected, what was found, and what to do. Each class also derives from the
built-in that a caller would expect, so that ``except ValueError`` works.
"""

from numbers import Integral

_LONGEST = 4000
"""Characters of a message at most: it may tell of what a file holds."""


def printable(text: str, most: int = _LONGEST) -> str:
    """Returns text as a terminal may show it: control characters written out, cut to `most` characters."""
    cut = text if len(text) <= most else f"{text[: most - 3]}..."
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in cut)
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


class GanAugmentError(Exception):
    """Base of every error that this library raises on purpose."""

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(GanAugmentError, ValueError):
    """A parameter has a value that cannot work."""


def whole(name: str, value: object, least: int = 1) -> int:
    """Returns a parameter that must be a whole number, as an int.

    Raises:
        ConfigError: It is none, or less than `least`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ConfigError(f"expected {name} of at least {least}, a whole number, found {value!r}")
    return int(value)


def probability(name: str, value: object) -> float:
    """Returns a parameter from 0 to 1 as a float.

    Raises:
        ConfigError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigError(f"expected {name} from 0 to 1, found {value!r}")
    return float(value)


class DependencyError(ConfigError, ImportError):
    """An optional library is not installed, or of a version that does not work."""

    def __init__(self, message: str = "", *, name: str | None = None) -> None:
        super().__init__(message)
        self.name = name


class DataError(GanAugmentError, ValueError):
    """The user's dataset, folder, labels or images cannot be used as they are."""


class SynthesizerError(GanAugmentError, ValueError):
    """A generator lacks a class, or what it returns has the wrong shape, type or range."""


class ArtifactError(GanAugmentError, RuntimeError):
    """A folder on disk is missing, damaged, of another version, or holds another architecture."""


class TrainingError(GanAugmentError, RuntimeError):
    """A training diverged, or a process of it lost touch with another."""


class StorageError(GanAugmentError, OSError):
    """The disk refused to store something: full, read-only, or out of quota."""


class SmallClassWarning(UserWarning):
    """A class has so few images that what is learned of it may not be worth much."""


class DataMismatchWarning(UserWarning):
    """Something was fitted on, or made for, other data than it is used with."""


class GeneratorWarning(UserWarning):
    """A sample of a user's generator depends on more than its seed and label."""


class CollapseWarning(UserWarning):
    """What a training draws of a class varies far less than real images do."""


class LicenceWarning(UserWarning):
    """Weights are under a licence that forbids commercial use."""
