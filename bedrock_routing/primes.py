"""Decide which models behind a router to prime, and make the calls that do it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from bedrock_routing.arns import ModelRef
from bedrock_routing.placing import Placed
from bedrock_routing.planning import Plan, Ratios, Skipped
from bedrock_routing.receipt import PURPOSES, Purpose
from bedrock_routing.turn import Target, Turn

__all__ = ["models_to_prime", "primed"]

Wire = Mapping[str, Any]


def models_to_prime(
    shares: Mapping[str, float], cold: Iterable[str], ratios: Mapping[str, Ratios], *, waiting: int, led: bool
) -> tuple[str, ...]:
    """Return the models for which a prime is expected to cost less than it saves.

    Without one, each of the `share * waiting` calls that the router gives to a cold model writes the prefix;
    with one, the prime writes and they read. `led`: a call whose model is not known yet may have written it
    already, with the chance `share`; then the prime reads in vain.
    """
    return tuple(model for model in cold if _gain(shares[model], ratios[model], waiting, led=led) > 0)


def _gain(share: float, ratios: Ratios, waiting: int, *, led: bool) -> float:
    """Return what a prime saves, in units of the prefix at its input price."""
    warm = share if led else 0.0
    spared = waiting * share * (ratios.write - ratios.read)
    return (1 - warm) * (spared - ratios.write) - warm * ratios.read


def primed(turn: Turn, model: ModelRef, last: Placed, *, purpose: Purpose = "prime") -> Turn | None:
    """Return a call to one model with the prompt up to a point; `None` where a prompt cannot end there.

    It asks for one token. What comes before the point stays as it goes out, and so do all settings, which are
    part of the prefix.
    """
    params = _up_to(turn.params, last.path)
    if params is None:
        return None
    inference: Wire = {**(params.get("inferenceConfig") or {}), "maxTokens": 1}
    return replace(
        turn,
        target=Target(ref=model, models=(model,), common=turn.target.common),
        params={**params, "inferenceConfig": inference},
        plan=Plan(cuts={}, skipped=(Skipped(path="*", reason=PURPOSES[purpose]),)),
        placed=turn.placed[: turn.placed.index(last) + 1],
        cut={},
        asked=None,
        history=None,
        choice=None,
        instead=None,
        purpose=purpose,
    )


def _up_to(params: Wire, path: str) -> Wire | None:
    section, *numbers = path.split(".")
    if section == "messages":
        return _messages_up_to(params, int(numbers[0]), int(numbers[2]))
    shorter = {**params, "messages": [{"role": "user", "content": [{"text": "."}]}]}
    if section == "system":
        shorter["system"] = params["system"][: int(numbers[0]) + 1]
    else:
        shorter.pop("system", None)
    return shorter


def _messages_up_to(params: Wire, message: int, block: int) -> Wire | None:
    last = params["messages"][message]
    if last["role"] != "user":
        return None
    ending = {**last, "content": last["content"][: block + 1]}
    return {**params, "messages": [*params["messages"][:message], ending]}
