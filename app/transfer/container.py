"""The file of a backup (pure but for reading it): gzip, in it JSON lines, at its end its own checksum.

    {"format": "hybrid-memory-backup", "version": 1, "revision": …, "created_at": …, "program": …, "space": …}
    ["episodes",{…}]            a row a line, table by table in the order in which they can be filled
    {"rows": {"episodes": 1, …}}
    {"sha256": "…"}             a gzip member of its own, over all bytes of the file before it

`zcat FILE` shows all of it. The last member is not compressed and is written byte by byte as `_seal` says: whatever
bit of the file changes, the file is not the one that was written.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, Final

import orjson

from app.errors import InvalidInput

FORMAT: Final = "hybrid-memory-backup"
VERSION: Final = 1

_LEVEL: Final = 3
"""Of zlib: three times as fast as its default, for a file a tenth larger."""
_GZIP: Final = 31
_MEMBER: Final = bytes.fromhex("1f8b08000000000000ff01")
"""A gzip header without a time, of an unknown system, and the beginning of the one stored block."""
_READ_BYTES: Final = 1 << 20
_LINE_BYTES: Final = 1 << 28
"""A longer line is no row of ours: a row holds a few documents of a megabyte."""
_PAGE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Header:
    """What a backup says of itself. `space` is the embedding space of the index that belonged to it, if one was known."""

    revision: str
    created_at: str
    program: str
    space: str | None = None

    def line(self) -> bytes:
        return orjson.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}) + b"\n"


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of one table, in order. `position`: how many bytes of the file were read by then."""

    table: str
    rows: Sequence[str]
    position: int = 0


class Packer:
    """Lines in, the bytes of the file out."""

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        self._sha256 = hashlib.sha256()

    def begin(self, header: Header) -> bytes:
        """The header in full, so that it can be read of a file that was cut short."""
        return self.pack(header.line()) + self._digested(self._zlib.flush(zlib.Z_SYNC_FLUSH))

    def pack(self, lines: bytes) -> bytes:
        """What can be written of the file by now, which may be nothing."""
        return self._digested(self._zlib.compress(lines))

    def finish(self, rows: Mapping[str, int]) -> bytes:
        """The rest of the file."""
        rest = self.pack(orjson.dumps({"rows": dict(rows)}) + b"\n") + self._digested(self._zlib.flush())
        return rest + _seal(self._sha256.hexdigest())

    def _digested(self, packed: bytes) -> bytes:
        self._sha256.update(packed)
        return packed


def row_lines(page: Page) -> bytes:
    """One line a row: neither JSON as PostgreSQL writes it nor a table's name has a line break in it."""
    name = orjson.dumps(page.table).decode()
    return "".join(f"[{name},{row}]\n" for row in page.rows).encode()


def check(path: Path) -> Header:
    """Read the whole file once, and make sure that it is the one that was written.

    Raises:
        InvalidInput: it is no backup, one of a newer version, cut short or damaged.
    """
    with path.open("rb") as file:
        header = _header(file)
        file.seek(0)
        digest, end = _digest(file, path.stat().st_size - _SEAL_BYTES)
    if not end.startswith(_MEMBER):
        raise InvalidInput("file", "is cut short: its end is missing")
    if end != _seal(digest):
        raise InvalidInput("file", "is damaged: its checksum does not match")
    return header


def pages(path: Path) -> Iterator[Page]:
    """The rows of a file that passed `check`, in bounded memory.

    Raises:
        InvalidInput: a line is none of ours, or there are not as many rows as were written.
    """
    found: Counter[str] = Counter()
    tail: list[bytes] = []
    with path.open("rb") as file:
        for batch in _batches(_lines(file)):
            for page in _pages(batch, file.tell()):
                found[page.table] += len(page.rows)
                yield page
            tail = [*tail, *batch][-2:]
    if _document(tail[0]).get("rows") != dict(found):
        raise InvalidInput("file", f"does not hold the rows it says: it has {dict(found)}")


def _pages(batch: Sequence[bytes], position: int) -> Iterator[Page]:
    rows = (_row(line) for line in batch if line.startswith(b"["))
    for table, group in groupby(rows, key=itemgetter(0)):
        yield Page(table, [row for _, row in group], position)


def _row(line: bytes) -> tuple[str, str]:
    name, comma, row = line.decode().rstrip("\n").partition(",")
    if not comma or not name.startswith('["') or not row.endswith("}]"):
        raise InvalidInput("file", "holds a line that is no row")
    return str(orjson.loads(name[1:])), row[:-1]


def _batches(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    batch, size = list[bytes](), 0
    for line in lines:
        batch.append(line)
        size += len(line)
        if size > _PAGE_BYTES:
            yield batch
            batch, size = [], 0
    yield batch


def _header(file: IO[bytes]) -> Header:
    document = _document(next(_lines(file), b""))
    if document.get("format") != FORMAT:
        raise InvalidInput("file", "is no backup of hybrid-memory, or nothing but its beginning")
    if document.get("version") != VERSION:
        found = document.get("version")
        raise InvalidInput("file", f"is of a newer version ({found}; this program reads {VERSION}): update the program first")
    revision, created_at, program = (str(document.get(name, "")) for name in ("revision", "created_at", "program"))
    return Header(revision, created_at, program, document.get("space"))


def _document(line: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(line)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a compressed file, each of bounded length; none are left where it is damaged."""
    with gzip.GzipFile(fileobj=file) as unpacked:
        try:
            while line := unpacked.readline(_LINE_BYTES):
                yield line
        except (OSError, EOFError, zlib.error):
            return


def _digest(file: IO[bytes], size: int) -> tuple[str, bytes]:
    """The SHA-256 of the next `size` bytes, and the bytes that follow."""
    sha256 = hashlib.sha256()
    while size > 0 and (read := file.read(min(size, _READ_BYTES))):
        sha256.update(read)
        size -= len(read)
    return sha256.hexdigest(), file.read()


def _seal(digest: str) -> bytes:
    """The last member of the file: always of the same length, and the same bytes for the same digest on every machine."""
    line = orjson.dumps({"sha256": digest}) + b"\n"
    return _MEMBER + struct.pack("<HH", len(line), len(line) ^ 0xFFFF) + line + struct.pack("<II", zlib.crc32(line), len(line))


_SEAL_BYTES: Final = len(_seal("0" * 64))
