"""Read a text into the pieces that can be quoted: sentences, table rows, list items."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from bedrock_local.answers.memory import Memory, digest
from bedrock_local.answers.sections import sections
from bedrock_local.answers.words import fold, plain, terms, unescaped

_LINE_KINDS = (
    ("blank", re.compile(r"^\s*$|^\s*(?:</?[a-z]\w*(?:\s[^<>]*)?>\s*)+$", re.IGNORECASE)),
    ("heading", re.compile(r"^\s{0,3}#{1,6}\s+\S|^\s*\*\*[^*|]{1,300}\*\*:?\s*$|^\s*<h\d[^>]*>.*</h\d>\s*$")),
    ("path", re.compile(r"^(?!\s*(?:[-*+•>]|\d+[.)])\s)[^|>]{1,120}(?: > [^|>]{1,120}){1,6}(?<![.:;?!])$")),
    ("rule", re.compile(r"^\s*[-=_*|:+ \t]{3,}\s*$")),
    ("row", re.compile(r"^\s*\||^[^|]+\|[^|]+\||^[^|`]+ \| [^|`]+$")),
    ("item", re.compile(r"^\s*(?:[-*+•]|\d{1,3}\\?[.)])\s+\S|^\s*<li\b")),
    ("text", re.compile(r"")),
)
_FENCE = re.compile(r"^\s*(?:```|~~~)")
_ITEM_MARK = re.compile(r"^\s*(?:[-*+•]|\d{1,3}\\?[.)])\s+")
_QUOTE_MARK = re.compile(r"\A\s*(?:>\s*)+")
_HEADING_MARK = re.compile(r"^[\s#*]+|[\s*:]+$")
_SENTENCE_END = re.compile(
    r"(?<=[.!?])([\"'\u201d\u2019)\]*_]{0,3})\s+(?=[\"'\u201c\u2018(\[*_`\\]{0,3}[A-Z0-9\u0080-\uffff<])"
)
_CJK_END = re.compile(r"(?<=[。！？])")  # noqa: RUF001
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|fig|no|sec|approx|inc|dr|mr|mrs|ms|st|u\.s|al|ed|vol|pp?)|\b[A-Z]"
    r"|^\d{1,3})\\?\.$",
    re.IGNORECASE,
)
_LINK_ONLY = re.compile(r"^(?:[^\w\[\]()]*\[[^\[\]]*\]\([^()]*\))+[^\w\[\]()]*$")
_TITLE = re.compile(r"^[^\d|`]{1,100}(?<![.:;?!,])$")
_EDGE_TAGS = re.compile(r"^(?:\s*<[^<>]{1,200}>)+\s*|\s*(?:<[^<>]{1,200}>\s*)+$")
_PASSAGE_LENGTH = 900
_CODE_LENGTH = 240
_UNMARKED_LEVEL = 7
_HEADINGS = 3
_LOG_WORDS = 12
_HEADER_CELL = r"[^\W\d]+(?: [^\W\d]+){0,2}"
_HEADER = re.compile(rf"^{_HEADER_CELL}(?: \| {_HEADER_CELL})+$")  # of a table without bars around it


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Hold one piece, verbatim but for white space and escapes, with what a reader needs to place it.

    A "lead" announces what follows and a "link" only points elsewhere: neither says anything alone.
    """

    text: str
    kind: str
    heading: str = ""
    lead: str = ""
    source: str | None = None
    passage: int = 0

    @cached_property
    def words(self) -> frozenset[str]:
        """The stems of the piece itself."""
        return frozenset(terms(self.text))

    @cached_property
    def title(self) -> frozenset[str]:
        """The stems of the innermost heading."""
        return frozenset(terms(self.heading.rpartition(" > ")[2]))

    @cached_property
    def led(self) -> frozenset[str]:
        """The stems of its lead-in sentence or table header."""
        return frozenset(terms(self.lead))

    @cached_property
    def around(self) -> frozenset[str]:
        """The stems of its heading, lead-in sentence or table header."""
        return frozenset(terms(f"{self.heading} {self.lead}"))


@dataclass(frozen=True, slots=True)
class _Block:
    kind: str
    text: str


def _kind(line: str) -> str:
    return next(kind for kind, pattern in _LINE_KINDS if pattern.match(line))


def _blocks(lines: tuple[str, ...]) -> Iterator[_Block]:
    """Join the lines of one paragraph or list item, or of a piece of code up to an empty line."""
    kind, held, in_code = "blank", list[str](), False
    for line in (*lines, ""):
        if _FENCE.match(line):
            yield _Block(kind, "\n".join(held))
            kind, held, in_code = ("blank" if in_code else "code"), [], not in_code
            continue
        found = "code" if in_code and line.strip() else _kind(line)
        if found == kind == "code" or (found == "text" and kind in {"text", "item"}):
            held.append(line)
            continue
        yield _Block(kind, "\n".join(held))
        kind, held = found, [line]
    yield _Block(kind, "\n".join(held))


def _sentences(text: str) -> list[str]:
    """Split prose at sentence ends, not after an abbreviation or an initial."""
    found: list[str] = []
    begin = 0
    for match in _SENTENCE_END.finditer(text):
        if not _ABBREVIATION.search(text[begin : match.start()]):
            found.append(text[begin : match.end(1)])
            begin = match.end()
    found.append(text[begin:])
    pieces = (piece for sentence in found for piece in _CJK_END.split(sentence))
    return [piece for piece in (fold(_EDGE_TAGS.sub("", piece)) for piece in pieces) if piece]


def _is_log(text: str) -> bool:
    """Tell whether a text is long and mostly numbers and identifiers, as lines of a log are."""
    words = [word.strip("(),.:;*`'\"") for word in text.split()] if "|" not in text else []
    return len(words) >= _LOG_WORDS and sum(word.isalpha() for word in words) < len(words) / 2


_SAYING_NOTHING: tuple[tuple[str, Callable[[str], object]], ...] = (
    ("lead", lambda text: text.rstrip("*_ ").endswith(":")),
    ("link", _LINK_ONLY.match),
    ("code", _is_log),
)


class _Reader:
    """Walk over the blocks of one section, keeping the heading, the lead-in and the table header in mind."""

    def __init__(self, source: str | None) -> None:
        self._source = source
        self._headings: list[tuple[int, str]] = []
        self._lead = ""
        self._row: str | None = None
        self._may_be_header = False
        self.units: list[Unit] = []

    def read(self, block: _Block) -> None:
        if block.kind not in {"row", "rule"}:
            self._row = None
        getattr(self, f"_read_{block.kind}")(block.text)

    def _add(self, text: str, kind: str, lead: str = "") -> None:
        if fold(plain(text)).strip(" |*_-"):
            heading = " > ".join(title for _, title in self._headings[-_HEADINGS:])
            kind = next((name for name, says_nothing in _SAYING_NOTHING if says_nothing(text)), kind)
            self.units.append(Unit(text=text, kind=kind, heading=heading, lead=lead, source=self._source))

    def _read_blank(self, text: str) -> None:
        """Pass over a line without words."""

    def _read_rule(self, _: str) -> None:
        if self._row is not None and self.units and self.units[-1].kind == "row":
            self.units.pop()  # the row above the rule is the table's header
            self._lead = self._row
        self._row = None

    def _read_heading(self, text: str) -> None:
        level = len(text.lstrip()) - len(text.lstrip().lstrip("#")) or _UNMARKED_LEVEL
        above = [heading for heading in self._headings if heading[0] < level]
        self._headings = [*above, (level, _HEADING_MARK.sub("", fold(plain(text))))]
        self._lead = ""

    def _read_path(self, text: str) -> None:
        """Take a line such as "Guide > Limits" for the headings that the next text stands under."""
        self._headings = list(enumerate(fold(plain(text)).split(" > "), start=1))
        self._lead = ""

    def _read_text(self, text: str) -> None:
        for sentence in _sentences(_QUOTE_MARK.sub("", unescaped(text))):
            is_led = bool(self.units) and self.units[-1].kind == "lead" and self.units[-1].text == self._lead
            self._add(sentence, "sentence", self._lead if is_led else "")
            self._lead = sentence

    def _read_item(self, text: str) -> None:
        for sentence in _sentences(unescaped(_ITEM_MARK.sub("", text))):
            self._add(sentence, "item", self._lead)

    def _read_row(self, text: str) -> None:
        row = fold(unescaped(text)).strip("| ")
        if self._row is not None and self._may_be_header:
            self._read_rule("")
        if self._row is None and self._lead.count("|") == 0:
            self._lead = self._lead if self._lead.endswith(":") else ""
        is_first = self._row is None and "|" not in self._lead
        self._may_be_header = is_first and _HEADER.match(text) is not None
        self._row = row
        self._add(row, "row", self._lead)

    def _read_code(self, text: str) -> None:
        self._add(fold(text)[:_CODE_LENGTH].rsplit(" ", 1)[0], "code", self._lead)


def _with_passages(units: list[Unit]) -> tuple[Unit, ...]:
    """Give each piece the number of its passage; a passage has one section, one heading and a bound."""
    numbered: list[Unit] = []
    passage, length = 0, 0
    for unit in units:
        before = numbered[-1] if numbered else unit
        length += len(unit.text)
        if (unit.heading, unit.source) != (before.heading, before.source) or length > _PASSAGE_LENGTH:
            passage, length = passage + 1, len(unit.text)
        numbered.append(
            Unit(
                text=unit.text,
                kind=unit.kind,
                heading=unit.heading,
                lead=unit.lead,
                source=unit.source,
                passage=passage,
            )
        )
    return tuple(numbered)


def _has_title(lines: tuple[str, ...]) -> bool:
    """Tell whether the first line under the name of a source is the title of what follows."""
    return len(lines) > 2 and not lines[1].strip() and bool(_TITLE.match(lines[0]))  # noqa: PLR2004


def _read(text: str, title: str | None) -> tuple[Unit, ...]:
    units: list[Unit] = []
    for section in sections(text):
        names = [name for name in (title, section.source) if name]
        reader = _Reader(": ".join(dict.fromkeys(names)) or None)
        lines = section.lines
        if section.source and _has_title(lines):
            reader.read(_Block("path", lines[0]))
            lines = lines[1:]
        for block in _blocks(lines):
            reader.read(block)
        units.extend(reader.units)
    return _with_passages(units)


_read_before: Memory[tuple[Unit, ...]] = Memory(bound=64)


def units(text: str, title: str | None = None) -> tuple[Unit, ...]:
    """Return the quotable pieces of a text; a text read before is not read again."""
    return _read_before.get(digest(text, title or ""), lambda: _read(text, title))
