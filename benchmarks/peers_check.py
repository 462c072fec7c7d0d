"""Check that `savings_peers.py` puts cache points where the libraries themselves put them.

Every library that is installed asks a local Bedrock with its recommended automatic setting. The points in the
body that it sent are compared with those that its function in `savings_peers.py` puts into the same body
without points. Places: T the end of tools, S the end of system, mK the end of message K, and mK[i] the place
before block i of it. Install what is to be checked (all fit into one environment), and run it:

    pip install -e ".[all]" langchain strands-agents "pydantic-ai-slim[bedrock]" litellm \
        llama-index-llms-bedrock-converse
    python benchmarks/peers_check.py [--only LlamaIndex]

Returns 1 where a place differs, or where a library tried to leave this machine.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from peers_real import LIBRARIES, Library
from peers_setup import Target, Tool, point_at, prepare, stay_on_this_machine
from savings_peers import PEERS, VARIANTS, Peer
from savings_runs import TARGETS
from savings_workloads import conversation, text, tool_turn, user

from bedrock_local import FixedAnswer, LocalBedrock
from bedrock_routing import parse

Request = dict[str, Any]
Place = tuple[str, int | None]
"""A list of the request, and how many blocks stand before the point; `None` for the end."""

_WIDTHS = (1, 8, 9, 30, 1)
"""How many tools are called at once, turn by turn; pydantic-ai sees 8 as near and 9 as far."""
_ROW = "{:19}{:9}{:15}{:26}{:11}{:11}{}"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """Hold the body that a library sent, and the error that it got for it."""

    body: Request
    error: str | None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Say what was seen and what was imitated."""

    real: str
    imitated: str
    equal: bool
    note: str = ""


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=list(LIBRARIES))
    only = parser.parse_args().only
    prepare()
    logging.disable(logging.WARNING)  # one of them warns on every call that it places nothing
    left = stay_on_this_machine()
    print(_ROW.format("library", "version", "asked", "conversation", "real", "imitated", "equal?"))
    differing = 0
    for name, library in LIBRARIES.items():
        if only in (None, name):
            differing += _check(name, library)
    print(f"\n{differing} differ; attempts to leave this machine: {', '.join(left) or 'none'}")
    return int(bool(differing or left))


def _check(name: str, library: Library) -> int:
    if library.missing:
        print(f"{name}: skipped: not installed ({library.missing})")
        return 0
    print(f"{name}: {library.setting}")
    version, peer, differing = library.version, {**PEERS, **VARIANTS}[name], 0
    with LocalBedrock(answers=FixedAnswer("It is done."), routing="alternate") as bedrock:
        point_at(bedrock.endpoint_url)
        for asked, target in _targets(bedrock):
            for title, request in conversations():
                sent = _sent(bedrock, library, target, request)
                verdict = _compared(bedrock, target, peer, sent, request)
                said = ("yes" if verdict.equal else "NO") + verdict.note
                print(_ROW.format(name, version, asked, title, verdict.real, verdict.imitated, said))
                differing += not verdict.equal
    return differing


def _targets(bedrock: LocalBedrock) -> Iterator[tuple[str, Target]]:
    """Yield plain model ids, and routers' ARNs of which the library is told what is behind them."""
    where = {"endpoint_url": bedrock.endpoint_url, "region": bedrock.region}
    pairs = {"Claude": TARGETS["Claude pair"], "Nova": TARGETS["Nova router"]}
    for family, models in pairs.items():
        for model in models[-1:]:
            yield f"{family} id", Target(model=model, behind=model, **where)
    for family, models in pairs.items():
        arn = bedrock.create_router(family, models)
        yield f"{family} router", Target(model=arn, behind=models[0], **where)


def conversations() -> Iterator[tuple[str, Request]]:
    """Yield the requests to be made: a question over documents, a chat, and the calls of an agent."""
    seed = random.Random(1)  # noqa: S311 - a conversation, no secret
    system = f"Answer from the documents. {text(seed, 60)}"
    documents, question = text(seed, 1_500), "What do the documents say about the limit?"
    yield "documents, question", conversation(system, [user(documents, question)])
    yield "the same in one text", conversation(system, [user(f"{documents}\n\n{question}")])
    chat = [user(documents, question)]
    for number in range(3):
        chat += [_answer(text(seed, 40)), user(f"And {number}?")]
    yield "chat, turn 4", conversation(system, chat)
    tools = [_specification(f"tool_{number}", text(seed, 40)) for number in range(3)]
    asked = user("Find out why the nightly job failed.")
    yield "agent, first call", conversation(system, [asked], tools)
    yield "30 tool calls at once", conversation(system, [asked, *tool_turn(seed, 9, 30, tools=3)], tools)
    loop = [asked]
    for step, width in enumerate(_WIDTHS):
        loop += tool_turn(seed, step, width, tools=len(tools))
        yield f"{step + 1} tool turns, last of {width}", conversation(system, loop, tools)
    loop += [_answer("It was the clock."), user("And the next one?")]
    yield "agent, next question", conversation(system, loop, tools)


def _answer(said: str) -> Request:
    return {"role": "assistant", "content": [{"text": said}]}


def _specification(name: str, description: str) -> Request:
    schema = Tool(name=name, description=description, run=_look_up).schema
    return {"toolSpec": {"name": name, "description": description, "inputSchema": {"json": schema}}}


def _tool(specification: Request) -> Tool:
    return Tool(name=specification["name"], description=specification["description"], run=_look_up)


def _look_up(query: str) -> str:
    return query


def _sent(bedrock: LocalBedrock, library: Library, target: Target, request: Request) -> Sent:
    """Let a library go on with a conversation by one call, and return what arrived."""
    bedrock.clear()
    tools = [_tool(each["toolSpec"]) for each in request.get("toolConfig", {}).get("tools", ())]
    try:
        library.agent(target, request["system"][0]["text"], tools)(request["messages"])
    except Exception:
        if not bedrock.requests:
            raise
    calls = [each for each in bedrock.requests if each.operation in {"Converse", "ConverseStream"}]
    assert len({str(each.body["messages"]) for each in calls}) == 1, "one call, or the same again"
    return Sent(body=dict(calls[-1].body), error=calls[-1].error)


def _compared(bedrock: LocalBedrock, target: Target, peer: Peer, sent: Sent, request: Request) -> Verdict:
    bare = _only(sent.body, ())
    again = peer(bare, parse(target.behind).provider == "amazon")
    real, imitated = _places(sent.body), _places(again)
    equal, note = real == imitated, _lost(bare, request)
    if sent.error is not None:
        # A call that fails has no cost: the imitation leaves out what is refused, and nothing else.
        refused = [place for place in real if not _accepted(bedrock, target, _only(sent.body, (place,)))]
        kept = [place for place in real if place not in refused]
        equal = imitated == kept and _accepted(bedrock, target, again)
        note += f", less what is refused: the call fails with {sent.error}"
    return Verdict(real=_named(real), imitated=_named(imitated), equal=equal, note=note)


def _accepted(bedrock: LocalBedrock, target: Target, body: Request) -> bool:
    client = bedrock.client()
    try:
        client.converse(modelId=target.model, **body)
    except client.exceptions.ValidationException:
        return False
    return True


def _lists(body: Request) -> Iterator[tuple[str, Sequence[Request]]]:
    yield "T", body.get("toolConfig", {}).get("tools", ())
    yield "S", body.get("system", ())
    yield from ((f"m{number}", each["content"]) for number, each in enumerate(body["messages"]))


def _places(body: Request) -> list[Place]:
    return [
        _place(name, blocks, number)
        for name, blocks in _lists(body)
        for number, block in enumerate(blocks)
        if "cachePoint" in block
    ]


def _place(name: str, blocks: Sequence[Request], number: int) -> Place:
    before = sum("cachePoint" not in block for block in blocks[:number])
    return name, None if number == len(blocks) - 1 else before


def _only(body: Request, kept: Collection[Place]) -> Request:
    """Return a body with these of its points and no others."""
    lists = {
        name: [
            block
            for number, block in enumerate(blocks)
            if "cachePoint" not in block or _place(name, blocks, number) in kept
        ]
        for name, blocks in _lists(body)
    }
    messages = [{**each, "content": lists[f"m{number}"]} for number, each in enumerate(body["messages"])]
    found = {**body, "messages": messages}
    if "system" in body:
        found["system"] = lists["S"]
    if "toolConfig" in body:
        found["toolConfig"] = {**body["toolConfig"], "tools": lists["T"]}
    return found


def _lost(bare: Request, request: Request) -> str:
    """Say where a library did not send the conversation as it was given."""
    kinds = [[next(iter(block)) for block in each["content"]] for each in bare["messages"]]
    given = [[next(iter(block)) for block in each["content"]] for each in request["messages"]]
    return "" if kinds == given else f", sent {sum(map(len, kinds))} of {sum(map(len, given))} blocks"


def _named(places: Sequence[Place]) -> str:
    return " ".join(name if before is None else f"{name}[{before}]" for name, before in places) or "-"


if __name__ == "__main__":
    sys.exit(main())
