"""Stages of recall: what each adds where it is asked for, and that none of them can spoil a search."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
from factories import EVERYWHERE, Tiers, append, consolidation_of, ingestion_of, recall_of, tiers
from given import NOW
from hypothesis import given
from hypothesis import strategies as st

from app.errors import EmbedderUnavailable, TierUnavailable
from app.ports import Reranker
from app.ranking import Ranking
from app.records import Draft, Hit, Query, Recollection, RecordKind, Role, Scope, Stage, Tier, Vector
from app.retrieval.attempt import Attempt
from app.retrieval.stages import Found, StagePolicy, Stages, lifted, spoken
from app.testing.faults import Fault, Hang, Trouble, away, troubled
from app.testing.stages import ScriptedRephraser, WordsReranker

MOMENT = timedelta(milliseconds=1)
SHORT = StagePolicy(expand=MOMENT, late_interaction=MOMENT, cross_encoder=MOMENT)
LATE, CROSS, EXPAND = Stage.LATE_INTERACTION, Stage.CROSS_ENCODER, Stage.EXPAND
KEYS = "the keys are with Rui"
CELLAR = "the key of the cellar is red"


def hit(text: str, score: float, **fields: object) -> Hit:
    """A message found by its meaning; its id follows from its text."""
    identity = UUID(int=sum(map(ord, text)))
    found = Hit(identity, RecordKind.MESSAGE, text, score, {"dense": score}, Tier.SEMANTIC, EVERYWHERE, NOW)
    return replace(found, **fields)  # type: ignore[arg-type]


async def talk() -> Tiers:
    """One message in the index, one in the buffer."""
    given_tiers = tiers()
    await append(given_tiers, KEYS)
    await consolidation_of(given_tiers).run()
    await append(given_tiers, CELLAR)
    return given_tiers


async def ask(given_tiers: Tiers, stages: Stages, *wanted: Stage, text: str = "keys", **fields: object) -> Recollection:
    query = Query(text, EVERYWHERE, kinds=(RecordKind.MESSAGE,), stages=wanted)
    return await recall_of(given_tiers, stages=stages).recall(replace(query, **fields))  # type: ignore[arg-type]


def answered(recollection: Recollection) -> list[tuple[str, float, Mapping[str, float]]]:
    return [(h.text, h.score, h.components) for h in recollection.hits]


async def test_no_stage_runs_unasked() -> None:
    """A plain search is what it was: no model is asked, nothing is named."""
    words = WordsReranker()
    plain = await ask(await talk(), Stages({LATE: words, CROSS: words}, ScriptedRephraser("cellar")))
    assert (words.calls, plain.degraded) == ([], ())
    assert not {LATE, CROSS, EXPAND} & {name for h in plain.hits for name in h.components}


@pytest.mark.parametrize("stage", [LATE, CROSS])
async def test_a_reranker_adds_a_term(stage: Stage) -> None:
    """Indexed and buffered hits alike: the old score plus weight · what the model says, as a component; sorted by it."""
    spoken_of = await talk()
    plain = {h.text: h.score for h in (await ask(spoken_of, Stages())).hits}
    reranked = await ask(
        spoken_of, Stages({stage: WordsReranker()}), stage, ranking=Ranking(late_interaction=2.0, cross_encoder=2.0)
    )
    assert [h.components.get(stage) for h in reranked.hits] == [2.0, 0.0]
    assert {h.text: h.score - h.components[stage] for h in reranked.hits} == pytest.approx(plain)
    assert [h.text for h in reranked.hits] == [KEYS, CELLAR]
    assert {h.tier for h in reranked.hits} == {Tier.SEMANTIC, Tier.WORKING}
    for h in reranked.hits:
        assert h.score == pytest.approx(sum(h.components.values()))


async def test_a_reranker_decides_the_order() -> None:
    """With weight enough, the order is the model's, also beyond what the search alone would have returned."""
    many = tiers()
    await append(many, *(f"the keys {'keys ' * n}" for n in range(5)), "lunch")
    await consolidation_of(many).run()
    stages = Stages({CROSS: Favourite("lunch")})
    found = await ask(many, stages, CROSS, text="keys", limit=1, ranking=Ranking(cross_encoder=10.0))
    assert [h.text for h in found.hits] == ["lunch"]


async def test_only_the_best_are_reranked() -> None:
    """As many as the policy's depth; the rest keeps its scores and its place behind."""
    many = tiers()
    await append(many, *(f"keys {n}" for n in range(5)))
    words = WordsReranker()
    found = await ask(many, Stages({LATE: words}, policy=StagePolicy(depth=2)), LATE)
    assert [len(texts) for _, texts in words.calls] == [2]
    assert [LATE in h.components for h in found.hits] == [True, True, False, False, False]


async def test_rerankers_read_what_helps_them() -> None:
    """Token vectors go without names, as the dense query does; a cross-encoder is told who speaks and who is asked about."""
    given_tiers = tiers()
    drafts = [Draft(Role.USER, "I painted the fence", name="Ana"), Draft(Role.ASSISTANT, "the fence looks good")]
    await ingestion_of(given_tiers).append(Scope(EVERYWHERE.namespace, session_id="s1"), drafts)
    await consolidation_of(given_tiers).run()
    late, cross = WordsReranker(), WordsReranker()
    await ask(given_tiers, Stages({LATE: late, CROSS: cross}), LATE, CROSS, text="When did Ana paint the fence?")
    assert [(q, sorted(texts)) for q, texts in late.calls] == [
        ("When did paint the fence?", ["I painted the fence", "the fence looks good"])
    ]
    assert [(q, sorted(texts)) for q, texts in cross.calls] == [
        ("When did Ana paint the fence?", ["Ana: I painted the fence", "the fence looks good"])
    ]


async def test_other_wordings_find_more() -> None:
    """What only another wording finds is in the answer, with the stage as its reason; scores are sums."""
    wordings = Stages(rephraser=ScriptedRephraser("cellar"))
    plain, expanded = [await ask(await talk(), wordings, *stages, mode="sparse", text="Rui") for stages in ((), (EXPAND,))]
    assert [h.text for h in plain.hits] == [KEYS]
    assert [(h.text, h.tier, EXPAND in h.components) for h in expanded.hits] == [
        (CELLAR, Tier.WORKING, True),
        (KEYS, Tier.SEMANTIC, False),
    ]
    assert expanded.degraded == ()


@pytest.mark.parametrize("stage", [LATE, CROSS, EXPAND])
async def test_a_stage_that_is_not_there_is_named(stage: Stage) -> None:
    """Asking for what this installation does not have costs nothing but the stage."""
    plain = await ask(await talk(), Stages())
    without = await ask(await talk(), Stages(), stage)
    assert [h.text for h in without.hits] == [h.text for h in plain.hits]
    assert without.degraded == (stage,)


@pytest.mark.parametrize("trouble", ["late", "away", "not loaded"])
@pytest.mark.parametrize("stage", [LATE, CROSS, EXPAND])
async def test_a_stage_in_trouble_is_left_out(stage: Stage, trouble: str) -> None:
    """Late or failing, it is named; hits and scores are those of the search without it."""
    spoken_of = await talk()
    troubles: dict[str, Trouble] = {
        "late": Hang("scores", "rephrase"),
        "away": Fault(TierUnavailable(stage, "switched off by a test")),
        "not loaded": Fault(EmbedderUnavailable("local", "switched off by a test")),
    }
    reranker = troubled(WordsReranker(), troubles[trouble])
    rephraser = troubled(ScriptedRephraser("cellar"), troubles[trouble])
    stages = Stages({LATE: reranker, CROSS: reranker}, rephraser, policy=SHORT)
    recollection = await ask(spoken_of, stages, stage)
    assert answered(recollection) == answered(await ask(spoken_of, stages))
    assert recollection.degraded == (stage,)


@pytest.mark.parametrize("stage", [LATE, CROSS, EXPAND])
async def test_a_stage_has_its_own_time(stage: Stage) -> None:
    """What a stage may take is counted from its own beginning, however late the search is."""

    async def found(attempt: Attempt, query: Query) -> Found:
        return Found([hit(KEYS, 1.0)], query.text)

    async def pause(call: str) -> None:
        await asyncio.sleep(0)

    reranker = troubled(WordsReranker(), pause)
    stages = Stages({LATE: reranker, CROSS: reranker}, troubled(ScriptedRephraser("cellar"), pause))
    attempt = Attempt(timedelta(0))
    hits = await stages.apply(attempt, Query("keys", EVERYWHERE, stages=(stage,)), found)
    assert [stage in h.components for h in hits] == [True]
    assert attempt.degraded == ()


async def test_one_stage_in_trouble_takes_no_other_with_it() -> None:
    """Each has its own deadline and its own failure."""
    stages = Stages({LATE: away(WordsReranker(), LATE), CROSS: WordsReranker()}, ScriptedRephraser("cellar"))
    recollection = await ask(await talk(), stages, LATE, CROSS, EXPAND)
    assert recollection.degraded == (LATE,)
    assert all(CROSS in h.components and EXPAND in h.components for h in recollection.hits)


async def test_a_search_that_failed_stays_failed() -> None:
    """When no tier answers, stages do not make an answer of it."""
    dark = replace(tiers(), semantic=away(tiers().semantic, "semantic"), episodic=away(tiers().episodic, "episodic"))
    with pytest.raises(TierUnavailable):
        await ask(dark, Stages({LATE: WordsReranker()}, ScriptedRephraser("cellar")), LATE, EXPAND)


async def test_wordings_that_were_not_answered_in_full_are_named() -> None:
    """Half an answer to another wording still lifts, and the answer says that something is missing."""

    async def half(attempt: Attempt, query: Query) -> Found:
        if query.text == "cellar":
            attempt.miss("semantic", "switched off by a test")
        return Found([hit(KEYS, 1.0)], query.text)

    attempt = Attempt(timedelta(seconds=5))
    hits = await Stages(rephraser=ScriptedRephraser("cellar")).apply(attempt, Query("keys", EVERYWHERE, stages=(EXPAND,)), half)
    assert [(h.text, h.score) for h in hits] == [(KEYS, 1.4)]
    assert attempt.degraded == (EXPAND,)


async def test_nothing_found_is_not_reranked() -> None:
    """No model is asked about no hits."""
    words = WordsReranker()
    assert (await ask(tiers(), Stages({LATE: words}), LATE)).hits == ()
    assert words.calls == []


def test_wordings_lift_by_place() -> None:
    """A mean of 1, 6/7, 6/8 … by place, times the weight; the unknown begins where the last of the question's own stands."""
    own = [hit("a", 2.0), hit("b", 1.0)]
    found = lifted(own, [[hit("b", 9.0), hit("c", 8.0)], [hit("b", 7.0)]], 0.4)
    assert [(h.text, h.score, dict(h.components)) for h in found] == [
        ("a", 2.0, {"dense": 2.0}),
        ("b", pytest.approx(1.4), {"dense": 1.0, "expand": pytest.approx(0.4)}),
        ("c", pytest.approx(1.0 + 0.2 * 6 / 7), {"expand": pytest.approx(1.0 + 0.2 * 6 / 7)}),
    ]
    assert lifted(own, [], 0.4) == tuple(own)


scores = st.lists(st.floats(-2, 5), max_size=8)


@given(scores, st.lists(scores, max_size=3), st.floats(0, 10))
def test_a_lift_is_bounded(own: Sequence[float], others: Sequence[Sequence[float]], weight: float) -> None:
    """Whatever the wordings find, no hit loses, none gains more than the weight, and scores are sums of components."""
    hits = sorted((hit("x" * n, score) for n, score in enumerate(own, 1)), key=lambda h: -h.score)
    before = {h.id: h.score for h in hits}
    floor = min(before.values(), default=0.0)
    reworded = [[hit("x" * n, score) for n, score in enumerate(other, 3)] for other in others]
    for found in lifted(hits, reworded, weight):
        start = before.get(found.id, floor)
        assert start <= found.score <= start + weight + 1e-9
        assert found.score == pytest.approx(sum(found.components.values()))


def test_a_role_is_no_name() -> None:
    """`user: …` says nothing about who speaks."""
    texts = [spoken(hit("hi", 1.0, author=author)) for author in ("Ana", "user", "assistant", None)]
    assert texts == ["Ana: hi", "hi", "hi", "hi"]


class Favourite:
    """Implements `Reranker`: 1 for one text, 0 for all others."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def scores(self, question: str, texts: Sequence[str]) -> Vector:  # noqa: ARG002 -- the port has it
        return np.array([float(text == self._text) for text in texts], dtype=np.float32)


_: type[Reranker] = Favourite
