"""Cut a text into sections at the lines that name a source, and say which source each came from."""

import re
from dataclasses import dataclass

from bedrock_local.answers.words import fold

_LABEL = re.compile(
    r"^\s*(?:[-*#>]+\s*)?\**(?:sources?|file[ _-]?(?:name|path)?|title|document|doc|url|page(?:[ _-]label)?)"
    r"\**\s*[:=]\s*\**\s*(\S.{0,300})$",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"^\s*(\[\d{1,3}\])\s*(.*)$")
_OPENING = re.compile(
    r"^\s*<(?:document|doc|source|passage|chunk|context|search_result)\s+([^<>]+)>(.*)$", re.IGNORECASE
)
_ENCLOSED = re.compile(r"^\s*<(?:source|title|document_title|url)>([^<>]{1,200})</\w+>\s*$", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"(?:source|title|name|url|href|id|index)\s*=\s*[\"']?([^\"'>]+)", re.IGNORECASE)
_IN_METADATA = re.compile(r"['\"](?:source|file_path|file_name|title)['\"]:\s*['\"]([^'\"]+)['\"]")
_PAGE_IN_METADATA = re.compile(r"['\"]page(?:_label)?['\"]:\s*['\"]?(\d+)")
_FILE_NAME = re.compile(r"^[^\n]{0,100}\.\w{2,5}(?:[,\s(#].{0,40})?$")
_CONTENT_LABEL = re.compile(r"^\s*(?:page_)?content\s*:\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Hold lines that belong together and the name of their source, where one is visible."""

    source: str | None
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Marker:
    name: str
    rest: str
    may_follow: bool  # a "Source:" line may stand below its text; the other markers always stand above


def _tidy(name: str) -> str:
    found = _IN_METADATA.search(name)
    if found is None:
        return fold(name)
    page = _PAGE_IN_METADATA.search(name)
    return f"{found.group(1)}, page {page.group(1)}" if page else found.group(1)


def _labelled(line: str) -> _Marker | None:
    found = _LABEL.match(line)
    if found is None:
        return None
    label = "page " if line.lower().lstrip(" -*#>").startswith("page") else ""
    return _Marker(name=label + _tidy(found.group(1)), rest="", may_follow=True)


def _numbered(line: str) -> _Marker | None:
    found = _NUMBERED.match(line)
    if found is None:
        return None
    number, rest = found.groups()
    if label := _labelled(rest):
        return _Marker(name=f"{number} {label.name}", rest="", may_follow=False)
    if _FILE_NAME.match(rest):
        return _Marker(name=f"{number} {fold(rest)}", rest="", may_follow=False)
    return _Marker(name=number, rest=rest, may_follow=False)


def _tagged(line: str) -> _Marker | None:
    if enclosed := _ENCLOSED.match(line):
        return _Marker(name=fold(enclosed.group(1)), rest="", may_follow=False)
    opening = _OPENING.match(line)
    if opening is None:
        return None
    attributes = [fold(value) for value in _ATTRIBUTE.findall(opening.group(1))]
    named = [value for value in attributes if not value.isdigit()]
    return _Marker(name=named[0] if named else "", rest=opening.group(2), may_follow=False)


def _marker(line: str) -> _Marker | None:
    if len(line) > 400 or not line.strip():  # noqa: PLR2004
        return _numbered(line) if line.lstrip().startswith("[") else None
    return _tagged(line) or _numbered(line) or _labelled(line)


def _is_blank(lines: list[str]) -> bool:
    return all(not line.strip(" -=_*\t") for line in lines)


def _named_above(chunks: list[tuple[_Marker | None, list[str]]]) -> list[Section]:
    sections: list[Section] = []
    pending = ""
    for marker, lines in chunks:
        name = ", ".join(part for part in (pending, marker.name if marker else "") if part)
        if marker is not None and _is_blank(lines):
            pending = name
            continue
        sections.append(Section(source=name or None, lines=tuple(lines)))
        pending = ""
    return sections


def _named_below(chunks: list[tuple[_Marker | None, list[str]]]) -> list[Section]:
    sections: list[Section] = []
    for position, (_, lines) in enumerate(chunks):
        following = chunks[position + 1][0] if position + 1 < len(chunks) else None
        sections.append(Section(source=following.name if following else None, lines=tuple(lines)))
    return sections


def _stands_below(lines: list[str], markers: dict[int, _Marker], *, prose_first: bool) -> bool:
    """Tell whether source lines stand below their texts: the blank lines decide, else the start."""
    if not markers or not all(marker.may_follow for marker in markers.values()):
        return False
    votes = 0
    for place in markers:
        above = place > 0 and lines[place - 1].strip() != ""
        below = place + 1 < len(lines) and lines[place + 1].strip() != ""
        votes += int(above) - int(below)
    return votes > 0 or (votes == 0 and prose_first)


def sections(text: str) -> list[Section]:
    """Split a text at its source lines, which stand above or below the texts that they name."""
    lines = text.splitlines()
    markers: dict[int, _Marker] = {}
    chunks: list[tuple[_Marker | None, list[str]]] = [(None, [])]
    for place, line in enumerate(lines):
        marker = _marker(line)
        if marker is None:
            labelled = _CONTENT_LABEL.match(line)
            chunks[-1][1].extend(["", line[labelled.end() :]] if labelled else [line])
        else:
            markers[place] = marker
            chunks.append((marker, [marker.rest] if marker.rest else []))
    below = _stands_below(lines, markers, prose_first=not _is_blank(chunks[0][1]))
    found = _named_below(chunks) if below else _named_above(chunks)
    return [section for section in found if not _is_blank(list(section.lines))]
