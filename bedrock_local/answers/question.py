"""Find what is asked in a prompt, and keep the rest as the texts that may answer it."""

import re
from dataclasses import dataclass

from bedrock_local.answers.base import Prompt, PromptTurn
from bedrock_local.answers.words import fold, terms

_LABEL = re.compile(
    r"^[ \t]*(?:#+[ \t]*|[-*>]+[ \t]*)?\**(?:(?:the|original|user|user'?s|human|final|new|latest"
    r"|current)[ \t]+)*"
    r"(?:question|query|follow[ -]?up (?:input|question|message))(?:[ \t]+is)?(?:[ \t]+as follows)?"
    r"\**[ \t]*:\**[ \t]*(?P<rest>.*)$",
    re.IGNORECASE | re.MULTILINE,
)
_TAGGED = re.compile(
    r"<(question|query|user_question|user_query|follow up message)>\s*(?P<rest>.+?)\s*(?:</\1>|(?=<)|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_ANSWER_LABEL = re.compile(
    r"\n?[ \t#*<]*(?:(?:helpful|refined|final|your|the|concise)[ \t]+)*(?:answer|response|assistant"
    r"|standalone question)"
    r"[ \t*]*[:>][ \t*]*\Z",
    re.IGNORECASE,
)
_INSTRUCTION = re.compile(
    r"\byou are (?:an?|the)\b.{0,80}\b(?:assistant|expert|bot|agent|chatbot|helper|system|model)\b"
    r"|\byou(?:'re| are) (?:a )?(?:good|helpful)\b"
    r"|\b(?:use|given|using|based on|from) (?:only )?(?:the|these|this) (?:following |new |above "
    r"|provided |retrieved )*"
    r"(?:pieces? of |parts? of )?(?:retrieved |provided )?(?:context|information|documents?|passages?"
    r"|excerpts?|sources)\b"
    r"|\bcontext information\b|\bprior knowledge\b|\bmake up an answer\b|\bif you (?:don't|do not"
    r"|cannot) (?:know|find)\b"
    r"|\banswer (?:the|each|every|any|my|this|all) (?:user'?s? |following )*(?:question|query)\b"
    r"|\banswer (?:only|concisely|briefly|in)\b|\bkeep the answer\b|\brefine the (?:original"
    r"|existing) answer\b"
    r"|\bstandalone question\b|\bexisting answer\b|\bcite (?:the|your)\b",
    re.IGNORECASE | re.DOTALL,
)
_CONTEXT_LABEL = re.compile(
    r"^[ \t#*]*(?:context|documents?|passages?|excerpts?|sources?|chat history|retrieved (?:documents"
    r"|context))[ \t*]*:[ \t*]*$"
    r"|^[ \t]*</?(?:context|documents?|passages?|document_content|chat history)>[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_CONTEXT_START = re.compile(
    r"^[ \t#*]*(?:context|documents?)[ \t*]*:[ \t*]*(?=\S)", re.IGNORECASE | re.MULTILINE
)
_RULE = re.compile(r"^[ \t]*[-=_*]{4,}[ \t]*$", re.MULTILINE)
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_LAST_SENTENCE = re.compile(r"[^.!?\n]*\?(?=[\"'*)\s]*\Z)")
_REFERS_BACK = re.compile(
    r"\b(?:it|its|they|them|their|that|those|this|these|one|ones|he|she|former|latter)\b|^\s*(?:and|but"
    r"|what about|how about)\b",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"(?<=[.!?:])\s+")
_EDGE = 900
_LONG_QUESTION = 500
_SHORT_TEXT = 1500
_LONGEST_QUESTION = 2000
_FEW_TERMS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Hold one text of the prompt that may contain the answer."""

    text: str
    title: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Hold the question and what stands around it.

    `text` is the user text with the question in it, or the question alone when that text is long; `before` is
    the user's question before, when the new one leans on it.
    """

    question: str
    text: str
    before: str
    sources: tuple[Source, ...]

    @property
    def search(self) -> str:
        """What to look for: the question, with the earlier one when it refers back."""
        return f"{self.question} {self.before}".strip()


def _labelled(text: str) -> tuple[int, int, str] | None:
    """Find a labelled question: near the end first, then near the beginning, then anywhere."""
    found = [*_TAGGED.finditer(text), *_LABEL.finditer(text)]
    spans: list[tuple[int, int, str]] = []
    for match in found:
        rest, end = match.group("rest").strip(), match.end()
        if not rest:  # the label stands alone: the next paragraph is the question
            following = re.compile(r"\s*\S[^\n]*(?:\n[ \t]*\S[^\n]*)*").match(text, end)
            if following is None:
                continue
            rest, end = following.group().strip(), following.end()
        spans.append((match.start(), end, rest))
    spans.sort()
    late = [span for span in spans if span[1] >= len(text) - _EDGE]
    early = [span for span in spans if span[0] <= _EDGE]
    return (late or early[:1] or spans or [None])[-1]


def _asking_end(paragraph: str) -> str | None:
    if not paragraph.rstrip(" \t\n\"'*)").endswith("?") or paragraph.lstrip().startswith("#"):
        return None
    if len(paragraph) <= _LONG_QUESTION:
        return paragraph.strip()
    found = _LAST_SENTENCE.search(paragraph)
    return found.group().strip() if found else None


def _unlabelled(text: str) -> str:
    """Choose the question of an unlabelled text: what ends in a question mark at an edge, else the end."""
    paragraphs = [part for part in _PARAGRAPH.split(text) if part.strip()]
    lines = [line for line in text.splitlines() if line.strip()]
    for candidate in (*lines[-1:], *paragraphs[-1:], *lines[:1], *paragraphs[:1], *reversed(paragraphs)):
        if asked := _asking_end(candidate):
            return asked
    if len(text) <= _LONG_QUESTION:
        return text.strip()
    last, first = paragraphs[-1].strip(), paragraphs[0].strip()
    short = [
        part for part in (last, first) if len(part) <= _LONG_QUESTION and not part.startswith(("#", "|", "<"))
    ]
    return short[0] if short else last[-_LONG_QUESTION:]


def _divide(text: str) -> tuple[str, str]:
    """Divide one user text into its question and the rest."""
    stripped = text.strip()
    body = stripped[:-_EDGE] + _ANSWER_LABEL.sub("", stripped[-_EDGE:])
    if not body:
        return "", ""
    labelled = _labelled(body)
    if labelled is not None:
        begin, end, question = labelled
        return _ANSWER_LABEL.sub("", question).strip(), f"{body[:begin]}\n\n{body[end:]}"
    question = _unlabelled(body)
    begin = body.rfind(question)
    return question, f"{body[:begin]}\n\n{body[begin + len(question) :]}"


def without_instructions(text: str) -> str:
    """Drop the sentences that tell the model what to do and the lines that only label the context."""
    unlabelled = _RULE.sub("\n\n", _CONTEXT_START.sub("\n\n", _CONTEXT_LABEL.sub("\n\n", text)))
    if not _INSTRUCTION.search(unlabelled):
        return unlabelled.strip()
    return "\n".join(_without_instructions(line) for line in unlabelled.splitlines()).strip()


def _without_instructions(line: str) -> str:
    if not _INSTRUCTION.search(line):
        return line
    kept = ("\n\n" if _INSTRUCTION.search(part) else part for part in _CLAUSE_END.split(line))
    return " ".join(kept)  # the gap keeps what stood apart from being quoted as one


def _earlier_text(turn: PromptTurn) -> str:
    question, rest = _divide(turn.text)
    return rest if question.endswith("?") else turn.text


def _asking_turn(prompt: Prompt) -> int:
    asking = [i for i, turn in enumerate(prompt.turns) if turn.role == "user" and turn.text.strip()]
    return asking[-1] if asking else -1


def _sources(prompt: Prompt, rest: str, last: int) -> list[Source]:
    texts = [Source(text=document.text, title=document.title or None) for document in prompt.documents]
    texts.append(Source(text=without_instructions(prompt.system)))
    for position, turn in enumerate(prompt.turns):
        texts.extend(
            Source(text=result.text, title=result.name) for result in turn.tool_results if not result.failed
        )
        if turn.role == "user" and position != last:
            texts.append(Source(text=without_instructions(_earlier_text(turn))))
    texts.append(Source(text=without_instructions(rest)))
    return [source for source in texts if source.text.strip()]


def _leans_on_earlier(question: str) -> bool:
    return len(set(terms(question))) <= _FEW_TERMS or bool(_REFERS_BACK.search(question))


def find(prompt: Prompt) -> Ask:
    """Find the question of the last user text; all other text but the assistant's is a source."""
    last = _asking_turn(prompt)
    question, rest = _divide(prompt.turns[last].text) if last >= 0 else ("", "")
    earlier = [
        _divide(turn.text)[0]
        for turn in prompt.turns[: max(last, 0)]
        if turn.role == "user" and turn.text.strip()
    ]
    before = earlier[-1] if earlier and _leans_on_earlier(question) else ""
    text = prompt.turns[last].text if last >= 0 else ""
    short = without_instructions(text) if len(text) <= _SHORT_TEXT else ""
    return Ask(
        question=fold(question[:_LONGEST_QUESTION]),
        text=short or question[:_LONGEST_QUESTION],
        before=fold(before[:_LONGEST_QUESTION]),
        sources=tuple(_sources(prompt, rest, last)),
    )


def wants_rewriting(prompt: Prompt) -> bool:
    """Tell whether the prompt asks for the question rewritten to stand alone, not for an answer."""
    last = _asking_turn(prompt)
    text = prompt.system + "\n" + (prompt.turns[last].text if last >= 0 else "")
    return bool(re.search(r"\bstandalone (?:question|query)\b|<standalone question>", text, re.IGNORECASE))
