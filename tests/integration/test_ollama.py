"""Ollama's protocol over real HTTP, in good health and in every kind of bad."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta

import httpx
import numpy as np
import pytest
from factories import EVERYWHERE, append, recall_of, tiers
from given import message
from ollama_server import VERSION, Behaviour, OllamaServer, ollama_server
from pauses import Pauses

from app.breakers import BreakerPolicy
from app.chat import OllamaChat
from app.consolidation.summaries import ExtractiveSummarizer, FallbackSummarizer, OllamaSummarizer
from app.embedding.chain import EmbedderChain
from app.embedding.hashing import HashingEmbedder
from app.embedding.ollama import OllamaEmbedder
from app.embedding.sentence_transformer import SentenceTransformerEmbedder
from app.errors import EmbedderUnavailable, TierUnavailable
from app.ports import Summary
from app.records import Matrix, Mode, Query, RecordKind, Space, Stage
from app.retrieval.rephrasing import OllamaRephraser
from app.retrieval.stages import Stages

MINILM = Space("all-minilm-l6-v2", 384)
SHORT = timedelta(milliseconds=100)
CONVERSATION = (
    message(1, "Hello there!"),
    message(2, "Can we move the quarterly review to Thursday? The figures only arrive on Wednesday evening."),
    message(3, "Thursday at ten works for me, I will book the large room and tell the others.", name="Ben"),
)


@pytest.fixture
def server() -> Iterator[OllamaServer]:
    with ollama_server() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as opened:
        yield opened


@pytest.fixture
def embedder(client: httpx.AsyncClient, server: OllamaServer) -> OllamaEmbedder:
    return OllamaEmbedder(client, server.url + "/", "all-minilm", timeout=timedelta(seconds=5))


async def hashed(texts: list[str]) -> Matrix:
    return (await HashingEmbedder().embed(texts)).vectors


async def problem_of(embedder: OllamaEmbedder) -> str:
    with pytest.raises(EmbedderUnavailable) as raised:
        await embedder.embed(["cat", "dog"])
    assert raised.value.provider == "ollama"
    return raised.value.problem


async def test_texts_are_embedded(embedder: OllamaEmbedder, server: OllamaServer) -> None:
    """One request asks for all texts, cut to the model's context; the answer's rows are made unit vectors."""
    answer = await embedder.embed(["cat", "dog"])
    assert server.requests == [("/api/embed", {"model": "all-minilm", "input": ["cat", "dog"], "truncate": True})]
    assert (answer.space, answer.provider) == (MINILM, "ollama")
    np.testing.assert_allclose(answer.vectors, await hashed(["cat", "dog"]), atol=1e-6)


async def test_many_texts_take_several_requests(embedder: OllamaEmbedder, server: OllamaServer) -> None:
    """A request is bounded; the rows keep their order across requests."""
    texts = [f"text {i}" for i in range(150)]
    answer = await embedder.embed(texts)
    assert [len(batch) for batch in server.embedded()] == [64, 64, 22]
    np.testing.assert_allclose(answer.vectors, await hashed(texts), atol=1e-6)


@pytest.mark.parametrize(
    ("behaviour", "problem"),
    [
        (Behaviour.MISSING_MODEL, "model all-minilm is not there: run `ollama pull all-minilm`"),
        (Behaviour.ERROR, "status 500"),
        (Behaviour.NOT_JSON, "the answer is not JSON: is this an Ollama server?"),
        (Behaviour.WRONG_DIMENSION, "expected vectors of dimension 384, got 385"),
        (Behaviour.TOO_FEW, "expected 2 vectors of finite numbers, got an array of shape (1, 384)"),
        (Behaviour.NOT_FINITE, "expected 2 vectors of finite numbers"),
        (Behaviour.NO_OBJECT, "the answer makes no sense"),
    ],
)
async def test_a_bad_answer_says_what_is_wrong(
    embedder: OllamaEmbedder, server: OllamaServer, behaviour: Behaviour, problem: str
) -> None:
    """Whatever the server does, the provider counts as unavailable, with the problem and its remedy in words."""
    server.behaviour = behaviour
    assert problem in await problem_of(embedder)
    server.behaviour = Behaviour.OK
    assert (await embedder.embed(["cat"])).space == MINILM


async def test_a_server_that_hangs_runs_into_the_timeout(client: httpx.AsyncClient, server: OllamaServer) -> None:
    """It is given its time and no more."""
    server.behaviour = Behaviour.HANG
    assert await problem_of(OllamaEmbedder(client, server.url, "all-minilm", timeout=SHORT)) == "no answer in time (ReadTimeout)"


async def test_a_server_that_is_down_and_up_again(embedder: OllamaEmbedder, server: OllamaServer) -> None:
    """No connection means unavailable; once it is back the same embedder answers."""
    server.stop()
    assert "connection" in (await problem_of(embedder)).lower()
    server.start()
    assert (await embedder.embed(["cat"])).vectors.shape == (1, 384)


async def test_an_address_that_is_none(client: httpx.AsyncClient) -> None:
    """A mistyped URL is reported like any server that cannot be reached."""
    assert await problem_of(OllamaEmbedder(client, "localhost:11434", "all-minilm"))


async def test_the_dimension_of_an_unknown_model_is_learned(client: httpx.AsyncClient, server: OllamaServer) -> None:
    """The first answer fixes it; one that changes later is refused, naming both."""
    embedder = OllamaEmbedder(client, server.url, "acme/Embed:latest")
    with pytest.raises(EmbedderUnavailable, match="has not answered yet"):
        _ = embedder.space
    await embedder.embed(["cat"])
    assert embedder.space == Space("acme/embed", 384)
    server.behaviour = Behaviour.WRONG_DIMENSION
    assert "expected vectors of dimension 384, got 385" in await problem_of(embedder)


async def test_ping_asks_for_the_model(embedder: OllamaEmbedder, server: OllamaServer) -> None:
    """A server without the model is not ready; asking does not load it."""
    assert await embedder.ping() == f"ollama {VERSION} all-minilm"
    assert [path for path, _ in server.requests] == ["/api/version", "/api/show"]
    server.behaviour = Behaviour.MISSING_MODEL
    with pytest.raises(EmbedderUnavailable, match="ollama pull all-minilm"):
        await embedder.ping()


@pytest.mark.parametrize("behaviour", [Behaviour.MISSING_MODEL, Behaviour.ERROR, Behaviour.HANG, Behaviour.WRONG_DIMENSION])
async def test_a_chain_survives_an_outage_and_comes_back(
    client: httpx.AsyncClient, server: OllamaServer, behaviour: Behaviour
) -> None:
    """While Ollama misbehaves the fallback answers, in its own space; once a probe is embedded Ollama does, in its own."""
    pauses = Pauses()
    policy = BreakerPolicy(failure_threshold=1)
    ollama = OllamaEmbedder(client, server.url, "all-minilm", timeout=SHORT)
    chain = EmbedderChain([ollama, HashingEmbedder()], breaker=policy, pause=pauses)
    server.behaviour = behaviour
    during = [await chain.embed(["cat"]) for _ in range(3)]
    server.behaviour = Behaviour.OK
    ollama._timeout = httpx.Timeout(5)  # a busy machine may take longer than the hang was given
    resting = await chain.embed(["cat"])
    await pauses.end()
    probing = chain._links[0].guard._probing
    assert probing is not None
    await probing
    after = await chain.embed(["cat"])
    assert [a.space for a in (*during, resting, after)] == [Space("hashing", 384)] * 4 + [MINILM]
    assert len(server.embedded()) == 3
    await chain.close()


async def test_one_model_under_two_roofs_is_one_space(client: httpx.AsyncClient) -> None:
    """Ollama's all-minilm and the packaged weights agree, so the fallback's vectors go where the primary's are."""
    local = SentenceTransformerEmbedder()
    await local.load()
    with ollama_server(local) as server:
        chain = EmbedderChain([OllamaEmbedder(client, server.url, "all-minilm"), local])
        first = await chain.embed(["Ana moved to Lisbon."])
        assert chain._comparison is not None
        await chain._comparison
        server.stop()
        second = await chain.embed(["Ana moved to Lisbon."])
        server.start()
    assert [(a.provider, a.space) for a in (first, second)] == [("ollama", MINILM), ("local", MINILM)]
    assert first.vectors[0] @ second.vectors[0] > 0.999
    await local.close()


async def test_a_chat_model_summarizes(client: httpx.AsyncClient, server: OllamaServer) -> None:
    """The model gets the conversation as material, repeatably, and its words are the summary."""
    server.summary = "<think>Two people…</think>\n Ana moved the review\nto Thursday. "
    summary = await OllamaSummarizer(client, server.url, "tiny").summarize(CONVERSATION)
    assert summary == Summary("Ana moved the review to Thursday.", "tiny")
    ((path, body),) = server.requests
    assert (path, body["model"], body["stream"], body["options"]["temperature"]) == ("/api/chat", "tiny", False, 0)
    assert "Ben: Thursday at ten works for me" in body["messages"][1]["content"]


async def test_a_talkative_model_is_cut(client: httpx.AsyncClient, server: OllamaServer) -> None:
    """Eighty words at most, and never more than was said."""
    server.summary = "word " * 500
    summarizer = OllamaSummarizer(client, server.url, "tiny")
    assert len((await summarizer.summarize([message(1, "long " * 300)])).text.split()) == 80
    assert (await summarizer.summarize([message(1, "Hi there.")])).text == "word word"


@pytest.mark.parametrize(
    ("behaviour", "problem"),
    [
        (Behaviour.MISSING_MODEL, "model tiny is not there: run `ollama pull tiny`"),
        (Behaviour.ERROR, "status 500"),
        (Behaviour.HANG, "ReadTimeout"),
        (Behaviour.NOT_JSON, "the answer makes no sense"),
        (Behaviour.NO_OBJECT, "the answer makes no sense"),
        (Behaviour.EMPTY, "tiny answered with nothing"),
    ],
)
async def test_without_the_model_the_summary_is_extracted(
    client: httpx.AsyncClient, server: OllamaServer, behaviour: Behaviour, problem: str
) -> None:
    """The model's failure is named, and costs the summary nothing but its style."""
    server.behaviour = behaviour
    model = OllamaSummarizer(client, server.url, "tiny", timeout=SHORT if behaviour is Behaviour.HANG else timedelta(seconds=5))
    with pytest.raises(TierUnavailable) as raised:
        await model.summarize(CONVERSATION)
    assert (raised.value.tier, problem in raised.value.problem) == ("summarizer", True)
    extractive = ExtractiveSummarizer(HashingEmbedder())
    summary = await FallbackSummarizer(model, extractive).summarize(CONVERSATION)
    assert summary == await extractive.summarize(CONVERSATION)


def rephraser(client: httpx.AsyncClient, server: OllamaServer, timeout: timedelta = timedelta(seconds=5)) -> OllamaRephraser:
    return OllamaRephraser(OllamaChat(client, server.url, "tiny", stage=Stage.EXPAND, timeout=timeout))


async def test_a_chat_model_rephrases(client: httpx.AsyncClient, server: OllamaServer) -> None:
    """The model gets the question as material; its lines are the wordings, at most three."""
    server.summary = '<think>Hmm.</think>1. "Who keeps the keys?"\n\n- Where are the keys?\n2) Rui has what?\nA fourth?'
    wordings = await rephraser(client, server).rephrase("Who has the keys?")
    assert wordings == ("Who keeps the keys?", "Where are the keys?", "Rui has what?")
    ((path, body),) = server.requests
    assert (path, body["model"], body["stream"], body["options"]["temperature"]) == ("/api/chat", "tiny", False, 0)
    assert body["messages"][1]["content"] == "<question>\nWho has the keys?\n</question>"


async def test_another_wording_finds_what_the_question_does_not(client: httpx.AsyncClient, server: OllamaServer) -> None:
    """From the server's words to the hit: the stage is a component of its score."""
    given = tiers()
    await append(given, "the cellar is red", "Rui was here")
    server.summary = "cellar"
    query = Query("basement", EVERYWHERE, kinds=(RecordKind.MESSAGE,), mode=Mode.SPARSE, stages=(Stage.EXPAND,))
    recollection = await recall_of(given, stages=Stages(rephraser=rephraser(client, server))).recall(query)
    (hit,) = recollection.hits
    assert (hit.text, dict(hit.components)) == ("the cellar is red", {"expand": 0.4})
    assert recollection.degraded == ()


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (Behaviour.MISSING_MODEL, ""),
        (Behaviour.ERROR, ""),
        (Behaviour.HANG, ""),
        (Behaviour.NOT_JSON, ""),
        (Behaviour.NO_OBJECT, ""),
        (Behaviour.EMPTY, ""),
        (Behaviour.OK, "keys"),
        (Behaviour.OK, "?!\n\x00\n---"),
        (Behaviour.OK, "word " * 500),
    ],
)
async def test_without_another_wording_the_search_is_what_it_was(
    client: httpx.AsyncClient, server: OllamaServer, behaviour: Behaviour, said: str
) -> None:
    """A server that hangs, fails or talks nonsense is named, and the hits are those of the question alone."""
    given = tiers()
    await append(given, "the keys are with Rui", "the cellar is red")
    plain = Query("keys", EVERYWHERE, kinds=(RecordKind.MESSAGE,))
    server.behaviour, server.summary = behaviour, said
    model = rephraser(client, server, SHORT if behaviour is Behaviour.HANG else timedelta(seconds=5))
    expanded = await recall_of(given, stages=Stages(rephraser=model)).recall(replace(plain, stages=(Stage.EXPAND,)))
    assert expanded.hits == (await recall_of(given).recall(plain)).hits
    assert expanded.degraded == ("expand",)
