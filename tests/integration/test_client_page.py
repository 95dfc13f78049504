"""docs/client.md keeps its word: its snippets run, and its table lists what there is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from served import Served
from snippets import ROOT, Page, Snippet, assert_answer, run, snippets_of

from app.client.asking import Call, Download, Pages
from app.client.surface import Surface

PAGE = Page(ROOT / "docs" / "client.md")


@pytest.mark.parametrize(
    "snippet", [s for s in snippets_of(PAGE.text) if s.language == "python"], ids=["awaited", "sync", "ingest"]
)
async def test_the_snippets_run(api: Served, tmp_path: Path, snippet: Snippet) -> None:
    """Each is a program as it stands, and prints what the page shows."""
    here = replace(snippet, code=snippet.code.replace("http://127.0.0.1:8000", api.url))
    assert_answer(snippet, await run(here, tmp_path, {}))


def test_every_method_is_listed() -> None:
    """The table of methods and the surface name the same ones."""
    listed = re.findall(
        r"`(\w+)`", "".join(re.findall(r"^\| \w+ \| (`.*) \|$", PAGE.sections["Calls and answers"], re.MULTILINE))
    )
    there = {name for name in dir(Surface) if isinstance(getattr(Surface, name), Call | Download | Pages)}
    assert set(listed) == there | {"ingest"}
