"""Read the text out of a Converse `document` block."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, cast

__all__ = ["TEXT_FORMATS", "document_text"]

TEXT_FORMATS = frozenset({"txt", "md", "html", "csv"})


def document_text(document: Mapping[str, Any]) -> str | None:
    """Return a document's text, or `None` for formats that are not text (PDF, Word, spreadsheets)."""
    source = cast("Mapping[str, Any]", document.get("source", {}))
    if "text" in source:
        return str(source["text"])
    if "content" in source:
        return "\n".join(
            str(each.get("text", "")) for each in cast("list[Mapping[str, Any]]", source["content"])
        )
    if "bytes" in source and document.get("format", "txt") in TEXT_FORMATS:
        return _decoded(str(source["bytes"]))
    return None


def _decoded(encoded: str) -> str | None:
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8", errors="replace")
    except binascii.Error:
        return None
