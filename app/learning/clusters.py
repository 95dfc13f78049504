"""Situations that are alike, by the words and values of what was perceived."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from app.learning.cases import Case, is_number
from app.learning.perceived import around

_FEWEST: Final = 6
"""Cases of a cluster: with fewer no table of four counts says anything."""
_SHARE: Final = 20
"""A cluster holds at least one in so many of all cases."""
_DIMENSIONS: Final = 32


def clusters_of(cases: Sequence[Case]) -> list[list[Case]]:
    """Clusters of similar situations (HDBSCAN over TF-IDF, reduced by SVD); cases that are like no others are in none.

    Takes a second for a few thousand cases: for a thread. The same cases in the same order give the same clusters.
    """
    if len(cases) < 2 * _FEWEST:
        return []
    # Imported here: scikit-learn takes a second, and who learns nothing need not wait for it.
    from sklearn.cluster import HDBSCAN
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [situation_text(case) for case in cases]
    vectors = TfidfVectorizer(tokenizer=str.split, token_pattern=None, lowercase=False).fit_transform(texts)
    if vectors.shape[1] > _DIMENSIONS:
        vectors = TruncatedSVD(_DIMENSIONS, random_state=0).fit_transform(vectors)
    else:
        vectors = vectors.toarray()
    labels = HDBSCAN(min_cluster_size=max(_FEWEST, len(cases) // _SHARE), copy=True).fit_predict(vectors)
    found: dict[int, list[Case]] = defaultdict(list)
    for case, label in zip(cases, labels.tolist(), strict=True):
        found[label].append(case)
    return [members for label, members in sorted(found.items()) if label >= 0]


def situation_text(case: Case) -> str:
    """A word a fact, with numbers as the interval they lie in, and the words of texts by themselves too."""
    words = ["situation"]
    for field, value in case.facts.items():
        bounds = around(field, value)[0]
        words.append("_".join(f"{bounds.field}={bounds.op}={bounds.value}".split()))
        words.extend([] if is_number(value) else str(value).casefold().split())
    return " ".join(words)
