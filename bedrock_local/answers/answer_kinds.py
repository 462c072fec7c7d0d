"""Know what the answer to a question looks like from how the question is put."""

import re
from dataclasses import dataclass

_WRITTEN = "one|two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|unlimited|no limit"
_NUMBER = rf"(?:\d[\d,.]{{0,20}}|\b(?:{_WRITTEN})\b)"
_TIME = rf"{_NUMBER}[\s-]*(?:milli|micro)?(?:ms|seconds?|minutes?|mins?|hours?|days?|weeks?|months?|years?)\b"
_SIZE = (
    rf"{_NUMBER}\s*(?:\\-)?\s*(?:[KMGT]i?B|bytes?|bits?|kilobytes?|megabytes?|gigabytes?|characters?"
    rf"|digits?|vCPUs?|%|USD|\$)"
)
_MONTH = r"(?:january|february|march|april|may|june|july|august|september|october|november|december)"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerKind:
    """Pair the wording of a question with the look of its answers; `filler` words are not searched for."""

    asked: re.Pattern[str]
    answer: re.Pattern[str]
    filler: re.Pattern[str] | None = None


def _kind(asked: str, answer: str, filler: str | None = None) -> AnswerKind:
    return AnswerKind(
        asked=re.compile(asked, re.IGNORECASE),
        answer=re.compile(answer, re.IGNORECASE),
        filler=re.compile(filler, re.IGNORECASE) if filler else None,
    )


_LIMIT = r"(?:max(?:imum)?|min(?:imum)?|default|limit|quota|longest|largest|smallest|fewest|least|most)"
_LOOKED_AT = 2000
_KINDS = (
    _kind(r"\bhow (?:long|often|soon|frequently)\b", _TIME, r"\bhow (?:long|often|soon|frequently)\b"),
    _kind(
        rf"\b{_LIMIT}\b.*\b(?:time|timeout|duration|retention|age|period|lifetime|interval|window)\b", _TIME
    ),
    _kind(r"\bhow (?:large|big|much)\b", _SIZE, r"\bhow (?:large|big|much)\b"),
    _kind(rf"\b{_LIMIT}\b.*\b(?:size|memory|storage|payload|package|length|capacity)\b", _SIZE),
    _kind(r"\bhow many\b", _NUMBER, r"\bhow many\b"),
    _kind(rf"\b{_LIMIT}\b.*\b(?:number|count|rate|value|concurren\w*|batch)\b|\bwhat number\b", _NUMBER),
    _kind(r"\b(?:what|which) (?:percentage|percent|share)\b", r"\d\s*(?:%|percent)"),
    _kind(
        r"^\W*when\b|\b(?:what|which) (?:date|year|day|month)\b",
        rf"\b(?:1[89]|20)\d\d\b|\b{_MONTH}\b|\b(?:when|whenever|after|before|until|if|once|as soon as)\b",
    ),
    _kind(r"^\W*who\b|\bwhose\b|\bby whom\b", r"\b[A-Z][a-z]+ [A-Z][a-z]+|\bby (?:the |an? )?[a-zA-Z]+"),
    _kind(
        r"^\W*why\b|\bwhat (?:is the reason|causes?)\b",
        r"\b(?:because|since|so that|due to|in order to|to (?:prevent|avoid|ensure|protect|reduce"
        r"|improve))\b",
    ),
    _kind(r"^\W*where\b", r"(?:^|[\s`])/[\w./-]+|\b(?:in|at|under|on) (?:the|a|an) \w+"),
    _kind(r"\b(?:what|which) (?:port|version|number|code|exit code|status)\b", r"\d"),
    _kind(
        r"\b(?:what|which) (?:\w+ )?(?:command|file|folder|directory|path|variable|header|field"
        r"|parameter|option|flag|method|operation|permission|action|attribute|key|class|function|event"
        r"|metric)\b",
        r"`[^`]+`|\*\*[^*]+\*\*|\b\w+(?:_\w+|[a-z][A-Z]\w*)",
    ),
    _kind(
        r"^\W*(?:what|who) (?:is|are|was|were) (?:an? )?[\w\s-]{2,40}\?*$|\b(?:define|definition of"
        r"|meaning of|stand for)\b|\bwhat does .* mean\b",
        r"\b(?:is|are) (?:an?|the|any|used|something)\b|\b(?:refers? to|means?|stands? for|defined as"
        r"|consists? of)\b",
    ),
    _kind(
        r"^\W*(?:can|could|may|must|should|shall|do|does|is|are|will)\b",
        r"\b(?:can(?:not|'t)?|may|must|shall|should|only|not|never|always|supports?|requires?|allowed"
        r"|recommended)\b",
    ),
    _kind(
        r"^\W*how (?:do|does|can|could|should|to)\b",
        r"\b(?:to|use|using|by|choose|run|create|configure|set|call|must|can)\b",
    ),
)
_SUMMARY = re.compile(
    r"\b(?:summar\w+|overview|key (?:points?|takeaways?|facts?)|main (?:points?|ideas?|topics?)|tl;?dr"
    r"|gist)\b"
    r"|\bwhat (?:is|are) (?:this|these|the) (?:document|text|page|file|pdf|passage|article"
    r"|context)s? about\b",
    re.IGNORECASE,
)


def kinds(question: str) -> tuple[AnswerKind, ...]:
    """Return every answer kind the wording of the question points to."""
    return tuple(kind for kind in _KINDS if kind.asked.search(question))


def without_filler(question: str) -> str:
    """Drop words such as "how long" that say what the answer looks like but not what it is about."""
    for kind in kinds(question):
        question = kind.filler.sub(" ", question) if kind.filler else question
    return question


def fit(found: tuple[AnswerKind, ...], text: str) -> float:
    """Return which part of the expected answer kinds a text shows, 0 when nothing is expected."""
    return sum(bool(kind.answer.search(text[:_LOOKED_AT])) for kind in found) / len(found) if found else 0.0


def asks_for_summary(question: str) -> bool:
    """Tell whether the question is about the documents as a whole."""
    return bool(_SUMMARY.search(question))
