"""Packing context into a budget of tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.records import Hit, Json, Message, RecordKind, Role, Scope, SectionAccount, SessionState, Tier
from app.retrieval.context import Block, Section, heuristics_first, hit_section, pack, recent_section, split_hits, state_section
from app.tokens import estimate_tokens

AT = datetime(2026, 3, 1, tzinfo=UTC)


def said(number: int, content: str, role: Role = Role.USER) -> Message:
    return Message(UUID(int=number), Scope(session_id="s"), role, content, AT, sequence=number)


def hit(number: int, text: str, kind: RecordKind = RecordKind.MESSAGE, metadata: Json | None = None) -> Hit:
    return Hit(UUID(int=number), kind, text, 1.0, {"dense": 1.0}, Tier.SEMANTIC, Scope(), AT, metadata or {}, author="Ana")


def test_sections_are_printed_in_order_with_citations() -> None:
    """What fits is printed under its heading, recent messages oldest first, and every record printed is cited."""
    sections = [
        state_section(SessionState(goal="move house", active_context={"city": "Porto"}), 0.3),
        hit_section("recalled", "## Recalled messages", 0.3, [hit(7, "The keys are with Rui.")]),
        recent_section([said(1, "Hi"), said(2, "Hello", Role.ASSISTANT)], 0.4),
    ]
    context = pack(sections, 200)
    assert context.text == (
        "## Session\nGoal: move house\ncity: Porto\n\n"
        "## Recalled messages\n- [01 Mar 2026] Ana: The keys are with Rui.\n\n"
        "## Recent messages\nuser: Hi\nassistant: Hello"
    )
    assert context.citations == (UUID(int=7), UUID(int=1), UUID(int=2))
    assert context.spent_tokens == estimate_tokens(context.text)


def test_what_does_not_fit_is_accounted_for() -> None:
    """Each section says what it might spend, what it spent, and how many blocks it had to leave out."""
    blocks = tuple(Block("one two three") for _ in range(4))
    context = pack([Section("notes", "# N", 1.0, blocks)], 9)
    assert context.sections == (SectionAccount("notes", budget_tokens=9, spent_tokens=8, included=2, dropped=2),)


def test_leftovers_go_to_the_other_sections() -> None:
    """A section with nothing to say leaves its share to those that have more."""
    blocks = tuple(Block("word") for _ in range(10))
    context = pack([Section("empty", "# E", 0.9, ()), Section("full", "F", 0.1, blocks)], 11)
    assert [s.included for s in context.sections] == [0, 10]


def test_a_tool_result_stays_with_its_call() -> None:
    """When a tool's result does not fit together with the call before it, both are left out."""
    messages = [said(1, "call", Role.ASSISTANT), said(2, "result " * 30, Role.TOOL), said(3, "thanks")]
    context = pack([recent_section(messages, 1.0)], 20)
    assert context.text == "## Recent messages\nuser: thanks"
    assert context.sections[0].dropped == 1


def test_recent_messages_are_not_recalled_twice() -> None:
    """A hit that is printed among the recent messages is not printed as recalled."""
    by_kind = split_hits([hit(1, "Hi"), hit(9, "Fact", RecordKind.KNOWLEDGE)], [said(1, "Hi")])
    assert [h.id.int for h in by_kind[RecordKind.MESSAGE]] == []
    assert [h.id.int for h in by_kind[RecordKind.KNOWLEDGE]] == [9]


def test_heuristics_take_the_places_before_patterns() -> None:
    """Among themselves, both stay in the order they were found in; whatever is neither stays where it is."""
    kinds = ["pattern", "fact", "pattern", "heuristic", "strategy", "heuristic"]
    found = [hit(n, "x", RecordKind.KNOWLEDGE, {"kind": kind}) for n, kind in enumerate(kinds)]
    assert [h.id.int for h in heuristics_first([*found, hit(9, "x")])] == [3, 1, 5, 0, 4, 2, 9]


def test_what_the_prompt_shows_already_is_left_out() -> None:
    """Messages and hits that are shown are not printed again; of a call and its results only both together are left out."""
    messages = [said(1, "Hi"), said(2, "call", Role.ASSISTANT), said(3, "result", Role.TOOL), said(4, "thanks")]
    shown = {UUID(int=1), UUID(int=2)}
    recent = pack([recent_section(messages, 1.0, shown)], 100)
    assert recent.text == "## Recent messages\nassistant: call\ntool: result\nuser: thanks"
    assert [h.id.int for h in split_hits([hit(1, "Hi"), hit(9, "Ho")], (), shown)[RecordKind.MESSAGE]] == [9]


words = st.text(alphabet=st.sampled_from("ab \n.,é漢"), max_size=60)
sections_of_words = st.lists(
    st.builds(
        lambda name, share, texts, flip: Section(name, f"## {name}", share, tuple(Block(t) for t in texts), flip),
        st.sampled_from(["a", "b", "c"]), st.floats(0, 1), st.lists(words, max_size=8), st.booleans(),
    ),
    max_size=5,
)  # fmt: skip


@given(sections_of_words, st.integers(1, 300))
def test_the_budget_is_never_exceeded(sections: list[Section], budget_tokens: int) -> None:
    """Whatever is packed, the text's tokens stay within the budget and equal what is reported as spent."""
    context = pack(sections, budget_tokens)
    assert estimate_tokens(context.text) == context.spent_tokens <= budget_tokens
