"""The exam of the `Reranker` port, sat by every model and by the twin."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import numpy as np
import pytest
from cross_encoders import tiny_cross_encoder

from app.embedding.cross_encoder import CrossEncoderReranker
from app.embedding.late_interaction import LateInteraction
from app.embedding.sentence_transformer import SentenceTransformerEmbedder
from app.ports import Reranker
from app.testing.stages import WordsReranker

TEXTS = ["Miso sees the vet on Thursday.", "ok", "The invoice is overdue.", "Miso sees the vet on Thursday."]
QUESTION = "When does the cat see the vet?"
ODD = ["", " ", "🐈🐈", "\x07", "猫は木曜日に獣医に行く", "word " * 3000, "a" * 20_000]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Reranker]:
    """Loaded once."""
    return {
        "words": WordsReranker(),
        "late_interaction": LateInteraction(SentenceTransformerEmbedder()),
        "cross_encoder": CrossEncoderReranker(tiny_cross_encoder(tmp_path_factory.mktemp("model"))),
    }


@pytest.fixture(params=["words", "late_interaction", "cross_encoder"])
def reranker(request: pytest.FixtureRequest, models: Mapping[str, Reranker]) -> Reranker:
    return models[request.param]


async def test_one_score_a_text_in_order(reranker: Reranker) -> None:
    """From 0 to 1, the same for the same text wherever it stands, and none for no texts."""
    scores = await reranker.scores(QUESTION, TEXTS)
    assert (scores.shape, scores.dtype) == ((4,), np.dtype(np.float32))
    assert ((scores >= 0.0) & (scores <= 1.0)).all()
    assert scores[0] == pytest.approx(scores[3], abs=1e-5)
    np.testing.assert_allclose(await reranker.scores(QUESTION, TEXTS[::-1]), scores[::-1], atol=2e-3)
    assert (await reranker.scores(QUESTION, [])).shape == (0,)


@pytest.mark.parametrize("question", [QUESTION, "", "🐈🐈", "a" * 20_000])
async def test_odd_texts_are_scored_too(reranker: Reranker, question: str) -> None:
    """Nothing to read, no known letter, or far too much of it: still a finite score."""
    scores = await reranker.scores(question, [*ODD, "the vet"])
    assert scores.shape == (len(ODD) + 1,)
    assert ((scores >= 0.0) & (scores <= 1.0)).all()


async def test_concurrent_questions_do_not_mix(reranker: Reranker) -> None:
    """Everybody gets their own scores."""
    questions = [QUESTION, "Is the invoice paid?", "Who is fine?"]
    together = await asyncio.gather(*(reranker.scores(question, TEXTS) for question in questions))
    alone = [await reranker.scores(question, TEXTS) for question in questions]
    np.testing.assert_allclose(together, alone, atol=2e-3)
