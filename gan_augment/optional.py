"""Libraries that only some uses need: imported where they are used, with one sentence where they are missing."""

from importlib import import_module
from typing import Any

from gan_augment.errors import DependencyError

__all__ = ["needed"]


def needed(
    library: str,
    extra: str,
    purpose: str,
    *,
    oldest: str | None = None,
    below: str | None = None,
) -> Any:
    """Returns an optional library, imported.

    Args:
        library: Its module.
        extra: Of this package, which installs it.
        purpose: What it is needed for, for the message.
        oldest: The oldest version that works; None for any.
        below: The first version that does not; None for none.

    Raises:
        DependencyError: It is not installed, or of another version.
    """
    install = f"pip install 'gan_augment[{extra}]'"
    try:
        module = import_module(library)
    except ModuleNotFoundError as error:
        if (error.name or library).partition(".")[0] != library.partition(".")[0]:
            raise  # it is there, and lacks something of its own
        raise DependencyError(
            f"expected {library} for {purpose}, found that it is not installed; {install}", name=library
        ) from None
    if oldest is None and below is None:
        return module
    found = str(getattr(module, "__version__", "0"))
    if not _within(found, oldest, below):
        upper = "" if below is None else f" and below {below}"
        raise DependencyError(
            f"expected {library} from {oldest or 0}{upper} for {purpose}, found {found}; {install} --upgrade",
            name=library,
        )
    return module


def _within(found: str, oldest: str | None, below: str | None) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        version = Version(found)
    except InvalidVersion:  # a build of the user's own
        return True
    return (oldest is None or version >= Version(oldest)) and (below is None or version < Version(below))
