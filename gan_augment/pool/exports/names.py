"""Names of folders for classes: whatever a class is called, its folder stays inside, on every file system."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

__all__ = ["folder_names"]

_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
"""Devices of Windows, with any extension."""

_FORBIDDEN = re.compile(r'[/\\:*?"<>|]')
_FIRST = set(".-=+@~'\uff1d\uff0b\uff0d\uff20")
"""Hidden files, options of commands, formulas of spreadsheets."""

_LONGEST, _SHORT = 120, 40
"""Bytes of UTF-8; most file systems take 255."""


def folder_names(classes: Sequence[str]) -> list[str]:
    """Returns the name of a folder for each class, all different even where upper and lower case are the same.

    A name that every file system takes stays as it is. Another has its bad characters replaced and a hash appended;
    `metadata.csv` and `gan_augment.json` tell which class a folder stands for.
    """
    taken: set[str] = set()
    names: dict[int, str] = {}
    for place, name in enumerate(classes):  # those that can stay as they are do, whatever others are made into
        if _fits(name) and _key(name) not in taken:
            names[place] = name
            taken.add(_key(name))
    for place, name in enumerate(classes):
        if place not in names:
            names[place] = _other(name, taken)
            taken.add(_key(names[place]))
    return [names[place] for place in range(len(classes))]


def _key(name: str) -> str:
    """Returns what is the same for names that some file system takes for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _fits(name: str) -> bool:
    return (
        name != ""
        and name[0] not in _FIRST
        and name == name.strip()
        and name[-1] != "."
        and not any(unicodedata.category(letter).startswith("C") for letter in name)
        and not _FORBIDDEN.search(name)
        and not _RESERVED.fullmatch(name)
        and len(name.encode()) <= _LONGEST
    )


def _other(name: str, taken: set[str]) -> str:
    letters = ("_" if unicodedata.category(letter).startswith("C") else letter for letter in name[: 2 * _SHORT])
    told = _FORBIDDEN.sub("_", "".join(letters)).strip()
    told = told.encode()[:_SHORT].decode(errors="ignore")
    told = told.strip()
    if not told or told[0] in _FIRST:
        told = "_" + told[1:]
    if _RESERVED.fullmatch(told):
        told = "_" + told
    attempt = 0
    while True:
        text = f"{attempt}\0{name}".encode("utf-8", "surrogatepass")
        found = f"{told}~{hashlib.blake2b(text, digest_size=4).hexdigest()}"
        if _key(found) not in taken:
            return found
        attempt += 1
