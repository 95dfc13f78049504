"""An episode as text: one text for one episode, whatever JSON it holds."""

from __future__ import annotations

from typing import Any

import pytest
from given import episode
from hypothesis import given
from hypothesis import strategies as st

from app.consolidation.rendering import DEFAULT_RENDERING, Rendering, flatten
from app.consolidation.representation import draft_episode
from app.errors import InvalidInput
from app.records import ControlMode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"velocity": 9, "back_log": 12}, "back log 12; velocity 9"),
        ({"team": {"size": 5, "lead": "Ana"}}, "team lead Ana; team size 5"),
        ({"do": ["a", 1, True, None]}, "do a, 1, true"),
        ({"a": [{"b": 1}, "x", {"b": 2}]}, "a b 1; a x; a b 2"),
        ({"a": None, "b": "", "c": [], "d": {}}, ""),
        ({"text": "two\n lines\t and  space"}, "text two lines and space"),
        ({"big": 2**70, "odd": "\ud800"}, f"big {2**70}; odd ?"),
        ("bare", "bare"),
        ([[1, 2], [3]], "1, 2; 3"),
    ],
)
def test_json_becomes_one_line(value: Any, line: str) -> None:
    """Names sorted, nested names one after the other, plain neighbours in a list together, nothing for what is empty."""
    assert flatten(value) == line


@given(document=st.dictionaries(st.text(max_size=8), JSON, max_size=5))
def test_the_same_episode_has_the_same_text(document: dict[str, Any]) -> None:
    """The order in which keys come does not matter, any JSON is rendered, and the text can be stored."""
    one, two = episode(perception=document), episode(perception=dict(reversed(document.items())))
    text = DEFAULT_RENDERING.text_of(one)
    assert text == DEFAULT_RENDERING.text_of(two)
    assert text.encode().decode() == text


def test_a_line_without_anything_to_say_is_left_out() -> None:
    """The default template: the summary, then the parts there are."""
    assert DEFAULT_RENDERING.text_of(episode(action={"do": "ship"})) == "Ana plans her move\naction: do ship"
    assert DEFAULT_RENDERING.text_of(episode(summary="")) == ""


def test_a_template_says_what_there_is() -> None:
    """Every field of an episode can be named, text around it stays, and so does a line without fields."""
    template = (
        "# {kind} of {agent_id} {agent_version} in {sprint_id}\nby {control_mode}{{!}}\n{patterns}\n{chronicle_note_id}\nend"
    )
    told = episode(agent_version="2", control_mode=ControlMode.RULE_BASED_ONLY, patterns=("a", "b"))
    assert Rendering(template).text_of(told) == "# conversation of bot 2 in\nby rule_based_only{!}\na, b\nend"


def test_what_is_too_long_is_cut_at_a_word() -> None:
    """A part is bounded, so that none pushes out those behind it; what has no spaces is cut where it must."""
    short = Rendering("{summary}\n{action}", part_characters=12)
    assert short.text_of(episode(summary="one two three four", action={"a": "x" * 30})) == "one two …\na …"
    assert short.text_of(episode(summary="x" * 30)) == f"{'x' * 12} …"


@pytest.mark.parametrize("template", ["", "no field", "{sumary}", "{perception.price}", "{summary!r}", "{summary:>9}", "{", "{}"])
def test_a_template_that_means_nothing_is_refused(template: str) -> None:
    """A field that there is not, more than a name in braces, or none at all."""
    with pytest.raises(InvalidInput, match="template: "):
        Rendering(template)


def test_another_rendering_makes_what_is_indexed_stale() -> None:
    """By the hash of a point reconcile knows whether it was made of this text by this rendering."""
    record, other = episode(), Rendering("{summary}")
    hashes = {draft_episode(record, rendering).point.content_sha256 for rendering in (DEFAULT_RENDERING, other)}
    assert DEFAULT_RENDERING.text_of(record) == other.text_of(record)
    assert len(hashes | {draft_episode(record).point.content_sha256}) == 2
    assert len({DEFAULT_RENDERING.version, other.version, Rendering(part_characters=9).version}) == 3
