"""The cross-encoder that a path names, really loaded: a tiny one with random weights."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from cross_encoders import tiny_cross_encoder
from factories import EVERYWHERE, append, consolidation_of, recall_of, tiers

from app.embedding.cross_encoder import CrossEncoderReranker
from app.errors import TierUnavailable
from app.ranking import Ranking
from app.records import Query, RecordKind, Stage
from app.retrieval.stages import StagePolicy, Stages

QUESTION = "who has the keys?"
TEXTS = ["the keys are with rui", "lunch was soup", "the cellar is red", "supper was soup", "a key", "see you"]
PATIENCE = timedelta(seconds=60)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_cross_encoder(tmp_path_factory.mktemp("model"))


async def test_scores_are_the_models_own(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are what the library says of each pair, and the network is not touched."""

    def refused(*address: object) -> None:
        raise AssertionError(f"a connection was attempted: {address}")

    monkeypatch.setattr(socket.socket, "connect", refused)
    reranker = CrossEncoderReranker(directory)
    reranker.start_loading()
    scores = await reranker.scores(QUESTION, TEXTS)
    from sentence_transformers import CrossEncoder

    expected = CrossEncoder(str(directory)).predict([(QUESTION, text) for text in TEXTS])
    assert len(set(scores.round(4).tolist())) == len(TEXTS)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    await reranker.close()


async def test_its_scores_decide_the_order(directory: Path) -> None:
    """With the largest weight, hits come in the order of the model's scores, which are their component."""
    reranker = CrossEncoderReranker(directory)
    given = tiers()
    await append(given, *TEXTS)
    await consolidation_of(given).run()
    plain = Query(QUESTION, EVERYWHERE, kinds=(RecordKind.MESSAGE,), ranking=Ranking(session=0.0, bm25=0.0, cross_encoder=10.0))
    said = dict(zip(TEXTS, (await reranker.scores(QUESTION, TEXTS)).tolist(), strict=True))
    stages = Stages({Stage.CROSS_ENCODER: reranker}, policy=StagePolicy(cross_encoder=PATIENCE))
    before = await recall_of(given).recall(plain)
    after = await recall_of(given, stages=stages).recall(replace(plain, stages=(Stage.CROSS_ENCODER,)))
    own = {h.text: h.score for h in before.hits}
    assert [h.text for h in after.hits] == sorted(TEXTS, key=lambda text: -(own[text] + 10 * said[text]))
    assert [h.text for h in after.hits] != [h.text for h in before.hits]
    assert {h.text: h.components["cross_encoder"] for h in after.hits} == pytest.approx(
        {t: 10 * s for t, s in said.items()}, abs=1e-4
    )
    assert after.degraded == ()
    await reranker.close()


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "cannot be loaded as a cross-encoder"),
        ({"config.json": "{"}, "cannot be loaded as a cross-encoder"),
        ({"config.json": '{"model_type": "bert"}'}, "cannot be loaded as a cross-encoder"),
    ],
)
async def test_a_directory_that_holds_none_is_unavailable(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    """An empty or broken directory is told in words, again and again, and brings nothing down."""
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    reranker = CrossEncoderReranker(tmp_path)
    for _ in range(2):
        with pytest.raises(TierUnavailable) as raised:
            await reranker.scores(QUESTION, TEXTS)
        assert (raised.value.tier, problem in raised.value.problem) == ("cross_encoder", True)
    await reranker.close()


async def test_a_classifier_of_many_classes_is_refused(tmp_path: Path) -> None:
    """Three scores a pair are no order."""
    reranker = CrossEncoderReranker(tiny_cross_encoder(tmp_path, labels=3))
    with pytest.raises(TierUnavailable, match="gives 3 scores a pair"):
        await reranker.scores(QUESTION, TEXTS)
    await reranker.close()
