"""The bytes of one text or HTML file as a page of text, and the reader for each ending.

1. Nothing here opens a file: a reader takes a path to name in its sentences, and the bytes.
2. Headings of HTML pages, and of PDFs with bookmarks, become Markdown headings: one splitter serves all.
3. What text formats align with spaces stays aligned; what layout formats align with spaces is noise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from bs4 import BeautifulSoup
from bs4.element import NavigableString, Tag

from bedrock_routing.cli.pages import (
    Content,
    Page,
    ReadingError,
    decoded,
    looks_like_text,
    marked_codec,
    tidy,
)
from bedrock_routing.cli.pdf import read_pdf

__all__ = ["READERS", "read_unknown"]

_TITLE: Final = re.compile(
    r"^#[ \t]+(?P<hash>.+?)[ \t]*#*$|^(?P<lined>\S.*)\n(?:={3,}|-{3,}|\*{3,})$", re.MULTILINE
)
_MARKUP: Final = re.compile(r"<[^>\n]*>|\{#[^}\n]*\}|\\(?=[^\w\s])")


def _read_text(path: Path, data: bytes) -> Content:
    return _text_content(path, decoded(path, data))


def read_unknown(path: Path, data: bytes) -> Content:
    """Read a file whose ending says nothing: as text if it is clean UTF-8, else refuse it."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = ""
    if not looks_like_text(text):
        endings = ", ".join(READERS)
        raise ReadingError(f"{path} is not a kind of file that can be read. Convert it to one of {endings}.")
    return _text_content(path, text)


def _text_content(path: Path, text: str) -> Content:
    clean = tidy(text)
    found = _TITLE.search(clean)
    title = found and _MARKUP.sub("", found["hash"] or found["lined"]).strip()
    return Content(pages=(Page(source=str(path), title=title or None, text=clean),))


_DROPPED: Final = ("script", "style", "nav", "noscript", "template", "svg", "iframe", "title")
_LINES: Final = ("dd", "dt", "li", "tr")
_PARAGRAPHS: Final = (
    "address",
    "blockquote",
    "caption",
    "dl",
    "figcaption",
    "hr",
    "ol",
    "p",
    "pre",
    "table",
    "ul",
)
_SECTIONS: Final = ("article", "aside", "div", "figure", "footer", "form", "header", "main", "section")
_HEADINGS: Final = {f"h{level}": "#" * level for level in range(1, 7)}


def _read_html(path: Path, data: bytes) -> Content:
    if b"\0" in data and not marked_codec(data):
        raise ReadingError(
            f"{path} does not hold HTML, whatever its ending says. Save the page again, or leave it out."
        )
    soup = BeautifulSoup(data, "html.parser")
    named = soup.title or soup.h1
    title = _one_line(named) if named else None
    return Content(pages=(Page(source=str(path), title=title or None, text=_html_text(soup)),))


def _html_text(soup: BeautifulSoup) -> str:
    for tag in _tags(soup, _DROPPED):
        tag.decompose()
    for string in soup.find_all(string=True):
        if type(string) is NavigableString and string.find_parent("pre") is None:
            string.replace_with(re.sub(r"\s+", " ", string))
    for row in _tags(soup, ("tr",)):
        if row.find("table") is None:
            row.string = " | ".join(_one_line(cell) for cell in _tags(row, ("td", "th")))
    for heading in _tags(soup, _HEADINGS):
        heading.string = f"\n\n{_HEADINGS[heading.name]} {_one_line(heading)}\n\n"
    _break_lines(soup)
    lines = (line if line.strip() else "" for line in soup.get_text().split("\n"))
    return tidy("\n".join(re.sub(r"^ (?=\S)", "", line) for line in lines))


def _break_lines(soup: BeautifulSoup) -> None:
    for item in _tags(soup, ("li",)):
        item.insert(0, "- ")
    for line_break in _tags(soup, ("br",)):
        line_break.replace_with("\n")
    for line in _tags(soup, _LINES):
        line.insert_before("\n")
    for block in _tags(soup, (*_PARAGRAPHS, *_SECTIONS)):
        block.insert_before("\n\n")
        block.insert_after("\n\n")


def _tags(within: Tag, names: Iterable[str]) -> list[Tag]:
    return list(within.find_all(list(names)))


def _one_line(tag: Tag) -> str:
    return " ".join(tag.get_text(" ").split())


Reader = Callable[[Path, bytes], Content]
READERS: Final[Mapping[str, Reader]] = {
    ".pdf": read_pdf,
    ".md": _read_text,
    ".markdown": _read_text,
    ".html": _read_html,
    ".htm": _read_html,
    ".txt": _read_text,
    ".rst": _read_text,
}
