"""The bytes of one PDF as pages of text, with its bookmarks as headings."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pypdf import PageObject, PdfReader
from pypdf.errors import DependencyError

from bedrock_routing.cli.pages import Content, Page, ReadingError, tidy

__all__ = ["read_pdf"]

logging.getLogger("pypdf").addHandler(
    logging.NullHandler()
)  # its remarks on stderr would tear a progress bar


def read_pdf(path: Path, data: bytes) -> Content:
    """Read the pages that have text; a PDF that opens with an empty password counts as unencrypted."""
    try:
        return _pdf_content(path, data)
    except ReadingError:
        raise
    except DependencyError as error:
        raise ReadingError(
            f"{path} is encrypted with AES. Save a copy without encryption, or pip install 'pypdf[crypto]'."
        ) from error
    except Exception as error:  # a damaged file makes the parser fail in any way it likes
        raise ReadingError(
            f"{path} is not a whole PDF ({type(error).__name__}). Download or export it again, then retry."
        ) from error


def _pdf_content(path: Path, data: bytes) -> Content:
    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise ReadingError(f"{path} is encrypted. Save a copy without its password, and name that one.")
    title = _pdf_title(reader)
    headings = _pdf_headings(reader)
    texts = [
        _with_headings(
            tidy(page.extract_text().replace("\x7f", "•"), collapse=True), headings.get(number, {})
        )
        for number, page in enumerate(reader.pages)
    ]
    pages = tuple(
        Page(source=str(path), page=number, title=title, text=text)
        for number, text in enumerate(texts, start=1)
        if text
    )
    if not pages:
        raise ReadingError(
            f"{path} has no text layer: it is scanned or empty. Run OCR on it first, and name the result."
        )
    scanned = [
        str(n) for n, text in enumerate(texts, start=1) if not text and _has_image(reader.pages[n - 1])
    ]
    remark = f"{path} has only an image on page {', '.join(scanned)}. Run OCR on it to have that read too."
    return Content(pages=pages, remark=remark if scanned else None)


def _pdf_title(reader: PdfReader) -> str | None:
    title = reader.metadata.title if reader.metadata else None
    words = " ".join(str(title or "").split())
    return words if words and words.lower() != "untitled" else None


def _has_image(page: PageObject) -> bool:
    return bool(page.images.keys())


def _pdf_headings(reader: PdfReader) -> dict[int, dict[str, int]]:
    """Return for each page, counted from 0, the bookmarks that lead there and their depth from 1."""
    found: dict[int, dict[str, int]] = {}

    def visit(items: list[Any], depth: int) -> None:
        for item in items:
            if isinstance(item, list):
                visit(cast("list[Any]", item), depth + 1)
                continue
            number = reader.get_destination_page_number(item)
            if number is not None:
                found.setdefault(number, {})[" ".join(str(item.title).split())] = depth

    try:
        visit(cast("list[Any]", reader.outline), 1)
    except Exception:  # bookmarks are a help, not a need: a damaged set of them is left aside
        return {}
    return found


def _with_headings(text: str, headings: Mapping[str, int]) -> str:
    if not headings:
        return text
    marked = (
        f"\n{'#' * min(headings[line], 6)} {line}\n" if line in headings else line
        for line in text.split("\n")
    )
    return re.sub(r"\n{3,}", "\n\n", "\n".join(marked)).strip("\n")
