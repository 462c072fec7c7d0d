"""Agents: the middleware of `langchain.agents.create_agent` that keeps their caches and their models.

`ChatBedrockRouter` places cache points in an agent's requests by itself, when a call goes out, so that none
ever stands in the agent's state. What only an agent knows is done here: which model waits for a tool's
result, and that tools which come and go are still the same tools.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

from botocore.exceptions import ClientError
from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage
from typing_extensions import override

from langchain_bedrock_routing.calls import RECEIPT
from langchain_bedrock_routing.chat_model import ChatBedrockRouter
from langchain_bedrock_routing.locking import asking, caller_of, cannot_be_asked, model_to_keep
from langchain_bedrock_routing.stable_tools import StableTools, ToolOrder

__all__ = ["BedrockRoutingMiddleware"]

_DECIDED_BY = (
    "tool lock: a tool call of this model waits for its result; what the router would choose is not known"
)


class BedrockRoutingMiddleware(AgentMiddleware[Any, Any, Any]):
    """Keep an agent's prompt cache, and the model that called a tool, while `ChatBedrockRouter` answers.

    `lock_tool_calls`: a call that brings the results of tool calls asks the model that made them, not the
    router. What the router would have chosen then is not known. Such an answer's receipt has no `router_arn`
    and says so in `decided_by`; the next call that does not end in a tool's result asks the router again. A
    model that may not be asked directly is not locked: the router is asked, then and from then on.

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
        self._never_asked: set[str] = set()

    @override
    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        request = self._arranged(request)
        caller = self._caller(request)
        kept = None if caller is None else self._kept(request, caller)
        if kept is None:
            return handler(request)
        try:
            return _told(handler(request.override(model=kept)))
        except ClientError as error:
            self._give_up(kept, error)
        return handler(request)

    @override
    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        request = self._arranged(request)
        caller = self._caller(request)
        if caller is None:
            return await handler(request)
        # What stands behind a router may have to be asked of the service, which blocks.
        runner = cast("ChatBedrockRouter", request.model)._runner()
        kept = await runner.run(partial(self._kept, request, caller))
        if kept is None:
            return await handler(request)
        try:
            return _told(await handler(request.override(model=kept)))
        except ClientError as error:
            self._give_up(kept, error)
        return await handler(request)

    def _arranged(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        if not isinstance(request.model, ChatBedrockRouter) or not request.tools:
            return request
        return request.override(tools=self._tools.arranged(request.tools))

    def _caller(self, request: ModelRequest[Any]) -> AIMessage | None:
        """Return the answer whose tool call waits for this request, where it shall be locked."""
        lockable = self._locks and isinstance(request.model, ChatBedrockRouter)
        return caller_of(request.messages) if lockable else None

    def _kept(self, request: ModelRequest[Any], caller: AIMessage) -> ChatBedrockRouter | None:
        """Return the model that asks the one which made the tool call; `None` to ask the router."""
        model = cast("ChatBedrockRouter", request.model)
        invoked = model_to_keep(model, caller, request.messages)
        return asking(model, invoked) if invoked is not None and invoked not in self._never_asked else None

    def _give_up(self, kept: ChatBedrockRouter, error: ClientError) -> None:
        """Leave this model to the router from now on; raise an error that says something else."""
        if not cannot_be_asked(error):
            raise error
        self._never_asked.add(kept.model_id)


def _told(response: ModelResponse[Any]) -> ModelResponse[Any]:
    """Say in the receipt of the answer why the router was not asked."""
    for message in response.result:
        receipt = message.response_metadata.get(RECEIPT)
        if isinstance(message, AIMessage) and receipt and receipt.get("router_arn") is None:
            message.response_metadata[RECEIPT] = {**receipt, "decided_by": _DECIDED_BY}
    return response
