"""Let an abbreviation and the words it stands for meet, where a text says which stands for which."""

import re
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from bedrock_local.answers.words import terms

_EXPLAINED = re.compile(
    r"(?<![\w'\u2019])((?:[A-Za-z][\w'\u2019]*[ \t-]+){1,6})\(\W{0,2}([A-Z][A-Z0-9]{1,6})s?\W{0,2}\)"
)
_BETWEEN = re.compile(r"[\s-]+")

Meaning = tuple[str, frozenset[str]]


def explained(texts: Iterable[str]) -> frozenset[Meaning]:
    """Find what stands before its abbreviation, as in "False Match Rate (FMR)": short stem and long stems."""
    found: set[Meaning] = set()
    for text in texts:
        for words, short in _EXPLAINED.findall(text):
            long = _BETWEEN.split(words.strip())[-len(short) :]
            if [word[0].lower() for word in long] == list(short.lower()):
                found.add((terms(short)[0], frozenset(terms(" ".join(long)))))
    return frozenset(found)


def asked(meanings: Iterable[Meaning], question: AbstractSet[str]) -> tuple[Meaning, ...]:
    """Keep what matters to a question: it names the abbreviation, or all that it stands for."""
    return tuple(
        sorted(
            (meaning for meaning in meanings if meaning[0] in question or meaning[1] <= question),
            key=lambda meaning: meaning[0],
        )
    )


def widened(words: frozenset[str], meanings: Sequence[Meaning]) -> frozenset[str]:
    """Add to the stems of a text what its abbreviations mean, and the abbreviations of what it says."""
    for short, long in meanings:
        if short in words:
            words |= long
        elif long <= words:
            words |= {short}
    return words
