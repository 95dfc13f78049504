"""The words of a text as a sparse vector, the same for both engines."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from qdrant_edge import Bm25, Bm25Config, SparseVector, TokenizerType

from app.errors import ConfigurationError

_AVERAGE_TOKENS: Final = 80
"""Of an indexed text; measured best on LoCoMo's development half (DESIGN §9)."""


_UNSPACED: Final = re.compile("[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Thai, Lao, Khmer, kana and Han."""


class Bm25Encoder:
    """Implements `SparseEncoder`: token id to weight.

    A query's tokens weigh 1 each and a document's their saturated frequency; the engine supplies the IDF. `language` decides
    which words are left out and how the others are stemmed. Scripts without spaces are cut by a second tokenizer, besides:
    the first takes a sentence for one word, and the second leaves out numbers.

    Raises:
        ConfigurationError: the engine does not know the language.
    """

    def __init__(self, language: str = "english") -> None:
        try:
            self._model = _model(language, TokenizerType.Word)
            self._unspaced = _model(language, TokenizerType.Multilingual)
        except ValueError as error:
            raise ConfigurationError(f"MEMORY_LANGUAGE: {language!r} is no language whose words can be stemmed") from error

    def encode_query(self, text: str) -> dict[int, float]:
        return self._encoded(text, Bm25.embed_query)

    def encode_document(self, text: str) -> dict[int, float]:
        return self._encoded(text, Bm25.embed_document)

    def _encoded(self, text: str, embed: Callable[[Bm25, str], SparseVector]) -> dict[int, float]:
        models = (self._unspaced, self._model) if _UNSPACED.search(text) else (self._model,)
        vectors = [embed(model, text) for model in models]
        return {token: weight for vector in vectors for token, weight in zip(vector.indices, vector.values, strict=True)}


def _model(language: str, tokenizer: TokenizerType) -> Bm25:
    return Bm25(Bm25Config(avg_len=_AVERAGE_TOKENS, language=language.lower(), tokenizer=tokenizer))
