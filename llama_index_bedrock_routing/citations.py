"""Citations of an answer, both ways: what Converse says of one, and LlamaIndex's `CitationBlock`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.base.llms.types import CitationBlock, TextBlock

__all__ = ["citation_from_wire", "citation_to_wire"]

_WEB = "web"
"""A place on the web has no numbers: its address is the citation's source."""


def citation_from_wire(citation: Mapping[str, Any]) -> CitationBlock:
    """Return a citation; numbers of its location stand under their full names (`documentChar.start`)."""
    location: Mapping[str, Mapping[str, Any]] = citation.get("location") or {}
    numbers = {
        f"{kind}.{name}": value
        for kind, members in location.items()
        for name, value in members.items()
        if isinstance(value, int)
    }
    url = location.get(_WEB, {}).get("url", "")
    texts = [each.get("text", "") for each in citation.get("sourceContent") or ()]
    return CitationBlock(
        cited_content=TextBlock(text="\n".join(texts)),
        source=citation.get("source") or url,
        title=citation.get("title") or "",
        additional_location_info={**numbers, **({_WEB: 1} if _WEB in location else {})},
    )


def citation_to_wire(block: CitationBlock) -> dict[str, Any]:
    """Return a citation as Converse has it; what is empty is left out."""
    text = block.cited_content.text if isinstance(block.cited_content, TextBlock) else ""
    members = {
        "title": block.title,
        "source": block.source,
        "sourceContent": [{"text": text}] if text else [],
        "location": _location(block),
    }
    return {name: value for name, value in members.items() if value}


def _location(block: CitationBlock) -> dict[str, Any]:
    location: dict[str, dict[str, Any]] = {}
    for name, value in block.additional_location_info.items():
        kind, _, member = name.partition(".")
        if member:
            location.setdefault(kind, {})[member] = value
        elif kind == _WEB:
            location[_WEB] = {"url": block.source}
    return location
