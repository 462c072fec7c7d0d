"""What earlier calls tell of this call's documents: which came before, in which order, and how likely again.

The same documents in another order make another prompt. So two things are learned apart: how often a document
comes back at all, and whether documents that come back stand at the head again. Their product is the chance
of a prefix that ends after the first documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bedrock_routing.documents import DocumentMemory
from bedrock_routing.places import CHANCE, Cuts, Documents, Found, Place, place_after
from bedrock_routing.planning import extend_with_cuts
from bedrock_routing.request import Block, Digester
from bedrock_routing.state import CacheState, Case

__all__ = ["Recalled", "recall"]

_DOUBT = 0.5
"""What a document that is not back yet speaks against documents coming back: it may have time left."""
_WEIGHT_OF_LISTS = 2.0
"""Cases that the prior of a list weighs which goes on from an earlier one."""
_WEIGHT_OF_NEW_LISTS = 0.5
"""The same where nothing leads up to it: once one did not come back, none is written whole until one does,
only its head. One document alone gets more patience, since nothing else tells of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """Hold the names of this call's documents and what they recall.

    Names are there before anything is cut; the digests of `Digester` depend on the cuts.
    """

    heads: tuple[bytes, ...] = ()
    """What tells the prompt up to each document apart; equal to an earlier call's if all before is."""
    names: tuple[bytes, ...] = ()
    """What tells each document apart, wherever it stands."""
    end: Place | None = None
    """Where the last document ends."""
    shared: int = 0
    """How many of the documents stood at the head of an earlier request, too."""
    again: float = 0.0
    """The chance that all documents are asked again in this order."""
    leading: float = 0.0
    """The chance that the documents which lead this request lead another one."""
    kept: bool | None = None
    """Whether a first document that is known led before; `None` where it is new."""

    @property
    def is_new(self) -> bool:
        """Tell whether this list of documents has not been asked lately."""
        return self.shared < len(self.heads)

    def judged(self, digests: Mapping[Place, bytes]) -> Iterator[Case]:
        """Yield the cases to learn from; a list that was just asked as it is teaches nothing new of each.

        A list comes back under its name where it is asked for anew, and by the digest of its prefix where it
        is part of a conversation that goes on.
        """
        if self.end is not None:
            yield _kind_of_list(len(self.heads)), (self.heads[-1], *filter(None, [digests.get(self.end)]))
        if self.is_new:
            yield from (("each document", (name,)) for name in self.names)

    def passed(self) -> tuple[bytes, ...]:
        """Return the names that count as seen after this call."""
        return (*self.heads, *self.names) if self.is_new else self.heads


def _kind_of_list(count: int) -> str:
    """Return what a whole list is learned as: a single document comes back far more often than several."""
    return "documents" if count > 1 else "one document"


def recall(
    blocks: Sequence[Block],
    documents: Documents,
    digester: Digester,
    *,
    cuts: Cuts,
    memory: DocumentMemory,
    state: CacheState,
    now: float,
    within: float,
) -> Recalled:
    """Return what the documents of a request recall; nothing is noted yet."""
    if not documents:
        return Recalled()
    heads = _heads(blocks, documents, digester, cuts, memory)
    shared = next(
        (each for each in range(len(heads), 0, -1) if state.was_seen(heads[each - 1], now, within)), 0
    )
    end = place_after(blocks, documents[-1])
    if shared == len(heads):
        return Recalled(heads=heads, end=end, shared=shared, again=CHANCE["shared documents"])
    kind, alone = _kind_of_list(len(heads)), 1.0 if len(heads) == 1 else _WEIGHT_OF_NEW_LISTS
    names = _names(blocks, documents, digester, memory)
    known = state.was_seen(names[0], now, within)
    back = 0.9 if known else state.chance("each document", CHANCE["each document"], doubt=_DOUBT)
    return Recalled(
        heads=heads,
        names=names,
        end=end,
        shared=shared,
        again=state.chance(kind, CHANCE[kind], weight=_WEIGHT_OF_LISTS if shared else alone),
        leading=back * state.chance("order kept", CHANCE["order kept"]),
        kept=shared > 0 if known else None,
    )


def _heads(
    blocks: Sequence[Block], documents: Documents, digester: Digester, cuts: Cuts, memory: DocumentMemory
) -> tuple[bytes, ...]:
    holding = {each.block: each.span is not None for each in documents}
    heads: list[bytes] = []
    prefix = digester.seed
    for index in range(documents[-1].block + 1):
        block = blocks[index]
        if block.kind == "cachePoint":
            continue
        if holding.get(index):
            heads += [prefix + head for head in memory.heads(block.value, digester.text(block))]
        prefix = extend_with_cuts(digester, prefix, block, () if index in holding else cuts.get(index, ()))
        if holding.get(index) is False:
            heads.append(prefix)
    return tuple(heads)


def _names(
    blocks: Sequence[Block], documents: Documents, digester: Digester, memory: DocumentMemory
) -> tuple[bytes, ...]:
    names: list[bytes] = []
    for index in dict.fromkeys(each.block for each in documents):
        block = blocks[index]
        if Found(block=index) in documents:
            names.append(digester.extend(digester.seed, block))
        else:
            names += memory.names(block.value, digester.text(block))
    return tuple(names)
