"""Fold text into comparable words: lower case, without markup, without endings, without filler."""

import re

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_MARKUP = re.compile(r"<[^<>]{1,200}>|\]\([^()\s]*\)")
_ESCAPE = re.compile(r"\\(?=[!-/:-@\[-`{-~])")
_PREFIX_HYPHEN = re.compile(r"(?<=\b[Ee])-(?=\w)|(?<=\b[Rr]e)-(?=\w)|(?<=\b[Pp]re)-(?=\w)")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SPACE = re.compile(r"\s+")

STOP_WORDS = frozenset(
    """a an and are as at be been being but by can could did do does doing for from had has have having he her
    here hers him his how i if in into is it its it's itself just me more most my no nor not of off on once
    only or other our ours out over own same she should so some such than that the their theirs them then
    there these they this those to too under up us very was we were what what's when where which while who
    whom why will with would you your yours about also may might must shall please tell give need want know
    let any each one""".split()  # noqa: SIM905
)
WEAK_WORDS = frozenset(
    """after again all allow always another become before bring call come during ever every find first get
    go goes going happen keep look long make many maximum minimum much new often put run see set start stop
    take taking time until used way whole without work""".split()  # noqa: SIM905
)
"""Words that say little by themselves, but not nothing."""
_ENDINGS = (
    ("ications", "ic"), ("ication", "ic"), ("ations", ""), ("ation", ""), ("ators", ""), ("ator", ""),
    ("ated", ""), ("ating", ""), ("ates", ""), ("ate", ""), ("ities", "ity"), ("ies", "y"), ("ied", "y"),
    ("ings", ""), ("ing", ""), ("ments", ""), ("ment", ""), ("ions", ""), ("ion", ""),
    ("ers", ""), ("er", ""), ("ed", ""), ("es", ""), ("s", ""), ("ly", ""), ("e", ""),
)  # fmt: skip
_SHORTEST_STEM = 3
_DOUBLED = re.compile(r"([bdgmnprt])\1$")
_LONGEST_UNDOUBLED = 3
_KEPT_ENDINGS = ("ss", "us", "is")
_SAME = {
    "max": "maximum", "biggest": "maximum", "largest": "maximum", "longest": "maximum", "highest": "maximum",
    "min": "minimum", "smallest": "minimum", "shortest": "minimum", "lowest": "minimum", "fewest": "minimum",
    "use": "used", "uses": "used", "using": "used", "mins": "minute", "secs": "second", "docs": "document",
}  # fmt: skip


def fold(text: str) -> str:
    """Collapse every run of white space into one blank."""
    return _SPACE.sub(" ", text).strip()


def unescaped(text: str) -> str:
    """Drop the backslashes that Markdown puts before punctuation."""
    return _ESCAPE.sub("", text)


def plain(text: str) -> str:
    """Drop tags, link targets and escapes, so that only what a reader reads is compared."""
    return _PREFIX_HYPHEN.sub("", _MARKUP.sub(" ", unescaped(text)))


def stem(word: str) -> str:
    """Cut the ending of a word, so that "expires" and "expiration" meet; short words stay."""
    word = _SAME.get(word, word)
    if word.endswith(_KEPT_ENDINGS):
        return word
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) + len(instead) >= _SHORTEST_STEM:
            cut = word[: len(word) - len(ending)] + instead
            return cut[:-1] if len(cut) > _LONGEST_UNDOUBLED and _DOUBLED.search(cut) else cut
    if word.endswith("s") and len(word) > 2 and not word[-2].isdigit():  # noqa: PLR2004
        return word[:-1]
    return word


def _pieces(word: str) -> list[str]:
    if not _CJK.search(word):
        return [stem(word.removesuffix("'s").removesuffix("\u2019s"))]
    return [word[i : i + 2] for i in range(max(1, len(word) - 1))]


def terms(text: str) -> list[str]:
    """List the meaningful word stems of a text in order; identifiers are split at case and underscore."""
    words = (match.group().lower() for match in _WORD.finditer(_CAMEL.sub(" ", plain(text))))
    return [piece for word in words if word not in STOP_WORDS for piece in _pieces(word)]
