"""See a Converse request as one ordered list of blocks: tools, system, messages.

This is the order in which the service forms the prompt and its cache prefixes. Reading copies nothing: a
block refers to the caller's own dict. Sizes are estimates: four bytes of text a token, two at the most.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from xxhash import xxh3_128, xxh3_128_digest, xxh3_128_hexdigest

from bedrock_routing.catalog import Section
from bedrock_routing.tables import Bounded

__all__ = [
    "Block",
    "Digester",
    "digests_up_to",
    "member",
    "most_tokens",
    "path_of",
    "read_blocks",
    "sequence",
    "text_digest",
    "tokens_of",
]

Wire = Mapping[str, Any]

_BYTES_PER_TOKEN = 4
_LEAST_BYTES_PER_TOKEN = 2
_IMAGE_TOKENS = 1_500
_BYTES_PER_DOCUMENT_TOKEN = 10
_LEAST_DOCUMENT_TOKENS = 500


class Block(NamedTuple):
    """Be one element of a Converse request: a tool, a system block or a content block of a message.

    A tuple, since every call makes hundreds.
    """

    section: Section
    number: int
    """Position in its list: tools, system, or the content of its message."""
    message: int | None
    role: str | None
    kind: str
    """The block's key on the wire: text, document, toolResult, cachePoint, toolSpec ..."""
    value: Any
    """What stands under that key."""
    raw: Wire

    @property
    def path(self) -> str:
        """Return the block's place on the wire, e.g. `messages.0.content.2`."""
        return path_of(self.section, self.message, self.number)


def path_of(section: Section, message: int | None, index: int) -> str:
    """Write a place on the wire as receipts and error messages show it."""
    if section == "messages":
        return f"messages.{message}.content.{index}"
    return f"toolConfig.tools.{index}" if section == "tools" else f"system.{index}"


def member(value: object, key: str) -> Any:
    """Return what stands under `key`, or `None` where `value` is no mapping or has no such key."""
    if type(value) is dict or isinstance(value, Mapping):  # asking whether it is a Mapping takes far longer
        return cast("Wire", value).get(key)
    return None


def sequence(value: object) -> Sequence[Any]:
    """Return a list or tuple as it is, else nothing: wrong shapes are botocore's to refuse."""
    return cast("Sequence[Any]", value) if isinstance(value, list | tuple) else ()


def read_blocks(params: Wire) -> tuple[Block, ...]:
    """Return all blocks of a Converse request in prompt order; what has an unknown shape is passed over."""
    blocks = _list("tools", member(params.get("toolConfig"), "tools"), None, None)
    blocks += _list("system", params.get("system"), None, None)
    for number, message in enumerate(sequence(params.get("messages"))):
        blocks += _list("messages", member(message, "content"), number, member(message, "role"))
    return tuple(blocks)


def _list(section: Section, items: object, message: int | None, role: str | None) -> list[Block]:
    blocks: list[Block] = []
    for index, raw in enumerate(sequence(items)):
        wire = cast("Wire", raw)
        mapping = type(raw) is dict or isinstance(raw, Mapping)
        kind = str(next(iter(wire), "")) if mapping else ""
        blocks.append(Block(section, index, message, role, kind, wire.get(kind) if mapping else None, wire))
    return blocks


def tokens_of(block: Block, start: int = 0, end: int | None = None) -> int:
    """Estimate the tokens of a block, or of a part of its text."""
    if block.kind == "text":
        return _part_bytes(block.value, start, end) // _BYTES_PER_TOKEN + 1
    if block.kind == "image":
        return _IMAGE_TOKENS
    if block.kind in ("document", "video", "audio"):
        return _media_tokens(block.value)
    if block.kind == "cachePoint":
        return 0
    return len(_canonical(block.raw)) // _BYTES_PER_TOKEN + 1


def most_tokens(estimate: int) -> int:
    """Return the number of tokens that a prefix of this estimated size has at the very most."""
    return estimate * _BYTES_PER_TOKEN // _LEAST_BYTES_PER_TOKEN


def _part_bytes(text: str, start: int, end: int | None) -> int:
    if text.isascii():
        return max(0, (len(text) if end is None else min(end, len(text))) - start)
    return len(_encoded(text[start:end]))


def _media_tokens(value: Any) -> int:
    source = member(value, "source")
    text = member(source, "text")
    if isinstance(text, str):
        return _part_bytes(text, 0, None) // _BYTES_PER_TOKEN + 1
    data = member(source, "bytes")
    size = len(data) if isinstance(data, bytes | bytearray) else 0
    return max(size // _BYTES_PER_DOCUMENT_TOKEN, _LEAST_DOCUMENT_TOKENS)


class Digester:
    """Give every prefix of a request a digest that is equal exactly when the blocks before it are.

    Two texts in one block and the same text in two blocks are different prefixes: whether the service sees
    them as one is not documented. Markers do not count. Digests of long texts are kept while a request is
    planned, so that alternatives cost no second reading.
    """

    def __init__(self, params: Wire) -> None:
        fields = params.get("additionalModelRequestFields")
        choice = member(params.get("toolConfig"), "toolChoice")
        self.seed = _hash(_canonical(fields) if fields else b"")
        self._messages = b"auto" if not choice or "auto" in choice else b"forced"
        self._parts: dict[tuple[int, int, int | None], bytes] = {}

    def extend(self, prefix: bytes, block: Block, start: int = 0, end: int | None = None) -> bytes:
        """Return the digest of `prefix` followed by `block`, or by a part of its text."""
        place = block.role.encode() + self._messages + str(block.message).encode() if block.role else b""
        return _hash(prefix + block.section.encode() + place + self._content(block, start, end))

    def text(self, block: Block) -> bytes:
        """Return the `text_digest` of a text block's whole text."""
        return self._content(block, 0, None)

    def _content(self, block: Block, start: int, end: int | None) -> bytes:
        key = (id(block.raw), start, end)
        found = self._parts.get(key)
        if found is None:
            found = self._parts[key] = self._part(block, start, end)
        return found

    def _part(self, block: Block, start: int, end: int | None) -> bytes:
        if block.kind != "text" or not isinstance(block.value, str):
            return _hash(_canonical(block.raw))
        if (start, end) == (0, None):
            return text_digest(block.value)
        key = (self.text(block), start, end)
        found = _parts_of_texts.get(key)
        if found is None:
            found = text_digest(block.value[start:end])
            _parts_of_texts.put(key, found)
        return found


_parts_of_texts: Bounded[tuple[bytes, int, int | None], bytes] = Bounded(1024)
"""Digests of the parts of texts, by that of the whole: what is asked again is cut where it was."""


def text_digest(text: str) -> bytes:
    """Return the digest by which a text is known; the text itself cannot be read from it."""
    return _hash(_encoded(text))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def digests_up_to(text: str, ends: Sequence[int]) -> tuple[bytes, ...]:
    """Return the `text_digest` of the text up to each end, in one pass."""
    # In pure ASCII a place in the text is the same place in its bytes, and nothing need be copied.
    whole = memoryview(text.encode()) if text.isascii() else None
    running = xxh3_128()
    digests: list[bytes] = []
    done = 0
    for end in ends:
        running.update(_encoded(text[done:end]) if whole is None else whole[done:end])
        digests.append(running.digest())
        done = end
    return tuple(digests)


def _hash(data: bytes) -> bytes:
    return xxh3_128_digest(data)


def _canonical(value: Any) -> bytes:
    return json.dumps(value, default=_opaque, separators=(",", ":")).encode()


def _opaque(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return xxh3_128_hexdigest(bytes(value))
    return repr(value)
