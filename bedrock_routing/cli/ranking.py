"""How well texts answer a question: by its words, its meaning, their headings, and all put together.

1. A score of 0 or less means "not found"; scores of different rankings are never compared, only their ranks.
2. A question for a quantity ("how long", "how many") looks for texts that state one.
3. Nothing is downloaded: the embeddings come with the package, and without the package words alone decide.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol, cast

import bm25s  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
from numpy.typing import NDArray

from bedrock_local.answers.embedding import word_vectors

__all__ = ["HeadingIndex", "MeaningIndex", "WordIndex", "fused", "terms"]

Scores = NDArray[np.float32]

logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG on import

_DEPTH: Final = 60  # how far down a ranking counts
_HEAD_START: Final = (
    10  # the constant of reciprocal rank fusion: small, so that the top of a ranking weighs much
)
_QUANTITY_WEIGHT: Final = 2
_LEAST_ALIKE: Final = 0.6  # a heading that shares less with a question says nothing about it
_BATCH: Final = 256
_NONE: Final[Scores] = np.zeros(0, np.float32)
_WORD: Final = re.compile(r"[a-z]+|\d+(?:[.,]\d+)*|[^\W\d_a-z]+")
_STOP_WORDS: Final = frozenset(
    re.findall(
        r"\w+",
        "a an and any are as at be been but by can could did do does for from had has have how i if in into "
        "is it its me my of on or our should so than that the their them there these they this those to us "
        "was we were what when where which who whom why will with would you your",
    )
)
_QUANTITIES: Final = (  # a term of its own, how a question asks for it, how a text states it
    (
        "#time",
        re.compile(r"\bhow (?:long|often|soon|quickly|fast)\b|\bhow much (?:time|inactivity)\b|\btimeout\b"),
        re.compile(
            r"\b\d[\d,.]*[\s-]*(?:ms|milliseconds?|seconds?|minutes?|hours?|days?|weeks?|months?|years?)\b"
        ),
    ),
    (
        "#size",
        re.compile(
            r"\bhow (?:big|large|small|much (?:memory|space|storage))\b|\b(?:largest|biggest|smallest|size)\b"
        ),
        re.compile(r"\b\d[\d,.]*[\s-]*(?:[kmgt]i?b|bytes?|bits?|characters?|tokens?)\b"),
    ),
    (
        "#count",
        re.compile(r"\bhow (?:many|often)\b"),
        re.compile(r"\b(?:\d[\d,.]*|one|two|three|four|five|six|seven|eight|nine|ten)\b"),
    ),
)


class _Embedder(Protocol):
    def embed(self, texts: list[str], *, norm: bool) -> Scores: ...


def terms(text: str) -> list[str]:
    """Return the words of a text as they are compared: in lower case and singular, without stop words."""
    return [_singular(word) for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS]


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):  # noqa: PLR2004
        return f"{word[:-3]}y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and word[-2] not in "sui" else word  # noqa: PLR2004


class WordIndex:
    """Score texts by the words that they share with a question, rare words above common ones (BM25)."""

    def __init__(self, texts: Sequence[str]) -> None:
        tokens = [[*terms(text), *_stated(text)] for text in texts]
        self._known = frozenset(token for text in tokens for token in text)
        self._index: Any = bm25s.BM25(k1=1.5, b=0.75)
        if self._known:
            self._index.index(tokens, show_progress=False)

    def scores(self, question: str) -> Scores:
        """Return a score per text, or none at all if no word of the question is known."""
        lowered = question.lower()
        wanted = [name for name, asked, _ in _QUANTITIES if asked.search(lowered)] * _QUANTITY_WEIGHT
        asked_for = [term for term in (*terms(question), *wanted) if term in self._known]
        return cast("Scores", self._index.get_scores(asked_for)) if asked_for else _NONE


def _stated(text: str) -> list[str]:
    lowered = text.lower()
    return [name for name, _, stated in _QUANTITIES if stated.search(lowered)]


class HeadingIndex:
    """Score texts by how nearly one of their headings is what a question asks for: "What is an attacker?"."""

    def __init__(self, headings: Sequence[Iterable[str]]) -> None:
        self._headings = [[frozenset(terms(heading)) for heading in of_text] for of_text in headings]

    def scores(self, question: str) -> Scores:
        """Return per text which part of their words the question and the best heading share, if large."""
        asked = frozenset(terms(question))
        alike = (
            max((_shared(asked, heading) for heading in of_text), default=0.0) for of_text in self._headings
        )
        return np.array([share if share >= _LEAST_ALIKE else 0.0 for share in alike], np.float32)


def _shared(asked: frozenset[str], heading: frozenset[str]) -> float:
    return 2 * len(asked & heading) / ((len(asked) + len(heading)) or 1)


class MeaningIndex:
    """Score texts by how close their meaning is to a question's, with static embeddings (WordLlama)."""

    def __init__(
        self, texts: Sequence[str], *, on_progress: Callable[[int, int], None] | None = None
    ) -> None:
        self._embedder: _Embedder | None = word_vectors() if texts else None
        self._vectors: Scores | None = None
        parts: list[Scores] = []
        for start in range(0, len(texts), _BATCH):
            batch = list(texts[start : start + _BATCH])
            if self._embedder:
                parts.append(self._embedder.embed(batch, norm=True))
            if on_progress:
                on_progress(start + len(batch), len(texts))
        if parts:
            self._vectors = np.concatenate(parts)

    def scores(self, question: str) -> Scores:
        """Return a score per text, or none at all without the package or without a question."""
        if self._embedder is None or self._vectors is None or not question.strip():
            return _NONE
        return self._vectors @ self._embedder.embed([question], norm=True)[0]


def fused(*weighted: tuple[float, Scores]) -> list[int]:
    """Return the indexes of texts, best first, from several weighted scorings (reciprocal rank fusion)."""
    points: dict[int, float] = {}
    for weight, scores in weighted:
        for rank, index in enumerate(_ranked(scores), start=1):
            points[index] = points.get(index, 0.0) + weight / (_HEAD_START + rank)
    return sorted(points, key=lambda index: (-points[index], index))


def _ranked(scores: Scores) -> list[int]:
    best = np.argsort(-scores, kind="stable")[:_DEPTH]
    return [int(index) for index in best if scores[index] > 0]
