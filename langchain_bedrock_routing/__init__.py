"""LangChain for Amazon Bedrock prompt routers: pay for each document once, and know which model answered.

Importing this package lets it see which documents LangChain's retrievers return, so that existing chains are
cached without a change; their texts stay in this process.
"""

from typing import TYPE_CHECKING, Any

from bedrock_routing import AffinityPolicy, CachePolicy, MissingExtraError

try:
    import langchain_aws as _  # noqa: F401
except ImportError as error:
    raise MissingExtraError("langchain_bedrock_routing", "langchain") from error

from langchain_bedrock_routing.cache_points import without_cache_points
from langchain_bedrock_routing.callbacks import BedrockRoutingCallbackHandler, routing_usage, watch_retrievers
from langchain_bedrock_routing.chat_model import ChatBedrockRouter
from langchain_bedrock_routing.errors import BedrockModelError, is_retryable
from langchain_bedrock_routing.formatting import DocumentsMessage, documents_as_blocks
from langchain_bedrock_routing.init_model import init_router_model
from langchain_bedrock_routing.retriever import CachedDocumentsRetriever

if TYPE_CHECKING:
    from langchain_bedrock_routing.middleware import BedrockRoutingMiddleware as BedrockRoutingMiddleware

# BedrockRoutingMiddleware is public, too, but not listed: `import *` would then need langchain.
__all__ = [
    "AffinityPolicy",
    "BedrockModelError",
    "BedrockRoutingCallbackHandler",
    "CachePolicy",
    "CachedDocumentsRetriever",
    "ChatBedrockRouter",
    "DocumentsMessage",
    "documents_as_blocks",
    "init_router_model",
    "is_retryable",
    "routing_usage",
    "without_cache_points",
]

watch_retrievers()


def __getattr__(name: str) -> Any:
    """Import the middleware when it is asked for: it alone needs the package langchain."""
    if name != "BedrockRoutingMiddleware":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import langchain.agents.middleware  # noqa: F401, PLC0415
    except ImportError as error:
        raise MissingExtraError(name, "agents") from error
    from langchain_bedrock_routing.middleware import BedrockRoutingMiddleware  # noqa: PLC0415

    return BedrockRoutingMiddleware
