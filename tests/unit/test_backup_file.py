"""The file of a backup: whole as it was written, or refused."""

from __future__ import annotations

import gzip
import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.transfer import container
from app.transfer.container import Header, Packer, Page, check, pages, row_lines

HEADER = Header("0001", "2026-05-04T12:00:00+00:00", "0.1.0", "hashing__384")
ROWS = {"episodes": ['{"id":"a"}'], "messages": [f'{{"uid":{n},"content":"naïve, \\"quoted\\" \\n {n}"}}' for n in range(50)]}


def packed(header: Header = HEADER, *, said: dict[str, int] | None = None) -> bytes:
    """A whole file; `said` is what its end claims, if that is not the truth."""
    packer = Packer()
    parts = [packer.begin(header), *(packer.pack(row_lines(Page(table, rows))) for table, rows in ROWS.items())]
    return b"".join([*parts, packer.finish(said or {table: len(rows) for table, rows in ROWS.items()})])


WHOLE = packed()


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        (tmp_path / "backup").write_bytes(content)
        return tmp_path / "backup"

    return write


def refusal(path: Path) -> str:
    with pytest.raises(InvalidInput) as refused:
        check(path)
    return str(refused.value)


def test_what_is_unpacked_is_what_was_packed(file: Callable[[bytes], Path]) -> None:
    """Header and rows come back as they went in, the rows table by table in order."""
    path = file(WHOLE)
    assert check(path) == HEADER
    assert [(page.table, page.rows) for page in pages(path)] == list(ROWS.items())


def test_other_programs_can_read_it(file: Callable[[bytes], Path]) -> None:
    """It is a gzip file of JSON lines, the last of which is the SHA-256 of all bytes before that line's member."""
    lines = [orjson.loads(line) for line in gzip.decompress(WHOLE).splitlines()]
    assert lines[0]["format"] == "hybrid-memory-backup"
    assert lines[1] == ["episodes", {"id": "a"}]
    assert lines[-2] == {"rows": {"episodes": 1, "messages": 50}}
    start = WHOLE.rindex(bytes.fromhex("1f8b08"))
    assert lines[-1] == {"sha256": hashlib.sha256(WHOLE[:start]).hexdigest()}


def test_no_change_goes_unnoticed(tmp_path: Path) -> None:
    """Whatever single bit is flipped, in the data, in gzip's own headers or in the checksum, the file is refused."""
    path = tmp_path / "backup"
    for position in range(len(WHOLE)):
        bit = 1 << (position % 8)
        path.write_bytes(WHOLE[:position] + bytes([WHOLE[position] ^ bit]) + WHOLE[position + 1 :])
        assert refusal(path).startswith("file: is ")


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(), flips=st.integers(1, 20))
def test_no_damage_goes_unnoticed(tmp_path_factory: pytest.TempPathFactory, seed: int, flips: int) -> None:
    """Nor do several changes at once, whatever bytes they leave."""
    damaged, chance = bytearray(WHOLE), random.Random(seed)
    for _ in range(flips):
        damaged[chance.randrange(len(damaged))] ^= chance.randrange(1, 256)
    if damaged == WHOLE:
        return
    path = tmp_path_factory.mktemp("damaged") / "backup"
    path.write_bytes(damaged)
    assert refusal(path).startswith("file: is ")


def test_a_file_cut_short_is_named_so(file: Callable[[bytes], Path]) -> None:
    """However much of its end is missing, from one byte to nearly all, it is refused; so is one that goes on after it."""
    beginning = "file: is no backup of hybrid-memory, or nothing but its beginning"
    refusals = [refusal(file(WHOLE[:size])) for size in range(len(WHOLE))]
    assert set(refusals) == {beginning, "file: is cut short: its end is missing"}
    assert refusals == sorted(refusals, key=lambda said: said != beginning)
    assert refusal(file(WHOLE + b"\n")) == "file: is cut short: its end is missing"


@pytest.mark.parametrize(
    "content", [b"", b"hello", gzip.compress(b"hello\n", mtime=0), gzip.compress(b'{"format": "other"}\n', mtime=0), b"\x1f\x8b"]
)
def test_another_file_is_no_backup(file: Callable[[bytes], Path], content: bytes) -> None:
    """What was never a backup is refused as none."""
    assert refusal(file(content)).startswith("file: is no backup of hybrid-memory")


def test_a_newer_version_is_refused_by_name(file: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in a form of the future says which version it is of, and which one is read here."""
    monkeypatch.setattr(container, "VERSION", 2)
    path = file(packed())
    monkeypatch.undo()
    assert refusal(path) == "file: is of a newer version (2; this program reads 1): update the program first"


def test_a_file_that_miscounts_is_refused(file: Callable[[bytes], Path]) -> None:
    """A file whose end does not say the rows it holds was not written in full, whatever its checksum says."""
    path = file(packed(said={"episodes": 1, "messages": 51}))
    assert check(path) == HEADER
    with pytest.raises(InvalidInput, match="file: does not hold the rows it says"):
        list(pages(path))


def test_a_header_without_a_space_is_one(file: Callable[[bytes], Path]) -> None:
    """No embedder had answered yet when the backup was made: nothing is made up."""
    header = replace(HEADER, space=None)
    assert check(file(packed(header))) == header
