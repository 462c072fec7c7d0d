"""Rank quotable pieces by how well they answer a question."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise

from bedrock_local.answers import abbreviations, answer_kinds, embedding
from bedrock_local.answers.memory import Memory, digest
from bedrock_local.answers.units import Unit
from bedrock_local.answers.words import WEAK_WORDS, fold, terms

_BM25_K1, _BM25_B = 1.2, 0.75
_RRF = 20.0
_WEAK = 0.5
_WEAK_TERMS = frozenset(stem for word in WEAK_WORDS for stem in terms(word))
_WEIGHTS = {
    "words": 0.8,
    "lead": 0.5,
    "around": 0.5,
    "beside": 0.2,
    "meaning": 0.5,
    "passage": 0.3,
    "covered": 0.35,
    "firm kind": 0.5,
    "kind": 0.2,
    "pair": 0.06,
    "row": 0.06,
    "titled": 0.8,
}
_PENALTIES = {"code": 0.35, "lead": 0.8, "link": 0.8, "question": 0.5, "short": 0.3, "long": 0.4}
_SHORT_WORDS, _LONG_WORDS = 4, 35
_LOOKED_AT = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Pair a piece with its score and with how much of the question it covers, each 0 to about 1."""

    unit: Unit
    score: float
    coverage: float
    meaning: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Passages:
    texts: tuple[str, ...]
    counts: tuple[Counter[str], ...]
    of_unit: tuple[int, ...]
    meanings: frozenset[abbreviations.Meaning]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    text: str
    weights: Mapping[str, float]
    pairs: frozenset[tuple[str, str]]
    firm_kinds: tuple[answer_kinds.AnswerKind, ...]
    kinds: tuple[answer_kinds.AnswerKind, ...]


_passages_before: Memory[_Passages] = Memory(bound=32)


def _gather(pieces: Sequence[Unit]) -> _Passages:
    texts: list[str] = []
    of_unit: list[int] = []
    last: tuple[int, str | None, str] | None = None
    for unit in pieces:
        key = (unit.passage, unit.source, unit.heading)
        if key != last:
            texts.append(unit.heading)
            last = key
        texts[-1] += "\n" + unit.text
        of_unit.append(len(texts) - 1)
    return _Passages(
        texts=tuple(texts),
        counts=tuple(Counter(terms(text)) for text in texts),
        of_unit=tuple(of_unit),
        meanings=abbreviations.explained(texts),
    )


def _idf(question_terms: Sequence[str], pieces: Sequence[Unit]) -> dict[str, float]:
    size = len(pieces)
    found = {term: sum(term in unit.words for unit in pieces) for term in set(question_terms)}
    return {
        term: math.log(1 + (size - n + 0.5) / (n + 0.5)) * (_WEAK if term in _WEAK_TERMS else 1.0)
        for term, n in found.items()
    }


def _question(text: str, pieces: Sequence[Unit]) -> _Question:
    words = terms(answer_kinds.without_filler(text))
    kinds = answer_kinds.kinds(text)
    return _Question(
        text=text,
        weights=_idf(words, pieces),
        pairs=frozenset(pairwise(words)),
        firm_kinds=tuple(kind for kind in kinds if kind.is_firm),
        kinds=tuple(kind for kind in kinds if not kind.is_firm),
    )


def _bm25(question: _Question, counts: Sequence[Counter[str]]) -> list[float]:
    lengths = [sum(count.values()) for count in counts]
    mean = sum(lengths) / max(1, len(lengths)) or 1.0

    def score(count: Counter[str], length: int) -> float:
        norm = _BM25_K1 * (1 - _BM25_B + _BM25_B * length / mean)
        return sum(
            weight * count[term] * (_BM25_K1 + 1) / (count[term] + norm)
            for term, weight in question.weights.items()
            if count[term]
        )

    return [score(count, length) for count, length in zip(counts, lengths, strict=True)]


def _ranks(scores: Sequence[float]) -> list[int]:
    ranks = [0] * len(scores)
    for rank, position in enumerate(sorted(range(len(scores)), key=lambda i: -scores[i])):
        ranks[position] = rank
    return ranks


def _fused(question: _Question, passages: _Passages) -> list[float]:
    """Fuse the word and the meaning ranking of the passages; the best possible passage gets 1."""
    rankings = [_ranks(_bm25(question, passages.counts))]
    near = embedding.similarities(question.text, passages.texts)
    if near is not None:
        rankings.append(_ranks(near))
    return [
        sum(_RRF / (_RRF + rank) for rank in ranks) / len(rankings) for ranks in zip(*rankings, strict=True)
    ]


def _beside(pieces: Sequence[Unit], position: int) -> frozenset[str]:
    """Return the stems of the pieces right before and after one, where they belong to its passage."""
    unit = pieces[position]
    near = (*pieces[max(0, position - 1) : position], *pieces[position + 1 : position + 2])
    return frozenset[str]().union(*(other.words for other in near if other.passage == unit.passage))


def _share(question: _Question, words: AbstractSet[str]) -> float:
    total = sum(question.weights.values())
    return sum(weight for term, weight in question.weights.items() if term in words) / total if total else 0.0


def _penalty(unit: Unit) -> float:
    length = len(unit.text.split())
    shape = {
        "code": unit.kind == "code",
        "lead": unit.kind == "lead",
        "link": unit.kind == "link",
        "question": unit.text.rstrip().endswith("?"),
        "short": length < _SHORT_WORDS and unit.kind == "sentence",
        "long": min(1.0, max(0, length - _LONG_WORDS) / _LONG_WORDS),
    }
    return sum(_PENALTIES[name] * applies for name, applies in shape.items())


def _details(question: _Question, unit: Unit) -> float:
    """Score what is too slow to look at in every piece: answer kind, word pairs, shape."""
    words = terms(unit.text)
    pairs = question.pairs & set(pairwise(words))
    return (
        _WEIGHTS["firm kind"] * answer_kinds.fit(question.firm_kinds, unit.text)
        + _WEIGHTS["kind"] * answer_kinds.fit(question.kinds, unit.text)
        + _WEIGHTS["pair"] * min(2, len(pairs))
        + _WEIGHTS["row"] * (unit.kind == "row")
        - _penalty(unit)
    )


def rank(question_text: str, pieces: Sequence[Unit]) -> list[Scored]:
    """Return the pieces most likely to answer, best first; equal scores keep the order of the prompt."""
    if not pieces:
        return []
    question = _question(question_text, pieces)
    passages = _passages_before.get(digest(*(unit.text for unit in pieces)), lambda: _gather(pieces))
    fused = _fused(question, passages)
    meanings = abbreviations.asked(passages.meanings, question.weights.keys())
    covered = [_share(question, counts.keys()) for counts in passages.counts]
    near = embedding.similarities(question_text, [unit.text for unit in pieces]) or [0.0] * len(pieces)

    def first_look(position: int) -> Scored:
        unit = pieces[position]
        words = abbreviations.widened(unit.words, meanings)
        own = _share(question, words)
        led = _share(question, words | unit.led)
        all_words = _share(question, words | unit.around)
        passage = passages.of_unit[position]
        score = (
            _WEIGHTS["words"] * own
            + _WEIGHTS["lead"] * (led - own)
            + _WEIGHTS["around"] * (all_words - led)
            + _WEIGHTS["beside"]
            * (_share(question, words | unit.around | _beside(pieces, position)) - all_words)
            + _WEIGHTS["covered"] * covered[passage]
            + _WEIGHTS["meaning"] * near[position]
            + _WEIGHTS["titled"] * (unit.title == frozenset(question.weights))
            + _WEIGHTS["passage"] * fused[passage]
        )
        return Scored(unit=unit, score=score, coverage=all_words, meaning=near[position])

    looked_at = sorted(map(first_look, range(len(pieces))), key=lambda scored: -scored.score)[:_LOOKED_AT]
    final = [
        Scored(
            unit=scored.unit,
            score=scored.score + _details(question, scored.unit),
            coverage=scored.coverage,
            meaning=scored.meaning,
        )
        for scored in looked_at
    ]
    return sorted(final, key=lambda scored: -scored.score)


def most_central(pieces: Sequence[Unit]) -> list[Scored]:
    """Return the pieces nearest to what the whole text is about; without embeddings, in order."""
    long = [unit for unit in pieces if len(unit.text.split()) > _SHORT_WORDS]
    prose = [unit for unit in long if unit.kind == "sentence"] or long or list(pieces)
    near = embedding.similarities_to_centre([unit.text for unit in prose]) or [1.0] * len(prose)
    scored = [
        Scored(unit=unit, score=value - _penalty(unit), coverage=1.0, meaning=value)
        for unit, value in zip(prose, near, strict=True)
    ]
    return sorted(scored, key=lambda one: -one.score)


def distinct(found: Sequence[Scored]) -> list[Scored]:
    """Drop pieces whose text was already seen, as overlapping chunks bring them twice."""
    kept: list[Scored] = []
    for scored in found:
        text = fold(scored.unit.text)
        if not any(text in fold(other.unit.text) for other in kept):
            kept.append(scored)
    return kept
