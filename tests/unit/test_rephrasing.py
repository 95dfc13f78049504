"""What of a chat model's words is another wording of a question."""

from __future__ import annotations

import pytest

from app.retrieval.rephrasing import wordings_in

QUESTION = "Who has the keys?"


@pytest.mark.parametrize(
    ("answer", "wordings"),
    [
        ("Where are the keys?", ("Where are the keys?",)),
        ("1. one?\n2) two?\n(3) three?", ("one?", "two?", "three?")),
        ("- one?\n* two?\n• three?\nfour?", ("one?", "two?", "three?")),
        ('"one?"\n“two?”\n**three?**', ("one?", "two?", "three?")),
        ("2023 in Lisbon\n3 days ago", ("2023 in Lisbon", "3 days ago")),
        ("one?\n\nONE?\n two? \n", ("one?", "two?")),
        (" who has the KEYS? \nWhere?", ("Where?",)),
        ("a\x00b\ud800c", ("abc",)),
        ("?\n---\n\n", ()),
        ("word " * 41, ()),
        ("", ()),
    ],
)
def test_a_wording_is_a_line_that_says_something_else(answer: str, wordings: tuple[str, ...]) -> None:
    """Bullets, quotes and what cannot be printed go; empty, endless and repeated lines, and the question itself, too."""
    assert wordings_in(answer, QUESTION) == wordings
