"""What a hit stands among."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from factories import Tiers, consolidation_of, ingestion_of, recall_of, tiers

from app.errors import TierUnavailable
from app.records import Draft, Query, ReadPreference, Recollection, RecordKind, Role, Scope
from app.retrieval.recent import SessionReader
from app.retrieval.surroundings import Surroundings
from app.testing.faults import Fault, troubled

SESSION = Scope("acme", session_id="s1")
EVERYWHERE = Scope("acme")


async def said(given: Tiers, *texts: str, session: str = "s1") -> None:
    await ingestion_of(given).append(Scope("acme", session_id=session), [Draft(Role.USER, text) for text in texts])


def surroundings_of(given: Tiers) -> Surroundings:
    sessions = SessionReader(given.working, given.episodic, preference=ReadPreference.REDIS_FIRST)
    return Surroundings(sessions, given.episodic, deadline=timedelta(seconds=5))


async def asked(given: Tiers, query: Query) -> Recollection:
    return await surroundings_of(given).added(query, await recall_of(given).recall(query))


async def test_messages_around_a_hit_come_with_it_drained_or_not() -> None:
    """As many before and after as were asked for, in order, across the seam of the tiers, and never another session's."""
    given = tiers()
    await said(given, "one", "two", "the keys")
    await consolidation_of(given).run()
    await said(given, "four", "five")
    await said(given, "elsewhere", session="s2")
    query = Query("keys", EVERYWHERE, kinds=(RecordKind.MESSAGE,), limit=1, neighbours=1)
    (hit,) = (await asked(given, query)).hits
    assert (hit.text, [m.content for m in hit.neighbours]) == ("the keys", ["two", "four"])


async def test_hits_of_one_episode_stand_together() -> None:
    """Each message hit names its episode; the hits of the best one's episode follow it."""
    given = tiers()
    await said(given, "the keys are here", "soup", "keys keys")
    await said(given, "where are the keys", session="s2")
    await consolidation_of(given).run()
    found = await asked(given, Query("keys", EVERYWHERE, kinds=(RecordKind.MESSAGE,), is_grouped=True))
    sessions = [h.scope.session_id for h in found.hits]
    assert sorted(sessions, key=sessions.index) == sessions
    assert len({h.episode_id for h in found.hits}) == len(set(sessions)) == 2


async def test_a_store_that_is_away_costs_the_company_and_is_named() -> None:
    """The hits stay; what could not be added is named."""
    given = tiers()
    await said(given, "the keys")
    query = Query("keys", EVERYWHERE, kinds=(RecordKind.MESSAGE,), neighbours=1, is_grouped=True)
    found = await recall_of(given).recall(query)
    gone = Fault(TierUnavailable("store", "away"))
    away = replace(given, working=troubled(given.working, gone), episodic=troubled(given.episodic, gone))
    added = await surroundings_of(away).added(query, found)
    assert (added.hits, added.degraded) == (found.hits, ("neighbours", "episodes"))
