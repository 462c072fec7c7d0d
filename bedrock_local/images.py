"""Read an image's size out of its first bytes, to estimate its tokens."""

from __future__ import annotations

import base64
import binascii
import struct
from math import ceil

__all__ = ["image_tokens"]

_PIXELS_PER_TOKEN = 750
_MOST = 1_600
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BEGIN = 0xFF


def image_tokens(encoded: str) -> int:
    """Return width times height over 750, at most 1,600, as Anthropic documents it; else 1,600."""
    try:
        content = base64.b64decode(encoded)
    except binascii.Error:
        return _MOST
    size = _png(content) or _jpeg(content)
    return _MOST if size is None else min(ceil(size[0] * size[1] / _PIXELS_PER_TOKEN), _MOST)


def _png(content: bytes) -> tuple[int, int] | None:
    if not content.startswith(_PNG) or len(content) < 24:  # noqa: PLR2004 - header and first chunk
        return None
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def _jpeg(content: bytes) -> tuple[int, int] | None:
    place = 2
    while content.startswith(_JPEG) and place + 9 <= len(content) and content[place] == _JPEG_BEGIN:
        (length,) = struct.unpack(">H", content[place + 2 : place + 4])
        if content[place + 1] in _JPEG_SIZES:
            height, width = struct.unpack(">HH", content[place + 5 : place + 9])
            return width, height
        place += 2 + length
    return None
