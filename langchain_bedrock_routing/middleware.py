"""Agents: the middleware of `langchain.agents.create_agent` that keeps their caches and their models.

`ChatBedrockRouter` places cache points in an agent's requests by itself, when a call goes out, so that none
ever stands in the agent's state. What only an agent knows is done here: which model waits for a tool's
result, and that tools which come and go are still the same tools.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.language_models import ModelProfile
from typing_extensions import override

from langchain_bedrock_routing.chat_model import ChatBedrockRouter
from langchain_bedrock_routing.stable_tools import StableTools, ToolOrder

__all__ = ["BedrockRoutingMiddleware"]


class BedrockRoutingMiddleware(AgentMiddleware[Any, Any, Any]):
    """Keep an agent's prompt cache, and the model that called a tool, while `ChatBedrockRouter` answers.

    `lock_tool_calls`: a call that brings the results of tool calls asks the model that made them, not the
    router: its policy is the model's own `affinity` with `lock_tools=True`. Who made a call is known by its
    id, and in another process by the receipt in its message. What the router would have chosen is then not
    known; the receipt says so in `decided_by`. The next question asks the router again. A model that may not
    be asked directly is not locked: the router is asked, and for an hour from then on. Where the models
    behind a router may not be looked up, one is locked that made the call because this router invoked it.

    `tool_order`: `seen` sends tools in the order in which this object first saw them, new ones last; `name`
    by name, which processes that see different tools first have in common; `given` as they are. A schema
    whose keys come in another order is sent as it was first sent.

    Calls of other models pass through unchanged. Raises `ConfigurationError` for an order that does not
    exist.

        llm = ChatBedrockRouter(model="amazon.nova:1", region_name="us-east-1")
        agent = create_agent(llm, tools, middleware=[BedrockRoutingMiddleware()])
    """

    def __init__(self, *, lock_tool_calls: bool = True, tool_order: ToolOrder = "seen") -> None:
        super().__init__()
        self._locks = lock_tool_calls
        self._tools = StableTools(tool_order)
        self._profiles: dict[tuple[str, str | None], ModelProfile | None] = {}

    @override
    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        return handler(self._arranged(request))

    @override
    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        if isinstance(request.model, ChatBedrockRouter) and self._known(request.model) is None:
            # What stands behind a router may have to be asked of the service, which blocks.
            await request.model._runner().run(partial(self._profile, request.model))
        return await handler(self._arranged(request))

    def _arranged(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        """Return the request with its tools in their places, and a model that knows its profile and locks."""
        model = request.model
        if not isinstance(model, ChatBedrockRouter):
            return request
        update: dict[str, Any] = {"profile": self._profile(model)}
        policy = model.client.affinity
        if self._locks and not policy.locks_tools:
            locking = replace(policy, lock_tools=True)
            update |= {"affinity": locking, "client": model.client.with_affinity(locking)}
        model = model.model_copy(update=update)
        return request.override(model=model, tools=self._tools.arranged(request.tools))

    def _profile(self, model: ChatBedrockRouter) -> ModelProfile | None:
        """Return what the models behind can do: an agent chooses its ways by that, before each step."""
        known = self._known(model)
        if known is None:
            known = self._profiles[model.model_id, model.base_model_id] = model._resolve_model_profile()
        return known

    def _known(self, model: ChatBedrockRouter) -> ModelProfile | None:
        """Return the profile without asking anybody; `None` where it was not looked up yet."""
        found = model.profile
        return self._profiles.get((model.model_id, model.base_model_id)) if found is None else found
