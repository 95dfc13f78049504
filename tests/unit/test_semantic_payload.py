"""A record survives the way into a payload and out again."""

from __future__ import annotations

from datetime import timedelta, timezone
from uuid import UUID

import numpy as np
from given import NOW, SCOPE

from app.ranking import Traits
from app.records import Candidate, Hit, Point, RecordKind, Scope, Space, Tier
from app.semantic.bm25 import Bm25Encoder
from app.semantic.fusion import Score
from app.semantic.payload import candidate_of, payload_of, row_of, traits_of

SPACE = Space("all-minilm", 2)
VECTOR = np.ones(2, dtype=np.float32)


def point(**fields: object) -> Point:
    defaults: dict[str, object] = {
        "id": UUID(int=1), "record_id": UUID(int=2), "kind": RecordKind.MESSAGE, "scope": SCOPE, "text": "Ana moves",
        "sparse_text": "[04 May 2026] Ana: Ana moves", "dense": VECTOR, "created_at": NOW, "content_sha256": "ab",
    }  # fmt: skip
    return Point(**(defaults | fields))  # type: ignore[arg-type]  # the names are checked by the tests that give them


def test_a_payload_says_everything_about_the_record() -> None:
    """Times in UTC with the day as a number, metadata as JSON text beside the terms it is found by, and the space."""
    written = point(
        role="user", author="Ana", sequence=3, quality=0.5, metadata={"n": 1, "list": [2]},
        created_at=NOW.astimezone(timezone(timedelta(hours=14))),
    )  # fmt: skip
    assert payload_of(written, SPACE) == {
        "record_id": str(UUID(int=2)),
        "kind": "message",
        "namespace": "acme",
        "user_id": "ana",
        "agent_id": "bot",
        "session_id": "s1",
        "project_id": "move",
        "text": "Ana moves",
        "role": "user",
        "author": "Ana",
        "sequence": 3,
        "created_at": "2026-05-04T12:00:00+00:00",
        "day": 20260504,
        "quality": 0.5,
        "content_sha256": "ab",
        "model": "all-minilm",
        "dimension": 2,
        "metadata": '{"n": 1, "list": [2]}',
        "metadata_terms": ['"n"=1'],
    }


def test_what_is_absent_is_left_out() -> None:
    """A field without a value is not in the payload, so that no filter can match it."""
    assert payload_of(point(scope=Scope("acme")), SPACE).keys() == {
        "record_id", "kind", "namespace", "text", "created_at", "day", "content_sha256", "model", "dimension",
    }  # fmt: skip


def test_a_candidate_is_read_back_from_its_payload() -> None:
    """The hit is whole, and its components are the terms its score is the sum of."""
    payload = payload_of(point(author="Ana", metadata={"n": 2**80}), SPACE)
    found = candidate_of(Score(UUID(int=1), 0.5, 4.0, 1.5, {"dense": 0.5, "bm25": 1.0}), payload)
    hit = Hit(
        UUID(int=2), RecordKind.MESSAGE, "Ana moves", 1.5, {"dense": 0.5, "bm25": 1.0}, Tier.SEMANTIC, SCOPE, NOW,
        metadata={"n": 2**80}, author="Ana",
    )  # fmt: skip
    assert found == Candidate(hit, UUID(int=1), dense=0.5, bm25=4.0, fused=1.5)


def test_ranking_sees_a_point_through_its_payload() -> None:
    """Who, where and when; only a long message of an unnamed assistant is one."""
    payload = payload_of(point(author="assistant", quality=0.5, is_long=True), SPACE)
    assert traits_of(payload) == Traits("assistant", "s1", 20260504, NOW.timestamp(), 0.5, is_long_assistant=True)
    assert not traits_of(payload | {"author": "Ana"}).is_long_assistant
    assert traits_of({}) == Traits()


def test_the_words_before_count_as_much_as_they_are_said_to() -> None:
    """Words of the context are added with their weight to the text's own."""
    encoder = Bm25Encoder()
    own, before = encoder.encode_document("zebra"), encoder.encode_document("giraffe")
    row = row_of(point(sparse_text="zebra", sparse_context=("giraffe", 0.5)), SPACE, encoder)
    assert row.bm25 == own | {word: 0.5 * weight for word, weight in before.items()}
