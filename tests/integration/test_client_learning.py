"""The client against a live service: situations, quality, what becomes of knowledge, experiments; values for answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from served import Served

from app.client import FeatureSwitches, MetCondition, SyncMemoryClient, VariantSample
from app.errors import Conflict, NotFound
from app.records import (
    Arm,
    Cause,
    Direction,
    Draft,
    Enrolment,
    Experiment,
    ExperimentState,
    Feedback,
    Metric,
    ObservationDraft,
    ObservationReceipt,
    Origin,
    Plan,
    Recommendation,
    RecordKind,
    Role,
    Scope,
    SessionKey,
    Unit,
    Variant,
    Verdict,
    message_uid,
    new_id,
)

SINCE = datetime(2024, 1, 1, tzinfo=UTC)
LATER = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture
def client(api: Served) -> Iterator[SyncMemoryClient]:
    with SyncMemoryClient(api.url) as found:
        yield found


def test_a_situation_names_episodes_and_what_came_of_them(client: SyncMemoryClient, namespace: str) -> None:
    """An episode like it is a hit with its outcome and reasons; what was known of it over time is listed in order."""
    decided = client.store_episode(
        "decision", namespace=namespace, wait="indexed", perception={"backlog": 12}, action={"plan": 9}
    ).episode
    for quality in (0.2, 0.9):
        client.record_outcome(decided.id, {"done": quality * 10}, quality, namespace=namespace)
    client.consolidate(namespace=namespace)
    found = client.similar_situations({"backlog": 12}, namespace=namespace, kind="decision", limit=1)
    assert [(hit.id, hit.kind, hit.scope.namespace) for hit in found.hits] == [(decided.id, RecordKind.EPISODE, namespace)]
    assert (found.hits[0].outcome_quality, found.hits[0].why != ()) == (0.9, True)
    outcomes = list(client.iter_outcomes(decided.id, namespace=namespace, page_size=1))
    assert [(o.index, o.outcome, o.outcome_quality) for o in outcomes] == [(0, {"done": 2.0}, 0.2), (1, {"done": 9.0}, 0.9)]
    assert client.list_outcomes(decided.id, namespace=namespace, after=0).items == (outcomes[1],)
    waiting = client.store_episode("task", namespace=namespace).episode
    assert [e.id for e in client.iter_episodes(namespace=namespace, lacks_outcome=True)] == [waiting.id]


def test_feedback_is_a_record(client: SyncMemoryClient, namespace: str) -> None:
    """Equal to what the façade would answer with, also where the index has another name for a message."""
    known = client.store_knowledge("Miso sees the vet.", namespace=namespace)
    said = client.record_feedback(known.id, Verdict.WRONG, namespace=namespace, query="vet?", note="she does not")
    assert said == Feedback(
        said.id, Scope(namespace), RecordKind.KNOWLEDGE, known.id, known.id, Verdict.WRONG, said.created_at, "vet?",
        "she does not",
    )  # fmt: skip
    message = Draft(Role.USER, "hi", id=new_id())
    client.append("s1", [message], namespace=namespace, wait="stored")
    assert message.id is not None
    judged = client.record_feedback(message.id, "useful", namespace=namespace, session_id="s1", kind="message")
    assert (judged.scope.session_id, judged.record_uid) == ("s1", message_uid(SessionKey(namespace, "s1"), message.id))
    with pytest.raises(NotFound):
        client.record_feedback(new_id(), "useful", namespace=namespace)


def test_knowledge_has_a_history(client: SyncMemoryClient, namespace: str) -> None:
    """Evidence counts, what holds instead supersedes, and both are changes that can be read page by page."""
    episode = client.store_episode("decision", namespace=namespace).episode
    older = client.store_knowledge("Ana lives in Porto.", namespace=namespace, valid_from=SINCE)
    supported = client.add_evidence(older.id, namespace=namespace, supporting_episodes=[episode.id])
    assert supported.supporting_episodes == (episode.id,)
    newer = client.supersede_knowledge(older.id, namespace=namespace, description="Ana lives in Lisbon.", valid_from=LATER)
    ended = client.get_knowledge(older.id, namespace=namespace)
    assert (newer.supersedes, newer.valid_from, ended.superseded_by, ended.valid_to) == (older.id, LATER, newer.id, LATER)
    history = client.knowledge_history(older.id, namespace=namespace)
    assert history.versions == (ended, client.get_knowledge(newer.id, namespace=namespace))
    assert [r.cause for r in history.revisions] == [Cause.STORED, Cause.EVIDENCE, Cause.SUPERSEDED]
    assert tuple(client.iter_revisions(older.id, namespace=namespace, page_size=1)) == history.revisions
    assert client.list_revisions(older.id, namespace=namespace, limit=2).items == history.revisions[:2]
    listed = client.list_knowledge(namespace=namespace, as_of="2024-06-01T00:00:00Z").items
    assert ([k.id for k in listed], len(client.list_knowledge(namespace=namespace, include_superseded=True).items)) == (
        [older.id], 2,
    )  # fmt: skip
    with pytest.raises(Conflict):
        client.supersede_knowledge(older.id, namespace=namespace, description="Ana lives in Faro.")


def test_a_strategy_says_why_it_applies(client: SyncMemoryClient, namespace: str) -> None:
    """With the knowledge as a record, the conditions that hold, and what is believed of its success."""
    conditions = [{"field": "backlog", "op": "gt", "value": 20}]
    known = client.store_knowledge("Split the sprint.", namespace=namespace, kind="strategy", content={"conditions": conditions})
    learned = client.learned_strategies({"backlog": 25}, namespace=namespace, kinds=["strategy"], limit=1)
    (strategy,) = learned.strategies
    assert (strategy.knowledge, strategy.matched_conditions) == (known, (MetCondition("backlog", "gt", 20, 25),))
    assert strategy.score == pytest.approx(sum(strategy.components.values()))
    assert learned.degraded == ()
    assert (strategy.estimated_success.mean, strategy.why != ()) == (0.5, True)
    assert client.learned_strategies({"backlog": 5}, namespace=namespace).strategies == ()


def test_what_is_learned_is_supported(client: SyncMemoryClient, namespace: str) -> None:
    """Origin and sides are fields of what is stored; what is not active is listed only on request."""
    episodes = [client.store_episode("decision", namespace=namespace).episode.id for _ in range(3)]
    known = client.store_knowledge(
        "Plan nine.", namespace=namespace, kind="pattern", origin="learned", supporting_episodes=episodes
    )
    assert (known.origin, known.supporting_episodes) == (Origin.LEARNED, tuple(episodes))
    client.change_knowledge(known.id, namespace=namespace, is_active=False, inactive_reason="too old")
    listed = [client.list_knowledge(namespace=namespace, include_inactive=also).items for also in (False, True)]
    assert [[k.inactive_reason for k in found] for found in listed] == [[], ["too old"]]


def test_an_experiment_lives_its_life(client: SyncMemoryClient, namespace: str) -> None:
    """Made, started, taken part in, observed, analysed and stopped; the experiment is the façade's record."""
    variants = (Variant("control"), Variant("fresh", ranking={"recency": 0.3}))
    made = client.create_experiment("e", variants, namespace=namespace, metric="taps", unit="custom", alpha=0.1)
    metric, plan = Metric("taps"), Plan(alpha=0.1)
    assert made == Experiment(made.id, namespace, "e", variants, made.created_at, unit=Unit.CUSTOM, metric=metric, plan=plan)
    assert client.get_experiment("e", namespace=namespace) == made
    assert client.start_experiment("e", namespace=namespace).state is ExperimentState.RUNNING
    arm = client.assignment("e", "team/7", namespace=namespace)
    assert arm == Arm("e", "team/7", Enrolment.ASSIGNED, arm.variant)
    name = new_id()
    found = client.search("cat", namespace=namespace, experiment="e", subject="team/7", search_id=name)
    assert found.experiment == Arm("e", "team/7", Enrolment.ASSIGNED, arm.variant, name)
    seen = [ObservationDraft("team/7", 1.0)]
    assert client.observe("e", seen, namespace=namespace) == ObservationReceipt(1, 0)
    analysis = client.analyse_experiment("e", namespace=namespace, metric="taps")
    assert (analysis.metric, analysis.control, analysis.recommendation) == ("taps", "control", Recommendation.KEEP_GOING)
    assert {s for s in analysis.variants if s.subjects} == {VariantSample(str(arm.variant), 1, 1, 1.0, None)}
    stopped = client.stop_experiment("e", namespace=namespace)
    assert client.list_experiments(namespace=namespace, state="stopped").items == (stopped,)
    client.create_experiment("f", variants, namespace=namespace)
    assert [e.name for e in client.iter_experiments(namespace=namespace, page_size=1)] == ["e", "f"]
    with pytest.raises(Conflict):
        client.start_experiment("e", namespace=namespace)


def test_learning_and_trends_answer_with_values(client: SyncMemoryClient, namespace: str) -> None:
    """A run's report, no patterns of too few episodes, what is left to learn from, and series of a week."""
    assert client.learn(namespace=namespace).errors == ()
    assert list(client.iter_patterns(namespace=namespace)) == list(client.list_patterns(namespace=namespace).items) == []
    backlog = client.status().learning
    assert backlog is not None
    assert (backlog.pending >= 0, client.trends(namespace=namespace).days) == (True, 7)
    assert client.trends(days=30, namespace=namespace).series["quality"].direction is Direction.UNKNOWN


def test_quality_rendering_and_backfill_are_values(client: SyncMemoryClient, namespace: str) -> None:
    """What the validator says adds up, the text an episode is embedded by is shown, and nothing is left to backfill."""
    stored = client.store_episode(
        "decision", namespace=namespace, wait="indexed", perception={"backlog": 12}, control_mode="memory_augmented",
        sprint_id="s7", patterns=["slip"],
    )  # fmt: skip
    episode = stored.episode
    assert (episode.control_mode, episode.sprint_id, episode.patterns, stored.skipped) == (
        "memory_augmented", "s7", ("slip",), None,
    )  # fmt: skip
    judged = client.episode_quality(episode.id, namespace=namespace)
    assert (judged.quality, judged.is_quality_given, judged.parts != {}) == (episode.quality, False, True)
    assert (judged.score or 0.0) + sum(reason.lost for reason in judged.reasons) == pytest.approx(1.0)
    assert "12" in client.episode_rendering(episode.id, namespace=namespace).text
    counted = client.quality(namespace=namespace)
    assert (counted.scored, sum(counted.counts), [p.project_id for p in counted.projects]) == (1, 1, [None])
    assert client.backfill(namespace=namespace, max_episodes=10).pending == client.backfill_pending(namespace=namespace)


def test_features_are_switched(client: SyncMemoryClient, namespace: str) -> None:
    """What is off keeps nothing, and the receipt says so; on again, it does."""
    assert client.features() == FeatureSwitches(episode_logging=True, retrieval=True)
    try:
        assert client.switch_features(episode_logging=False) == FeatureSwitches(episode_logging=False, retrieval=True)
        receipt = client.store_episode("decision", namespace=namespace)
        assert (receipt.stored_in, receipt.skipped) == (None, "episode-logging-disabled")
    finally:
        client.switch_features(episode_logging=True)
    assert client.store_episode("decision", namespace=namespace).skipped is None


def test_steps_are_read_by_page(client: SyncMemoryClient, namespace: str) -> None:
    """By number, or after an index: the same steps."""
    steps = [{"n": n} for n in range(5)]
    episode = client.store_episode("task", namespace=namespace, steps=steps).episode
    by_number = client.list_steps(episode.id, namespace=namespace, limit=2, page=2)
    assert by_number == client.list_steps(episode.id, namespace=namespace, limit=2, after=1)
    assert ([step.content for step in by_number.items], by_number.next) == ([{"n": 2}, {"n": 3}], 3)
