"""The directory of a zip archive, as far as torch writes one: members that are stored, each at a place of its own."""

import struct
import zlib
from dataclasses import dataclass

from gan_augment.synthesizers.readers.source import DamagedError, Source

__all__ = ["Archive", "Member"]

_END, _END64, _LOCATOR, _ENTRY, _LOCAL = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2", b"PK\3\4"
_MOST_MEMBERS = 100_000
_ENCRYPTED = 0x2041  # flags: encrypted, strongly encrypted, directory masked
_BIG = 0xFFFFFFFF


@dataclass(frozen=True)
class Member:
    """A file in the archive.

    Attributes:
        name: Its path.
        size: Its bytes.
        stored: Bytes that it takes in the archive.
        packed: Whether it is compressed.
        offset: Of its header.
        crc: Its checksum.
    """

    name: str
    size: int
    stored: int
    packed: bool
    offset: int
    crc: int


class Archive:
    """A zip archive of which nothing is ever unpacked to disk.

    Args:
        source: The file.

    Raises:
        ArtifactError: It is truncated, compressed or encrypted, or its members overlap, share a name, or have names
            that lead out of the archive.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.start, length, count = self._end()
        if count > _MOST_MEMBERS or length < 46 * count or length > 1000 * count:
            raise DamagedError(f"expected at most {_MOST_MEMBERS} members in the zip archive, found {count}")
        self.members: dict[str, Member] = {}
        directory = self._bytes(self.start, length)
        at = 0
        for _ in range(count):
            member, at = _entry(directory, at)
            if member.name in self.members:
                raise DamagedError(f"expected each member of the zip archive once, found {member.name!r:.100} twice")
            self.members[member.name] = member
        self._check_places()

    def open(self, name: str, limit: int | None = None) -> tuple[Source, Member]:
        """Returns a source that stands at the beginning of a member.

        Raises:
            ArtifactError: There is no such member, its header is damaged, or it has more bytes than `limit`.
        """
        member = self.members.get(name)
        if member is None:
            raise DamagedError(f"expected {name!r:.100} in the zip archive, found no such member")
        if limit is not None and member.size > limit:
            raise DamagedError(f"expected at most {limit} bytes in {name!r:.100}, found {member.size}")
        header = self._bytes(member.offset, 30)
        if header[:4] != _LOCAL or struct.unpack_from("<H", header, 8)[0]:
            raise DamagedError(f"expected {name!r:.100} to be stored in the zip archive, found it damaged")
        begin = member.offset + 30 + sum(struct.unpack_from("<HH", header, 26))
        if begin + member.size > self.start:
            raise DamagedError(f"expected {member.size} bytes of {name!r:.100}, found fewer")
        self.source.file.seek(begin)
        return Source(self.source.file, member.size), member

    def read(self, name: str, limit: int) -> bytes:
        """Returns a small member.

        Raises:
            ArtifactError: As `open`, or it is damaged.
        """
        source, member = self.open(name, limit)
        data = source.read(member.size)
        check_sum(member, data)
        return data

    def check_stored(self) -> None:
        """Raises an ArtifactError where a member is compressed: a few bytes could become more than memory holds."""
        for member in self.members.values():
            if member.packed:
                raise DamagedError(
                    f"expected members that are stored as they are, as torch.save does, found {member.name!r:.100} "
                    "compressed"
                )

    def _bytes(self, offset: int, count: int) -> bytes:
        if not 0 <= offset <= offset + count <= self.source.size:
            raise DamagedError("expected a place within the zip archive, found one behind its end")
        self.source.file.seek(offset)
        return Source(self.source.file, count).read(count)

    def _end(self) -> tuple[int, int, int]:
        """Returns where the directory begins, its bytes and how many members it has."""
        size = self.source.size
        tail = self._bytes(max(0, size - 2**16 - 22), min(size, 2**16 + 22))
        found = tail.rfind(_END)
        if found < 0 or len(tail) - found < 22:
            raise DamagedError("expected the directory at the end of the zip archive, found none")
        end = size - len(tail) + found
        disks, directory_disk, here, count, length, start = struct.unpack_from("<4H2I", tail, found + 4)
        if end >= 20 and (locator := self._bytes(end - 20, 20))[:4] == _LOCATOR:
            end = struct.unpack_from("<Q", locator, 8)[0]
            record = self._bytes(end, 56)
            if record[:4] != _END64:
                raise DamagedError("expected the directory at the end of the zip archive, found none")
            disks, directory_disk, here, count, length, start = struct.unpack_from("<2I4Q", record, 16)
        if disks or directory_disk or here != count or start + length > end:
            raise DamagedError("expected a zip archive in one piece, found another")
        return start, length, count

    def _check_places(self) -> None:
        end = 0
        for member in sorted(self.members.values(), key=lambda member: member.offset):
            if member.offset < end:
                raise DamagedError(f"expected members at places of their own, found {member.name!r:.80} in another")
            end = member.offset + 30 + len(member.name) + member.stored
        if end > self.start:
            raise DamagedError("expected the members of the zip archive before its directory, found one behind it")


def check_sum(member: Member, data: bytes | memoryview) -> None:
    """Raises an ArtifactError where the content of a member is not what was stored."""
    if member.crc and zlib.crc32(data) != member.crc:  # torch can be told not to compute it: it is zero then
        raise DamagedError(f"expected {member.name!r:.100} as it was stored, found other bytes")


def _entry(directory: bytes, at: int) -> tuple[Member, int]:
    """Returns the member that the directory describes at a place, and the place after it."""
    if directory[at : at + 4] != _ENTRY or len(directory) < at + 46:
        raise DamagedError("expected a member in the directory of the zip archive, found none")
    flags, method, _, _, crc, stored, size, named, extra, comment = struct.unpack_from("<4H3I3H", directory, at + 8)
    (offset,) = struct.unpack_from("<I", directory, at + 42)
    end = at + 46 + named + extra + comment
    if end > len(directory):
        raise DamagedError("expected a member in the directory of the zip archive, found half of one")
    name = _name(directory[at + 46 : at + 46 + named])
    size, stored, offset = _wide(directory[at + 46 + named : at + 46 + named + extra], size, stored, offset)
    if flags & _ENCRYPTED:
        raise DamagedError(f"expected members that can be read, found {name!r:.100} encrypted")
    return Member(name, size, stored, bool(method) or stored != size, offset, crc), end


def _wide(extra: bytes, *values: int) -> list[int]:
    """Returns numbers, those that do not fit in 32 bits out of the zip64 field."""
    wide = list(values)
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        at += 4
        if kind == 1:
            field = extra[at : at + length]
            for index, value in enumerate(wide):
                if value == _BIG:
                    if len(field) < 8:
                        raise DamagedError("expected the size of a member in the zip archive, found none")
                    wide[index], field = struct.unpack_from("<Q", field)[0], field[8:]
            break
        at += length
    return wide


def _name(data: bytes) -> str:
    try:
        name = data.decode("utf-8")
    except UnicodeDecodeError:
        raise DamagedError(f"expected names of members in UTF-8, found {data!r:.100}") from None
    if not name.isprintable() or name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
        raise DamagedError(f"expected names of members that stay in the zip archive, found {name!r:.100}")
    return name
