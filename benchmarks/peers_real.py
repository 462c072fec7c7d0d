"""Agents of other libraries with their recommended automatic cache setting, all asked in the same way.

A conversation goes in as Converse messages and comes out as whatever the library makes of it. Where a router
is asked, each library is told which model stands behind it, in the words that it has for that.
"""
# ruff: noqa: PLC0415 - a library that is not installed must not keep the others from running

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Any

from peers_messages import langchain_messages, llama_index_messages, openai_messages, pydantic_messages
from peers_setup import KEY, Target, Tool

__all__ = ["LIBRARIES", "Ask", "Library", "langchain_tools"]

Request = dict[str, Any]
Ask = Callable[[Sequence[Request]], object]
"""Go on with a conversation that ends in a message of the user until there is an answer."""


@dataclass(frozen=True, kw_only=True)
class Library:
    """Be one library: what its distribution is called, and how an agent of it is made."""

    distribution: str
    extra: str | None = None
    """Another distribution without which it behaves otherwise."""
    setting: str
    """The automatic setting that is on, as its documentation writes it."""
    agent: Callable[[Target, str, Sequence[Tool]], Ask]
    """Make one of where to ask, a system prompt and tools; LiteLLM's and LlamaIndex's make one call only."""

    @property
    def version(self) -> str:
        """Return the installed version."""
        return metadata.version(self.distribution)

    @property
    def missing(self) -> str | None:
        """Return what is not installed of what it needs."""
        for name in filter(None, (self.distribution, self.extra)):
            try:
                metadata.version(name)
            except metadata.PackageNotFoundError:
                return name
        return None


def _langchain_aws(target: Target, system: str, tools: Sequence[Tool]) -> Ask:
    from langchain.agents import create_agent
    from langchain_aws import ChatBedrockConverse
    from langchain_aws.middleware import BedrockPromptCachingMiddleware

    told: Request = {"provider": target.provider, "base_model": target.behind} if target.told else {}
    model = ChatBedrockConverse(model=target.model, **target.where, **told)
    caching: Any = BedrockPromptCachingMiddleware()
    agent = create_agent(model, langchain_tools(tools), system_prompt=system, middleware=[caching])
    return lambda messages: agent.invoke({"messages": langchain_messages(messages)})


def langchain_tools(tools: Sequence[Tool]) -> list[Any]:
    """Return tools for `create_agent`."""
    from langchain_core.tools import StructuredTool

    return [
        StructuredTool(name=each.name, description=each.description, args_schema=each.schema, func=each.run)
        for each in tools
    ]


def _strands(target: Target, system: str, tools: Sequence[Tool], **settings: Any) -> Ask:
    from boto3 import Session
    from strands import Agent
    from strands.models import BedrockModel, CacheConfig
    from strands.tools.tools import PythonAgentTool

    told = target.told and target.provider == "anthropic"
    model = BedrockModel(
        boto_session=Session(aws_access_key_id=KEY, aws_secret_access_key=KEY, region_name=target.region),
        endpoint_url=target.endpoint_url,
        model_id=target.model,
        cache_config=CacheConfig(strategy="anthropic" if told else "auto", **settings),
    )

    def as_tool(tool: Tool) -> PythonAgentTool:
        def run(use: Any, **_: Any) -> Any:
            result = {"text": tool.run(use["input"]["query"])}
            return {"toolUseId": use["toolUseId"], "status": "success", "content": [result]}

        spec: Any = {"name": tool.name, "description": tool.description, "inputSchema": {"json": tool.schema}}
        return PythonAgentTool(tool.name, spec, run)

    def ask(messages: Sequence[Request]) -> object:
        made: Any = [as_tool(each) for each in tools]
        history: Any = deepcopy(list(messages))  # it appends to what it is given
        agent = Agent(model, messages=history, tools=made, system_prompt=system, callback_handler=None)
        return agent(None)

    return ask


def _pydantic_ai(target: Target, system: str, tools: Sequence[Tool]) -> Ask:
    from pydantic_ai import Agent
    from pydantic_ai import Tool as PydanticTool
    from pydantic_ai.models.bedrock import BedrockConverseModel
    from pydantic_ai.providers.bedrock import BedrockProvider

    provider = BedrockProvider(
        base_url=target.endpoint_url,
        region_name=target.region,
        aws_access_key_id=KEY,
        aws_secret_access_key=KEY,
    )
    profile = provider.model_profile(target.behind) if target.told else None
    agent = Agent(
        BedrockConverseModel(target.model, provider=provider, profile=profile),
        instructions=system,
        model_settings={"cache": True},
        tools=[
            PydanticTool.from_schema(each.run, each.name, each.description, each.schema) for each in tools
        ],
    )
    return lambda messages: agent.run_sync(None, message_history=pydantic_messages(messages))


def _litellm(target: Target, system: str, tools: Sequence[Tool]) -> Ask:
    import litellm

    litellm.enable_anthropic_prompt_caching = True
    told = target.told and target.provider == "anthropic"
    points = [{"location": "message", "role": "system"}, {"location": "message", "index": -1}]

    def ask(messages: Sequence[Request]) -> object:
        """Make one call: there is no agent in it."""
        return litellm.completion(
            model=f"bedrock/converse/{target.model}",
            messages=[{"role": "system", "content": system}, *openai_messages(messages)],
            tools=[
                {
                    "type": "function",
                    "function": {
                        "name": each.name,
                        "description": each.description,
                        "parameters": each.schema,
                    },
                }
                for each in tools
            ]
            or None,
            aws_bedrock_runtime_endpoint=target.endpoint_url,
            aws_region_name=target.region,
            aws_access_key_id=KEY,
            aws_secret_access_key=KEY,
            **({"cache_control_injection_points": points} if told else {}),
        )

    return ask


def _llama_index(target: Target, system: str, tools: Sequence[Tool], *, without_waiting: bool = False) -> Ask:
    from llama_index.core.tools import FunctionTool
    from llama_index.llms.bedrock_converse import BedrockConverse

    llm = BedrockConverse(
        model=target.behind,
        application_inference_profile_arn=target.model if target.told else None,
        **target.where,
        system_prompt_caching=True,
        tool_caching=True,
    )
    made = [FunctionTool.from_defaults(each.run, each.name, each.description) for each in tools]

    def ask(messages: Sequence[Request]) -> object:
        """Make one call."""
        history = llama_index_messages(system, messages)
        if not made:
            return llm.chat(history)
        if without_waiting:
            return asyncio.run(llm.achat_with_tools(made, chat_history=history))
        return llm.chat_with_tools(made, chat_history=history)

    return ask


_LLAMA_INDEX_FLAGS = "system_prompt_caching=True, tool_caching=True"

LIBRARIES: dict[str, Library] = {
    "langchain-aws": Library(
        distribution="langchain-aws",
        extra="langchain",
        setting="create_agent(..., middleware=[BedrockPromptCachingMiddleware()])",
        agent=_langchain_aws,
    ),
    "Strands": Library(
        distribution="strands-agents",
        setting='CacheConfig(strategy="auto", tools_ttl=True)',
        agent=partial(_strands, tools_ttl=True),
    ),
    "Strands, no tools": Library(
        distribution="strands-agents", setting='CacheConfig(strategy="auto")', agent=_strands
    ),
    "pydantic-ai": Library(
        distribution="pydantic-ai-slim", setting='model_settings={"cache": True}', agent=_pydantic_ai
    ),
    "LiteLLM": Library(
        distribution="litellm", setting="litellm.enable_anthropic_prompt_caching = True", agent=_litellm
    ),
    "LlamaIndex": Library(
        distribution="llama-index-llms-bedrock-converse", setting=_LLAMA_INDEX_FLAGS, agent=_llama_index
    ),
    "LlamaIndex, async": Library(
        distribution="llama-index-llms-bedrock-converse",
        extra="aioboto3",
        setting=f"{_LLAMA_INDEX_FLAGS}, async calls with the extra [async]",
        agent=partial(_llama_index, without_waiting=True),
    ),
}
"""By the names that `savings_peers` has for them."""
