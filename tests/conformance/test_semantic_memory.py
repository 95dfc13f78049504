"""The exam of tier 3: the embedded engine, the server's client and the twin sit it alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any, Final, TypeAlias
from uuid import UUID

import numpy as np
import pytest
import pytest_asyncio
from given import NOW, SCOPE
from qdrant_client import AsyncQdrantClient
from volatile import volatile_directory

from app.errors import DimensionMismatch, InvalidInput
from app.ports import IndexedPoint, IndexQuery, SemanticMemory
from app.ranking import Cues, Fusion, Ranking
from app.records import (
    Candidate,
    FilterTerm,
    Hit,
    Mode,
    Point,
    Range,
    RecordKind,
    Scope,
    Space,
    Standing,
    Tier,
    Vector,
    derived_uuid,
    sha256_hex,
)
from app.semantic.bm25 import Bm25Encoder
from app.semantic.edge import EdgeRepository
from app.semantic.qdrant import QdrantRepository
from app.testing.semantic import InMemorySemanticMemory

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
]

SPACE: Final = Space("Exam/Model", 4)
OTHER_SPACE: Final = Space("other", 2)
ALL_KINDS: Final = tuple(RecordKind)
PLAIN: Final = Ranking(author=0.0, date=0.0, session=0.0, assistant=0.0)
ONLY_CONTENT: Final = replace(PLAIN, bm25=0.3)
Engines: TypeAlias = dict[str, SemanticMemory]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engines() -> AsyncIterator[Engines]:
    """One of each for the whole exam; see `memory`."""
    encoder = Bm25Encoder()
    with volatile_directory() as directory:
        edge = await EdgeRepository.open(directory, encoder=encoder)
        qdrant = QdrantRepository(AsyncQdrantClient(":memory:"), encoder=encoder)
        yield {"edge": edge, "qdrant": qdrant, "twin": InMemorySemanticMemory(encoder)}
        await edge.close()
        await qdrant.close()


@pytest_asyncio.fixture(params=["edge", "qdrant", "twin"], loop_scope="module")
async def memory(request: pytest.FixtureRequest, engines: Engines) -> SemanticMemory:
    """A tier 3 with no point in it; spaces that earlier tests made are still there."""
    await clear(engines[request.param])
    return engines[request.param]


async def clear(memory: SemanticMemory) -> None:
    for space in await memory.spaces():
        await memory.delete([p.uid for p in await memory.scroll(space)])


def point(text: str = "the cat sat", **fields: Any) -> Point:
    """A message of Ana's, identified by its text unless told otherwise."""
    identity = derived_uuid("point", fields.get("name", text))
    defaults: dict[str, Any] = {
        "id": identity,
        "record_id": identity,
        "kind": RecordKind.MESSAGE,
        "scope": SCOPE,
        "sparse_text": text,
        "dense": vector(1),
        "created_at": NOW,
        "content_sha256": sha256_hex(text),
        "role": "user",
        "author": "Ana",
        "sequence": 1,
    }
    return Point(text=text, **(defaults | {k: v for k, v in fields.items() if k != "name"}))


def vector(*values: float) -> Vector:
    """A vector of the exam's space, filled up with zeros."""
    return np.array([*values, *[0.0] * (SPACE.dimension - len(values))], dtype=np.float32)


def query(text: str | None = None, **fields: Any) -> IndexQuery:
    defaults: dict[str, Any] = {"scope": Scope("acme"), "dense": vector(1), "limit": 10, "kinds": ALL_KINDS, "ranking": PLAIN}
    return IndexQuery(sparse_text=text, **(defaults | fields))


def texts(found: Sequence[Candidate]) -> list[str]:
    return [candidate.hit.text for candidate in found]


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_hit_carries_the_whole_record(memory: SemanticMemory) -> None:
    """What comes back is what was written, to the last field, so that recall works with Postgres away."""
    record_id = UUID(int=7)
    metadata = {"channel": "email", "big": 2**80, "nested": {"list": [1, None, 0.5]}, "is_read": True}
    written = point("Ana moves to Porto", record_id=record_id, created_at=NOW + timedelta(microseconds=1), metadata=metadata)
    await memory.upsert(SPACE, [written])
    found = await memory.search(SPACE, query())
    hit = Hit(
        id=record_id,
        kind=RecordKind.MESSAGE,
        text="Ana moves to Porto",
        score=1.0,
        components={"dense": 1.0, "bm25": 0.0},
        tier=Tier.SEMANTIC,
        scope=SCOPE,
        created_at=NOW + timedelta(microseconds=1),
        metadata=metadata,
        role="user",
        author="Ana",
        sequence=1,
    )
    assert found == (Candidate(hit, written.id, dense=1.0, bm25=0.0, fused=1.0),)


async def test_a_record_may_lack_what_is_optional(memory: SemanticMemory) -> None:
    """An episode has no role, author or sequence, and a scope may be nothing but a namespace."""
    bare = point(kind=RecordKind.EPISODE, scope=Scope("acme"), role=None, author=None, sequence=None)
    await memory.upsert(SPACE, [bare])
    (found,) = await memory.search(SPACE, query())
    assert (found.hit.kind, found.hit.scope, found.hit.role, found.hit.author, found.hit.sequence, found.hit.metadata) == (
        RecordKind.EPISODE, Scope("acme"), None, None, None, {},
    )  # fmt: skip


async def test_an_upsert_can_be_repeated(memory: SemanticMemory) -> None:
    """The same point written twice is there once."""
    for _ in range(2):
        await memory.upsert(SPACE, [point()])
    assert await memory.count() == 1


async def test_an_upsert_replaces_what_was_there(memory: SemanticMemory) -> None:
    """After a point was written anew, its old text, words and fields are no longer found."""
    await memory.upsert(SPACE, [point("the cat sat", name="one", author="Ana")])
    await memory.upsert(SPACE, [point("a dog barked", name="one", author="Ben")])
    by_words = await memory.search(SPACE, query("cat", mode=Mode.SPARSE))
    by_author = await memory.search(SPACE, query(filter=(FilterTerm("author", ("Ana",)),)))
    assert (by_words, by_author, texts(await memory.search(SPACE, query()))) == ((), (), ["a dog barked"])


async def test_the_last_of_one_id_counts(memory: SemanticMemory) -> None:
    """A batch that brings one id twice leaves its last point."""
    await memory.upsert(SPACE, [point("first", name="one"), point("second", name="one")])
    assert texts(await memory.search(SPACE, query())) == ["second"]


async def test_nothing_to_write_makes_no_space(memory: SemanticMemory) -> None:
    """An empty upsert leaves no collection behind."""
    await memory.upsert(Space("never", 4), [])
    assert Space("never", 4) not in await memory.spaces()


async def test_a_vector_of_another_size_is_refused(memory: SemanticMemory) -> None:
    """One wrong vector fails the whole upsert, and says both sizes."""
    with pytest.raises(DimensionMismatch) as caught:
        await memory.upsert(SPACE, [point("fits"), point("does not", dense=np.ones(3, dtype=np.float32))])
    assert (caught.value.expected, caught.value.got, await memory.count()) == (4, 3, 0)


async def test_a_query_of_another_size_is_refused(memory: SemanticMemory) -> None:
    """A query embedded by another model is an error, not an empty answer."""
    with pytest.raises(DimensionMismatch):
        await memory.search(SPACE, query(dense=np.ones(5, dtype=np.float32)))


async def test_points_are_looked_for_by_id(memory: SemanticMemory) -> None:
    """As often as they are there, over all spaces; ids of nobody count for nothing."""
    one, other = point("one"), point("other")
    await memory.upsert(SPACE, [one, other])
    await memory.upsert(OTHER_SPACE, [replace(one, dense=np.ones(2, dtype=np.float32))])
    assert await memory.present([one.id, UUID(int=1)]) == 2
    assert (await memory.present([other.id]), await memory.present([])) == (1, 0)


async def test_deleted_points_are_gone_from_every_space(memory: SemanticMemory) -> None:
    """Deleting names no space, and an absent id is no error."""
    gone, kept = point("gone"), point("kept")
    await memory.upsert(SPACE, [gone, kept])
    await memory.upsert(OTHER_SPACE, [replace(gone, dense=np.ones(2, dtype=np.float32))])
    await memory.delete([gone.id, UUID(int=1)])
    await memory.delete([])
    assert (texts(await memory.search(SPACE, query())), await memory.count(OTHER_SPACE)) == (["kept"], 0)


@pytest.mark.parametrize(
    ("scope", "left"),
    [
        (Scope("acme"), {"elsewhere"}),
        (Scope("acme", session_id="s2"), {"s1", "elsewhere"}),
        (Scope("acme", user_id="ana", session_id="s2"), {"s1", "elsewhere"}),
        (Scope("acme", user_id="ben", session_id="s2"), {"s1", "s2", "elsewhere"}),
        (Scope("nobody"), {"s1", "s2", "elsewhere"}),
    ],
)
async def test_forgetting_removes_what_the_scope_admits(memory: SemanticMemory, scope: Scope, left: set[str]) -> None:
    """All that the scope admits goes, from every space, and nothing else."""
    second = replace(SCOPE, session_id="s2")
    points = [point("s1"), point("s2", scope=second), point("elsewhere", scope=replace(second, namespace="globex"))]
    for space in (SPACE, OTHER_SPACE):
        await memory.upsert(space, [replace(p, dense=np.ones(space.dimension, dtype=np.float32)) for p in points])
    await memory.forget(scope)
    hashes = {sha256_hex(text) for text in left}
    assert [{p.content_sha256 for p in await memory.scroll(s)} for s in (SPACE, OTHER_SPACE)] == [hashes, hashes]


# ── who sees what ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", Mode)
async def test_another_namespace_is_never_seen(memory: SemanticMemory, mode: Mode) -> None:
    """However alike a record is, its neighbour's search comes back empty rather than wide."""
    await memory.upsert(SPACE, [point("the cat sat", scope=Scope("globex"))])
    assert await memory.search(SPACE, query("cat", mode=mode)) == ()


@pytest.mark.parametrize("field", ["user_id", "agent_id", "session_id", "project_id"])
async def test_a_scope_narrows(memory: SemanticMemory, field: str) -> None:
    """Each field that is named must be equal; a record without it is not seen."""
    others: list[dict[str, Any]] = [{field: value} for value in ("mine", "other", None)]
    mine, other, none = (replace(SCOPE, **fields) for fields in others)
    await memory.upsert(SPACE, [point("mine", scope=mine), point("other", scope=other), point("none", scope=none)])
    found = await memory.search(SPACE, query(scope=Scope("acme", **{field: "mine"})))
    assert texts(found) == ["mine"]


@pytest.mark.parametrize("kinds", [(), (RecordKind.EPISODE,), (RecordKind.EPISODE, RecordKind.KNOWLEDGE), ALL_KINDS])
async def test_only_the_kinds_asked_for_are_found(memory: SemanticMemory, kinds: tuple[RecordKind, ...]) -> None:
    """No kinds, no hits."""
    await memory.upsert(SPACE, [point(kind.value, kind=kind) for kind in RecordKind])
    found = await memory.search(SPACE, query("message episode knowledge", kinds=kinds))
    assert sorted(texts(found)) == sorted(kinds)


@pytest.mark.parametrize(
    ("field", "values", "expected"),
    [
        ("metadata.n", (1,), {"1", "1.0"}),
        ("metadata.n", (1.0,), {"1", "1.0"}),
        ("metadata.n", (True,), {"true"}),
        ("metadata.n", (False,), {"false"}),
        ("metadata.n", (0,), {"0"}),
        ("metadata.n", ("1",), {'"1"'}),
        ("metadata.n", (0.5, "1", False), {"0.5", '"1"', "false"}),
        ("metadata.n", (2**70,), {str(2**70)}),
        ("metadata.n", (2,), set()),
        ("metadata.n", (), set()),
        ("metadata.absent", (1,), set()),
        ("author", ("Ben", "Cem"), {'"1"', "true"}),
        ("author", (1,), set()),
        ("role", ("assistant",), {"true"}),
        ("kind", ("message",), {"1", "1.0", "true", "false", "0", '"1"', "0.5", str(2**70), "[1]", "null"}),
        ("session_id", ("s1",), {"1", "1.0", "true", "false", "0", '"1"', "0.5", str(2**70), "[1]", "null"}),
        ("project_id", ("other",), set()),
    ],
)
async def test_filters_compare_as_json_does(
    memory: SemanticMemory, field: str, values: tuple[Any, ...], expected: set[str]
) -> None:
    """1 is 1.0, but neither "1" nor true; a list is not its element; a missing field never matches."""
    numbers = {
        "1": 1, "1.0": 1.0, "true": True, "false": False, "0": 0, '"1"': "1", "0.5": 0.5, str(2**70): 2**70,
        "[1]": [1], "null": None,
    }  # fmt: skip
    special: dict[str, dict[str, str]] = {'"1"': {"author": "Ben"}, "true": {"author": "Cem", "role": "assistant"}}
    await memory.upsert(SPACE, [point(name, metadata={"n": n}, **special.get(name, {})) for name, n in numbers.items()])
    found = await memory.search(SPACE, query(filter=(FilterTerm(field, values),)))
    assert set(texts(found)) == expected


@pytest.mark.parametrize("key", ["a.b", 'quo"te', "brackets[0]", "white space", "ünïcödé", "k" * 300])
async def test_any_metadata_key_can_be_filtered_by(memory: SemanticMemory, key: str) -> None:
    """A key is a name and not a path, whatever characters it is made of."""
    await memory.upsert(SPACE, [point("yes", metadata={key: "x"}), point("no", metadata={key: "y", "a": {"b": "x"}})])
    assert texts(await memory.search(SPACE, query(filter=(FilterTerm(f"metadata.{key}", ("x",)),)))) == ["yes"]


async def test_all_filters_must_hold(memory: SemanticMemory) -> None:
    """Several terms narrow together, on every leg."""
    await memory.upsert(
        SPACE, [point("cat one", metadata={"n": 1}), point("cat two", metadata={"n": 2}), point("cat", author="Ben")]
    )
    terms = (FilterTerm("author", ("Ana",)), FilterTerm("metadata.n", (2, 3)))
    assert texts(await memory.search(SPACE, query("cat", filter=terms))) == ["cat two"]


async def test_a_field_that_cannot_be_filtered_by_is_refused(memory: SemanticMemory) -> None:
    """A misspelt field is an error: ignoring it would widen the search."""
    with pytest.raises(InvalidInput):
        await memory.search(SPACE, query(filter=(FilterTerm("sesion_id", ("s1",)),)))


async def test_times_are_inclusive(memory: SemanticMemory) -> None:
    """`since` and `until` admit the very microsecond they name, in whatever time zone they are given."""
    step = timedelta(microseconds=1)
    await memory.upsert(SPACE, [point(str(i), created_at=NOW + i * step) for i in range(5)])
    east = timezone(timedelta(hours=9))
    found = await memory.search(SPACE, query(since=(NOW + step).astimezone(east), until=NOW + 3 * step))
    assert texts(found) == ["3", "2", "1"]


async def test_one_bound_may_be_open(memory: SemanticMemory) -> None:
    """Without `until` there is no end, without `since` no beginning."""
    await memory.upsert(SPACE, [point("old", created_at=NOW - timedelta(days=1)), point("new", created_at=NOW)])
    since, until = await memory.search(SPACE, query(since=NOW)), await memory.search(SPACE, query(until=NOW - timedelta(hours=1)))
    assert (texts(since), texts(until)) == (["new"], ["old"])


# ── ranking ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def zoo(memory: SemanticMemory) -> None:
    """`words` has the query's words, `meaning` its direction, `both` half of each, `neither` nothing."""
    await memory.upsert(
        SPACE,
        [
            point("zebra giraffe", name="words", dense=vector(0, 1), record_id=UUID(int=1)),
            point("a quiet evening", name="meaning", dense=vector(1), record_id=UUID(int=2)),
            point("zebra stripes at noon", name="both", dense=vector(0.8, 0.6), record_id=UUID(int=3)),
            point("something else", name="neither", dense=vector(0, 0, 1), record_id=UUID(int=4)),
        ],
    )


@pytest.mark.parametrize(
    ("mode", "ranking"),
    [
        (Mode.HYBRID, [3, 2, 1, 4]),
        (Mode.EXACT, [3, 2, 1, 4]),
        (Mode.DENSE, [2, 3]),
        (Mode.SPARSE, [1, 3]),
    ],
)
async def test_the_mode_decides_what_counts(memory: SemanticMemory, mode: Mode, ranking: list[int]) -> None:
    """Both legs, the vector alone, or the words alone; by words alone, only what has one of them is found."""
    await zoo(memory)
    found = await memory.search(SPACE, query("zebra giraffe", mode=mode, ranking=ONLY_CONTENT))
    assert [c.hit.id.int for c in found][: len(ranking)] == ranking


async def test_a_missing_leg_is_done_without(memory: SemanticMemory) -> None:
    """With no vector only the words count, with no words only the vector, whatever the mode; with neither nothing does."""
    await zoo(memory)
    words = await memory.search(SPACE, query("zebra giraffe", dense=None, mode=Mode.DENSE))
    meaning = await memory.search(SPACE, query(None, mode=Mode.SPARSE))
    neither = await memory.search(SPACE, query(None, dense=None))
    assert ([c.hit.id.int for c in words], [c.hit.id.int for c in meaning][:2], neither) == ([1, 3], [2, 3], ())


async def test_words_that_mean_nothing_find_nothing(memory: SemanticMemory) -> None:
    """A query of words that no record has is an empty answer by words, and ranks by meaning alone in a hybrid."""
    await zoo(memory)
    by_words = await memory.search(SPACE, query("xylophone", mode=Mode.SPARSE))
    hybrid = await memory.search(SPACE, query("xylophone"))
    assert (by_words, [c.hit.id.int for c in hybrid][:2], {c.bm25 for c in hybrid}) == ((), [2, 3], {0.0})


@pytest.mark.parametrize("prefetch", [1, 200])
async def test_both_halves_of_a_score_are_exact(memory: SemanticMemory, prefetch: int) -> None:
    """A point that one leg alone had found is ranked with its true score of the other, however little the legs bring."""
    await zoo(memory)
    ranking = replace(ONLY_CONTENT, prefetch=prefetch)
    everything = {c.point_id: (c.dense, c.bm25) for c in await memory.search(SPACE, query("zebra giraffe", ranking=ranking))}
    found = await memory.search(SPACE, query("zebra giraffe", ranking=ranking, limit=2))
    assert [c.hit.id.int for c in found] == [3, 2]
    for c in found:
        assert (c.dense, c.bm25) == pytest.approx(everything[c.point_id])


@pytest.mark.parametrize("mode", Mode)
async def test_components_add_up(memory: SemanticMemory, mode: Mode) -> None:
    """`fused` is dense + weight · bm25, the hit's score is `fused`, and its components are the two terms."""
    await zoo(memory)
    for c in await memory.search(SPACE, query("zebra giraffe", mode=mode, ranking=ONLY_CONTENT)):
        assert c.hit.components == {"dense": c.dense, "bm25": 0.3 * c.bm25}
        assert c.hit.score == c.fused == c.dense + 0.3 * c.bm25


async def test_cues_of_the_question_lift_what_they_fit(memory: SemanticMemory) -> None:
    """Who said it, when, and in which company: every term is a component, and all engines agree on each."""
    elsewhere = replace(SCOPE, session_id="s2")
    await memory.upsert(
        SPACE,
        [
            point("by Ana", dense=vector(0.5)),
            point("by Ben", dense=vector(0.5), author="Ben", created_at=NOW + timedelta(days=30)),
            point("at length", dense=vector(0.5), author="assistant", is_long=True, scope=elsewhere),
            point("near", dense=vector(1.0), scope=elsewhere, author="Cleo"),
        ],
    )
    ranking = Ranking(author=0.5, date=0.25, session=0.5, assistant=0.125, recency=1.0, half_life_days=30.0)
    day = int(f"{NOW:%Y%m%d}")
    cues = Cues("Ana", ((day, day),), now=(NOW + timedelta(days=30)).timestamp())
    found = await memory.search(SPACE, query(ranking=ranking, cues=cues))
    assert {c.hit.text: dict(c.hit.components) for c in found} == {
        "by Ana": {"dense": 0.5, "bm25": 0.0, "author": 0.5, "date": 0.25, "recency": 0.5, "session": 0.25},
        "near": {"dense": 1.0, "bm25": 0.0, "date": 0.25, "recency": 0.5, "session": 0.5},
        "by Ben": {"dense": 0.5, "bm25": 0.0, "recency": 1.0, "session": 0.25},
        "at length": {"dense": 0.5, "bm25": 0.0, "date": 0.25, "assistant": -0.125, "recency": 0.5, "session": 0.5},
    }
    assert [(c.hit.text, c.fused) for c in found] == [("near", 2.25), ("by Ana", 2.0), ("by Ben", 1.75), ("at length", 1.625)]


async def test_ranks_are_fused_on_request(memory: SemanticMemory) -> None:
    """Reciprocal ranks of the two legs instead of their scores."""
    await zoo(memory)
    found = await memory.search(SPACE, query("zebra giraffe", ranking=replace(PLAIN, fusion=Fusion.RRF, rrf_k=1)))
    assert [c.hit.id.int for c in found][:3] == [1, 3, 2]
    for candidate in found:
        assert candidate.fused == pytest.approx(sum(candidate.hit.components.values()))


async def test_words_of_the_context_count_for_less(memory: SemanticMemory) -> None:
    """A point is found by the words before it too, below one that says them itself."""
    await memory.upsert(
        SPACE, [point("so it is", sparse_context=("zebra zebra", 0.5)), point("zebra"), point("nothing of the kind")]
    )
    found = await memory.search(SPACE, query("zebra", dense=None))
    assert texts(found) == ["zebra", "so it is"]


async def test_longer_vectors_count_for_more(memory: SemanticMemory) -> None:
    """The dense score is the dot product: the sum of two unit vectors may score above 1."""
    await memory.upsert(SPACE, [point("single", dense=vector(1)), point("sum", dense=vector(1.5, 0.5))])
    found = await memory.search(SPACE, query())
    assert [(c.hit.text, c.dense) for c in found] == [("sum", 1.5), ("single", 1.0)]


async def test_ties_go_to_the_newest(memory: SemanticMemory) -> None:
    """Among equals the newest comes first, also where the limit cuts through them."""
    hours = [3, 1, 4, 0, 2]
    await memory.upsert(SPACE, [point("yes", name=str(h), created_at=NOW + timedelta(hours=h)) for h in hours])
    found = await memory.search(SPACE, query("yes", limit=3))
    assert [c.hit.created_at - NOW for c in found] == [timedelta(hours=h) for h in (4, 3, 2)]


async def test_the_limit_is_kept(memory: SemanticMemory) -> None:
    """The best come first and no more than were asked for."""
    await memory.upsert(SPACE, [point(f"number {i}", dense=vector(i / 100)) for i in range(60)])
    found = await memory.search(SPACE, query("number", limit=5))
    assert texts(found) == [f"number {i}" for i in (59, 58, 57, 56, 55)]


async def test_rarity_is_measured_in_the_own_namespace(memory: SemanticMemory) -> None:
    """What other tenants write changes nobody's scores."""
    await zoo(memory)
    before = await memory.search(SPACE, query("zebra giraffe"))
    await memory.upsert(SPACE, [point("zebra", name=str(i), scope=Scope("globex")) for i in range(20)])
    assert await memory.search(SPACE, query("zebra giraffe")) == before


async def test_questions_asked_at_once_get_their_own_answers(memory: SemanticMemory) -> None:
    """Concurrent searches may share a trip to the engine, never an answer."""
    await memory.upsert(SPACE, [point(f"number{i}", dense=vector(0, 1)) for i in range(60)])
    found = await asyncio.gather(*(memory.search(SPACE, query(f"number{i}", limit=1)) for i in range(60)))
    assert [texts(answer) for answer in found] == [[f"number{i}"] for i in range(60)]


async def test_engines_rank_alike(engines: Engines) -> None:
    """On the same corpus every engine gives the same order and, within rounding, the same scores."""
    rng = np.random.default_rng(11)
    words = ["boat", "river", "stone", "lamp", "garden", "winter", "bread", "letter", "music", "mirror", "window", "silver"]
    rows = rng.standard_normal((80, 4)).astype(np.float32)
    corpus = [
        point(" ".join(rng.choice(words, 6)), name=str(i), dense=row / np.linalg.norm(row), created_at=NOW + timedelta(hours=i))
        for i, row in enumerate(rows)
    ]
    asked = query("silver mirror by the river", dense=vector(0.6, 0.8), limit=20)
    answers = []
    for engine in engines.values():
        await clear(engine)
        await engine.upsert(SPACE, corpus)
        answers.append([(c.point_id, c.dense, c.bm25, c.fused) for c in await engine.search(SPACE, asked)])
    reference = answers[-1]
    for answer in answers:
        assert [a[0] for a in answer] == [r[0] for r in reference]
        assert [a[1:] for a in answer] == [pytest.approx(r[1:], abs=1e-5) for r in reference]


# ── spaces ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_spaces_are_kept_apart(memory: SemanticMemory) -> None:
    """A point written to one space is not found in another, and each space is listed as it was named."""
    await memory.upsert(SPACE, [point("here")])
    await memory.upsert(OTHER_SPACE, [point("there", dense=np.ones(2, dtype=np.float32))])
    there = await memory.search(OTHER_SPACE, query(dense=np.ones(2, dtype=np.float32)))
    assert (texts(await memory.search(SPACE, query())), texts(there)) == (["here"], ["there"])
    assert set(await memory.spaces()) == {SPACE, OTHER_SPACE}


async def test_a_space_without_a_collection_is_empty(memory: SemanticMemory) -> None:
    """Asking where nothing was ever written is no error, and makes nothing."""
    nowhere = Space("nowhere", 4)
    found = await memory.search(nowhere, query("cat"))
    listed, looked_up = await memory.scroll(nowhere), await memory.lookup(nowhere, [UUID(int=1)])
    await memory.drop(nowhere)
    counted = (await memory.count(nowhere), nowhere in await memory.spaces())
    assert (found, listed, looked_up, counted) == ((), (), (), (0, False))


async def test_points_are_counted(memory: SemanticMemory) -> None:
    """In one space or all, within a scope or at all."""
    await memory.upsert(SPACE, [point("a"), point("b", scope=Scope("acme")), point("c", scope=Scope("globex"))])
    await memory.upsert(OTHER_SPACE, [point("a", dense=np.ones(2, dtype=np.float32))])
    counts = [
        await memory.count(),
        await memory.count(SPACE),
        await memory.count(scope=Scope("acme")),
        await memory.count(SPACE, Scope("acme", session_id="s1")),
        await memory.count(scope=Scope("nobody")),
    ]
    assert counts == [4, 3, 3, 1, 0]


async def test_scrolling_visits_every_point_once(memory: SemanticMemory) -> None:
    """Pages follow each other by rising id, as PostgreSQL sorts them, and say of each point which record it is of."""
    ids = [UUID(int=i << shift) for shift in (0, 60, 122) for i in range(1, 9)]
    points = [point(f"number {i.int}", id=i, kind=RecordKind.EPISODE) for i in ids]
    await memory.upsert(SPACE, points)
    pages = [await memory.scroll(SPACE, limit=10)]
    while len(pages[-1]) == 10:
        pages.append(await memory.scroll(SPACE, after=pages[-1][-1].uid, limit=10))
    assert [len(page) for page in pages] == [10, 10, 4]
    assert [row for page in pages for row in page] == [indexed(p) for p in sorted(points, key=lambda p: p.id.bytes)]


async def test_scrolling_within_a_scope(memory: SemanticMemory) -> None:
    """A page holds only what the scope admits, and is full while there is more of it."""
    mine = [point(f"mine {i}") for i in range(5)]
    await memory.upsert(SPACE, [*mine, *(point(f"theirs {i}", scope=Scope("globex")) for i in range(5))])
    first = await memory.scroll(SPACE, limit=3, scope=Scope("acme"))
    second = await memory.scroll(SPACE, after=first[-1].uid, limit=3, scope=Scope("acme"))
    assert [*first, *second] == [indexed(p) for p in sorted(mine, key=lambda p: p.id.bytes)]
    assert (len(first), len(second)) == (3, 2)


async def test_points_are_looked_up_in_one_space(memory: SemanticMemory) -> None:
    """Those that are there are found by id, others are left out, and another space's are not seen."""
    here, there = point("here"), point("there", dense=np.ones(2, dtype=np.float32))
    await memory.upsert(SPACE, [here, point("not asked for")])
    await memory.upsert(OTHER_SPACE, [there])
    assert await memory.lookup(SPACE, [here.id, there.id, UUID(int=1)]) == (indexed(here),)
    assert await memory.lookup(SPACE, []) == ()


async def test_points_are_deleted_from_all_spaces_but_one(memory: SemanticMemory) -> None:
    """A record that moved to a space leaves the others, and nothing else does."""
    moved, stays = point("moved"), point("stays")
    for space in (SPACE, OTHER_SPACE):
        await memory.upsert(space, [replace(p, dense=np.ones(space.dimension, dtype=np.float32)) for p in (moved, stays)])
    await memory.delete([moved.id], keep=SPACE)
    assert (await memory.count(SPACE), await memory.scroll(OTHER_SPACE)) == (2, (indexed(stays),))


async def test_a_dropped_space_is_gone_and_can_be_made_again(memory: SemanticMemory) -> None:
    """Dropping removes the collection with its points, and a point written later makes it anew."""
    passing = Space("passing", 4)
    await memory.upsert(passing, [point("old")])
    await memory.drop(passing)
    assert (passing in await memory.spaces(), await memory.count(passing), await memory.search(passing, query())) == (
        False,
        0,
        (),
    )
    await memory.upsert(passing, [point("new")])
    assert texts(await memory.search(passing, query())) == ["new"]
    await memory.drop(passing)


def indexed(point: Point) -> IndexedPoint:
    return IndexedPoint(point.id, point.kind, point.scope.namespace, point.content_sha256)


async def test_ping_names_the_engine(engines: Engines) -> None:
    """A ping answers with the engine's name and version."""
    answers = {name: await engine.ping() for name, engine in engines.items()}
    assert {name: answer.split()[0] for name, answer in answers.items()} == {
        "edge": "qdrant-edge", "qdrant": "qdrant", "twin": "in-memory",
    }  # fmt: skip


async def test_authors_are_those_of_the_scope_the_most_frequent_first(memory: SemanticMemory) -> None:
    """Who takes part is counted within the scope, and never beyond it; a space without a collection has nobody."""
    elsewhere = Scope("globex", user_id="u1")
    written = [*(point(f"remark {n}") for n in range(3)), point("reply", author="Ben")]
    await memory.upsert(SPACE, [*written, point("far away", author="Zoe", scope=elsewhere)])
    assert await memory.authors(SPACE, Scope("acme"), 10) == ("Ana", "Ben")
    assert await memory.authors(SPACE, Scope("acme"), 1) == ("Ana",)
    assert await memory.authors(Space("nothing", 3), Scope("acme"), 10) == ()


# ── how it turned out, and what callers make of it ────────────────────────────────────────────────────────────────


async def test_outcomes_lift_and_lower(memory: SemanticMemory) -> None:
    """A good outcome gains what a bad one loses; where none is known nothing is gained or lost."""
    points = [point("good", outcome_quality=1.0), point("unknown"), point("bad", outcome_quality=0.25)]
    await memory.upsert(SPACE, points)
    found = await memory.search(SPACE, query(ranking=replace(PLAIN, outcome=0.5)))
    assert [(c.hit.text, c.hit.outcome_quality, c.hit.components) for c in found] == [
        ("good", 1.0, {"dense": 1.0, "bm25": 0.0, "outcome": 0.5}),
        ("unknown", None, {"dense": 1.0, "bm25": 0.0}),
        ("bad", 0.25, {"dense": 1.0, "bm25": 0.0, "outcome": -0.25}),
    ]


async def test_feedback_is_a_term_that_fades(memory: SemanticMemory) -> None:
    """What callers made of a record counts by how long ago they said so."""
    standing = Standing(2.0, 0.0, NOW)
    await memory.upsert(SPACE, [point("praised", standing=standing), point("unknown")])
    ranking = replace(PLAIN, feedback=1.0)
    fresh, old = [
        await memory.search(SPACE, query(ranking=ranking, cues=Cues(now=(NOW + age).timestamp())))
        for age in (timedelta(), timedelta(days=30))
    ]
    assert [c.hit.components.get("feedback") for c in fresh] == [0.5, None]
    assert [c.hit.components.get("feedback") for c in old] == [pytest.approx(1 / 3), None]


async def test_a_point_is_judged_in_place(memory: SemanticMemory) -> None:
    """A new standing counts at once, in every space, and changes nothing else; a point that is not there is no error."""
    judged, other = point("judged", quality=0.5, metadata={"n": 1}), point("other")
    await memory.upsert(SPACE, [judged, other])
    await memory.upsert(OTHER_SPACE, [replace(judged, dense=np.array([1.0, 0.0], dtype=np.float32))])
    ranking = replace(PLAIN, feedback=1.0)
    before = await memory.search(SPACE, query(ranking=ranking))
    await memory.judge(judged.id, Standing(0.0, 2.0, NOW))
    await memory.judge(UUID(int=9), Standing(1.0, 0.0, NOW))
    after = await memory.search(SPACE, query(ranking=ranking))
    elsewhere = await memory.search(OTHER_SPACE, query(dense=np.array([1.0, 0.0], dtype=np.float32), ranking=ranking))
    assert [c.hit.components.get("feedback") for c in (*after, *elsewhere)] == [None, -0.5, -0.5]
    hits = {c.hit.text: c.hit for c in before}
    assert [c.hit for c in after] == [
        hits["other"],
        replace(hits["judged"], score=0.5, components={**hits["judged"].components, "feedback": -0.5}),
    ]
    await memory.judge(judged.id, Standing(0.0, 0.5, NOW))
    assert [c.hit.components.get("feedback") for c in await memory.search(SPACE, query(ranking=ranking))] == [None, -0.2]
    assert await memory.lookup(SPACE, [UUID(int=9)]) == ()


@pytest.mark.parametrize(
    ("bounds", "found"),
    [
        (Range("quality", at_least=0.5), ["fair", "good"]),
        (Range("quality", below=0.5), ["poor"]),
        (Range("quality", at_least=0.5, below=0.75), ["fair"]),
        (Range("quality"), ["fair", "good", "poor"]),
        (Range("outcome_quality", at_least=0.0), ["good"]),
    ],
    ids=str,
)
async def test_bounds_on_numbers(memory: SemanticMemory, bounds: Range, found: list[str]) -> None:
    """The lower bound counts in, the upper one does not, and who has no such number is not found, on every leg."""
    good = point("good", quality=0.75, outcome_quality=0.9)
    await memory.upsert(SPACE, [point("poor", quality=0.25), point("fair", quality=0.5), good, point("unknown")])
    assert sorted(texts(await memory.search(SPACE, query(ranges=(bounds,))))) == found
    words = query("poor fair good unknown", dense=None, ranges=(bounds,))
    assert sorted(texts(await memory.search(SPACE, words))) == found


async def test_points_are_found_at_their_time(memory: SemanticMemory) -> None:
    """From a point's beginning on and until before its end, on either leg; what says nothing of it is always found."""
    kept = [
        point("cat in Porto", kind=RecordKind.KNOWLEDGE, valid_to=NOW),
        point("cat in Lisbon", kind=RecordKind.KNOWLEDGE, valid_from=NOW),
        point("cat of a day", kind=RecordKind.KNOWLEDGE, valid_from=NOW, valid_to=NOW + timedelta(days=1)),
        point("cat for ever", kind=RecordKind.KNOWLEDGE),
        point("cat, said"),
    ]
    await memory.upsert(SPACE, kept)
    always = {"cat for ever", "cat, said"}
    times = (NOW - timedelta(milliseconds=1), NOW, NOW + timedelta(days=1), None)
    expected = [{"cat in Porto"}, {"cat in Lisbon", "cat of a day"}, {"cat in Lisbon"}, {p.text for p in kept}]
    for mode in (Mode.SPARSE, Mode.DENSE, Mode.HYBRID):
        asked = [query("cat", valid_at=at, mode=mode) for at in times]
        found = [{c.hit.text for c in await memory.search(SPACE, one)} for one in asked]
        assert found == [names | always for names in expected]
