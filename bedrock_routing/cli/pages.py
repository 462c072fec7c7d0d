"""What a file reader hands over: pages of clean text, or the sentence that says why there are none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bedrock_routing.errors import BedrockRoutingError

__all__ = ["Content", "Page", "ReadingError", "decoded", "looks_like_text", "marked_codec", "tidy"]


class ReadingError(BedrockRoutingError, ValueError):
    """Say which file or folder cannot be read, why, and what to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Hold the text of one PDF page, or of one whole file of any other kind."""

    source: str
    page: int | None = None
    title: str | None = None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Hold the pages of one file, and a remark if a part of it could not be read."""

    pages: tuple[Page, ...]
    remark: str | None = None


_BYTE_ORDER_MARKS: Final = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_REPLACED: Final[Mapping[int, str]] = {
    **dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"), ""),  # soft hyphen, zero-width marks
    **str.maketrans({"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl"}),
    **str.maketrans({"\xa0": " ", "\f": "\n"}),
}


def marked_codec(data: bytes) -> str | None:
    """Return the codec that a byte order mark names, if there is one."""
    return next((codec for mark, codec in _BYTE_ORDER_MARKS if data.startswith(mark)), None)


def decoded(path: Path, data: bytes) -> str:
    """Return the characters of a text file: by its mark, as UTF-8, or as Latin-1 if that reads as writing."""
    marked = marked_codec(data)
    for codec in (marked,) if marked else ("utf-8", "cp1252"):  # cp1252 is latin-1 with typographic quotes
        try:
            text = data.decode(codec)
        except UnicodeDecodeError:
            continue
        if looks_like_text(text, least_ascii=0.7 if codec == "cp1252" else 0.0):
            return text
    raise ReadingError(
        f"{path} does not hold text, whatever its ending says. Save it as UTF-8 text, or leave it out."
    )


def looks_like_text(text: str, *, least_ascii: float = 0.0) -> bool:
    """Tell writing from noise: no NUL, next to no control characters, and the least share of ASCII."""
    sample = text[:100_000]
    if not sample or "\0" in sample or len(_CONTROL.findall(sample)) * 200 > len(sample):
        return False
    return sum(map(str.isascii, sample)) >= len(sample) * least_ascii


def tidy(text: str, *, collapse: bool = False) -> str:
    """Return text that every encoder takes, its lines kept, with at most one empty line in a row."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    clean = _CONTROL.sub("", whole.replace("\r\n", "\n").replace("\r", "\n").translate(_REPLACED))
    lines = (
        re.sub(r"[ \t]+", " ", line).strip() if collapse else line.rstrip() for line in clean.split("\n")
    )
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
