"""A seeded talk with a memory, as its clients have it, and their own books of what they were promised.

Clients are ordinary ones: they send a call again, with the same ids, until it is answered, and now and then give up. What
they talk to is a `Memory`; that it may die, fail or hang between any two steps is not their concern.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Final, Protocol, TypeAlias
from uuid import UUID

from app.records import SessionKey, Wait

BEGIN: Final = datetime.fromisoformat("2024-05-06T08:00:00+00:00")
"""All that is said is dated after this, and less than a week after it."""
_GAPS: Final = (timedelta(seconds=5), timedelta(seconds=5), timedelta(minutes=2), timedelta(hours=2), timedelta(minutes=-3))


class Unanswered(Exception):
    """The call failed or its answer was lost: nobody knows what became of it."""


@dataclass(frozen=True, slots=True)
class Said:
    """A message and the word that is in no other one."""

    id: UUID
    word: str
    created_at: datetime

    @property
    def content(self) -> str:
        return f"{self.word} is the parcel that Ana is waiting for"


@dataclass(frozen=True, slots=True)
class Append:
    messages: tuple[Said, ...]
    wait: Wait


@dataclass(frozen=True, slots=True)
class End:
    """The session ends; what is said afterwards is said in it all the same."""


@dataclass(frozen=True, slots=True)
class Forget:
    """All that was said so far in the session."""


@dataclass(frozen=True, slots=True)
class Consolidate:
    """By hand, beside the jobs."""


Step: TypeAlias = Append | End | Forget | Consolidate


class Memory(Protocol):
    """What a talk needs of a memory. Every method raises `Unanswered` when the caller cannot know the outcome."""

    @property
    def keeps_order(self) -> bool:
        """Whether Redis is there all the time: else an append may pass by what is buffered, also one that was not answered."""
        ...

    async def append(self, session: SessionKey, step: Append) -> bool:
        """Whether the messages keep their place behind all that was acknowledged before: not so while Redis is away."""

    async def end(self, session: SessionKey) -> None: ...

    async def forget(self, session: SessionKey) -> None: ...

    async def consolidate(self, session: SessionKey) -> None: ...


def talks(random: Random, name: str) -> list[Talk]:
    """One to three sessions in one or two namespaces, with a few steps each; the same for the same generator."""
    namespaces = [f"{name}-{letter}" for letter in "ab"[: random.randint(1, 2)]]
    sessions = [SessionKey(random.choice(namespaces), f"s{number}") for number in range(random.randint(1, 3))]
    return [Talk(session, _script(random), Random(random.random())) for session in sessions]


def _script(random: Random) -> list[Step]:
    said: list[Said] = []
    at = BEGIN
    script: list[Step] = []
    for _ in range(random.randint(2, 6)):
        new = []
        for _ in range(random.choice([1, 1, 2, 5])):
            at = max(BEGIN, at + random.choice(_GAPS))
            new.append(Said(UUID(int=random.getrandbits(128), version=4), f"x{random.getrandbits(48):012x}", at))
        script += _turn(random, said, new)
        said = [] if isinstance(script[-1], Forget) else said + new
    return script


def _turn(random: Random, said: Sequence[Said], new: Sequence[Said]) -> list[Step]:
    """Something new, sometimes with something that was said before, and then perhaps another call."""
    repeated = random.sample(said, min(len(said), random.choice([0, 0, 0, 2])))
    wait = random.choice([Wait.NONE, Wait.NONE, Wait.NONE, Wait.STORED, Wait.INDEXED])
    choices: list[list[Step]] = [[], [End()], [Consolidate()], [Forget()]]
    (further,) = random.choices(choices, [12, 2, 2, 1])
    return [Append((*repeated, *new), wait), *further]


@dataclass(slots=True)
class Talk:
    """One client in one session: what it has yet to do, and what it knows.

    `acknowledged` are the messages promised, in the order of their promises. Of each of `doubtful`, batches that were never
    acknowledged, all messages are there or none. `forgotten` ones must never be seen again.
    """

    session: SessionKey
    script: list[Step]
    random: Random
    acknowledged: list[Said] = field(default_factory=list)
    doubtful: list[tuple[Said, ...]] = field(default_factory=list)
    forgotten: list[Said] = field(default_factory=list)
    is_order_known: bool = True

    @property
    def is_over(self) -> bool:
        return not self.script

    async def next(self, memory: Memory) -> None:
        """Take the next step. One that was not answered, for whatever reason, stays the next unless the client gives up.

        Raises:
            Unanswered: it was not answered, and the memory lives.
        """
        step = self._sendable(self.script[0])
        try:
            await self._take(step, memory)
        except BaseException:  # also a memory that dies
            self._reconsider(step, memory)
            raise
        del self.script[0]

    async def _take(self, step: Step, memory: Memory) -> None:
        match step:
            case Append():
                self.is_order_known &= await memory.append(self.session, step)
                self.acknowledged += self._new(step)
            case End():
                await memory.end(self.session)
            case Forget():
                await memory.forget(self.session)
                self._forget()
            case Consolidate():
                await memory.consolidate(self.session)

    def _reconsider(self, step: Step, memory: Memory) -> None:
        self.is_order_known &= memory.keeps_order or not isinstance(step, Append)
        # Whoever gives up an append leaves it in doubt for ever; a session that is to be forgotten has no room for doubt.
        if isinstance(step, Append) and not self._is_to_be_forgotten and self.random.random() < 0.25:
            del self.script[0]
            self.doubtful.append(self._new(step))

    def _sendable(self, step: Step) -> Step:
        """What was given up is not said again either: it would be promised after what came later."""
        if not isinstance(step, Append):
            return step
        given_up = {said for batch in self.doubtful for said in batch}
        return Append(tuple(said for said in step.messages if said not in given_up), step.wait)

    @property
    def _is_to_be_forgotten(self) -> bool:
        return any(isinstance(step, Forget) for step in self.script)

    def _new(self, step: Append) -> tuple[Said, ...]:
        return tuple(said for said in step.messages if said not in self.acknowledged)

    def _forget(self) -> None:
        self.forgotten += self.acknowledged
        self.acknowledged = []
        self.is_order_known = True


def expected_history(talk: Talk, seen: Sequence[UUID]) -> list[UUID]:
    """The history that keeps every promise and is otherwise like the one seen.

    Doubtful batches are in it, whole, if their first message was seen; where the order is known the acknowledged messages
    stand in it.
    """
    admitted = {m.id for m in talk.acknowledged} | {
        m.id for batch in talk.doubtful if batch and batch[0].id in seen for m in batch
    }
    places = [i for i in dict.fromkeys(seen) if i in admitted]
    places += [m.id for m in talk.acknowledged if m.id not in places]
    places += [m.id for batch in talk.doubtful for m in batch if m.id in admitted and m.id not in places]
    return in_order(talk, places) if talk.is_order_known else places


def in_order(talk: Talk, places: Sequence[UUID]) -> list[UUID]:
    """`places` with the acknowledged messages put into the order in which they were acknowledged."""
    promised = [m.id for m in talk.acknowledged]
    order = iter(promised)
    known = set(promised)
    return [next(order) if place in known else place for place in places]


def contents(talk: Talk) -> Mapping[UUID, str]:
    """What each message that may be there says."""
    batches = (talk.acknowledged, *talk.doubtful)
    return {said.id: said.content for batch in batches for said in batch}
