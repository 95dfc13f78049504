"""Which files of a space count, whatever died in between."""

from __future__ import annotations

from pathlib import Path

from app.records import Space
from app.semantic.generations import Home, copy_shard, homes

SPACE = Space("Some/Model", 3)


def generation(home: Home) -> Path:
    path = home.fresh()
    path.mkdir()
    return path


def test_a_new_home_has_no_generation(tmp_path: Path) -> None:
    """Until one is promoted nothing counts, and the space is not listed."""
    home = Home.of(tmp_path, SPACE)
    generation(home)
    assert (home.current, homes(tmp_path)) == (None, [])


def test_the_promoted_generation_counts(tmp_path: Path) -> None:
    """The last to be promoted, and the space is listed under the name it was given."""
    home = Home.of(tmp_path, SPACE)
    first, second = generation(home), generation(home)
    home.promote(first)
    home.promote(second)
    assert (home.current, homes(tmp_path)) == (second, [home])


def test_sweeping_leaves_what_counts(tmp_path: Path) -> None:
    """Generations that were left half-made or have been succeeded go, with their locks."""
    home = Home.of(tmp_path, SPACE)
    old, current, half_made = (generation(home) for _ in range(3))
    old.with_suffix(".lock").touch()
    home.promote(current)
    home.sweep()
    assert sorted(path.name for path in home.directory.iterdir()) == sorted([current.name, "CURRENT", "space.json"])
    assert not half_made.exists()


def test_a_space_keeps_the_name_it_was_first_given(tmp_path: Path) -> None:
    """Two spellings that share a directory are one space."""
    home = Home.of(tmp_path, SPACE)
    home.promote(generation(home))
    Home.of(tmp_path, Space("some/model", 3))
    assert [found.space for found in homes(tmp_path)] == [SPACE]


def test_a_copy_is_equal_and_keeps_its_holes(tmp_path: Path) -> None:
    """Every byte is copied, and no block is written for what was never written."""
    (tmp_path / "shard" / "segments").mkdir(parents=True)
    original = tmp_path / "shard" / "segments" / "chunk"
    with original.open("wb") as file:
        file.truncate(32_000_000)
        file.seek(16_000_000)
        file.write(b"in the middle")
    (tmp_path / "shard" / "empty").touch()
    copy_shard(tmp_path / "shard", tmp_path / "copy")
    copied = tmp_path / "copy" / "segments" / "chunk"
    assert copied.read_bytes() == original.read_bytes()
    assert (copied.stat().st_blocks < 1000, (tmp_path / "copy" / "empty").read_bytes()) == (True, b"")
