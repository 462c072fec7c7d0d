"""Say why a prefix that an earlier call had cached was not read.

A miss is what was cached, is sent again and was not read. The earlier call that explains most of it is
compared with this one, piece by piece; the first reason that holds is named, in the order of `Reason`.

Whether the cache could be read is judged by what calls before this one had read and written, as the service
counted it, never by what was planned. Pure: what earlier calls left behind is handed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bedrock_routing.catalog import Ttl
from bedrock_routing.documents import DocumentMemory
from bedrock_routing.misses import Miss, Reason
from bedrock_routing.prompts import Chain, Piece, Prompt, chain_of, common_ends
from bedrock_routing.state import TTL_SECONDS
from bedrock_routing.usage import Usage

__all__ = ["Asked", "Call", "Earlier", "Limits", "Mark", "diagnose"]

Wire = Mapping[str, Any]

_LEAST_SHARE = 0.05
"""A smaller part of what was cached is the inaccuracy of counting."""
_SAME_PROMPT = 0.5
"""A prompt that sends no more than this of what was cached is another prompt, not a changed one."""
_AS_GOOD = 0.8
"""Earlier calls that explain nearly as much as the best one; counts of two models differ that much."""
_DOUBT = 1.5
"""Estimated tokens over real ones, at most: a prefix this far above the minimum may still be below it."""
_EXCERPT = 20


class Asked(NamedTuple):
    """Hold what only is known when a call is planned."""

    documents: DocumentMemory
    at: float
    serial: int
    """How many calls had come back by then: what came back later could not have been read."""


class Mark(NamedTuple):
    """Be a place up to which a call asked for caching."""

    digest: bytes
    tokens: int
    """Estimated size of the prefix."""
    ttl: Ttl


class Call(NamedTuple):
    """Be a call that came back."""

    asked: Asked
    params: Wire
    """The request as it went out."""
    marks: Sequence[Mark]
    """Where cache points went out, in prompt order."""
    model: str
    """Who answered."""
    usage: Usage

    @property
    def prompt(self) -> Prompt:
        """Return what is compared."""
        return Prompt(self.params, self.asked.documents)


@dataclass(slots=True, kw_only=True, eq=False)
class Earlier:
    """Hold what an earlier call had cached; without its prompt once there is no room for that."""

    model: str
    at: float
    serial: int
    cached: int
    """Tokens read and written, as the service counted them: the whole prefix up to its last point."""
    marks: Sequence[Mark]
    prompt: Prompt | None = None
    _chain: Chain | None = None

    def chain(self) -> Chain:
        """Return its pieces up to the last point; empty once the prompt is gone."""
        chain, prompt = self._chain, self.prompt
        if chain is None and prompt is not None:
            pieces = chain_of(prompt)
            last = max((number for number, piece in enumerate(pieces) if piece.is_point), default=-1)
            chain = self._chain = pieces[: last + 1]
        return chain or ()

    def forget(self) -> None:
        """Give the prompt up; what was cached up to where is still known."""
        self.prompt = self._chain = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Say what the models allow, and from how many tokens on a miss is worth a word."""

    min_tokens: int
    lookback: int
    least: int = 1_024


class _Found(NamedTuple):
    """Be one earlier call, and how much of what it had cached was sent again and not read."""

    missed: int
    earlier: Earlier
    mark: Mark
    old: int | None = None
    """The first differing piece; `None`: all up to the mark came again as it was."""


def diagnose(call: Call, chain: Chain, earlier: Iterable[Earlier], limits: Limits) -> Miss | None:
    """Return what a call should have read beyond what it did and why it did not, or `None`."""
    asked, usage = call.asked, call.usage
    prefixes = {piece.prefix for piece in chain if piece.prefix}
    found: list[_Found] = []
    for each in earlier:
        tried_in_vain = each.model == call.model and not usage.write
        if each.serial > asked.serial or not (each.cached or tried_in_vain):
            continue
        one = _again(each, prefixes, usage.read) or _changed(each, chain, asked.at, usage.read)
        if one is not None and one.missed >= max(limits.least, _LEAST_SHARE * each.cached):
            found.append(one)
    if not found:
        return None
    most = max(each.missed for each in found)
    likely = [each for each in found if each.missed >= _AS_GOOD * most]
    return _explained(max(likely, key=lambda each: _rank(each, call)), call, chain, limits)


def _rank(found: _Found, call: Call) -> tuple[bool, int, int, float]:
    """Prefer what came again unchanged, then what this model still has, then what another one has."""
    own = found.earlier.model == call.model
    lives = _lives(found.earlier, found.mark, call.asked.at)
    return found.old is None, lives * (1 + own), found.missed, found.earlier.at


def _again(earlier: Earlier, prefixes: set[bytes], read: int) -> _Found | None:
    """Find the deepest place of an earlier call that this prompt passes through unchanged."""
    last = earlier.marks[-1].tokens
    for mark in reversed(earlier.marks):
        if mark.digest in prefixes:
            cached = earlier.cached or last
            return _Found(missed=cached * mark.tokens // max(last, 1) - read, earlier=earlier, mark=mark)
    return None


def _changed(earlier: Earlier, chain: Chain, now: float, read: int) -> _Found | None:
    """Find a prompt that comes again with a change, while what it had cached still lives."""
    mark = earlier.marks[-1]
    if not earlier.cached or not _lives(earlier, mark, now):
        return None
    before = earlier.chain()
    old = first_difference(before, chain)
    if old >= min(len(before), len(chain)):
        return None
    again, total = _sent_again(before, chain, old), sum(piece.tokens for piece in before)
    if again <= _SAME_PROMPT * total:
        return None
    return _Found(missed=earlier.cached * again // max(total, 1) - read, earlier=earlier, mark=mark, old=old)


def first_difference(old: Chain, new: Chain) -> int:
    """Return how many pieces at the start are the same in both, cut into the same blocks."""
    for number, (was, now) in enumerate(zip(old, new, strict=False)):
        same = was.content == now.content and was.message == now.message
        if not same or (was.prefix is None) != (now.prefix is None):
            return number
    return min(len(old), len(new))


def _sent_again(old: Chain, new: Chain, first: int) -> int:
    """Estimate how much of an earlier prompt this one holds: before the first difference and behind it."""
    left = Counter(piece.content for piece in new[first:])
    was, now = old[first], new[first]
    replaced = left[was.content] == 0 and all(piece.content != now.content for piece in old[first:])
    tokens = sum(piece.tokens for piece in old[:first])
    if replaced and was.text and was.path == now.path:
        tokens += was.tokens * sum(common_ends(was.text, now.text)) // len(was.text)
    for piece in old[first:]:
        if left[piece.content] > 0:
            left[piece.content] -= 1
            tokens += piece.tokens
    return tokens


def _lives(earlier: Earlier, mark: Mark, now: float) -> bool:
    return now - earlier.at < TTL_SECONDS[mark.ttl]


def _explained(found: _Found, call: Call, chain: Chain, limits: Limits) -> Miss:
    reason, detail = next(_reasons(found, call, chain, limits), ("unexplained", None))
    if found.old is None:
        place, excerpt = _place_of(found.mark, chain), None
    else:
        place, excerpt = found.old, _excerpt(found.earlier.chain()[found.old], chain[found.old])
    return Miss(reason=reason, tokens=found.missed, path=chain[place].path, detail=detail, excerpt=excerpt)


def _place_of(mark: Mark, chain: Chain) -> int:
    return next(number for number, piece in enumerate(chain) if piece.prefix == mark.digest)


def _reasons(found: _Found, call: Call, chain: Chain, limits: Limits) -> Iterator[tuple[Reason, str]]:
    """Yield the reasons that hold; the first one counts."""
    model, now = call.model, call.asked.at
    earlier, mark = found.earlier, found.mark
    lives = _lives(earlier, mark, now)
    if earlier.model != model and lives:
        yield "model switched", f"{model} answered; {earlier.model} has it in its cache"
    if not lives:
        yield "lifetime over", f"last used {now - earlier.at:,.0f} s before; it lives {mark.ttl}"
    if found.old is not None:
        yield _difference(earlier.chain(), chain, found.old)
        return
    if not earlier.cached and mark.tokens < _DOUBT * limits.min_tokens:
        sizes = f"estimated {mark.tokens:,} tokens; the minimum is {limits.min_tokens:,}"
        yield "below the minimum", f"{sizes}, and the call before cached nothing either"
    distance = _blocks_to_next_point(chain[_place_of(mark, chain) :])
    if distance is None:
        yield "no cache point", "no cache point went out at it or behind it"
    elif distance > (limits.lookback and limits.lookback + 1):
        yield "lookback exceeded", f"{distance} blocks behind it; the service looks back {limits.lookback}"


def _blocks_to_next_point(chain: Chain) -> int | None:
    """Return how many blocks on the wire lie between an entry and the next point; `None` without any."""
    blocks = (piece.is_point for piece in chain if piece.prefix)
    return next((number for number, is_point in enumerate(blocks) if is_point), None)


def _difference(old: Chain, new: Chain, first: int) -> tuple[Reason, str]:
    was, now = old[first], new[first]
    if was.content == now.content:
        where = "cut into other blocks" if was.message == now.message else "in another message"
        return "block changed", f"the same content {where}"
    now_was_there = any(piece.content == now.content for piece in old[first + 1 :])
    was_is_there = any(piece.content == was.content for piece in new[first + 1 :])
    if now_was_there and was_is_there:
        return "order changed", "what stands here stood further back before"
    if now_was_there:
        return "block changed", "what stood here before is gone"
    if was_is_there:
        return "block changed", "something new stands here"
    if was.path != now.path or was.block is None or now.block is None:
        return "block changed", "other content stands here"
    return (
        "block changed",
        f"first different at character {now.start + common_ends(was.text, now.text)[0]:,}",
    )


def _excerpt(was: Piece, now: Piece) -> tuple[str, str] | None:
    if was.block is None or now.block is None:
        return None
    at = common_ends(was.text, now.text)[0]
    start, end = max(at - _EXCERPT, 0), at + _EXCERPT
    return was.text[start:end], now.text[start:end]
