"""An episode as the text that it is embedded, searched and shown by (pure); documented in docs/episodes.md.

The same episode has the same text in every process: keys are sorted, numbers and nested values are written one way, and
what is too long is cut at one place. A template says which parts there are and in which order. `version` tells renderings
apart: points made by another one are stale, and a reconcile brings them up to date.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any, Final

from app.errors import InvalidInput
from app.records import Episode, sha256_hex

REVISION: Final = 1
"""Of the rules in this module: raise it when they would render an episode differently."""
DEFAULT_TEMPLATE: Final = "{summary}\nperception: {perception}\nreasoning: {reasoning}\naction: {action}\noutcome: {outcome}"
DOCUMENTS: Final = ("perception", "reasoning", "action", "outcome", "metadata")
LABELS: Final = (
    "summary", "kind", "project_id", "agent_id", "agent_version", "control_mode", "decision_source", "sprint_id",
    "chronicle_note_id",
)  # fmt: skip
FIELDS: Final = (*LABELS, *DOCUMENTS, "patterns")
_DEEPEST: Final = 64


@dataclass(frozen=True, slots=True)
class Rendering:
    """Lines with fields in braces; a line whose fields are all empty is left out. `part_characters`: where a field is cut.

    Raises:
        InvalidInput: the template has no field, or one that there is not.
    """

    template: str = DEFAULT_TEMPLATE
    part_characters: int = 8000

    def __post_init__(self) -> None:
        try:
            used = [name for line in self.template.splitlines() for name in _fields_of(line)]
        except ValueError as error:
            raise InvalidInput("template", f"cannot be read: {error}") from None
        unknown = sorted(set(used) - set(FIELDS))
        if unknown or not used:
            problem = f"names {', '.join(unknown)}" if unknown else "names no field"
            raise InvalidInput("template", f"{problem}; there are {', '.join(FIELDS)}")

    @property
    def version(self) -> str:
        """Other rules, another template or another length: another version."""
        return f"{REVISION}-{sha256_hex(f'{self.part_characters}:{self.template}')[:12]}"

    def text_of(self, episode: Episode) -> str:
        """The episode as text; empty when every field is."""
        values = {name: self._cut(_value(episode, name)) for name in FIELDS}
        lines = (_filled(line, values) for line in self.template.splitlines())
        return "\n".join(line for line in lines if line)

    def content_sha256(self, text: str) -> str:
        """The hash by which a point is known to be made of this text, by this rendering."""
        return sha256_hex(f"{self.version}\n{text}")

    def _cut(self, text: str) -> str:
        """At the last space before the limit, if there is one."""
        if len(text) <= self.part_characters:
            return text
        kept = text[: self.part_characters]
        return f"{kept.rpartition(' ')[0] or kept} …"


def flatten(value: Any) -> str:
    """Any JSON value as one line: `name value; name value`, names sorted, nested names one after the other."""
    return "; ".join(_leaves(value, "", 0))


def _leaves(value: Any, name: str, depth: int) -> Iterator[str]:
    if isinstance(value, Mapping) and depth < _DEEPEST:
        for key in sorted(value, key=str):
            yield from _leaves(value[key], f"{name} {_spoken(str(key))}".strip(), depth + 1)
    elif isinstance(value, list | tuple) and depth < _DEEPEST:
        yield from _items(value, name, depth)
    elif text := _plain(value):
        yield f"{name} {text}".strip()


def _items(items: list[Any] | tuple[Any, ...], name: str, depth: int) -> Iterator[str]:
    """Neighbours that are plain stand together, separated by commas; each of the others stands alone."""
    plain: list[str] = []
    for item in items:
        if not isinstance(item, Mapping | list | tuple):
            plain.append(_plain(item))
            continue
        yield from _joined(plain, name)
        plain = []
        yield from _leaves(item, name, depth + 1)
    yield from _joined(plain, name)


def _joined(plain: list[str], name: str) -> Iterator[str]:
    if said := ", ".join(filter(None, plain)):
        yield f"{name} {said}".strip()


def _plain(value: Any) -> str:
    """Text on one line, other values as JSON; nothing for null."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False, sort_keys=True)
    return " ".join(text.encode("utf-8", "replace").decode().split())


def _spoken(name: str) -> str:
    return _plain(name.replace("_", " "))


def _value(episode: Episode, name: str) -> str:
    if name in DOCUMENTS:
        return flatten(getattr(episode, name) or {})
    if name in {"project_id", "agent_id"}:
        return _plain(getattr(episode.scope, name))
    value = getattr(episode, name)
    return ", ".join(map(_plain, value)) if name == "patterns" else str(value or "")


def _fields_of(line: str) -> list[str]:
    """
    Raises:
        ValueError: a brace has no partner, or there is more in it than a name.
    """
    parsed = list(Formatter().parse(line))
    if any(spec or conversion for _, _, spec, conversion in parsed):
        raise ValueError("a field is a name in braces and nothing else")
    return [name for _, name, _, _ in parsed if name is not None]


def _filled(line: str, values: Mapping[str, str]) -> str:
    """The line with its values; a line without fields stays as it is, one whose fields are all empty is left out."""
    names = _fields_of(line)
    if names and not any(values[name] for name in names):
        return ""
    return "".join(text + ("" if name is None else values[name]) for text, name, _, _ in Formatter().parse(line)).strip()


DEFAULT_RENDERING: Final = Rendering()
