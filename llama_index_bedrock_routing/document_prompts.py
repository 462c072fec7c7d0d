"""Prompts in which each document is a content block of its own, and groups of documents that fit a window."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import ChatMessage, TextBlock
from llama_index.core.indices.prompt_helper import DEFAULT_PADDING, PromptHelper
from llama_index.core.llms import LLM
from llama_index.core.node_parser import TokenTextSplitter
from llama_index.core.prompts.base import BasePromptTemplate
from llama_index.core.utils import get_tokenizer
from pydantic import BaseModel, SerializeAsAny
from typing_extensions import override

from bedrock_routing import ConfigurationError, remember_documents

__all__ = ["Asking", "Document", "DocumentsPrompt", "document_of"]

Document = tuple[Any, ...]
"""The content blocks of one document: one text, in the ordinary case."""

_CONTEXTS = ("context_str", "context_msg")
"""The variables through which the templates of LlamaIndex's synthesizers take retrieved texts."""
_PLACE = "\x00documents\x00"
"""Stands where the documents go, until they do."""
_BETWEEN = "\n\n"
_STEPS = 8
"""Question and earlier answer are given room in eighths of the window, so that a longer question does not
move documents into other groups: each group is a prefix in the cache."""


def document_of(blocks: Iterable[Any]) -> Document:
    """Return what is to be sent of a node: texts without outer white space, no empty ones, all else as is."""
    stripped = (
        _with_text(each, each.text.strip()) if isinstance(each, TextBlock) else each for each in blocks
    )
    return tuple(each for each in stripped if not isinstance(each, TextBlock) or each.text)


def _texts(documents: Iterable[Document]) -> list[str]:
    """Return the texts of documents, in the order in which they go out."""
    return [block.text for document in documents for block in document if isinstance(block, TextBlock)]


class DocumentsPrompt(BasePromptTemplate):
    """Fill a template with documents, and leave its other variables to the caller.

    The text before the documents, each document and the text after them become blocks of the message that
    takes the context. Joined, they read exactly as the one text that LlamaIndex would have made.
    """

    template: SerializeAsAny[BasePromptTemplate]
    documents: Sequence[Document]

    def __init__(self, template: BasePromptTemplate, documents: Sequence[Document], **more: Any) -> None:
        taken = {"metadata": template.metadata, "template_vars": template.template_vars, "kwargs": {}}
        super().__init__(
            **{"template": template, "documents": documents, "output_parser": None, **taken, **more}
        )

    @override
    def partial_format(self, **kwargs: Any) -> DocumentsPrompt:
        """Fill some of the variables."""
        return self.model_copy(update={"template": self.template.partial_format(**kwargs)})

    @override
    def format(self, llm: BaseLLM | None = None, **kwargs: Any) -> str:
        """Write one text, for models that complete; it has no place for images."""
        context = dict.fromkeys(_CONTEXTS, _BETWEEN.join(_texts(self.documents)))
        text = self.template.format(llm=llm, **{**kwargs, **context})
        return text if self.output_parser is None else self.output_parser.format(text)

    @override
    def format_messages(self, llm: BaseLLM | None = None, **kwargs: Any) -> list[ChatMessage]:
        """Write the messages; a `ConfigurationError` where the template has no place for documents."""
        context = dict.fromkeys(_CONTEXTS, _PLACE)
        given = self.template.format_messages(llm=llm, **{**kwargs, **context})
        if not any(_holds_place(block) for message in given for block in message.blocks):
            raise ConfigurationError(
                f"a template has no place for documents: it must use {{{_CONTEXTS[0]}}}, and does not in "
                f"{self.template.get_template(llm=llm)!r}"
            )
        messages = [self._filled(each) for each in given]
        return messages if self.output_parser is None else self.output_parser.format_messages(messages)

    @override
    def get_template(self, llm: BaseLLM | None = None) -> str:
        """Return the template as it was written."""
        return self.template.get_template(llm=llm)

    def _filled(self, message: ChatMessage) -> ChatMessage:
        return message.model_copy(
            update={"blocks": [piece for block in message.blocks for piece in self._pieces(block)]}
        )

    def _pieces(self, block: Any) -> list[Any]:
        if not _holds_place(block):
            return [block]
        first, *others = block.text.split(_PLACE)
        pieces = _text(first)
        for text in others:
            pieces += [*_separated(self.documents), *_text(text)]
        return pieces


def _holds_place(block: Any) -> bool:
    return isinstance(block, TextBlock) and _PLACE in block.text


def _text(text: str) -> list[Any]:
    return [TextBlock(text=text)] if text.strip() else []


def _separated(documents: Sequence[Document]) -> list[Any]:
    """Return all blocks; what parts two texts begins the second: after a document, a point may follow."""
    flat = [block for document in documents for block in document]
    return [
        _with_text(block, _BETWEEN + block.text) if number and isinstance(block, TextBlock) else block
        for number, block in enumerate(flat)
    ]


def _with_text(block: TextBlock, text: str) -> TextBlock:
    return block if block.text == text else block.model_copy(update={"text": text})


class Asking:
    """Ask about documents in groups of whole ones that fit the window; each answer refines the one before.

    A document that alone does not fit is split. The texts of a group are remembered before it is asked about,
    exactly as they go out, so that cache points can be placed after them.
    """

    def __init__(
        self,
        *,
        llm: LLM,
        helper: PromptHelper,
        prompts: Mapping[str, BasePromptTemplate],
        documents: Iterable[Document],
        variables: Mapping[str, Any],
    ) -> None:
        self._llm = llm
        self._helper = helper
        self._prompts = prompts
        self._pending = [each for each in documents if each]
        self._variables = dict(variables)
        self._answer: Any = None

    @property
    def done(self) -> bool:
        """Return whether every document has been asked about."""
        return not self._pending

    @property
    def answer(self) -> Any:
        """Return the newest answer that is not empty."""
        return self._answer

    @answer.setter
    def answer(self, answer: Any) -> None:
        self._answer = answer or self._answer

    @property
    def variables(self) -> dict[str, Any]:
        """Return the variables of the next prompt."""
        if not self._answer:
            return self._variables
        so_far = self._answer.model_dump_json() if isinstance(self._answer, BaseModel) else str(self._answer)
        return {**self._variables, "existing_answer": so_far}

    def prompt(self) -> DocumentsPrompt:
        """Take the next group, and return the prompt that asks about it."""
        template = self._prompts["refine_template" if self._answer else "text_qa_template"]
        group = self._group(self._splitter(template))
        remember_documents(_texts(group))
        return DocumentsPrompt(template, group)

    def _group(self, splitter: TokenTextSplitter) -> list[Document]:
        """Take documents as long as they fit, and one at least."""
        room = splitter.chunk_size
        if sum(map(_most_tokens, self._pending)) <= room:
            count = len(self._pending)
        else:
            if _tokens(self._pending[0]) > room:
                self._pending[:1] = _split(self._pending[0], splitter)
            count = self._fitting(room)
        group, self._pending = self._pending[:count], self._pending[count:]
        return group

    def _fitting(self, room: int) -> int:
        used = 0
        for count, document in enumerate(self._pending):
            used += _tokens(document)
            if used > room:
                return max(count, 1)
        return len(self._pending)

    def _splitter(self, template: BasePromptTemplate) -> TokenTextSplitter:
        """Return a splitter whose chunks are as long as the documents of one prompt may be together."""
        room = self._helper.get_text_splitter_given_prompt(template, llm=self._llm).chunk_size
        tokenize = get_tokenizer()
        beside = sum(len(tokenize(each)) for each in self.variables.values() if isinstance(each, str))
        step = max(room // _STEPS, 1)
        padding = DEFAULT_PADDING + step * math.ceil(beside / step)
        return self._helper.get_text_splitter_given_prompt(template, padding=padding, llm=self._llm)


def _tokens(document: Document) -> int:
    """Estimate the tokens of a document and of what parts it from the next."""
    tokenize = get_tokenizer()
    return sum(
        len(tokenize(_BETWEEN + block.text)) if isinstance(block, TextBlock) else block.estimate_tokens()
        for block in document
    )


def _most_tokens(document: Document) -> int:
    """Bound the tokens of a document without a tokenizer: a text has no more of them than bytes."""
    return sum(
        len((_BETWEEN + block.text).encode(errors="surrogatepass"))
        if isinstance(block, TextBlock)
        else block.estimate_tokens()
        for block in document
    )


def _split(document: Document, splitter: TokenTextSplitter) -> list[Document]:
    return [
        part
        for block in document
        for part in (
            [document_of([TextBlock(text=text)]) for text in splitter.split_text(block.text)]
            if isinstance(block, TextBlock)
            else [(block,)]
        )
    ]
