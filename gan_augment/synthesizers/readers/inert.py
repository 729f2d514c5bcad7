"""Stand-ins for what a pickle names: they keep what they were given and do nothing."""

from typing import Any

__all__ = ["Inert", "Name", "Pending", "told"]


class Inert:
    """Stands for an object whose class is not on the allow list. Nothing of that class ran, or was even imported.

    Equal only to itself, so that it can be a key.

    Attributes:
        origin: What would have been called, such as `"training.networks.Generator"`, as the pickle names it; for
            classes that bring their own source (NVlabs' `torch_utils.persistence`) `"persistent:"` and the class name;
            for what a call returned that was called itself `"(result of ...)"`.
        args: What it was made with.
        state: What its state was set to, None where it was not. Of a pickled `nn.Module` a dict with "_parameters",
            "_buffers", "_modules" and its own attributes.
        items: What was put in it as into a dict.
        elements: What was put in it as into a list or a set.
    """

    __slots__ = ("args", "elements", "items", "origin", "state")

    def __init__(self, origin: str, args: tuple[Any, ...] = (), state: Any = None) -> None:
        self.origin = origin
        self.args = args
        self.state = state
        self.items: dict[Any, Any] = {}
        self.elements: list[Any] = []

    def __repr__(self) -> str:
        return f"<Inert {self.origin:.200}>"


class Name(Inert):
    """Stands for a class or function itself, which the pickle names without calling it."""

    __slots__ = ()


class Pending(Inert):
    """An object that becomes a plain value once its state is known.

    Attributes:
        slots: Where the machine's memo holds it.
    """

    __slots__ = ("slots",)

    def __init__(self, origin: str, args: tuple[Any, ...] = ()) -> None:
        super().__init__(origin, args)
        self.slots: list[int] = []

    def finish(self, state: Any) -> Any:
        """Returns the value; itself where it can be none."""
        self.state = state
        return self


def told(value: Any) -> str:
    """Returns a value as a message shows it: never long, whatever it is, and without walking it."""
    if isinstance(value, (str, bytes)):
        return repr(value[:80])
    if value is None or isinstance(value, (bool, int, float, Inert)):
        return repr(value)[:80]
    return type(value).__name__
