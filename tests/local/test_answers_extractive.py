import re
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_local.answers import Prompt, PromptDocument, PromptTurn, ToolResult, embedding
from bedrock_local.answers.extractive import NOTHING_FOUND, OPENING, ExtractiveEngine, quotes
from bedrock_local.answers.memory import Memory
from bedrock_local.answers.units import units
from bedrock_local.answers.words import fold, unescaped

FACT = "A function can run for at most 15 minutes."
OTHER = "Queues keep a message for four days.\n\nThe console shows the logs of every run."
QUESTION = "How long can a function run?"


def user(text: str, *results: ToolResult) -> PromptTurn:
    return PromptTurn(role="user", text=text, tool_results=results)


def reply(prompt: Prompt) -> str:
    return ExtractiveEngine().reply(prompt).text


PLACES = {
    "system": Prompt(system=f"You are a helpful assistant.\n\n{OTHER}\n\n{FACT}", turns=(user(QUESTION),)),
    "same paragraph as the instruction": Prompt(
        system=f"Answer the question based only on the following context:\n{FACT}\n\n{OTHER}",
        turns=(user(QUESTION),),
    ),
    "stuff chain": Prompt(
        system="",
        turns=(
            user(
                "Use the following pieces of context to answer the question at the end.\n\n"
                f"{OTHER}\n\n{FACT}\n\nQuestion: {QUESTION}\nHelpful Answer:"
            ),
        ),
    ),
    "question first": Prompt(system="", turns=(user(f"{QUESTION}\n\nContext:\n{OTHER}\n\n{FACT}"),)),
    "labelled question first": Prompt(
        system="", turns=(user(f"Question: {QUESTION}\nContext: {FACT}\n\n{OTHER}\nAnswer:"),)
    ),
    "compact": Prompt(
        system="",
        turns=(
            user(
                f"Context information is below.\n------------\n{FACT}\n\n{OTHER}\n------------\n"
                "Given the context information and not prior knowledge, answer the query.\n"
                f"Query: {QUESTION}\nAnswer: "
            ),
        ),
    ),
    "refine": Prompt(
        system="",
        turns=(
            user(
                f"The original query is as follows: {QUESTION}\nWe have an existing answer: no\n"
                "We can refine the existing answer (only if needed) with some more context "
                f"below.\n------------\n{OTHER}\n\n{FACT}\n------------\nGiven the new context, refine the "
                "original answer to better answer the query.\nRefined Answer: "
            ),
        ),
    ),
    "tags": Prompt(
        system="",
        turns=(user(f"<context>\n{OTHER}\n\n{FACT}\n</context>\n\n<question>{QUESTION}</question>"),),
    ),
    "document block": Prompt(
        system="",
        turns=(user(QUESTION),),
        documents=(PromptDocument(title="limits", text=f"{OTHER}\n{FACT}"),),
    ),
    "earlier turn": Prompt(
        system="",
        turns=(user(f"{OTHER}\n\n{FACT}"), PromptTurn(role="assistant", text="Noted."), user(QUESTION)),
    ),
    "earlier tool result": Prompt(
        system="",
        turns=(
            user("Look up the limits."),
            PromptTurn(role="assistant", text=""),
            user("", ToolResult(name="lookup", text=f"{OTHER}\n\n{FACT}", failed=False)),
            PromptTurn(role="assistant", text="Done."),
            user(QUESTION),
        ),
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_finds_documents_wherever_they_stand(place: str) -> None:
    """The answering sentence is quoted first, wherever in the prompt the documents stand."""
    found = quotes(PLACES[place])
    assert found[0].text == FACT
    assert reply(PLACES[place]).startswith(OPENING)


@pytest.mark.parametrize("place", PLACES)
def test_never_quotes_the_question_or_the_instructions(place: str) -> None:
    """Neither what is asked nor what the model is told to do comes back as an answer."""
    text = reply(PLACES[place])
    assert QUESTION not in text
    assert not re.search(r"following|helpful assistant|prior knowledge|existing answer", text)


FRAGMENTS = st.sampled_from(
    [
        FACT,
        OTHER,
        "## How long can a function run",
        "Guide > How long can a function run",
        "> A function \\(one\\) can run\\.",
        "It can run for:",
        "- A function can run\n  for hours",
        "1. Run it for 3 days.",
        "| a function | run long |",
        "| --- | --- |",
        "Source: runs.md",
        "[2] A function can run",
        "Content: it can run",
        "Context:",
        "context: A function",
        "------",
        "```\nrun(function)\n```",
        "<td>can <b>run</b></td>",
        "You are a helpful assistant who can run a function. It can run",
        "for 15 minutes: use the following context:",
        "Question: how long?",
        "A function can run\nlong",
        "<document index='3'>",
        "\u2028can run\x0b",
        "Answer:",
        "",
    ]
)


@settings(deadline=None)
@given(st.lists(FRAGMENTS, max_size=12), st.sampled_from([" ", "\n", "\n\n"]), st.booleans())
def test_quotes_are_verbatim(fragments: list[str], between: str, in_system: bool) -> None:
    """Whatever the prompt is made of, quotes stand in it in one piece, but for white space and escapes.

    Within a fence of code, which a stray one opens, a backslash stays what it is.
    """
    text = between.join(fragments)
    system, human = (text, QUESTION) if in_system else ("", f"{text}\n\nQuestion: {QUESTION}")
    whole = fold(unescaped(system if in_system else human))
    for quote in quotes(Prompt(system=system, turns=(user(human),))):
        for part in (quote.text, quote.lead, *quote.more):
            assert part in whole or fold(unescaped(part)) in whole


@pytest.mark.parametrize(
    ("text", "source"),
    [
        (
            f"Source: limits.pdf, page 3\n{FACT}\n\nSource: other.pdf\nCats sleep 15 hours.",
            "limits.pdf, page 3",
        ),
        (f"{FACT}\nSource: limits.md\n\nCats sleep 15 hours.\nSource: cats.md", "limits.md"),
        (f"[1] {FACT}\n[2] Cats sleep 15 hours.", "[1]"),
        (f"[1] limits.html\n{FACT}\n[2] cats.html\nCats sleep 15 hours.", "[1] limits.html"),
        (f"page_label: 7\nfile_path: limits.pdf\n\n{FACT}", "page 7, limits.pdf"),
        (f"Source: {{'source': 'limits.md', 'page': 4}}\nContent: {FACT}", "limits.md, page 4"),
        (f'<document index="1">\n<source>limits.txt</source>\n{FACT}\n</document>', "limits.txt"),
    ],
)
def test_names_the_visible_source(text: str, source: str) -> None:
    """A source name that stands near the quoted text is named after the quote."""
    prompt = Prompt(system=text, turns=(user(QUESTION),))
    assert quotes(prompt)[0].source == source
    assert f'"{FACT}" ({source})' in reply(prompt)


def test_names_the_document_title() -> None:
    """A quote from a document block is followed by the block's title."""
    prompt = Prompt(
        system="", turns=(user(QUESTION),), documents=(PromptDocument(title="Limits 2024", text=FACT),)
    )
    assert f'"{FACT}" (Limits 2024)' in reply(prompt)


def test_quotes_the_table_row_that_answers() -> None:
    """The row of a Markdown table that answers is quoted with the table's header as its lead-in."""
    table = "| Resource | Quota |\n| --- | --- |\n| Memory | 10,240 MB |\n| Function timeout | 900 seconds |"
    found = quotes(Prompt(system=table, turns=(user("What is the maximum function timeout?"),)))
    assert (found[0].lead, found[0].text) == ("Resource | Quota", "Function timeout | 900 seconds")


def test_quotes_a_list_item_with_its_lead_in() -> None:
    """A list item that answers comes with the sentence that introduces the list."""
    text = "Enrollment codes expire after:\n\n- 10 minutes, when sent by SMS\n- 24 hours, when sent by email"
    found = quotes(Prompt(system=text, turns=(user("How long is an enrollment code sent by email valid?"),)))
    assert found[0].lead == "Enrollment codes expire after:"
    assert found[0].text == "24 hours, when sent by email"


def test_says_so_when_nothing_answers() -> None:
    """Without an answering passage the reply says what the engine is, and quotes nothing."""
    without = Prompt(system="You are a helpful assistant.", turns=(user("What is the capital of France?"),))
    unrelated = Prompt(system=f"{FACT}\n\n{OTHER}", turns=(user("What is the capital of France?"),))
    assert reply(without) == NOTHING_FOUND
    assert reply(unrelated) == NOTHING_FOUND


def test_answers_empty_prompt() -> None:
    """A prompt without any text still gets a reply."""
    assert reply(Prompt(system="", turns=())) == NOTHING_FOUND


def test_keeps_to_the_allowed_length() -> None:
    """The quotes together are not longer than `max_words`."""
    long = " ".join(f"A function may run for {n} minutes in region {n} of the world." for n in range(1, 40))
    prompt = Prompt(system=long, turns=(user(QUESTION),), max_words=15)
    assert 0 < sum(quote.words for quote in quotes(prompt)) <= 15


def test_overlapping_chunks_are_quoted_once() -> None:
    """A sentence that stands in two overlapping chunks is quoted once."""
    prompt = Prompt(system=f"Source: a\n{FACT}\n\nSource: b\n{OTHER}\n{FACT}", turns=(user(QUESTION),))
    assert reply(prompt).count(FACT) == 1


def test_understands_a_question_that_leans_on_the_one_before() -> None:
    """A follow-up question is searched for together with the question before it."""
    text = "A function has 10 GB of memory in large regions.\n\nA queue has 2 GB of memory."
    turns = (
        user("How much memory has a queue?"),
        PromptTurn(role="assistant", text="…"),
        user("Why that much?"),
    )
    assert quotes(Prompt(system=text, turns=turns))[0].text == "A queue has 2 GB of memory."


def test_gives_back_the_question_when_asked_to_rewrite_it() -> None:
    """A prompt that wants a standalone question gets the user's own words, not quotes."""
    prompt = Prompt(
        system="Given a chat history, formulate a standalone question. Do NOT answer the question.",
        turns=(user(QUESTION), PromptTurn(role="assistant", text="15 minutes"), user("And in a queue?")),
    )
    assert reply(prompt) == f"And in a queue? {QUESTION}"


def test_short_tool_results_are_quoted_whole() -> None:
    """What a tool gave back in few words is the answer."""
    turns = (
        user("Weather in Rome?"),
        PromptTurn(role="assistant", text=""),
        user("", ToolResult(name="weather", text="Sunny, 21 °C", failed=False)),
    )
    assert '"Sunny, 21 °C" (weather)' in reply(Prompt(system="", turns=turns))


def test_failed_tool_is_reported_as_failed() -> None:
    """A tool's error is told as an error."""
    turns = (user("Weather in Rome?"), user("", ToolResult(name="weather", text="timed out", failed=True)))
    text = reply(Prompt(system="", turns=turns))
    assert "failed" in text
    assert "timed out" in text


def test_summary_quotes_what_the_text_is_about() -> None:
    """A request for a summary is answered with prose of the document, although no word of it is asked for."""
    prompt = Prompt(
        system="", turns=(user("Summarize it."),), documents=(PromptDocument(title="t", text=FACT),)
    )
    assert quotes(prompt)[0].text == FACT


def test_works_by_words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the embedding package the words still find the answer."""
    monkeypatch.setattr(embedding, "_load", lambda: None)
    assert quotes(PLACES["system"])[0].text == FACT


def test_same_reply_from_many_threads() -> None:
    """Threads that ask about the same documents at once get the same reply as one that asks alone."""
    engine, expected = ExtractiveEngine(), reply(PLACES["system"])
    got: list[str] = []
    threads = [
        threading.Thread(target=lambda: got.append(engine.reply(PLACES["system"]).text)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [expected] * 8


def test_memory_forgets_the_oldest() -> None:
    """The memory keeps its bound, forgetting what was not used for longest."""
    memory: Memory[int] = Memory(bound=2)
    for key in ("a", "b", "a", "c"):
        memory.get(key, lambda: 1)
    assert len(memory) == 2
    assert memory.get("a", lambda: 2) == 1
    assert memory.get("b", lambda: 2) == 2


def test_sentences_are_not_cut_at_abbreviations() -> None:
    """An abbreviation or an initial does not end a sentence."""
    text = "Use a key, e.g. Alpha, as in Sec. 4 by J. Smith. It expires."
    assert [unit.text for unit in units(text)] == [
        "Use a key, e.g. Alpha, as in Sec. 4 by J. Smith.",
        "It expires.",
    ]


def test_wrapped_lines_are_one_sentence() -> None:
    """A sentence that is wrapped over lines is quoted as one, its white space folded."""
    text = "A function can run\n   for at most\n15 minutes."
    assert [unit.text for unit in units(text)] == [FACT]
    assert FACT in fold(text)


@pytest.mark.parametrize(
    "announcement",
    [
        "Guide > How long can a function run",
        "How long can a function run:",
        "[How long can a function run](runs.md)",
        "## How long can a function run",
    ],
)
def test_what_says_nothing_alone_is_no_answer(announcement: str) -> None:
    """Of headings, lead-ins and links with the words of the question, none comes before the answer."""
    prompt = Prompt(system=f"{announcement}\n\n{OTHER}\n\n{FACT}", turns=(user(QUESTION),))
    assert quotes(prompt)[0].text == FACT


def test_quotes_without_markdown_escapes() -> None:
    """The backslashes that Markdown puts before punctuation are neither shown nor do they part words."""
    prompt = Prompt(system="A function can run for 15 minutes \\(at most\\)\\.", turns=(user(QUESTION),))
    assert quotes(prompt)[0].text == "A function can run for 15 minutes (at most)."


def test_an_abbreviation_stands_for_its_words() -> None:
    """A text that uses an abbreviation answers a question that uses the words, once both are explained."""
    text = (
        "The False Match Rate (FMR) says little by itself.\n\nIt counts how often strangers match.\n\n"
        "Systems SHALL operate with an FMR of 1 in 1000."
    )
    found = quotes(Prompt(system=text, turns=(user("Which false match rate must systems operate with?"),)))
    assert found[0].text == "Systems SHALL operate with an FMR of 1 in 1000."


def test_a_definition_answers_what_something_is() -> None:
    """Of sentences about a thing, the one that says what it is comes first."""
    text = "Open a queue URL with care.\n\nA queue URL is an address.\n\nAdd a queue URL to a queue."
    assert (
        quotes(Prompt(system=text, turns=(user("What is a queue URL?"),)))[0].text
        == "A queue URL is an address."
    )


def test_a_number_of_the_things_asked_for_answers_how_many() -> None:
    """Asked how many things there may be, a text that counts these things wins over other numbers."""
    text = "Layers of a function were added 3 years ago.\n\nA function takes up to five layers."
    found = quotes(Prompt(system=text, turns=(user("How many layers can a function have?"),)))
    assert found[0].text == "A function takes up to five layers."


def test_good_neighbours_are_quoted_together() -> None:
    """Pieces of one passage that answer nearly as well stand in one quote, each verbatim."""
    text = "A function can run for 15 minutes.\nA function can run in a region for 3 hours."
    (found,) = quotes(Prompt(system=text, turns=(user(QUESTION),)))
    assert {found.text, *found.more} == set(text.splitlines())


def test_the_header_of_a_table_without_a_rule_is_a_lead_in() -> None:
    """A short first row of a table as PDF files give it introduces the other rows and is no row itself."""
    table = "Task | Service\nTurn text into speech | Amazon Polly\nRead scans | Amazon Textract"
    assert [(unit.lead, unit.text) for unit in units(table)] == [
        ("Task | Service", "Turn text into speech | Amazon Polly"),
        ("Task | Service", "Read scans | Amazon Textract"),
    ]
