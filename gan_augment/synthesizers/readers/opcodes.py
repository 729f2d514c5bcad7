"""The opcodes of pickles, protocols 0 to 5, as what each does to a machine."""

import codecs
from collections.abc import Callable
from typing import Any

from gan_augment.synthesizers.readers.inert import Inert
from gan_augment.synthesizers.readers.machine import Machine
from gan_augment.synthesizers.readers.source import DamagedError

__all__ = ["run"]

_LONGEST_NUMBER = 256
_LONGEST_TEXT = 2**24


def run(machine: Machine) -> Any:
    """Runs a pickle to its end, and returns what it describes.

    Raises:
        ArtifactError: It is damaged, or asks for too much.
    """
    read, step = machine.source.read, machine.limits.step
    while True:
        code = read(1)
        step()
        if code == b".":
            return machine.pop()
        operation = _OPERATIONS.get(code)
        if operation is None:
            raise DamagedError(f"expected an opcode of a pickle, found {code!r}")
        operation(machine)


def _int(machine: Machine) -> None:
    line = machine.source.line(_LONGEST_NUMBER)
    machine.push(line == b"01" if line in (b"00", b"01") else int(line))


def _string(machine: Machine) -> None:
    line = machine.source.line(_LONGEST_TEXT).strip()
    if len(line) < 2 or line[:1] not in b"\"'" or line[-1:] != line[:1]:
        raise DamagedError("expected a quoted string in the pickle, found none")
    machine.push(_old_text(codecs.escape_decode(line[1:-1])[0]))


def _old_text(data: bytes) -> str:
    """Python 2 tells text from bytes no more than this: Latin-1 keeps both."""
    return data.decode("latin-1")


def _unicode(machine: Machine) -> None:
    machine.push(codecs.raw_unicode_escape_decode(machine.source.line(_LONGEST_TEXT))[0])


def _ascii(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace")


def _global(machine: Machine) -> None:
    module = _ascii(machine.source.line())
    machine.push(machine.named(module, _ascii(machine.source.line())))


def _stack_global(machine: Machine) -> None:
    name = machine.pop()
    machine.push(machine.named(machine.pop(), name))


def _inst(machine: Machine) -> None:
    module = _ascii(machine.source.line())
    called = machine.named(module, _ascii(machine.source.line()))
    machine.push(machine.call(called, tuple(machine.popped())))


def _obj(machine: Machine) -> None:
    called, *args = machine.popped() or [None]
    machine.push(machine.call(called, tuple(args)))


def _reduce(machine: Machine) -> None:
    args = machine.pop()
    machine.push(machine.call(machine.pop(), args))


def _newobj_ex(machine: Machine) -> None:
    keywords, args, called = machine.pop(), machine.pop(), machine.pop()
    if type(keywords) is dict and not keywords:
        machine.push(machine.call(called, args))
    elif isinstance(called, Inert):
        machine.push(Inert(called.origin, (args, keywords)))
    else:
        raise DamagedError("expected a class in the pickle, found something else")


def _tuple(count: int) -> Callable[[Machine], None]:
    def operation(machine: Machine) -> None:
        machine.push(tuple([machine.pop() for _ in range(count)][::-1]))

    return operation


def _frozenset(machine: Machine) -> None:
    machine.limits.step(3)
    machine.push(frozenset(map(machine.key, machine.popped())))


def _empty_set(machine: Machine) -> None:
    machine.limits.step(3)
    machine.push(set())


def _dict(machine: Machine) -> None:
    made: dict[Any, Any] = {}
    machine.update(made, machine.popped())
    machine.push(made)


def _set_item(machine: Machine) -> None:
    value = machine.pop()
    key = machine.pop()
    machine.fill([key, value])


def _append(machine: Machine) -> None:
    machine.extend([machine.pop()])


def _pop(machine: Machine) -> None:
    if len(machine.stack) == machine.floor and machine.marks:
        machine.popped()
    else:
        machine.pop()


def _old_persistent(machine: Machine) -> None:
    machine.push(machine.persistent(_ascii(machine.source.line())))


def _persistent(machine: Machine) -> None:
    machine.push(machine.persistent(machine.pop()))


def _extension(machine: Machine) -> None:
    raise DamagedError("expected names in the pickle, found the number of an extension, which nothing here has")


def _out_of_band(machine: Machine) -> None:
    raise DamagedError("expected a pickle that is whole, found one whose buffers are elsewhere")


def _frame(machine: Machine) -> None:
    if machine.number("<Q") > machine.source.left:
        raise DamagedError("expected a frame within the file, found a longer one")


def _protocol(machine: Machine) -> None:
    if (version := machine.source.read(1)[0]) > 5:
        raise DamagedError(f"expected a pickle of protocol 0 to 5, found {version}")


_OPERATIONS: dict[bytes, Callable[[Machine], Any]] = {
    b"\x80": _protocol,
    b"\x95": _frame,
    b"(": Machine.mark,
    b"0": _pop,
    b"1": Machine.popped,
    b"2": lambda m: m.push(m.top()),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": _int,
    b"L": lambda m: m.push(int(m.source.line(_LONGEST_NUMBER).removesuffix(b"L"))),
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": lambda m: m.push(m.long(m.number("<B"))),
    b"\x8b": lambda m: m.push(m.long(m.number("<i"))),
    b"F": lambda m: m.push(float(m.source.line(_LONGEST_NUMBER))),
    b"G": lambda m: m.push(m.number(">d")),
    b"S": _string,
    b"T": lambda m: m.push(_old_text(m.source.read(m.number("<i")))),
    b"U": lambda m: m.push(_old_text(m.source.read(m.number("<B")))),
    b"V": _unicode,
    b"X": lambda m: m.push(m.text(m.number("<I"))),
    b"\x8c": lambda m: m.push(m.text(m.number("<B"))),
    b"\x8d": lambda m: m.push(m.text(m.number("<Q"))),
    b"B": lambda m: m.push(m.source.read(m.number("<I"))),
    b"C": lambda m: m.push(m.source.read(m.number("<B"))),
    b"\x8e": lambda m: m.push(m.source.read(m.number("<Q"))),
    b"\x96": lambda m: m.push(bytearray(m.source.read(m.number("<Q")))),
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.popped())),
    b"\x85": _tuple(1),
    b"\x86": _tuple(2),
    b"\x87": _tuple(3),
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.popped()),
    b"}": lambda m: m.push({}),
    b"d": _dict,
    b"\x8f": _empty_set,
    b"\x90": lambda m: m.add(m.popped()),
    b"\x91": _frozenset,
    b"a": _append,
    b"e": lambda m: m.extend(m.popped()),
    b"s": _set_item,
    b"u": lambda m: m.fill(m.popped()),
    b"p": lambda m: m.remember(int(m.source.line(10))),
    b"q": lambda m: m.remember(m.number("<B")),
    b"r": lambda m: m.remember(m.number("<I")),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"g": lambda m: m.recall(int(m.source.line(10))),
    b"h": lambda m: m.recall(m.number("<B")),
    b"j": lambda m: m.recall(m.number("<I")),
    b"c": _global,
    b"\x93": _stack_global,
    b"i": _inst,
    b"o": _obj,
    b"R": _reduce,
    b"\x81": _reduce,
    b"\x92": _newobj_ex,
    b"b": lambda m: m.build(m.pop()),
    b"P": _old_persistent,
    b"Q": _persistent,
    b"\x82": _extension,
    b"\x83": _extension,
    b"\x84": _extension,
    b"\x97": _out_of_band,
    b"\x98": _out_of_band,
}
