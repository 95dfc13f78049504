"""Packing what an agent should know into a budget of tokens (pure).

Each section has its own share; what one leaves over goes to the others, in their order. A block is never split, so a
tool call stays with its result. The text never exceeds the budget.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from uuid import UUID

import orjson

from app.records import AssembledContext, Hit, KnowledgeKind, Message, RecordKind, Role, SectionAccount, SessionState
from app.tokens import estimate_tokens


@dataclass(frozen=True, slots=True)
class ContextShares:
    """The part of the budget each section may claim before leftovers are handed out; the parts sum to 1."""

    state: float = 0.10
    knowledge: float = 0.15
    episodes: float = 0.15
    recalled: float = 0.25
    recent: float = 0.35


@dataclass(frozen=True, slots=True)
class Block:
    """Something that is in the text whole or not at all. `ids` are the records it cites."""

    text: str
    ids: tuple[UUID, ...] = ()
    tokens: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", estimate_tokens(self.text))  # once: packing asks again and again


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks under a heading, most wanted first. `is_reversed`: they are printed the other way round (oldest first)."""

    name: str
    heading: str
    share: float
    blocks: tuple[Block, ...]
    is_reversed: bool = False
    taken: int = 0

    @property
    def spent_tokens(self) -> int:
        if not self.taken:
            return 0
        return estimate_tokens(self.heading) + sum(b.tokens for b in self.blocks[: self.taken])

    @property
    def included(self) -> tuple[Block, ...]:
        blocks = self.blocks[: self.taken]
        return blocks[::-1] if self.is_reversed else blocks

    @property
    def text(self) -> str:
        return "\n".join([self.heading, *(block.text for block in self.included)])


def pack(sections: Sequence[Section], budget_tokens: int, degraded: tuple[str, ...] = ()) -> AssembledContext:
    """Fill the sections within the budget, print them in the order given, and account for what was left out."""
    filled = _with_leftovers(_with_shares(sections, budget_tokens), budget_tokens)
    printed = [s for s in filled if s.taken]
    return AssembledContext(
        text="\n\n".join(s.text for s in printed),
        budget_tokens=budget_tokens,
        spent_tokens=sum(s.spent_tokens for s in printed),
        sections=tuple(_account(s, budget_tokens) for s in filled),
        citations=tuple(dict.fromkeys(i for s in printed for b in s.included for i in b.ids)),
        degraded=degraded,
    )


def state_section(state: SessionState | None, share: float) -> Section:
    lines: list[str] = []
    if state is not None:
        lines += [f"Goal: {state.goal}"] if state.goal else []
        lines += [f"{key}: {_plain(value)}" for key, value in state.active_context.items()]
        lines += [f"Thought: {thought}" for thought in reversed(state.thoughts)]
    return Section("state", "## Session", share, tuple(Block(line) for line in lines))


def recent_section(messages: Sequence[Message], share: float, shown: Collection[UUID] = ()) -> Section:
    """The newest exchange first; a tool's results form one block with the call before them.

    What the prompt holds already (`shown`) is left out, a call and its results only together.
    """
    turns = [turn for turn in _turns(messages) if not all(m.id in shown for m in turn)]
    blocks = [Block("\n".join(_line(m) for m in turn), tuple(m.id for m in turn)) for turn in turns]
    return Section("recent", "## Recent messages", share, tuple(reversed(blocks)), is_reversed=True)


def hit_section(name: str, heading: str, share: float, hits: Sequence[Hit]) -> Section:
    return Section(name, heading, share, tuple(Block(_citation(h), (h.id,)) for h in hits))


def split_hits(hits: Sequence[Hit], recent: Sequence[Message], shown: Collection[UUID] = ()) -> dict[RecordKind, list[Hit]]:
    """Hits by kind, in order, without the messages that are printed as recent anyway, and without those `shown` elsewhere."""
    printed = {m.id for m in recent}.union(shown)
    fresh = [h for h in hits if h.id not in printed]
    return {kind: [h for h in fresh if h.kind is kind] for kind in RecordKind}


def heuristics_first(hits: Sequence[Hit]) -> list[Hit]:
    """The hits with their heuristics in the first places of those that heuristics and patterns have; the others keep theirs.

    A heuristic was compared with what else was done; a pattern was seen, and who reads it first may take it for advice.
    """
    kinds = {KnowledgeKind.HEURISTIC, KnowledgeKind.PATTERN}
    learned = [h for h in hits if h.metadata.get("kind") in kinds]
    ordered = iter(sorted(learned, key=lambda h: h.metadata["kind"] != KnowledgeKind.HEURISTIC))
    return [next(ordered) if h.metadata.get("kind") in kinds else h for h in hits]


def _with_shares(sections: Sequence[Section], budget_tokens: int) -> list[Section]:
    """Filled from their own shares; shares that sum to more than 1 take from the last."""
    filled: list[Section] = []
    left = budget_tokens
    for section in sections:
        filled.append(_fill(section, min(left, int(section.share * budget_tokens))))
        left -= filled[-1].spent_tokens
    return filled


def _with_leftovers(sections: Sequence[Section], budget_tokens: int) -> list[Section]:
    """Filled further from what all of them left over, the first first."""
    filled: list[Section] = []
    left = budget_tokens - sum(section.spent_tokens for section in sections)
    for section in sections:
        filled.append(_fill(section, section.spent_tokens + left))
        left -= filled[-1].spent_tokens - section.spent_tokens
    return filled


def _fill(section: Section, budget_tokens: int) -> Section:
    """Take blocks from the front while they fit; stops at the first that does not, so that no gap is hidden."""
    taken = section.taken
    spent = section.spent_tokens or estimate_tokens(section.heading)
    while taken < len(section.blocks) and spent + section.blocks[taken].tokens <= budget_tokens:
        spent += section.blocks[taken].tokens
        taken += 1
    return replace(section, taken=taken)


def _account(section: Section, budget_tokens: int) -> SectionAccount:
    return SectionAccount(
        name=section.name,
        budget_tokens=int(section.share * budget_tokens),
        spent_tokens=section.spent_tokens,
        included=section.taken,
        dropped=len(section.blocks) - section.taken,
    )


def _turns(messages: Sequence[Message]) -> list[list[Message]]:
    turns: list[list[Message]] = []
    for is_tool, group in groupby(messages, key=lambda m: m.role is Role.TOOL):
        if is_tool and turns:
            turns[-1].extend(group)
        else:
            turns.extend([m] for m in group)
    return turns


def _line(message: Message) -> str:
    return f"{message.author}: {message.content}"


def _citation(hit: Hit) -> str:
    author = f"{hit.author}: " if hit.author else ""
    return f"- [{hit.created_at:%d %b %Y}] {author}{hit.text}"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
