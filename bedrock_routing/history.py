"""Remember what earlier calls had cached, so that a miss can be explained.

Bounded: so many prefixes by digest, and so many bytes of prompts. Prompts are kept by reference, in this
process only; they are never written anywhere.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from bedrock_routing.catalog import CacheRules
from bedrock_routing.diagnosis import Asked, Call, Earlier, Limits, diagnose
from bedrock_routing.documents import DocumentMemory
from bedrock_routing.misses import Miss
from bedrock_routing.prompts import Chain, chain_of
from bedrock_routing.request import member
from bedrock_routing.tables import Bounded
from bedrock_routing.usage import Usage

__all__ = ["History"]

Wire = Mapping[str, Any]

_BYTES_PER_TOKEN = 4
_COMPARED = 64
"""Prompts that a miss is compared with at most, the newest first."""
_ALL_READ = 0.95
_MEDIA = frozenset({"image", "document", "video", "audio"})


class History:
    """Keep what earlier calls had cached; safe for threads.

    `least`: from how many tokens on, established and not read, a miss is reported.
    """

    def __init__(self, *, prefixes: int = 4096, max_bytes: int = 16_000_000, least: int = 1_024) -> None:
        self._by_prefix: Bounded[tuple[str, bytes], Earlier] = Bounded(prefixes)
        self._prompts: OrderedDict[int, tuple[Earlier, int]] = OrderedDict()
        self._bytes = 0
        self._max_bytes = max_bytes
        self._serial = 0
        self._least = least
        self._lock = threading.Lock()

    def asked(self, documents: DocumentMemory, now: float) -> Asked:
        """Return what a call that is planned now has to hold for its diagnosis."""
        return Asked(documents, now, self._serial)

    def repeats(self, model: str, last: bytes, usage: Usage, now: float) -> bool:
        """Renew the earlier call that this one only repeats: all up to its `last` point was read.

        Most calls are such, and for them there is nothing to explain or to note.
        """
        if usage.write or not usage.read or usage.fresh >= self._least:
            return False
        known = self._by_prefix.get((model, last))
        if known is None or not known.cached or known.marks[-1].digest != last:
            return False
        known.at = max(known.at, now)
        with self._lock:
            if known.serial in self._prompts:
                self._prompts.move_to_end(known.serial)
        return True

    def explain(self, call: Call, models: Iterable[str], rules: CacheRules) -> Miss | None:
        """Return what was missed and why; most calls that missed nothing are done after one comparison.

        `models` are those whose caches may hold the prefix.
        """
        if call.usage.prompt - call.usage.read < self._least or not self._serial:
            return None
        keys = tuple(dict.fromkeys((call.model, *models)))
        if self._read_all(call, keys):
            return None
        chain = chain_of(call.prompt)
        limits = Limits(min_tokens=rules.min_tokens, lookback=rules.lookback, least=self._least)
        return diagnose(call, chain, self._candidates(chain, keys), limits)

    def _read_all(self, call: Call, models: Sequence[str]) -> bool:
        """Tell whether all that this conversation had cached before, on any of the models, was read."""
        found = [each for model in models for each in self._continued(call, model)]
        established = max((each.cached for each in found if each.serial <= call.asked.serial), default=0)
        return 0 < established * _ALL_READ <= call.usage.read

    def _continued(self, call: Call, model: str) -> list[Earlier]:
        """Return the earlier calls to a model whose last point stood where one stands now."""
        found = self._by_prefix.found([(model, mark.digest) for mark in call.marks])
        return [earlier for (_, digest), earlier in found if earlier.marks[-1].digest == digest]

    def _candidates(self, chain: Chain, models: Sequence[str]) -> list[Earlier]:
        prefixes = [piece.prefix for piece in chain if piece.prefix]
        known = self._by_prefix.found((model, prefix) for model in models for prefix in prefixes)
        with self._lock:
            newest = [earlier for earlier, _ in islice(reversed(self._prompts.values()), _COMPARED)]
        found = {each.serial: each for _, each in known}
        found.update((each.serial, each) for each in newest if each.model in models)
        return list(found.values())

    def note(self, call: Call) -> None:
        """Remember what a call that came back has cached; it stands in for the call that it continues."""
        if not call.marks:
            return
        model, usage = call.model, call.usage
        size = usage.prompt * _BYTES_PER_TOKEN + _media_bytes(call.params)
        continued = self._continued(call, model)
        with self._lock:
            self._serial += 1
            earlier = Earlier(
                model=model,
                at=call.asked.at,
                serial=self._serial,
                cached=usage.read + usage.write,
                marks=call.marks,
                prompt=call.prompt,
            )
            for each in continued:
                self._forget(each.serial)
            self._prompts[earlier.serial] = earlier, size
            self._bytes += size
            while self._bytes > self._max_bytes:
                self._forget(next(iter(self._prompts)))
        for mark in call.marks:
            self._by_prefix.put((model, mark.digest), earlier)

    def _forget(self, serial: int) -> None:
        if (held := self._prompts.pop(serial, None)) is not None:
            earlier, size = held
            earlier.forget()
            self._bytes -= size


def _media_bytes(params: Wire) -> int:
    """Return the size of images and files in the messages; their tokens say little about it."""
    contents = [message["content"] for message in params["messages"]]
    media = [block[kind] for content in contents for block in content for kind in block if kind in _MEDIA]
    sources = [member(each, "source") for each in media]
    return sum(len(member(source, "bytes") or b"") for source in sources)
