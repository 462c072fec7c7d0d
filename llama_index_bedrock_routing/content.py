"""Write one content block of LlamaIndex as Converse has it. Nothing that was given is changed."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from io import IOBase
from pathlib import PurePath
from typing import Any, cast

import filetype
from llama_index.core.base.llms.types import (
    AudioBlock,
    CachePoint,
    CitableBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)

from bedrock_routing import ConfigurationError

__all__ = ["REDACTED", "SIGNATURE", "Wire", "document_name", "parsed_input", "to_wire"]

Wire = dict[str, Any]

SIGNATURE, REDACTED = "signature", "redacted_content"
"""Keys of a thinking block's `additional_information`: the model's signature; base64 of what it hides."""

_FORMATS: Mapping[str, Mapping[str, str]] = {
    "image": {
        "image/jpeg": "jpeg",
        "image/jpg": "jpeg",
        "image/png": "png",
        "image/gif": "gif",
        "image/webp": "webp",
    },
    "document": {
        "application/pdf": "pdf",
        "text/csv": "csv",
        "application/msword": "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
        "application/vnd.ms-excel": "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
        "text/html": "html",
        "text/plain": "txt",
        "text/markdown": "md",
    },
    "video": {
        "video/x-matroska": "mkv",
        "video/quicktime": "mov",
        "video/mp4": "mp4",
        "video/webm": "webm",
        "video/x-flv": "flv",
        "video/mpeg": "mpeg",
        "video/x-ms-wmv": "wmv",
        "video/3gpp": "three_gp",
    },
    "audio": {
        "audio/mpeg": "mp3",
        "audio/wav": "wav",
        "audio/x-wav": "wav",
        "audio/ogg": "ogg",
        "audio/opus": "opus",
        "audio/aac": "aac",
        "audio/flac": "flac",
        "audio/x-flac": "flac",
        "audio/mp4": "m4a",
        "audio/webm": "webm",
    },
}
_SUFFIXES: Mapping[str, Mapping[str, str]] = {
    kind: {name: name for name in formats.values()} | extra
    for (kind, formats), extra in zip(
        _FORMATS.items(),
        ({"jpg": "jpeg"}, {"htm": "html"}, {"mpg": "mpg", "3gp": "three_gp"}, {}),
        strict=True,
    )
}
_ILLEGAL_IN_NAME = re.compile(r"[^a-zA-Z0-9\s\-()\[\]]")
_LONGEST_NAME = 200


def to_wire(block: Any) -> Wire | None:
    """Return a block as it goes out, or `None` for one that says nothing, as an empty text."""
    for kind, write in _WRITERS.items():
        if isinstance(block, kind):
            return write(block)
    raise ConfigurationError(f"a block of type {type(block).__name__} cannot be sent to Bedrock")


def document_name(title: str | None) -> str:
    """Return a title with nothing in it that the service refuses; the same title gives the same name."""
    legal = _ILLEGAL_IN_NAME.sub("-", title or "")
    return " ".join(legal.split()).strip("- ")[:_LONGEST_NAME].rstrip() or "document"


def parsed_input(given: Mapping[str, Any] | str) -> dict[str, Any]:
    """Return a tool's arguments as an object; text that is none, as of a cut answer, is no arguments."""
    if not isinstance(given, str):
        return dict(given)
    try:
        value = json.loads(given or "{}")
    except json.JSONDecodeError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _text(block: TextBlock) -> Wire | None:
    return {"text": block.text} if block.text.strip() else None


def _image(block: ImageBlock) -> Wire:
    return {"image": _media("image", block, block.image_mimetype, block.resolve_image)}


def _video(block: VideoBlock) -> Wire:
    return {"video": _media("video", block, block.video_mimetype, block.resolve_video)}


def _audio(block: AudioBlock) -> Wire:
    return {"audio": _media("audio", block, f"audio/{block.format}", block.resolve_audio)}


def _document(block: DocumentBlock) -> Wire:
    media = _media("document", block, block.document_mimetype, block.resolve_document)
    return {"document": {"name": document_name(block.title), **media}}


def _media(kind: str, block: Any, mimetype: str | None, resolve: Callable[[], IOBase]) -> Wire:
    """Return format and source: the bytes, or the place in S3 that `url` names."""
    url = str(block.url or "")
    if url.startswith("s3://"):
        return {"format": _format(kind, mimetype, url, b""), "source": {"s3Location": {"uri": url}}}
    buffer = resolve()
    data = cast("bytes", cast("Any", buffer).read())
    buffer.seek(0)
    name = str(block.path or url or getattr(block, "title", None) or "")
    return {"format": _format(kind, mimetype, name, data), "source": {"bytes": data}}


def _format(kind: str, mimetype: str | None, name: str, data: bytes) -> str:
    formats, suffixes = _FORMATS[kind], _SUFFIXES[kind]
    suffix = PurePath(name).suffix.removeprefix(".").lower()
    subtype = (mimetype or "").rpartition("/")[2]
    found = formats.get(mimetype or "") or suffixes.get(suffix) or suffixes.get(subtype)
    if not found and data:
        guessed = cast("Any", filetype.guess(data))
        found = formats.get(guessed.mime) if guessed else None
    if not found and kind == "document" and _is_text(data):
        found = "txt"
    if not found:
        known = ", ".join(dict.fromkeys(formats.values()))
        raise ConfigurationError(f"{kind} of type {mimetype or suffix or 'unknown'!r}: Bedrock takes {known}")
    return found


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return bool(data)


def _cache_point(block: CachePoint) -> Wire:
    """Write a point; 5m is the service's default and left out, since some models refuse the field."""
    ttl = block.cache_control.ttl
    return {"cachePoint": {"type": "default"} if ttl == "5m" else {"type": "default", "ttl": ttl}}


def _citable(block: CitableBlock) -> Wire:
    """Write texts as a search result; a file as a document; both may be cited in the answer."""
    documents = [each for each in block.content if isinstance(each, DocumentBlock)]
    if documents:
        written = _document(documents[0])["document"]
        return {"document": {**written, "name": document_name(block.title), "citations": {"enabled": True}}}
    texts = [{"text": each.text} for each in block.content if isinstance(each, TextBlock) and each.text]
    result = {"source": block.source, "title": block.title, "content": texts}
    return {"searchResult": {**result, "citations": {"enabled": True}}}


def _thinking(block: ThinkingBlock) -> Wire | None:
    known = block.additional_information
    if hidden := known.get(REDACTED):
        return {"reasoningContent": {"redactedContent": base64.b64decode(hidden)}}
    signature = known.get(SIGNATURE)
    if not block.content and not signature:
        return None
    text = {"text": block.content or ""}
    return {"reasoningContent": {"reasoningText": {**text, "signature": signature} if signature else text}}


def _tool_call(block: ToolCallBlock) -> Wire:
    called = {"toolUseId": block.tool_call_id or "", "name": block.tool_name}
    return {"toolUse": {**called, "input": parsed_input(block.tool_kwargs)}}


_WRITERS: Mapping[type, Callable[[Any], Wire | None]] = {
    TextBlock: _text,
    ImageBlock: _image,
    DocumentBlock: _document,
    CachePoint: _cache_point,
    ThinkingBlock: _thinking,
    ToolCallBlock: _tool_call,
    CitableBlock: _citable,
    AudioBlock: _audio,
    VideoBlock: _video,
}
