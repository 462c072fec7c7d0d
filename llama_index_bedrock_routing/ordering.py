"""What an order of nodes needs to know of each: its name, its text and its size."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from llama_index.core.schema import MetadataMode, NodeWithScore

__all__ = ["key_of", "size_of", "without_duplicates"]


def without_duplicates(nodes: Sequence[NodeWithScore]) -> list[NodeWithScore]:
    """Keep the first of each node: of the same id, or of the same text."""
    first: dict[str, NodeWithScore] = {}
    texts: set[bytes] = set()
    for each in nodes:
        text = _digest(each)
        if each.node.node_id not in first and text not in texts:
            first[each.node.node_id] = each
            texts.add(text)
    return list(first.values())


def _digest(node: NodeWithScore) -> bytes:
    text = node.node.get_content(MetadataMode.LLM)
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


def key_of(node: NodeWithScore) -> str:
    """Return what tells a node apart."""
    return node.node.node_id


def size_of(node: NodeWithScore) -> int:
    """Return the length of a node in characters, as a prompt shows it."""
    return len(node.node.get_content(MetadataMode.LLM))
