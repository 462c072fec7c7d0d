"""Documents cut into chunks that can be understood alone: each opens with the headings it stands under."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from langchain_core.documents import Document
from langchain_text_splitters import RecursiveCharacterTextSplitter

__all__ = ["chunk_documents"]

_SIZE: Final = 1_200
_OVERLAP: Final = 150
_FENCE: Final = re.compile(r"\s*(?:```|~~~)")
_HASHES: Final = re.compile(r"(#{1,6})[ \t]+(\S.*)")
_LEAST_UNDERLINE: Final = 3
_UNDERLINES: Final = {"=": 1, "-": 2, "~": 3, "^": 4}
_MARKUP: Final = re.compile(r"<[^>\n]*>|\{#[^}\n]*\}|\\(?=[^\w\s])|\s+#+\s*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heading:
    level: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """Hold where the words under one heading start and end, and the headings above them, outermost first."""

    start: int
    end: int
    path: tuple[_Heading, ...]


def chunk_documents(documents: Sequence[Document]) -> list[Document]:
    """Cut documents at their headings and then by size; the same documents always give the same chunks.

    Pages of one source follow each other, so a page that opens within a section keeps its headings. A chunk's
    `id` digests its text and place; `start_index` is where its own words start in the text of its document.
    """
    chunks: dict[str, Document] = {}
    path: tuple[_Heading, ...] = ()
    source: object = None
    for document in documents:
        metadata = _metadata(document)
        path = path if "page" in metadata and metadata.get("source") == source else ()
        source = metadata.get("source")
        sections = _sections(document.page_content, path)
        path = sections[-1].path
        worded = [s for s in sections if document.page_content[s.start : s.end].strip()]
        for section in _merged(worded):
            chunks.update((str(chunk.id), chunk) for chunk in _chunks(document, section))
    return list(chunks.values())


def _sections(text: str, path: tuple[_Heading, ...]) -> list[_Section]:
    sections: list[_Section] = []
    start = 0
    for at, end, heading in _headings(text):
        sections.append(_Section(start=start, end=at, path=path))
        path = (*(above for above in path if above.level < heading.level), heading)
        start = end
    return [*sections, _Section(start=start, end=len(text), path=path)]


def _headings(text: str) -> Iterator[tuple[int, int, _Heading]]:
    """Yield where each heading starts and ends, outside of code: `# text`, or a line that is underlined."""
    lines = text.splitlines(keepends=True)
    at, is_code = 0, False
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        end = at + len(line)
        is_code ^= _FENCE.match(line) is not None
        hashes = _HASHES.match(line)
        level = _UNDERLINES.get(below[:1], 0)
        if not is_code and hashes:
            yield at, end, _Heading(level=len(hashes[1]), text=_words(hashes[2]))
        elif not is_code and level and _is_underlined(line, below.rstrip()):
            yield at, end + len(below), _Heading(level=level, text=_words(line))
        at = end


def _is_underlined(line: str, below: str) -> bool:
    return (
        line[:1].isalnum()
        and len(below) >= _LEAST_UNDERLINE
        and not below.strip(below[0])
        and len(line) <= 2 * len(below) + 1
    )


def _words(heading: str) -> str:
    return " ".join(_MARKUP.sub("", heading).split())


def _merged(sections: Sequence[_Section]) -> list[_Section]:
    """Join short neighbours under one parent: three lines alone are a poor answer to anything."""
    merged: list[_Section] = []
    for section in sections:
        last = merged[-1] if merged else None
        if last and section.end - last.start <= _SIZE and _are_close(last.path, section.path):
            merged[-1] = replace(last, end=section.end)
        else:
            merged.append(section)
    return merged


def _are_close(path: tuple[_Heading, ...], next_path: tuple[_Heading, ...]) -> bool:
    parent = path[:-1] or path
    return bool(parent) and next_path[: len(parent)] == parent


def _chunks(document: Document, section: _Section) -> Iterator[Document]:
    splitter = RecursiveCharacterTextSplitter(
        chunk_size=_SIZE,
        chunk_overlap=_OVERLAP,
        separators=["\n\n", "\n", ". ", " ", ""],
        add_start_index=True,
    )
    metadata = _metadata(document)
    headings = [heading.text for heading in section.path]
    title = metadata.get("title")
    if title and title not in headings[:1]:
        headings.insert(0, str(title))
    heading = " > ".join(headings)
    for piece in splitter.create_documents([document.page_content[section.start : section.end]]):
        start = section.start + cast("int", _metadata(piece)["start_index"])
        text = f"{heading}\n\n{piece.page_content}" if heading else piece.page_content
        known = {**metadata, **({"heading": heading} if heading else {}), "start_index": start}
        place = f"{metadata.get('source')}\0{metadata.get('page')}\0{start}\0{text}"
        digest = hashlib.blake2b(place.encode(), digest_size=12).hexdigest()
        yield Document(id=digest, page_content=text, metadata=known)


def _metadata(document: Document) -> dict[str, Any]:
    return cast("dict[str, Any]", document.metadata)  # pyright: ignore[reportUnknownMemberType]
