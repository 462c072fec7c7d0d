"""LlamaIndex for Amazon Bedrock prompt routers: pay for each document once, and know which model answered.

Importing this package lets it see which nodes LlamaIndex's retrievers return, so that existing engines are
cached without a change; their texts stay in this process.
"""

from bedrock_routing import AffinityPolicy, CachePolicy, MissingExtraError

try:
    import llama_index.core as _  # noqa: F401
except ImportError as error:
    raise MissingExtraError("llama_index_bedrock_routing", "llama-index") from error

from llama_index_bedrock_routing.callbacks import BedrockRoutingHandler, routing_usage, watch_retrievers
from llama_index_bedrock_routing.llm import BedrockRouter
from llama_index_bedrock_routing.retriever import CachedDocumentsRetriever, StableOrderPostprocessor
from llama_index_bedrock_routing.synthesizer import CachedDocumentsSynthesizer

__all__ = [
    "AffinityPolicy",
    "BedrockRouter",
    "BedrockRoutingHandler",
    "CachePolicy",
    "CachedDocumentsRetriever",
    "CachedDocumentsSynthesizer",
    "StableOrderPostprocessor",
    "routing_usage",
]

watch_retrievers()
