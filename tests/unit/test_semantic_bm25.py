"""Words as sparse vectors, in any language."""

from __future__ import annotations

import pytest

from app.errors import ConfigurationError
from app.semantic.bm25 import Bm25Encoder


@pytest.mark.parametrize(
    ("language", "text", "question"),
    [
        ("english", "Ana painted two fences", "Who paints a fence?"),
        ("German", "Wir haben zwei Häuser gesehen", "Welches Haus?"),
        ("russian", "Мы видели новые дома", "новый дом"),
        ("chinese", "我昨天在北京买了一只猫", "猫"),
        ("english", "我昨天在北京买了一只猫", "猫"),
        ("english", "locker 15, code A-7", "15"),
        ("chinese", "我住在15号", "15号"),
        ("english", "we saw a 🦓 today", "zebra or today"),
    ],
)
def test_stems_meet_in_every_language(language: str, text: str, question: str) -> None:
    """A question finds the words of a text in other forms of its language, and words of scripts without spaces."""
    encoder = Bm25Encoder(language)
    assert encoder.encode_query(question).keys() & encoder.encode_document(text).keys()


def test_stop_words_alone_are_nothing() -> None:
    """A question of nothing but little words, or of no word at all, asks for nothing by words."""
    encoder = Bm25Encoder()
    assert (encoder.encode_query("what was that of the"), encoder.encode_query("🦓 …")) == ({}, {})


def test_an_unknown_language_is_refused_by_name() -> None:
    """The setting is named, and what it said."""
    with pytest.raises(ConfigurationError, match="MEMORY_LANGUAGE: 'klingon' is no language"):
        Bm25Encoder("klingon")
