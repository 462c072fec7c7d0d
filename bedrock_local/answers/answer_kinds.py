"""Know what the answer to a question looks like from how the question is put."""

import re
from dataclasses import dataclass

_WRITTEN = (
    "(?:only|just) one|zero|two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|unlimited|no limit"
)
_NUMBER = rf"(?:\d[\d,.]{{0,20}}|\b(?:{_WRITTEN})\b)"
_TIME = rf"{_NUMBER}[\s-]*(?:milli|micro)?(?:ms|seconds?|minutes?|mins?|hours?|days?|weeks?|months?|years?)\b"
_TIMES = (
    rf"{_TIME}|\b(?:once|twice|hourly|daily|weekly|monthly|yearly|annually)\b|{_NUMBER}\s(?:more )?times\b"
)
_SIZE = (
    rf"{_NUMBER}\s*(?:\\-)?\s*(?:[KMGT]i?B|bytes?|bits?|kilobytes?|megabytes?|gigabytes?|characters?"
    rf"|digits?|vCPUs?|%|USD|\$)"
)
_MONTH = r"(?:january|february|march|april|may|june|july|august|september|october|november|december)"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerKind:
    """Pair the wording of a question with the look of its answers; `filler` words are not searched for.

    A firm kind, such as a time, shows in nearly every answer; the others only make one likelier.
    """

    asked: re.Pattern[str]
    answer: re.Pattern[str]
    filler: re.Pattern[str] | None = None
    is_firm: bool = False


def _kind(asked: str, answer: str, filler: str | None = None, *, is_firm: bool = False) -> AnswerKind:
    return AnswerKind(
        asked=re.compile(asked, re.IGNORECASE),
        answer=re.compile(answer, re.IGNORECASE),
        filler=re.compile(filler, re.IGNORECASE) if filler else None,
        is_firm=is_firm or answer in {_TIME, _TIMES, _SIZE, _NUMBER},
    )


_LIMIT = r"(?:max(?:imum)?|min(?:imum)?|default|limit|quota|longest|largest|smallest|fewest|least|most)"
_MOST = r"(?:(?:big|larg|small|long|short|high|low|few)est|most|least)"
_BOUND = (
    r"\b(?:up to|max(?:imum)?|min(?:imum)?|at (?:most|least)|no (?:more|less|longer|fewer) than|limit\w*"
    r"|quotas?|between|within|exceed\w*|default|or (?:more|less|fewer|higher))\b"
)
_LOOKED_AT = 2000
_KINDS = (
    _kind(r"\bhow (?:long|soon)\b|\bhow much time\b", _TIME, r"\bhow (?:long|soon)\b"),
    _kind(r"\bhow (?:often|frequently)\b|\bhow many times\b", _TIMES, r"\bhow (?:often|frequently)\b"),
    _kind(
        rf"\b{_LIMIT}\b.*\b(?:time|timeout|duration|retention|age|period|lifetime|interval|window)\b", _TIME
    ),
    _kind(
        rf"\b(?:how|{_MOST})\b.*\b(?:can|may|must|should|allowed|at (?:least|most))\b|\b{_LIMIT}\b", _BOUND
    ),
    _kind(r"\b(?:only|sole|alone)\b", r"\b(?:only|sole(?:ly)?|alone|by itself)\b"),
    _kind(r"\b(?:biggest|largest|smallest)\b", _SIZE),
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
_WHAT_IS = re.compile(r"^\W*(?:what|who) (?:is|are) (?:an? )?([\w\s-]{2,40}?)s?\s*\?*$", re.IGNORECASE)
_HOW_MANY = re.compile(r"\bhow many (?:\w+ly )?(\w{4,})", re.IGNORECASE)
_SUMMARY = re.compile(
    r"\b(?:summar\w+|overview|key (?:points?|takeaways?|facts?)|main (?:points?|ideas?|topics?)|tl;?dr"
    r"|gist)\b"
    r"|\bwhat (?:is|are) (?:this|these|the) (?:document|text|page|file|pdf|passage|article"
    r"|context)s? about\b",
    re.IGNORECASE,
)


def kinds(question: str) -> tuple[AnswerKind, ...]:
    """Return every answer kind the wording of the question points to."""
    fixed = (kind for kind in _KINDS if kind.asked.search(question))
    return (*fixed, *_counted(question), *_defined(question))


def _defined(question: str) -> tuple[AnswerKind, ...]:
    """Return one kind for "what is a thing?": the thing at the start of a text that says what it is."""
    return tuple(
        _kind(
            "",
            rf"^\W*(?:an?\s|the\s)?{re.escape(thing.strip())}\W{{0,3}}(?:\([^()]*\)\W{{0,3}})?"
            r"(?:is|are|was|were|means?|refers?|stands?|consists?|\||:|\u2013|\u2014)(?:\s|$)",
            is_firm=True,
        )
        for thing in _WHAT_IS.findall(question)
    )


def _counted(question: str) -> tuple[AnswerKind, ...]:
    """Return one kind per "how many things" of the question: a number shortly before these things."""
    return tuple(
        _kind("", rf"{_NUMBER}[\s-]+(?:[\w*-]+\s+){{0,2}}\W{{0,2}}{re.escape(things[:-1])}", is_firm=True)
        for things in _HOW_MANY.findall(question)
    )


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
