"""Make up a string for a property out of the prompt's own words."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bedrock_local.answers import clues
from bedrock_local.answers.schema import Schema
from bedrock_local.answers.words import fold


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Hold what values may be drawn from: the user's text, the question in it, and quotes of the documents.

    `quote` takes words that narrow the search down and returns a quote with its source, or None.
    """

    question: str
    text: str
    has_documents: bool
    quote: Callable[[str], tuple[str, str | None] | None]


_LITERAL = frozenset({"text", "message", "input"})
WHOLE_QUESTION = _LITERAL | {
    "query", "question", "q", "search_query", "search", "prompt", "request", "user_input", "user_query",
}  # fmt: skip
_ANSWERING = re.compile(
    r"answer|summary|explanation|reason|response|quote|evidence|excerpt|passage|result|conclusion"
    r"|justification|content"
)
_SOURCE = re.compile(r"\b(?:source|citation|document|file|url|reference)s?\b")
_NUMBERED = re.compile(r"\b(?:id|number|code|zip|phone|version|year|no)\b")
_PERSONAL = re.compile(r"\b(?:name|person|author|customer|user|employee|owner|recipient|sender|who)\b")
_PLACED = re.compile(r"\b(?:in|at|for|from|to|near|of|into|with|by)\s+(?:the\s+)?\Z")
_FORMATS = {
    "email": (re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w"), "someone@example.com"),
    "date": (re.compile(r"\b\d{4}-\d\d-\d\d\b"), "2000-01-01"),
    "date-time": (
        re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?(?:Z|[+-]\d\d:\d\d)"),
        "2000-01-01T00:00:00Z",
    ),
    "time": (re.compile(r"\b\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)?"), "00:00:00Z"),
    "uri": (re.compile(r"https?://[^\s\"'<>]+"), "https://example.com/"),
    "uuid": (
        re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"),
        "00000000-0000-4000-8000-000000000000",
    ),
    "ipv4": (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b"), "192.0.2.1"),
    "duration": (re.compile(r"\bP(?:T?\d+[DHMSWY])+\b"), "PT0S"),
}
_PATTERN_TRIALS = (
    "a",
    "A",
    "0",
    "1",
    "aa",
    "AA",
    "00",
    "000",
    "0000",
    "00000",
    "abc",
    "ABC",
    "a1",
    "A1",
    "AB-1",
    "2000-01-01",
    "000-000-0000",
)


def formatted(schema: Schema, ground: Ground) -> tuple[str, bool] | None:
    """Return a string of the wanted format or pattern and whether the text has it; None without either."""
    if (known := _FORMATS.get(schema.get("format", ""))) is not None:
        found = known[0].search(ground.text)
        return (found.group(), True) if found else (str(schema.get("default", known[1])), False)
    if "pattern" not in schema:
        return None
    wanted = re.compile(schema["pattern"])
    words: Sequence[str] = [
        *clues.quoted(ground.text),
        *(w.strip(".,;:!?\"'()") for w in ground.text.split()),
    ]
    if (word := next((w for w in words if w and wanted.search(w)), None)) is not None:
        return word, True
    return next((trial for trial in _PATTERN_TRIALS if wanted.search(trial)), ""), False


def _generic(name: str, ground: Ground) -> str | None:
    if name.lower() not in WHOLE_QUESTION:
        return None
    literal = clues.quoted(ground.text) if name.lower() in _LITERAL else []
    return literal[0] if literal else ground.question or None


def _from_documents(name: str, description: str, ground: Ground) -> str | None:
    if not ground.has_documents:
        return None
    found = ground.quote(fold(f"{clues.spoken(name)} {description}"))
    if found is None:
        return None
    return found[1] if _SOURCE.search(clues.spoken(name)) else found[0]


def _answering(name: str, description: str, ground: Ground) -> str | None:
    wanted = _ANSWERING.search(clues.spoken(name)) or _SOURCE.search(clues.spoken(name))
    return _from_documents(name, description, ground) if wanted else None


def _numbered(name: str, ground: Ground) -> str | None:
    found = re.findall(r"\b(?=[\w-]*\d)[\w-]+\b", ground.text) if _NUMBERED.search(clues.spoken(name)) else []
    return found[0] if found else None


def _named(name: str, used: Sequence[str], ground: Ground) -> str | None:
    """Choose the first unused name: for a person a free one, else one after "in", "at", "for" ..."""
    spans = [span for span in clues.name_spans(ground.text) if fold(span.text) not in used]
    personal = bool(_PERSONAL.search(clues.spoken(name)))
    fitting = [span for span in spans if bool(_PLACED.search(ground.text[: span.begin])) != personal]
    return fold((fitting or spans)[0].text) if spans else None


def found(name: str, description: str, ground: Ground, used: Sequence[str]) -> str | None:
    """Return the value the text holds for a string property, surest signs first."""
    quoted = [text for text in clues.quoted(ground.text) if text not in used]
    finders: tuple[Callable[[], str | None], ...] = (
        lambda: said if (said := clues.said(name, ground.text)) not in used else None,
        lambda: _generic(name, ground),
        lambda: quoted[0] if quoted else None,
        lambda: _answering(name, description, ground),
        lambda: _numbered(name, ground),
        lambda: _named(name, used, ground),
        lambda: _from_documents(name, description, ground),
    )
    return next((value for finder in finders if (value := finder())), None)


def placeholder(name: str, ground: Ground) -> str:
    """Return a short string that says what it stands for, in words of the prompt."""
    about = clues.topic(ground.question or ground.text)
    label = clues.spoken(name)
    return f"{label}: {about}" if label and about else label or about or "-"


def bounded(text: str, schema: Schema) -> str:
    """Cut or pad a string to the lengths its schema allows."""
    cut = text[: schema["maxLength"]] if "maxLength" in schema else text
    return cut.ljust(schema.get("minLength", 0), ".")
