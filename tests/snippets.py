"""The snippets of a Markdown page, and what it says that they answer."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
_FENCE: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING: Final = re.compile(r"^(#{1,6}) +(.+)$", re.MULTILINE)
_LEFT_OUT: Final = "…"
"""In an answer: a value that varies, or (at the end of an object) fields that are not shown."""
_PATIENCE_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Snippet:
    """A fenced block. `answer` is the block directly below it, if that is JSON or text."""

    language: str
    code: str
    answer: Snippet | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A Markdown file of the repository."""

    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def sections(self) -> dict[str, str]:
        """Text by heading of the second level, in order."""
        text = self.text
        headings = [h for h in _headings(text) if h[1] == "##"]
        ends = [h.start() for h in headings[1:]] + [len(text)]
        return {h[2]: text[h.end() : end] for h, end in zip(headings, ends, strict=True)}

    @property
    def anchors(self) -> frozenset[str]:
        """What a link may name after `#`: the headings, as the usual renderers spell them."""
        names = (heading[2].lower() for heading in _headings(self.text))
        return frozenset(re.sub(r"[^\w\- ]", "", name).strip().replace(" ", "-") for name in names)

    def snippets(self, section: str, *languages: str) -> list[Snippet]:
        """The blocks of a section in these languages, in order, each with its answer."""
        return [s for s in snippets_of(self.sections[section]) if s.language in languages]


def _headings(text: str) -> list[re.Match[str]]:
    """The headings (level, name) outside of fenced blocks."""
    fences = [fence.span() for fence in _FENCE.finditer(text)]
    return [h for h in _HEADING.finditer(text) if not any(start < h.start() < end for start, end in fences)]


def snippets_of(text: str) -> list[Snippet]:
    """Every fenced block of `text`; what only follows as an answer is not one of its own."""
    found = [(Snippet(m[1], m[2]), m.start(), m.end()) for m in _FENCE.finditer(text)]
    snippets: list[Snippet] = []
    for position, (snippet, start, end) in enumerate(found):
        is_answer = position > 0 and snippet.language in {"json", "text"} and start == found[position - 1][2] + 1
        if is_answer:
            continue
        below = found[position + 1] if position + 1 < len(found) else None
        has_answer = below is not None and below[0].language in {"json", "text"} and below[1] == end + 1
        snippets.append(Snippet(snippet.language, snippet.code, below[0] if below and has_answer else None))
    return snippets


async def run(snippet: Snippet, directory: Path, environment: Mapping[str, str]) -> str:
    """Run a snippet in `directory` as a reader would, with the `python` that runs the tests; its standard output."""
    command = ["bash", "-euo", "pipefail", "-c"] if snippet.language == "sh" else [sys.executable, "-c"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    process = await asyncio.create_subprocess_exec(
        *command, snippet.code, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
    async with asyncio.timeout(_PATIENCE_SECONDS):
        out, err = await process.communicate()
    assert process.returncode == 0, f"{snippet.code}\n{out.decode()}\n{err.decode()}"
    return out.decode()


def assert_answer(snippet: Snippet, got: str) -> None:
    """Fail unless `got` is what the page shows below the snippet, but for what it leaves out."""
    if snippet.answer is None:
        return
    if snippet.answer.language == "text":
        assert got.strip() == snippet.answer.code.strip()
        return
    shown = parse_shown(snippet.answer.code)
    answer = json.loads(got)
    assert agrees(shown, answer), f"{snippet.code}\nthe page shows {snippet.answer.code}\nthe answer is {got}"


def parse_shown(text: str) -> Any:
    """JSON in which `…` stands for a value, or for further fields."""
    with_fields = re.sub(r"(?:(?<=, )|(?<=\{))…(?=\})", '"…": "…"', text)
    return json.loads(re.sub(r"(?<=: )…", '"…"', with_fields))


def agrees(shown: Any, got: Any) -> bool:
    """Whether `got` is `shown`; objects have no field more, unless `…` says so."""
    if shown == _LEFT_OUT:
        return True
    if isinstance(shown, dict) and isinstance(got, dict):
        wanted = shown.keys() - {_LEFT_OUT}
        has_fields = wanted <= got.keys() if _LEFT_OUT in shown else wanted == got.keys()
        return has_fields and all(agrees(shown[key], got[key]) for key in wanted)
    if isinstance(shown, list) and isinstance(got, list):
        return len(shown) == len(got) and all(map(agrees, shown, got))
    return bool(shown == got)
