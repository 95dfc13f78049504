"""Paths to the texts of a value: LangGraph's own, and refused when they are none."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from langgraph.store.base import get_text_at_path

from app.errors import InvalidInput
from app.ingestion.paths import texts_at

VALUE: dict[str, Any] = {
    "title": "Cats",
    "n": 3,
    "yes": True,
    "none": None,
    "tags": ["a", "b"],
    "empty": [],
    "meta": {"author": {"name": "Ana"}, "year": 2026},
    "a": [{"b": "one"}, {"b": "two", "c": [{"d": "x"}, {"d": "y"}]}, {"c": "no b"}, "text"],
}


@pytest.mark.parametrize(
    "path",
    [
        "$", "title", "n", "yes", "none", "tags", "tags[*]", "tags[0]", "tags[-1]", "tags[-2]", "tags[2]", "tags[-3]", "empty[*]",
        "meta", "meta.author.name", "meta.*", "meta.author", "a[*].b", "a[*].c[*].d", "a[1].c[-1].d", "missing", "title.no",
        "a.b", "title[0]", "{title,meta.year}", "a[*].{b,c}", "meta[*]",
    ],
)  # fmt: skip
def test_paths_are_langgraphs(path: str) -> None:
    """What LangGraph finds at a path is found here."""
    assert texts_at(VALUE, path) == get_text_at_path(VALUE, path)


def test_blank_texts_are_left_out() -> None:
    """What has no words means nothing."""
    assert texts_at({"a": ["", " \n", "x"]}, "a[*]") == ["x"]
    assert texts_at({}, "$") == []


def test_any_mapping_is_a_value() -> None:
    """A mapping that is no dict is read like one."""
    assert texts_at(MappingProxyType({"a": MappingProxyType({"b": 1})}), "$") == ['{"a": {"b": 1}}']


@pytest.mark.parametrize("path", ["", "a[", "a[x]", "a[1", "{a", "a..b", "a.", "]", "a[1.5]", ".".join("a" * 65)])
def test_what_is_no_path_is_refused(path: str) -> None:
    """A path that could never find anything is an error, not an item without texts."""
    with pytest.raises(InvalidInput, match=r"^index: "):
        texts_at(VALUE, path)
