"""A cross-encoder: a model that reads question and text together and says how well one answers the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import structlog

from app.embedding.sentence_transformer import batches_by_length
from app.errors import ConfigurationError, TierUnavailable
from app.observability import timed
from app.records import Stage, Vector

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

log = structlog.get_logger(__name__)
T = TypeVar("T")

_MOST_CHARACTERS: Final = 2_500
"""What 512 tokens hold at most in common prose. A pair too long is cut token by token, which takes minutes for a novel."""


class CrossEncoderReranker:
    """Implements `Reranker` with a sentence-transformers CrossEncoder from a local directory, on a thread of its own.

    Nothing is imported or read before `start_loading` or the first question. The hub is never asked.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cross-encoder")
        self._loading: Future[CrossEncoder] | None = None

    def start_loading(self) -> None:
        """Load in the background, once. A load that failed stays failed: weights do not mend themselves."""
        self._load_started()

    async def scores(self, question: str, texts: Sequence[str]) -> Vector:
        """See `Reranker`: the model's own probability; in small batches, so that a caller who gives up frees the thread.

        Raises:
            TierUnavailable: ("cross_encoder") the model could not be loaded, or failed on this.
        """
        model = await self._loaded()
        answer = np.zeros(len(texts), dtype=np.float32)
        for batch in batches_by_length([len(question) + len(text) for text in texts]):
            pairs = [(question[:_MOST_CHARACTERS], texts[position][:_MOST_CHARACTERS]) for position in batch]
            answer[batch] = await self._in_worker(partial(_probabilities, model, pairs))
        return answer

    async def close(self) -> None:
        """Drop what is waiting and end the thread after the job it is at."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def _loaded(self) -> CrossEncoder:
        try:
            # Shielded: a caller that gives up must not cancel the load for everybody else.
            return await asyncio.shield(asyncio.wrap_future(self._load_started()))
        except ConfigurationError as error:
            raise TierUnavailable(Stage.CROSS_ENCODER, str(error)) from error

    def _load_started(self) -> Future[CrossEncoder]:
        if self._loading is None:
            self._loading = self._worker.submit(_load, self._directory)
        return self._loading

    async def _in_worker(self, job: Callable[[], T]) -> T:
        with timed("cross_encoder", "predict"), _translated():
            return await asyncio.get_running_loop().run_in_executor(self._worker, job)


def _probabilities(model: CrossEncoder, pairs: Sequence[tuple[str, str]]) -> Vector:
    import torch  # of an extra, and seconds: the model that is at hand has imported it

    torch.set_num_threads(1)  # of this thread: see `SentenceTransformerEmbedder`
    scores = model.predict(
        list(pairs), batch_size=len(pairs), activation_fn=torch.nn.Sigmoid(), show_progress_bar=False, convert_to_numpy=True
    )
    probabilities: Vector = np.asarray(scores, dtype=np.float32)
    if probabilities.shape != (len(pairs),) or not np.isfinite(probabilities).all():
        raise ValueError(f"expected {len(pairs)} finite scores, got an array of shape {probabilities.shape}")
    return probabilities


def _load(directory: Path) -> CrossEncoder:
    """Import and read; seconds of work, for the worker thread."""
    try:
        model = _cross_encoder(directory)
    except ConfigurationError as error:
        log.warning("cross_encoder_not_loaded", problem=str(error))
        raise
    log.info("cross_encoder_loaded", model=directory.name)
    return model


def _cross_encoder(directory: Path) -> CrossEncoder:
    try:
        from sentence_transformers import CrossEncoder  # imports torch: seconds, hence here and in this thread
        from transformers.utils.logging import disable_progress_bar
    except ImportError as error:
        raise ConfigurationError("sentence-transformers is not installed: pip install hybrid-memory[local]") from error
    disable_progress_bar()  # type: ignore[no-untyped-call] # of the weights: a service's stderr is its log
    try:
        model: CrossEncoder = CrossEncoder(str(directory), local_files_only=True)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{directory} cannot be loaded as a cross-encoder: {error}") from error
    if model.num_labels != 1:
        raise ConfigurationError(f"{directory} gives {model.num_labels} scores a pair; a cross-encoder for search gives one")
    return model


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what a model does with texts that it cannot take into `TierUnavailable`."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError) as error:
        raise TierUnavailable(Stage.CROSS_ENCODER, f"the model failed: {error}") from error
