"""The exam of tier 2, fourth part: full-text search."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from given import SCOPE, episode, filed, knowledge, message, stored

from app.errors import InvalidInput
from app.ports import EpisodicMemory
from app.records import RECALLED_KINDS, EpisodeKind, FilterTerm, Hit, Message, Query, RecordKind, Role, Scope, Tier

ACME = Scope("acme")


async def ask(episodic: EpisodicMemory, query: Query) -> tuple[Hit, ...]:
    async with episodic.reading() as reader:
        return await reader.search_text(query)


async def texts(episodic: EpisodicMemory, query: Query) -> list[str]:
    return [hit.text for hit in await ask(episodic, query)]


async def test_one_word_of_the_question_is_enough(episodic: EpisodicMemory) -> None:
    """A record is found by any word of the question, and stands the higher the more of them it has."""
    await filed(
        episodic, [message(1, "The sofa is sold"), message(2, "A blue sofa for Porto"), message(3, "Nothing of the kind")]
    )
    found = await ask(episodic, Query("which blue sofa goes to Porto?", ACME))
    assert [hit.text for hit in found] == ["A blue sofa for Porto", "The sofa is sold"]
    assert found[0].score > found[1].score > 0


async def test_a_messages_hit_tells_all_of_it(episodic: EpisodicMemory) -> None:
    """A hit on a message carries the message's own id, its author, place and metadata, and how the score came about."""
    said = message(4, "Nuts make me ill", metadata={"mood": {"n": 1}})
    await filed(episodic, [said])
    (hit,) = await ask(episodic, Query("nuts", ACME))
    assert hit == Hit(
        id=said.id,
        kind=RecordKind.MESSAGE,
        text="Nuts make me ill",
        score=hit.score,
        components={"text": hit.score},
        tier=Tier.EPISODIC,
        scope=SCOPE,
        created_at=said.created_at,
        metadata={"mood": {"n": 1}},
        role="user",
        author="Ana",
        sequence=4,
    )


async def test_hits_on_episodes_and_knowledge(episodic: EpisodicMemory) -> None:
    """An episode is shown by its summary and dated by its end, knowledge by its description; both name their kind."""
    settled = episode(kind=EpisodeKind.DECISION, summary="The rent was settled", metadata={"by": "Ana"})
    fact = knowledge("The rent is 870")
    await stored(episodic, settled, fact)
    hits = {hit.kind: hit for hit in await ask(episodic, Query("rent", ACME))}
    assert hits == {
        RecordKind.EPISODE: Hit(
            id=settled.id,
            kind=RecordKind.EPISODE,
            text="The rent was settled",
            score=hits[RecordKind.EPISODE].score,
            components={"text": hits[RecordKind.EPISODE].score},
            created_at=settled.ended_at,
            metadata={"kind": "decision", "by": "Ana"},
            tier=Tier.EPISODIC,
            scope=SCOPE,
        ),
        RecordKind.KNOWLEDGE: Hit(
            id=fact.id,
            kind=RecordKind.KNOWLEDGE,
            text="The rent is 870",
            score=hits[RecordKind.KNOWLEDGE].score,
            components={"text": hits[RecordKind.KNOWLEDGE].score},
            created_at=fact.created_at,
            metadata={"kind": "fact"},
            tier=Tier.EPISODIC,
            scope=SCOPE,
            quality=1.0,
        ),
    }


async def test_documents_are_searched_too(episodic: EpisodicMemory) -> None:
    """An episode is found by its perception, reasoning and action, also at the start of a line; knowledge by its content."""
    first = episode(summary="one", perception={"seen": "a cheap\nflat"})
    second = episode(summary="two", reasoning={"because": ["harbour"]})
    third = episode(summary="three", action={"visited": "lighthouse"})
    await stored(episodic, first, second, third, knowledge("four", content={"near": "tram"}))
    words = ["flat", "harbour", "lighthouse", "tram"]
    assert [await texts(episodic, Query(word, ACME)) for word in words] == [["one"], ["two"], ["three"], ["four"]]


async def test_an_episode_without_a_summary_shows_its_documents(episodic: EpisodicMemory) -> None:
    """A hit always has a text: an episode nobody summarised is shown by what it holds."""
    await stored(episodic, episode(kind=EpisodeKind.TASK, summary="", action={"visited": "lighthouse"}))
    (text,) = await texts(episodic, Query("lighthouse", ACME))
    assert "lighthouse" in text


async def test_an_author_is_searched_for_by_name(episodic: EpisodicMemory) -> None:
    """A message is found by its author's name."""
    await filed(episodic, [message(1, "Hello", name="Jonas"), message(2, "Hello", name=None)])
    assert [hit.author for hit in await ask(episodic, Query("Jonas", ACME))] == ["Jonas"]


async def test_what_is_unfinished_or_outdated_is_not_found(episodic: EpisodicMemory) -> None:
    """Open episodes, superseded and inactive knowledge are not returned; what is superseded is, to those who ask."""
    newer = knowledge("Ana moves in June")
    older = knowledge("Ana moves in May", superseded_by=newer.id)
    retired = knowledge("Ana moves never", is_active=False)
    await stored(episodic, newer, older, retired, episode(summary="Ana moves slowly", is_open=True))
    assert await texts(episodic, Query("moves", ACME)) == ["Ana moves in June"]
    everything = await texts(episodic, Query("moves", ACME, include_superseded=True))
    assert sorted(everything) == ["Ana moves in June", "Ana moves in May"]


async def test_knowledge_is_found_at_its_time(episodic: EpisodicMemory) -> None:
    """From its beginning on and until before its end; with no time given, what holds now."""
    move = datetime(2020, 5, 4, tzinfo=UTC)
    until, since = knowledge("Ana lives in Porto", valid_to=move), knowledge("Ana lives in Lisbon", valid_from=move)
    await stored(episodic, until, since, knowledge("Ana lives on the moon", valid_from=move + timedelta(days=365_000)))
    before, after = move - timedelta(microseconds=1), move + timedelta(days=1)
    found = [await texts(episodic, Query("lives", ACME, as_of=at)) for at in (before, move, after, None)]
    assert found == [["Ana lives in Porto"], *[["Ana lives in Lisbon"]] * 3]


async def test_the_namespace_is_a_wall(episodic: EpisodicMemory) -> None:
    """Nothing of another namespace is found, also when there is nothing else; narrowing fields narrow further."""
    bens = message(2, "Ben sells a sofa", scope=replace(SCOPE, user_id="ben"))
    await filed(episodic, [message(1, "Ana sells a sofa"), bens])
    await filed(episodic, [message(1, "Eve sells a sofa", scope=Scope("rival", session_id="s1"))])
    await stored(episodic, knowledge("sofa of nobody", scope=ACME))
    assert len(await texts(episodic, Query("sofa", ACME))) == 3
    assert await texts(episodic, Query("sofa", Scope("acme", user_id="ben"))) == ["Ben sells a sofa"]
    assert await texts(episodic, Query("sofa", Scope("nobody"))) == []


async def test_kinds_are_chosen(episodic: EpisodicMemory) -> None:
    """Only the kinds asked for are searched."""
    await filed(episodic, [message(1, "rent")], episode(summary="rent"))
    await stored(episodic, knowledge("rent"))
    for kind in RECALLED_KINDS:
        assert [hit.kind for hit in await ask(episodic, Query("rent", ACME, kinds=(kind,)))] == [kind]
    assert await ask(episodic, Query("rent", ACME, kinds=())) == ()


MARKED = (
    message(1, "sofa one", metadata={"n": 1, "yes": True, "tag": "x", "a.b": "dot"}),
    message(2, "sofa two", metadata={"n": "1", "yes": 1, "tag": None}, role=Role.ASSISTANT, name=None),
    message(3, "sofa three", metadata={"n": 1.5, "yes": "true", "tag": "y"}, name="Ben", scope=replace(SCOPE, user_id="ben")),
)


@pytest.mark.parametrize(
    ("field", "values", "expected"),
    [
        ("role", ("assistant",), {2}),
        ("author", ("Ana", "Ben"), {1, 3}),
        ("author", ("assistant",), {2}),
        ("user_id", ("ben",), {3}),
        ("session_id", ("s1",), {1, 2, 3}),
        ("agent_id", ("nobody",), set()),
        ("project_id", ("move", "nothing"), {1, 2, 3}),
        ("kind", ("message", "episode"), {1, 2, 3}),
        ("kind", ("knowledge",), set()),
        ("metadata.n", (1,), {1}),
        ("metadata.n", (1.0,), {1}),
        ("metadata.n", ("1",), {2}),
        ("metadata.n", (1.5, "1"), {2, 3}),
        ("metadata.yes", (True,), {1}),
        ("metadata.yes", (1,), {2}),
        ("metadata.tag", ("x", "y"), {1, 3}),
        ("metadata.a.b", ("dot",), {1}),
        ("metadata.missing", ("x", 0, False), set()),
        ("metadata.tag' OR true --", ("x",), set()),
        ("metadata.tag", (), set()),
        ("user_id", (1,), set()),
    ],
)
async def test_a_filter_compares_values_of_one_type(
    episodic: EpisodicMemory, field: str, values: tuple[str | int | float | bool, ...], expected: set[int]
) -> None:
    """A filter matches equal values as JSON knows them (1 is not "1", true is not 1); a missing field never matches."""
    await filed(episodic, MARKED)
    found = await ask(episodic, Query("sofa", ACME, filter=(FilterTerm(field, values),)))
    assert {hit.sequence for hit in found} == expected


async def test_filters_add_up(episodic: EpisodicMemory) -> None:
    """Every term of a filter must match; knowledge and episodes have neither role nor author."""
    await filed(episodic, MARKED, episode(summary="sofa"))
    await stored(episodic, knowledge("sofa"))
    terms = (FilterTerm("role", ("user",)), FilterTerm("metadata.n", (1, 1.5)), FilterTerm("author", ("Ben",)))
    assert [h.sequence for h in await ask(episodic, Query("sofa", ACME, filter=terms))] == [3]
    assert {h.kind for h in await ask(episodic, Query("sofa", ACME, filter=terms[:1]))} == {RecordKind.MESSAGE}


async def test_an_episodes_kind_is_filtered_by_metadata(episodic: EpisodicMemory) -> None:
    """The kind of an episode or of knowledge is found under metadata, as the vector index has it."""
    await stored(
        episodic, episode(summary="rent one"), episode(kind=EpisodeKind.TASK, summary="rent two"), knowledge("rent three")
    )
    for kind, text in (("conversation", "rent one"), ("task", "rent two"), ("fact", "rent three")):
        assert await texts(episodic, Query("rent", ACME, filter=(FilterTerm("metadata.kind", (kind,)),))) == [text]


async def test_an_unknown_field_is_refused(episodic: EpisodicMemory) -> None:
    """A filter on a field that does not exist is an error, not an empty or a wide answer."""
    for field in ("content", "namespace", "metadata", "role; DROP TABLE messages"):
        with pytest.raises(InvalidInput):
            await ask(episodic, Query("sofa", ACME, filter=(FilterTerm(field, ("x",)),)))


async def test_since_and_until_are_inclusive(episodic: EpisodicMemory) -> None:
    """A search can be bounded in time; both bounds belong to it."""
    said: list[Message] = [message(n, "sofa") for n in range(1, 5)]
    await filed(episodic, said)
    bounded = Query("sofa", ACME, since=said[1].created_at, until=said[2].created_at)
    assert {hit.sequence for hit in await ask(episodic, bounded)} == {2, 3}
    tight = replace(
        bounded, since=said[1].created_at + timedelta(microseconds=1), until=said[2].created_at - timedelta(seconds=1)
    )
    assert await ask(episodic, tight) == ()


async def test_the_best_of_all_kinds_come_first(episodic: EpisodicMemory) -> None:
    """The limit cuts the ranking of all kinds together; among equals the newest stands first."""
    await filed(episodic, [message(n, "rent") for n in range(1, 4)])
    await stored(episodic, knowledge("rent in Porto"))
    found = await ask(episodic, Query("rent Porto", ACME, limit=3))
    assert [(hit.kind, hit.sequence) for hit in found] == [
        (RecordKind.KNOWLEDGE, None),
        (RecordKind.MESSAGE, 3),
        (RecordKind.MESSAGE, 2),
    ]


@pytest.mark.parametrize("question", ["", "   ", "the of and", "?!", "zyzzyva", "'; DROP TABLE messages; --", "a & | ! <-> ((("])
async def test_questions_that_find_nothing(episodic: EpisodicMemory, question: str) -> None:
    """A question with no word that is known, or no word at all, finds nothing and harms nothing."""
    await filed(episodic, [message(1, "sofa")])
    assert await ask(episodic, Query(question, ACME)) == ()
    assert await texts(episodic, Query("sofa", ACME)) == ["sofa"]


@pytest.mark.parametrize("question", ["sofa's & (blue | !red):*", "what\\'s a 'sofa'?", "sofa:A <-> sofa", 'the "sofa" OR -sofa'])
async def test_questions_are_words_not_syntax(episodic: EpisodicMemory, question: str) -> None:
    """Whatever signs a question holds, its words are what is searched for."""
    await filed(episodic, [message(1, "sofa")])
    assert await texts(episodic, Query(question, ACME)) == ["sofa"]
