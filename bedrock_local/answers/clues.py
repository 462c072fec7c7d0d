"""Find values that stand in a text: quoted strings, names, numbers, and what a property is said to be."""

import re
from dataclasses import dataclass

from bedrock_local.answers.words import STOP_WORDS, fold

_QUOTED = re.compile(
    r"(?<!\w)'([^'\n]{1,200})'(?!\w)|\"([^\"\n]{1,200})\"|\u201c([^\u201d\n]{1,200})\u201d"
    r"|\u2018([^\u2019\n]{1,200})\u2019|`([^`\n]{1,200})`"
    r"|「([^」\n]{1,200})」"
)
_NUMBER = re.compile(r"(?<![\w.])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!_)")
_WRITTEN = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905
    )
}
_WRITTEN_NUMBER = re.compile(rf"\b(?:{'|'.join(_WRITTEN)})\b", re.IGNORECASE)
_TOKEN = re.compile(r"[^\W_][\w'\u2019.&-]*[\w]|[^\W_]")
_BETWEEN_NAME_PARTS = re.compile(r"\s+(?:(?:of|de|da|van|von|the|la|le)\s+)?")
_STATE = re.compile(r"[A-Z]{2}")
_BETWEEN_NAMES = re.compile(r"\s*(?:,|&|,?\s*\band\b)\s*(?:(?:in|for|at|of|from|on)\s+)?(?:the\s+)?")
_SAID_OF = re.compile(r"(?:\s+[A-Z]\w*){0,3}\s+(?:is|was|has|lives|works|went|wants|likes)\b")
_SENTENCE_START = re.compile(r"(?:^|[.!?\n]\s*[\"'(\u201c]?)\Z")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_\-\s]+")
_VALUE = (
    r"(?:[\"'\u201c\u2018「`](?P<quoted>[^\"'\u201d\u2019」`\n]{1,200})[\"'\u201d\u2019」`]"
    r"|(?P<bare>[^\s,;.!?][^,;!?\n]{0,80}?)(?=\s+(?:and|with|but|who|which|that)\b|[,;!?\n]|\.(?:\s|$)|$))"
)
_JOINED = r"\s*(?::|=|\bis\b|\bare\b|\bwas\b|\bnamed\b|\bcalled\b|\bset to\b|\bshould be\b)\s*"
_NAMED = r"\s+(?:named|called)\s+"
_SELF_NAMED = r"(?:\b(?:i am|i'm|my name is|named|called)\s+)"
_TOPIC = re.compile(
    r"\b(?:about|regarding|concerning|on the topic of)\s+(?:the |an? )?([^.,;!?\n]{2,60})", re.IGNORECASE
)
_SHORTEST_NAME_FOR_SENTENCE = 3
_TOPIC_WORDS = 6


@dataclass(frozen=True, slots=True)
class Span:
    """Hold a found value and where it stands."""

    text: str
    begin: int
    end: int


def spoken(name: str) -> str:
    """Turn a property's name into the words a person would write: "customerName" gives "customer name"."""
    return fold(_CAMEL.sub(" ", name)).lower()


def quoted(text: str) -> list[str]:
    """List the strings that stand in quotation marks."""
    return [fold(next(group for group in match.groups() if group)) for match in _QUOTED.finditer(text)]


def _value(text: str) -> float | int:
    number = float(text.replace(",", ""))
    return int(number) if number.is_integer() else number


def numbers(text: str) -> list[float | int]:
    """List the numbers in order, written as digits or, up to twelve, as words, outside of names."""
    found = [(m.start(), _value(m.group())) for m in _NUMBER.finditer(text)]
    found += [(m.start(), _WRITTEN[m.group().lower()]) for m in _WRITTEN_NUMBER.finditer(text)]
    return [value for _, value in sorted(found)]


def _is_name_word(text: str, match: re.Match[str]) -> bool:
    word = match.group()
    if not word[0].isupper() and not (ord(word[0]) > 0x2E7F and word[0].isalpha()):  # noqa: PLR2004
        return False
    if word.lower() in STOP_WORDS or word.lower().split("'")[0] in STOP_WORDS:
        return False
    if not _SENTENCE_START.search(text[: match.start()]):
        return True
    return bool(_SAID_OF.match(text, match.end())) or ord(word[0]) > 0x2E7F  # noqa: PLR2004


def _continues(between: str, word: str) -> bool:
    """Tell whether a word belongs to the name before it: "New York", "Bank of Ghana", "Austin, TX"."""
    in_state = between.strip() == "," and _STATE.fullmatch(word)
    return bool(in_state or _BETWEEN_NAME_PARTS.fullmatch(between))


def name_spans(text: str) -> list[Span]:
    """Find runs of capitalised words, and words of scripts without capitals, save mere sentence starts."""
    spans: list[Span] = []
    for match in _TOKEN.finditer(text):
        if not _is_name_word(text, match):
            continue
        if spans and _continues(text[spans[-1].end : match.start()], match.group()):
            begin = spans.pop().begin
        else:
            begin = match.start()
        spans.append(Span(text[begin : match.end()], begin, match.end()))
    return spans


def names(text: str) -> list[str]:
    """List the names in order of appearance."""
    return [fold(span.text) for span in name_spans(text)]


def one_name_each(text: str) -> list[str]:
    """Return the text once per name of "X, Y and Z", or as it is when no names are strung together."""
    spans = name_spans(text)
    for first in range(len(spans)):
        last = first
        while last + 1 < len(spans) and _BETWEEN_NAMES.fullmatch(
            text[spans[last].end : spans[last + 1].begin]
        ):
            last += 1
        if last > first:
            head, tail = text[: spans[first].begin], text[spans[last].end :]
            return [f"{head}{span.text}{tail}" for span in spans[first : last + 1]]
    return [text]


def _first_value(pattern: str, text: str) -> str | None:
    match = re.search(pattern + _VALUE, text, re.IGNORECASE)
    if match is None:
        return None
    return fold(match.group("quoted") or match.group("bare")).removesuffix(".") or None


def said(name: str, text: str) -> str | None:
    """Return what the text says a property is: "age is 30", "city: Rome", "a customer named Ada"."""
    words = spoken(name)
    joined = r"\s*[:=]\s*" if len(words) < _SHORTEST_NAME_FOR_SENTENCE else _JOINED
    phrase = re.escape(words).replace(r"\ ", r"[\s_-]*")
    subject = words.removesuffix("name").strip()
    patterns = [rf"(?<!what is the )(?<!\w){phrase}[\"'`*]*{joined}(?:an? |the )?"]
    if words.endswith("name"):
        patterns.append(rf"\b{re.escape(subject)}{_NAMED}" if subject else _SELF_NAMED)
    return next((value for pattern in patterns if (value := _first_value(pattern, text))), None)


def number_of(name: str, text: str) -> float | int | None:
    """Return the number said of a property: "temperature of 20", "3 adults", "age: 41"."""
    phrase = re.escape(spoken(name)).replace(r"\ ", r"[\s_-]*")
    if len(spoken(name)) < _SHORTEST_NAME_FOR_SENTENCE:
        patterns = [rf"(?<!\w){phrase}\s*[:=]\s*({_NUMBER.pattern})"]
    else:
        singular = phrase.removesuffix("s")
        patterns = [
            rf"\b{singular}s?\b(?:\W+(?:is|are|was|of|to|at|be|equals)\b)*\W{{0,3}}({_NUMBER.pattern})",
            rf"({_NUMBER.pattern})[\s-]+{singular}s?\b",
        ]
    found = (re.search(pattern, text, re.IGNORECASE) for pattern in patterns)
    return next((_value(match.group(1)) for match in found if match), None)


def topic(text: str) -> str:
    """Say in a few of the text's own words what it is about."""
    if found := _TOPIC.search(text):
        return fold(found.group(1))
    words = [match.group() for match in _TOKEN.finditer(text)]
    telling = [word for word in words if word.lower() not in STOP_WORDS] or words
    return " ".join(telling[:_TOPIC_WORDS])
