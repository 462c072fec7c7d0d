"""Replay a workload against a local Bedrock, and add up what went over the wire."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import accumulate, pairwise
from typing import Any

from savings_optimum import Least, Prefix, Prices, Visit, least_cost
from savings_peers import Peer
from savings_workloads import Call, Workload

from bedrock_local import FixedAnswer, LocalBedrock, ManualClock
from bedrock_local.prompt import Dialect, render
from bedrock_local.tokens import TokenCounter
from bedrock_routing import (
    CacheState,
    Catalog,
    PricePolicy,
    RoutedClient,
    SeenOrder,
    Usage,
    parse,
    remember_documents,
)
from bedrock_routing.documents import process_memory
from bedrock_routing.policy import AffinityKind
from bedrock_routing.pricing import cost_of

__all__ = ["TARGETS", "Run", "least", "popular_first", "run_ours", "run_peer", "visits"]

Request = dict[str, Any]
Documents = Sequence[str]

TARGETS: dict[str, tuple[str, ...]] = {
    "one Claude": ("us.anthropic.claude-sonnet-4-6",),
    "Claude pair": ("us.anthropic.claude-opus-4-8", "us.anthropic.claude-sonnet-4-6"),
    "Nova router": ("us.amazon.nova-pro-v1:0", "us.amazon.nova-lite-v1:0"),
}
"""What is asked: one model, or two under a router that alternates."""

_ANSWER = "word " * 100
_LATENCY_AT_ONCE = 0.01
"""Seconds per call that an answer takes where calls do not wait for each other: all are sent before it."""
_MILLION = 1_000_000
_POLICY = PricePolicy()


@dataclass(frozen=True, kw_only=True)
class Run:
    """Hold what one competitor's calls were and cost."""

    cost: Decimal
    output_cost: Decimal
    models: tuple[str, ...]
    """Who answered, in the order of the calls."""
    tokens: dict[str, int]
    """Of the prompts, by what they were: read, written for 5m or 1h, fresh."""
    receipts: tuple[dict[str, Any], ...] = ()
    orders: tuple[Documents, ...] = ()
    """In which order the documents of each call were sent, where that was ours to say."""

    def skipped(self) -> Counter[str]:
        """Return how often each reason for placing no point stands in the receipts."""
        return Counter(each["reason"] for receipt in self.receipts for each in receipt["cache"]["skipped"])


def run_peer(workload: Workload, models: Sequence[str], peer: Peer) -> Run:
    """Replay through boto3 with the points of another library."""
    nova = "nova" in models[0]

    def send(bedrock: LocalBedrock, clock: ManualClock) -> Callable[[str, Call], Any]:
        del clock
        client = bedrock.client(max_pool_connections=256)
        return lambda target, call: client.converse(modelId=target, **peer(call.build(call.documents), nova))

    return _replay(workload, models, send)


def run_ours(
    workload: Workload, models: Sequence[str], *, ordered: bool = False, affinity: AffinityKind = "router"
) -> Run:
    """Replay through `RoutedClient`, if wanted with each call's documents in the order of our retrievers."""
    order = SeenOrder(10_000)
    process_memory().clear()
    receipts: list[dict[str, Any]] = []
    orders: list[Documents] = []

    def send(bedrock: LocalBedrock, clock: ManualClock) -> Callable[[str, Call], Any]:
        plain = bedrock.client(max_pool_connections=256)
        control = bedrock.client("bedrock")
        now = time.monotonic if workload.at_once else clock.now
        client = RoutedClient(
            plain, control=control, state=CacheState(), prices=_POLICY, affinity=affinity, clock=now
        )

        def one(target: str, call: Call) -> None:
            given = call.documents
            documents = order.arrange(given, _name, size=len, now=now()) if ordered else given
            orders.append(documents)
            remember_documents(documents)
            reply = client.converse(modelId=target, **call.build(documents))
            receipts.append(reply["bedrock_routing"])

        return one

    run = _replay(workload, models, send)
    return replace(run, receipts=tuple(receipts), orders=tuple(orders))


def _name(document: str) -> str:
    return document


def _replay(
    workload: Workload,
    models: Sequence[str],
    send: Callable[[LocalBedrock, ManualClock], Callable[[str, Call], Any]],
) -> Run:
    clock = ManualClock()
    where: dict[str, Any] = (
        {"latency": _LATENCY_AT_ONCE * len(workload.calls)} if workload.at_once else {"clock": clock}
    )
    with LocalBedrock(answers=FixedAnswer(_ANSWER), routing="alternate", tokens="fast", **where) as bedrock:
        target = models[0] if len(models) == 1 else bedrock.create_router("benchmark", models)
        one = send(bedrock, clock)
        if workload.at_once:
            with ThreadPoolExecutor(len(workload.calls)) as pool:
                for done in [pool.submit(one, target, call) for call in workload.calls]:
                    done.result()
        else:
            for call in workload.calls:
                clock.advance(call.at - clock.now())
                one(target, call)
        return _summed([each for each in bedrock.requests if each.usage is not None])


def _summed(requests: Sequence[Any]) -> Run:
    cost = output = Decimal(0)
    tokens: Counter[str] = Counter()
    names: list[str] = []
    for request in requests:
        usage = Usage.from_wire(request.usage)
        assert usage is not None
        names.append(f"us.{request.invoked_model}")
        model = parse(names[-1])
        cost += cost_of(model, usage, _POLICY) or Decimal("NaN")
        output += cost_of(model, Usage(fresh=0, output=usage.output), _POLICY) or Decimal("NaN")
        tokens.update({"read": usage.read, "5m": usage.write_5m, "1h": usage.write_1h, "fresh": usage.fresh})
    return Run(
        cost=cost,
        output_cost=output,
        models=tuple(names),
        tokens=dict(tokens),
    )


def least(workload: Workload, models: Sequence[str], orders: Sequence[Documents] | None = None) -> Least:
    """Return the least that a workload's prompts cost, given who answered each.

    `orders` holds each call's documents in another order. Texts can be cut before and after each document.
    """
    return least_cost(visits(workload, models, orders), {model: _prices(model) for model in set(models)})


def visits(
    workload: Workload, models: Sequence[str], orders: Sequence[Documents] | None = None
) -> list[Visit]:
    """Return what each call could have cached, given who answered it."""
    documents = sorted({text for call in workload.calls for text in call.documents}, key=len, reverse=True)
    seen = _Prompts(documents)
    sent = orders or [call.documents for call in workload.calls]
    return [
        seen.visit(call.build(order), model, call.at)
        for call, order, model in zip(workload.calls, sent, models, strict=True)
    ]


def popular_first(workload: Workload) -> list[Documents]:
    """Return the documents of each call, those first that are retrieved most over the whole future."""
    asked = Counter(text for call in workload.calls for text in call.documents)
    return [sorted(call.documents, key=lambda text: (-asked[text], text)) for call in workload.calls]


class _Prompts:
    """Name and count the prefixes of requests as the service does, as if texts were cut at every document."""

    def __init__(self, documents: Sequence[str]) -> None:
        self._documents = documents
        self._counter = TokenCounter("fast")
        self._pieces: dict[str, tuple[str, ...]] = {}

    def visit(self, request: Request, model: str, at: float) -> Visit:
        """Return what a call could have cached: the prefixes that a point may follow."""
        ref, facts = parse(model), Catalog.default().find(model)
        assert facts is not None
        assert facts.cache is not None
        rules = facts.cache
        dialect = Dialect(key=ref.key or "", provider=ref.provider, whole=rules.after_text_only)
        whole = render(request, dialect, self._counter)
        names = render(_with_lists(request, self._cut), dialect, self._counter).digests
        found: list[Prefix] = []
        number = 0
        for block, (section, content) in enumerate(_blocks(request)):
            for share in self._shares(content):
                number += 1
                # A cut costs no tokens here, though a count that is rounded up does rise with every block.
                tokens = whole.totals[block] + int(share * (whole.totals[block + 1] - whole.totals[block]))
                after = "text" in content or not rules.after_text_only
                if after and section in rules.sections and tokens >= rules.min_tokens:
                    found.append(Prefix(name=names[number], tokens=tokens))
        return Visit(model=model, at=at, prefixes=tuple(found), tokens=whole.tokens)

    def _cut(self, content: Sequence[Request]) -> list[Request]:
        return [
            {"text": piece} if "text" in block else block
            for block in content
            for piece in (self._parts(block["text"]) if "text" in block else ("",))
        ]

    def _shares(self, block: Request) -> list[float]:
        """Return which part of a block each cut in it, and its end, has before it."""
        if "text" not in block:
            return [1.0]
        return [end / len(block["text"]) for end in accumulate(map(len, self._parts(block["text"])))]

    def _parts(self, text: str) -> tuple[str, ...]:
        if text not in self._pieces:
            ends = {0, len(text)}
            for document in self._documents:
                at = text.find(document)
                if at >= 0:
                    ends |= {at, at + len(document)}
            self._pieces[text] = tuple(text[start:end] for start, end in pairwise(sorted(ends)))
        return self._pieces[text]


def _blocks(request: Request) -> Iterator[tuple[str, Request]]:
    yield from (("tools", each) for each in request.get("toolConfig", {}).get("tools", ()))
    yield from (("system", each) for each in request["system"])
    yield from (("messages", each) for message in request["messages"] for each in message["content"])


def _with_lists(request: Request, change: Callable[[Sequence[Request]], list[Request]]) -> Request:
    messages = [{**each, "content": change(each["content"])} for each in request["messages"]]
    return {**request, "system": change(request["system"]), "messages": messages}


def _prices(model: str) -> Prices:
    facts = Catalog.default().find(model)
    assert facts is not None
    assert facts.cache is not None
    kinds = {"fresh": "fresh", "read": "read", **{ttl: f"write_{ttl}" for ttl in facts.cache.ttls}}
    costs = {
        treatment: cost_of(parse(model), Usage(**{"fresh": 0, kind: _MILLION}), _POLICY)
        for treatment, kind in kinds.items()
    }
    return {treatment: float(cost or "nan") / _MILLION for treatment, cost in costs.items()}  # pyright: ignore[reportReturnType]
