"""What an agent with ten tools costs over thirteen calls, one of which asks for thirty tools at once.

The same scripted agent runs in this project's chat model under LangChain's `create_agent`, with our
middleware where that exists, and in other libraries' agents with their recommended automatic caching
(`peers_real.py`), all against a local Bedrock. Other libraries are told what is behind a router, without
which most place no point. Costs of the input come from the token counts on the wire and the prices of
genai-prices: `cost` in units of what the same tokens of the same models cost without caching, `least` that
of one who knows all calls beforehand, `usd` in dollars. After the wide turn `read` is what the next call
read, `could` what the last call of the same model before it could have cached, and `earlier` that call's
prompt. Nova takes points after texts only: a tool's result at the end of its prompt cannot be cached.
Install what is to be compared, and run it:

    pip install -e ".[all]" langchain strands-agents "pydantic-ai-slim[bedrock]"
    python benchmarks/agent_cost.py [--target "one Claude"]

Returns 1 where this project's agent costs more than its limit, or did not read all that it could.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from textwrap import shorten
from typing import Any, NamedTuple

from peers_messages import langchain_messages
from peers_real import LIBRARIES, Ask, Library, langchain_tools
from peers_setup import Target, Tool, point_at, prepare, stay_on_this_machine
from savings_runs import TARGETS, least, visits
from savings_workloads import Call, Workload, text, user

from bedrock_local import LocalBedrock
from bedrock_local.answers.base import Prompt, Reply, ToolCall
from bedrock_local.prompt import without_points
from bedrock_routing import PricePolicy, Usage, parse
from bedrock_routing.pricing import cost_of

__all__ = ["CALLS", "Outcome", "run"]

CALLS = 13
_TOOLS = 10
_WIDE_CALL, _WIDTH = 5, 30
"""Which call, counted from 0, is answered with how many tool calls; the others ask for one."""
_LIMITS = {"one Claude": 0.27, "Claude pair": 0.27, "Nova router": 0.42}
"""What this project's agent may cost; Nova's reads cost a quarter, its writes are priced as input here."""
_COMPARED = ("langchain-aws", "Strands", "pydantic-ai")
_OURS = "this project"
_POLICY = PricePolicy()
_ROW = "{:14}{:22}{:>7}{:>7}{:>8}{:>9}{:>9}{:>9}{:>9}{:>8}{:>8}{:>8}{:>8}  {}"
_HEADER = (
    "asked",
    "agent",
    "cost",
    "least",
    "usd",
    "prompt",
    "read",
    "written",
    "fresh",
    "read",
    "could",
    "earlier",
    "models",
    "",
)


class Script:
    """Answer as an agent's model does: call tools a stated number of times, then say what was found."""

    name = "script"

    def reply(self, prompt: Prompt) -> Reply:
        """Return what comes after so many answers."""
        step = sum(turn.role == "assistant" for turn in prompt.turns)
        said = f"Step {step + 1}: {_made_up(f'step {step}', 20)}."
        if step >= CALLS - 1:
            return Reply(text=said)
        queries = [_made_up(f"query {step} {number}", 10) for number in range(_width(step))]
        calls = [ToolCall(name=_name(number), input={"query": each}) for number, each in enumerate(queries)]
        return Reply(text=said, tool_calls=tuple(calls))


def _width(step: int) -> int:
    return _WIDTH if step == _WIDE_CALL else 1


def _name(number: int) -> str:
    return f"tool_{number % _TOOLS}"


@cache
def _made_up(name: str, tokens: int) -> str:
    return text(random.Random(name), tokens)  # noqa: S311 - a text, no secret


def _found(query: str) -> str:
    return _made_up(f"found for {query}", 200)


def _tools() -> list[Tool]:
    return [
        Tool(name=_name(number), description=_made_up(f"tool {number}", 150), run=_found)
        for number in range(_TOOLS)
    ]


_SYSTEM = f"You are an operations agent. {_made_up('system', 800)}"
_TASK = f"Find out why the nightly job failed. {_made_up('task', 150)}"


class AfterWide(NamedTuple):
    """Count the tokens of the call after the wide turn."""

    read: int
    could: int
    """What its model's last call before it could have cached."""
    earlier: int
    """That call's prompt."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Hold what the calls of one agent were."""

    workload: Workload
    """The calls as they were sent, less their points."""
    models: tuple[str, ...]
    usages: tuple[Usage, ...]
    error: str | None = None
    """Why the agent did not come to its end."""

    @property
    def plain(self) -> Decimal:
        """Return what the input costs without caching."""
        calls = zip(self.models, self.usages, strict=True)
        return sum((_input_cost(model, Usage(fresh=usage.prompt)) for model, usage in calls), Decimal(0))

    @property
    def paid(self) -> Decimal:
        """Return what the input cost, in dollars."""
        return sum(map(_input_cost, self.models, self.usages), Decimal(0))

    @property
    def ratio(self) -> float:
        """Return the cost of the input in units of the same without caching."""
        return float(self.paid / self.plain)

    @property
    def least(self) -> float:
        """Return the ratio for one who knows all calls beforehand."""
        return least(self.workload, self.models).cost / float(self.plain)

    @property
    def after_wide(self) -> AfterWide:
        """Return what the call after the wide turn read, and what it could have."""
        number = _WIDE_CALL + 1
        asked = [at for at in range(number) if self.models[at] == self.models[number]]
        if not asked:
            return AfterWide(read=self.usages[number].read, could=0, earlier=0)
        before = visits(self.workload, self.models)[asked[-1]].prefixes
        return AfterWide(
            read=self.usages[number].read,
            could=before[-1].tokens if before else 0,
            earlier=self.usages[asked[-1]].prompt,
        )


def _input_cost(name: str, usage: Usage) -> Decimal:
    cost = cost_of(parse(name), replace(usage, output=0), _POLICY)
    return Decimal("NaN") if cost is None else cost


def run(library: Library, models: Sequence[str]) -> Outcome:
    """Let an agent do its task with one model, or with two under a router that alternates."""
    with LocalBedrock(answers=Script(), routing="alternate", tokens="fast") as bedrock:
        point_at(bedrock.endpoint_url)
        single = len(models) == 1
        target = Target(
            endpoint_url=bedrock.endpoint_url,
            region=bedrock.region,
            model=models[0] if single else bedrock.create_router("benchmark", models),
            behind=models[0],
        )
        error = None
        try:
            library.agent(target, _SYSTEM, _tools())([user(_TASK)])
        except Exception as problem:
            if not any(each.error for each in bedrock.requests):
                raise
            error = shorten(str(problem).replace(target.model, "..."), 300)
        answered = [each for each in bedrock.requests if each.usage is not None]
        assert error or len(answered) == CALLS, f"{len(answered)} calls instead of {CALLS}"
        usages = [Usage.from_wire(each.usage) for each in answered]
        calls = [_call(number, each.body) for number, each in enumerate(answered)]
        return Outcome(
            workload=Workload(title="agent", calls=tuple(calls)),
            models=tuple(f"us.{each.invoked_model}" for each in answered),
            usages=tuple(each for each in usages if each is not None),
            error=error,
        )


def _call(number: int, body: Mapping[str, Any]) -> Call:
    bare = without_points(body)
    return Call(at=float(number), build=lambda _: bare)


def _ours(target: Target, system: str, tools: Sequence[Tool]) -> Ask:
    from langchain.agents import create_agent  # noqa: PLC0415 - need not be installed

    import langchain_bedrock_routing as routing  # noqa: PLC0415 - after the environment is set

    model = routing.ChatBedrockRouter(model=target.model, **target.where)
    made = _middleware()
    middleware = [made()] if made else []
    agent = create_agent(model, langchain_tools(tools), system_prompt=system, middleware=middleware)
    return lambda messages: agent.invoke({"messages": langchain_messages(messages)})


def _middleware() -> Any:
    """Return the class of this project's middleware, `None` where there is none."""
    import langchain_bedrock_routing as routing  # noqa: PLC0415 - after the environment is set

    return getattr(routing, "BedrockRoutingMiddleware", None)


def _agents() -> Iterator[tuple[str, Library]]:
    yield (
        _OURS,
        Library(distribution="bedrock-routing", extra="langchain", setting="create_agent", agent=_ours),
    )
    yield from ((name, LIBRARIES[name]) for name in _COMPARED)


def main() -> int:
    """Print the table; return 1 where the limits are not kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", choices=list(TARGETS))
    only = parser.parse_args().target
    prepare()
    logging.disable(logging.WARNING)
    left = stay_on_this_machine()
    missed = 0
    print(f"{'input of all calls':>94}{'after the wide turn':>24}\n" + _ROW.format(*_HEADER))
    for title, models in TARGETS.items():
        if only in (None, title):
            for name, library in _agents():
                missed += _show(title, models, name, library)
    print(f"{_OURS}: with{'' if _middleware() else 'out'} BedrockRoutingMiddleware")
    print(f"attempts to leave this machine: {', '.join(left) or 'none'}")
    return int(bool(missed or left))


def _show(title: str, models: Sequence[str], name: str, library: Library) -> int:
    """Print the row of an agent, and return whether a limit of ours is missed."""
    if library.missing:
        print(f"{title:14}{name}: skipped: not installed ({library.missing})")
        return 0
    outcome = run(library, models)
    label = f"{name} {library.version}"
    if outcome.error:
        print(f"{title:14}{label:22} fails at call {len(outcome.usages) + 1}: {outcome.error}")
        return int(name == _OURS)
    after, usages = outcome.after_wide, outcome.usages
    totals = [sum(counts) for counts in zip(*map(_counts, usages), strict=True)]
    notes = [f"above {_LIMITS[title]}"] if name == _OURS and outcome.ratio > _LIMITS[title] else []
    notes += [f"{after.could - after.read:,} not read"] if after.read < after.could else []
    costs = f"{outcome.ratio:.3f}", f"{outcome.least:.3f}", f"{outcome.paid:.4f}"
    counts = (*totals, *after, len(set(outcome.models)))
    print(_ROW.format(title, label, *costs, *(f"{each:,}" for each in counts), "; ".join(notes)))
    return int(bool(notes) and name == _OURS)


def _counts(usage: Usage) -> tuple[int, int, int, int]:
    return usage.prompt, usage.read, usage.write, usage.fresh


if __name__ == "__main__":
    sys.exit(main())
