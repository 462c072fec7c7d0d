"""Carry a plan out: cut the texts, put the points in, say where they stand. Never change what was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bedrock_routing.catalog import CacheRules, Section, Ttl
from bedrock_routing.places import Candidate, list_of
from bedrock_routing.planning import Boundary, Plan, Skipped
from bedrock_routing.request import Block, path_of
from bedrock_routing.rules import why_not_after

__all__ = ["Placed", "close_ttls", "hand_placed", "place", "without_points"]

Wire = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Be one cache point as it goes out."""

    path: str
    section: Section
    boundary: Boundary


def hand_placed(blocks: Sequence[Block], rules: CacheRules) -> tuple[list[Candidate], list[Skipped]]:
    """Return the caller's own points as candidates, and those that cannot stand with the reason.

    Over the limit, the oldest points in messages give way first.
    """
    kept: list[Candidate] = []
    dropped: list[Skipped] = []
    for index, block in enumerate(blocks):
        if block.kind != "cachePoint":
            continue
        if index == 0 or list_of(blocks[index - 1]) != list_of(block):
            dropped.append(Skipped(path=block.path, reason="nothing before it in its list"))
        elif why := why_not_after(blocks[index - 1], rules, tokens=rules.min_tokens):
            dropped.append(Skipped(path=block.path, reason=why))
        else:
            ttl: Ttl = "1h" if block.value.get("ttl") == "1h" and "1h" in rules.ttls else "5m"
            kept.append(Candidate(block=index - 1, kind="by hand", chance=1.0, by_hand=True, ttl=ttl))
    for _ in range(len(kept) - rules.max_points):
        oldest = next((each for each in kept if blocks[each.block].section == "messages"), kept[0])
        kept.remove(oldest)
        reason = f"at most {rules.max_points} cache points"
        dropped.append(Skipped(path=blocks[oldest.block + 1].path, reason=reason))
    return kept, dropped


def close_ttls(points: Sequence[Boundary]) -> tuple[Boundary, ...]:
    """Return the points with lifetimes in the order that the service asks for: 1h never after 5m.

    A 5m that the caller placed shortens what follows; a 1h lengthens what was placed automatically before it.
    """
    if len({point.ttl for point in points}) <= 1:
        return tuple(points)
    longest: Ttl = "1h"
    forward: list[Boundary] = []
    for point in points:
        if point.by_hand and point.ttl == "5m":
            longest = "5m"
        forward.append(replace(point, ttl="5m") if longest == "5m" else point)
    needed: Ttl = "5m"
    backward: list[Boundary] = []
    for point in reversed(forward):
        if point.ttl == "1h":
            needed = "1h"
        backward.append(replace(point, ttl=needed))
    return tuple(reversed(backward))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """Be a request as it goes out, with its points."""

    params: Wire
    placed: tuple[Placed, ...] = ()
    moved: Mapping[str, str] = field(default_factory=dict[str, str])
    """For each block of a list that changed: the path of its end in the caller's request, and on the wire."""


def place(params: Wire, blocks: Sequence[Block], plan: Plan) -> Outgoing:
    """Return the request with the plan's cuts and points, and where they stand in it.

    Lists in which something changes are built anew; all else, and blocks that stay as they are, remain the
    caller's own objects. A request that needs no change is returned itself.
    """
    points = {(point.block, point.offset): point for point in plan.points}
    lists: dict[tuple[Section, int | None], list[Wire]] = {
        list_of(block): []
        for index, block in enumerate(blocks)
        if block.kind == "cachePoint" or plan.cuts.get(index)
    } | {list_of(blocks[point.block]): [] for point in plan.points}
    if not lists:
        return Outgoing(params=params)
    placed: list[Placed] = []
    moved: dict[str, str] = {}
    for index, block in enumerate(blocks):
        target = lists.get(list_of(block))
        if target is None or block.kind == "cachePoint":
            continue
        for offset, piece in _pieces(block, plan.cuts.get(index, ())):
            target.append(piece)
            if point := points.get((index, offset)):
                path = path_of(block.section, block.message, len(target))
                placed.append(Placed(path=path, section=block.section, boundary=point))
                target.append(_cache_point(point.ttl))
        end = len(target) - (2 if (index, None) in points else 1)
        moved[block.path] = path_of(block.section, block.message, end)
    return Outgoing(params=_rebuilt(params, lists), placed=tuple(placed), moved=moved)


def without_points(params: Wire, blocks: Sequence[Block]) -> Wire:
    """Return the request without any cache point; texts are not cut."""
    return place(params, blocks, Plan(cuts={})).params


def _pieces(block: Block, cuts: Sequence[int]) -> Iterator[tuple[int | None, Wire]]:
    if not cuts:
        yield None, block.raw
        return
    start = 0
    for offset in (*cuts, None):
        yield offset, {"text": block.value[start:offset]}
        start = offset or 0


def _cache_point(ttl: Ttl) -> Wire:
    """Write a point; 5m is the default and left out, since models without lifetimes refuse the field."""
    return {"cachePoint": {"type": "default"} if ttl == "5m" else {"type": "default", "ttl": ttl}}


def _rebuilt(params: Wire, lists: Mapping[tuple[Section, int | None], list[Wire]]) -> Wire:
    """Put the lists in place; tools that held nothing but a point go, since an empty list fails the call."""
    built = dict(params)
    tools = lists.get(("tools", None))
    if tools is not None:
        del built["toolConfig"]
    if tools:
        built["toolConfig"] = {**params["toolConfig"], "tools": tools}
    if ("system", None) in lists:
        built["system"] = lists["system", None]
    if "messages" in params:
        built["messages"] = [
            {**message, "content": lists["messages", number]} if ("messages", number) in lists else message
            for number, message in enumerate(params["messages"])
        ]
    return built
