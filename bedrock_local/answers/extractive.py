"""Answer by quoting the prompt's own documents: deterministic, offline, and unable to invent."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bedrock_local.answers import answer_kinds, question, ranking
from bedrock_local.answers.base import Prompt, PromptTurn, Reply, ToolResult
from bedrock_local.answers.strings import Ground
from bedrock_local.answers.tools import respond
from bedrock_local.answers.units import Unit, units
from bedrock_local.answers.words import fold

OPENING = "From the documents (quoted by the local extractive engine):"
NOTHING_FOUND = (
    "This is a local extractive engine: it only quotes documents that stand in the prompt, "
    "and it found no passage there that answers."
)
_TOOL_OPENING = "From the tool results (quoted by the local extractive engine):"
_FAILED_OPENING = "A tool call failed (quoted by the local extractive engine):"
_MOST_QUOTES = 3
_MOST_MORE = 2
_CANDIDATES = 12
_NEAR_BEST, _NEARER = 0.55, 0.2  # a piece that holds the whole question leaves less to look for
_SHORT_RESULT_WORDS = 60
_ENOUGH_COVERAGE = 0.25
_ENOUGH_MEANING = 0.36
_DOCUMENT_WORDS = 30
_CONTEXT_KINDS = frozenset({"item", "row", "code"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """Hold words of the prompt, verbatim but for white space and Markdown's escapes.

    `lead` introduces a list item or table row; `more` are further pieces of the same passage.
    """

    text: str
    lead: str = ""
    more: tuple[str, ...] = ()
    source: str | None = None

    @property
    def words(self) -> int:
        """The length of the quote with its lead-in."""
        return sum(len(part.split()) for part in (self.lead, self.text, *self.more))


def _gathered(ask: question.Ask) -> list[Unit]:
    """Read all sources, numbering the passages through so that no two sources share one."""
    return [unit for source in ask.sources for unit in units(source.text, source.title)]


def _answers(scored: ranking.Scored) -> bool:
    return scored.coverage >= _ENOUGH_COVERAGE or scored.meaning >= _ENOUGH_MEANING


def _quote(unit: Unit, room: int) -> Quote:
    introduces = unit.kind == "row" or unit.lead.endswith(":")
    lead = fold(unit.lead) if introduces and unit.kind in _CONTEXT_KINDS else ""
    text = " ".join(unit.text.split()[:room])
    keep_lead = lead and len(lead.split()) + len(text.split()) <= room
    return Quote(text=text, lead=lead if keep_lead else "", source=unit.source)


def _chosen(found: Sequence[ranking.Scored], max_words: int, most: int) -> tuple[Quote, ...]:
    """Take the best piece and those that are nearly as good, within the allowed number and length."""
    quotes: dict[object, Quote] = {}
    room = max(1, max_words)
    enough = found[0].score * (_NEAR_BEST + _NEARER * min(1.0, found[0].coverage)) if found else 0.0
    for scored in ranking.distinct(found[:_CANDIDATES]):
        unit = scored.unit
        near_best = scored.score >= enough
        place = (unit.source, unit.heading, unit.passage, unit.lead if unit.kind in _CONTEXT_KINDS else "")
        earlier = quotes.get(place)
        if quotes and (
            not near_best or len(unit.text.split()) > room or (len(quotes) == most and not earlier)
        ):
            continue
        if earlier and len(earlier.more) < _MOST_MORE:
            quotes[place] = replace(earlier, more=(*earlier.more, unit.text))
        elif not earlier:
            quotes[place] = _quote(unit, room)
        room = max(1, max_words) - sum(quote.words for quote in quotes.values())
        if room <= 0:
            break
    return tuple(quotes.values())


def best(ask: question.Ask, max_words: int = 150, most: int = _MOST_QUOTES) -> tuple[Quote, ...]:
    """Choose the few quotes that answer the ask, best first; none when nothing in the sources answers."""
    pieces = _gathered(ask)
    if not pieces:
        return ()
    if answer_kinds.asks_for_summary(ask.question):
        return _chosen(ranking.most_central(pieces), max_words, most)
    found = ranking.rank(ask.search, pieces)
    return _chosen(found, max_words, most) if any(map(_answers, found[:3])) else ()


def quotes(prompt: Prompt) -> tuple[Quote, ...]:
    """Choose what to quote for a prompt; every part of every quote is a substring of the prompt."""
    return best(question.find(prompt), prompt.max_words)


def _line(quote: Quote) -> str:
    lead = f'"{quote.lead}" … ' if quote.lead else ""
    source = f" ({quote.source})" if quote.source else ""
    text = " … ".join(f'"{part}"' for part in (quote.text, *quote.more))
    return f"- {lead}{text}{source}"


def _lines(opening: str, found: Sequence[Quote]) -> str:
    return "\n".join([opening, *map(_line, found)])


def _results(prompt: Prompt) -> tuple[ToolResult, ...]:
    last: PromptTurn | None = prompt.turns[-1] if prompt.turns else None
    return last.tool_results if last else ()


def _over_results(prompt: Prompt, ask: question.Ask, results: Sequence[ToolResult]) -> tuple[Quote, ...]:
    """Quote short tool results whole, and the answering pieces of long ones."""
    short = [r for r in results if r.failed or len(r.text.split()) <= _SHORT_RESULT_WORDS]
    whole = tuple(Quote(text=fold(r.text), source=r.name) for r in short if r.text.strip())
    long = tuple(question.Source(text=r.text, title=r.name) for r in results if r not in short)
    return (*whole, *best(replace(ask, sources=long), prompt.max_words))


def _answer(prompt: Prompt, ask: question.Ask) -> str:
    if question.wants_rewriting(prompt):
        return ask.search or NOTHING_FOUND
    results = _results(prompt)
    found = _over_results(prompt, ask, results) if results else ()
    if found:
        return _lines(_FAILED_OPENING if all(r.failed for r in results) else _TOOL_OPENING, found)
    found = best(ask, prompt.max_words)
    return _lines(OPENING, found) if found else NOTHING_FOUND


def ground(ask: question.Ask, max_words: int = 150) -> Ground:
    """Give tool inputs and structured answers the same question, documents and quotes as a text answer."""

    def quote(about: str) -> tuple[str, str | None] | None:
        found = best(replace(ask, question=f"{ask.question} {about}".strip()), max_words)
        return (found[0].text, found[0].source) if found else None

    words = sum(len(source.text.split()) for source in ask.sources)
    return Ground(question=ask.question, text=ask.text, has_documents=words >= _DOCUMENT_WORDS, quote=quote)


class ExtractiveEngine:
    """Answer from the prompt's own text, by rules: the same prompt always gets the same reply."""

    name = "extractive"

    def reply(self, prompt: Prompt) -> Reply:
        """Call tools or fill the schema when the prompt asks for it, and quote otherwise."""
        ask = question.find(prompt)
        return respond(prompt, ground(ask, prompt.max_words)) or Reply(text=_answer(prompt, ask))
