"""The error tree: drawn as it is, and known to the door that answers with statuses."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator
from typing import Final

import pytest

from app import errors
from app.api.errors import STATUS
from app.errors import HybridMemoryError, StartupError

_DRAWN: Final = re.compile(r"^(?P<indent> {4}[│├└─ ]*)(?P<name>[A-Z]\w+)(?P<meaning>.*?)(?P<status>\d{3})?$", re.MULTILINE)


def tree(root: type[HybridMemoryError], depth: int = 0) -> Iterator[tuple[int, type[HybridMemoryError]]]:
    """Every class of the errors module below `root`, with its depth, in the order of definition."""
    yield depth, root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child, depth + 1)


CLASSES: Final = tuple(tree(HybridMemoryError))
LEAVES: Final = tuple(kind for _, kind in CLASSES if not kind.__subclasses__())


def drawn() -> list[re.Match[str]]:
    return list(_DRAWN.finditer(errors.__doc__ or ""))


@pytest.mark.parametrize("kind", LEAVES)
def test_every_error_has_a_status(kind: type[HybridMemoryError]) -> None:
    """Whatever is raised here on purpose, the API knows what to answer."""
    assert kind in STATUS


def test_the_drawing_is_the_tree() -> None:
    """The drawing at the top of the module shows every class under its parent, in order."""
    assert [(len(line["indent"]) // 4 - 1, line["name"]) for line in drawn()] == [(d, kind.__name__) for d, kind in CLASSES]


def test_the_drawing_says_the_status() -> None:
    """Each class is drawn with the status the API answers, but for those that end the process before there is an API."""
    answered = {kind.__name__: STATUS[kind].value for kind in STATUS if not issubclass(kind, StartupError)}
    assert {line["name"]: int(line["status"]) for line in drawn() if line["status"]} == answered


def test_errors_do_not_shadow_builtins() -> None:
    """No class is named like one of Python's own."""
    assert [kind.__name__ for _, kind in CLASSES if hasattr(builtins, kind.__name__)] == []
