"""Ask Amazon Bedrock prompt routers, pay for each document once, and know which model answered."""

from bedrock_routing.arns import ModelRef, parse
from bedrock_routing.async_client import AsyncRoutedClient, AsyncRoutedStream, AsyncRunner, runner_for
from bedrock_routing.bulk import Progress, converse_many
from bedrock_routing.catalog import CacheRules, Catalog, Common, ModelFacts
from bedrock_routing.client import RoutedClient
from bedrock_routing.documents import remember_documents
from bedrock_routing.errors import (
    BedrockRoutingError,
    ConfigurationError,
    IncompleteStreamError,
    MissingExtraError,
    RetiredModelError,
    RouterNotFoundError,
)
from bedrock_routing.fleet import FleetState
from bedrock_routing.grouping import Group, group_by_prefix
from bedrock_routing.keep_warm import Upkeep
from bedrock_routing.ledger import Ledger, Totals, collect
from bedrock_routing.ordering import SeenOrder
from bedrock_routing.pinging import KeepWarm
from bedrock_routing.policy import AffinityPolicy, CachePolicy, PricePolicy
from bedrock_routing.receipt import Receipt
from bedrock_routing.router_rules import RouterSpec
from bedrock_routing.routers import RouterDirectory, RouterInfo
from bedrock_routing.state import CacheState
from bedrock_routing.tracing import describe_call, trace_invoked_models
from bedrock_routing.turn import Target
from bedrock_routing.usage import Usage
from bedrock_routing.windows import context_window

__all__ = [
    "AffinityPolicy",
    "AsyncRoutedClient",
    "AsyncRoutedStream",
    "AsyncRunner",
    "BedrockRoutingError",
    "CachePolicy",
    "CacheRules",
    "CacheState",
    "Catalog",
    "Common",
    "ConfigurationError",
    "FleetState",
    "Group",
    "IncompleteStreamError",
    "KeepWarm",
    "Ledger",
    "MissingExtraError",
    "ModelFacts",
    "ModelRef",
    "PricePolicy",
    "Progress",
    "Receipt",
    "RetiredModelError",
    "RoutedClient",
    "RouterDirectory",
    "RouterInfo",
    "RouterNotFoundError",
    "RouterSpec",
    "SeenOrder",
    "Target",
    "Totals",
    "Upkeep",
    "Usage",
    "collect",
    "context_window",
    "converse_many",
    "describe_call",
    "group_by_prefix",
    "parse",
    "remember_documents",
    "runner_for",
    "trace_invoked_models",
]
