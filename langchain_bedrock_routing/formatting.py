"""Documents as content blocks, for prompts that are built by hand.

The blocks hold nothing but what they say: no cache marker, no rank, no score. So they may be kept in a
history or a checkpoint and sent to any model; where a point goes is decided when they are sent.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig, RunnableSerializable
from pydantic import ConfigDict
from typing_extensions import override

from bedrock_routing import ConfigurationError, remember_documents

__all__ = ["DocumentsMessage", "Kind", "documents_as_blocks"]

Kind = Literal["text", "search_result"]
Blocks = list[dict[str, Any]]

_SOURCES = ("source", "url", "uri", "file_path", "path")
_PAGES = ("page_label", "page_number", "x-amz-bedrock-kb-document-page-number")
"""Keys of pages counted from 1; `page`, which most loaders count from 0, would be cited wrongly."""
_WITHIN_LOCATION = ("uri", "url", "id")
_IMAGE = re.compile(r"data:(image/[a-z0-9.+-]+);base64,", re.IGNORECASE)


def documents_as_blocks(documents: Iterable[Document], *, kind: Kind = "text") -> Blocks:
    """Return documents as content blocks of a message: one for each, in the given order.

    "text": a text that begins with a line on its source, for any model. "search_result": a block that the
    model cites by itself, with citations enabled; Claude alone takes these, in a human message or a tool's
    result (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_SearchResultBlock.html, read
    2026-11-23). An image out of a knowledge base becomes an image. A blank document is left out.

    A source is what `metadata` says under `source`, `url`, `uri`, `file_path` or `path`, or a knowledge
    base's `location`; a page is a `page_label` or a `page_number`, and a `title` is taken along.

        [*documents_as_blocks(retriever.invoke(question)), {"type": "text", "text": question}]

    Raises `ConfigurationError` for another kind.
    """
    write = _WRITERS.get(kind)
    if write is None:
        raise ConfigurationError(f"kind={kind!r}: give one of {', '.join(map(repr, _WRITERS))}")
    said = [each for each in documents if each.page_content.strip()]
    images = [_image(each) for each in said]
    remember_documents(each.page_content for each, image in zip(said, images, strict=True) if not image)
    return [block for each, image in zip(said, images, strict=True) for block in image or write(each)]


class DocumentsMessage(RunnableSerializable[Sequence[Document], list[BaseMessage]]):
    """Turn documents into a message of their own, for a placeholder in a chat template.

    There is one message, or none where there is no document. Put the question into a human message behind
    it: what stands together from the user is sent as one message.

        context = retriever | DocumentsMessage(kind="search_result")
        prompt = ChatPromptTemplate([("placeholder", "{context}"), ("human", "{question}")])
        chain = {"context": context, "question": RunnablePassthrough()} | prompt | llm

    Raises `ConfigurationError` for anything but text in a system message, where the service takes nothing
    else.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Kind = "text"
    """The kind of block, as in `documents_as_blocks`."""

    role: Literal["human", "system"] = "human"
    """Who says it."""

    @classmethod
    @override
    def is_lc_serializable(cls) -> bool:
        return True

    @classmethod
    @override
    def get_lc_namespace(cls) -> list[str]:
        return ["langchain_bedrock_routing"]

    @override
    def invoke(
        self, input: Sequence[Document], config: RunnableConfig | None = None, **kwargs: Any
    ) -> list[BaseMessage]:
        return self._call_with_config(self._messages, input, config, **kwargs)

    @override
    async def ainvoke(
        self, input: Sequence[Document], config: RunnableConfig | None = None, **kwargs: Any
    ) -> list[BaseMessage]:
        return await self._acall_with_config(self._messages_async, input, config, **kwargs)

    async def _messages_async(self, documents: Sequence[Document]) -> list[BaseMessage]:
        return self._messages(documents)

    def _messages(self, documents: Sequence[Document]) -> list[BaseMessage]:
        blocks = documents_as_blocks(documents, kind=self.kind)
        if not blocks:
            return []
        content = cast("list[str | dict[Any, Any]]", blocks)
        if self.role == "human":
            return [HumanMessage(content=content)]
        if any(block["type"] != "text" for block in blocks):
            raise ConfigurationError(
                'a system message holds text only: use kind="text" and no images, or role="human"'
            )
        return [SystemMessage(content=content)]


def _text(document: Document) -> Blocks:
    """Write a source above its document: a point must be able to stand right after what was retrieved."""
    line = _line_on(document)
    text = f"{line}\n\n{document.page_content}" if line else document.page_content
    return [{"type": "text", "text": text}]


def _search_result(document: Document) -> Blocks:
    source = _source_of(document) or document.id or f"document {_digest(document)}"
    name = _value(document.metadata, ("title",)) or re.split(r"[/\\]", source.rstrip("/\\"))[-1] or source
    page = _page_of(document)
    return [
        {
            "type": "search_result",
            "source": source,
            "title": f"{name}, {page}" if page else name,
            "content": [{"type": "text", "text": document.page_content}],
            "citations": {"enabled": True},
        }
    ]


_WRITERS = {"text": _text, "search_result": _search_result}


def _image(document: Document) -> Blocks:
    """Return the image that a knowledge base found, which langchain-aws gives as a data URI; else nothing."""
    uri = _IMAGE.match(document.page_content) if document.metadata.get("type") == "IMAGE" else None
    if uri is None:
        return []
    line = _line_on(document)
    lead: Blocks = [{"type": "text", "text": line}] if line else []
    data = document.page_content[uri.end() :]
    return [*lead, {"type": "image", "base64": data, "mime_type": uri[1].lower()}]


def _line_on(document: Document) -> str:
    parts = (_value(document.metadata, ("title",)), _source_of(document), _page_of(document))
    said = ", ".join(dict.fromkeys(filter(None, parts)))
    return f"Source: {said}" if said else ""


def _source_of(document: Document) -> str | None:
    metadata = document.metadata
    return _value(metadata, _SOURCES) or next(_locations(metadata.get("location")), None)


def _locations(location: Any) -> Iterator[str]:
    """Yield the address in a knowledge base's `location`, whatever kind of store it names."""
    if isinstance(location, Mapping):
        for each in cast("Mapping[str, Any]", location).values():
            if isinstance(each, Mapping) and (
                found := _value(cast("Mapping[str, Any]", each), _WITHIN_LOCATION)
            ):
                yield found


def _page_of(document: Document) -> str | None:
    beside = document.metadata.get("source_metadata")
    page = _value(document.metadata, _PAGES)
    if page is None and isinstance(beside, Mapping):
        page = _value(cast("Mapping[str, Any]", beside), _PAGES)
    return f"page {page}" if page else None


def _value(values: Mapping[str, Any], keys: Iterable[str]) -> str | None:
    """Return the first value that says something, as text; a knowledge base gives numbers as 3.0."""
    for key in keys:
        value = values.get(key)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if (
            value is not None
            and not isinstance(value, Mapping | list | tuple)
            and (text := str(value).strip())
        ):
            return text
    return None


def _digest(document: Document) -> str:
    return hashlib.blake2b(document.page_content.encode(errors="surrogatepass"), digest_size=4).hexdigest()
