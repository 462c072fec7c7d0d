from __future__ import annotations

import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_routing.documents import DocumentMemory, Span, process_memory, remember_documents

RENT = "The tenant pays the rent before the month ends, and not later."
HEAT = "The landlord heats the house from October until the end of April."


def memory(*texts: str, **bounds: int) -> DocumentMemory:
    made = DocumentMemory(**bounds)
    made.remember(texts)
    return made


def found(made: DocumentMemory, text: str) -> list[str]:
    return [text[span.start : span.end] for span in made.find(text)]


def test_documents_are_found_where_they_stand() -> None:
    """Each remembered text is found, in the order of the prompt."""
    prompt = f"Use this:\n{HEAT}\n---\n{RENT}\nQuestion?"
    assert found(memory(RENT, HEAT), prompt) == [HEAT, RENT]


def test_outer_white_space_does_not_matter() -> None:
    """A loader's line ends around a document keep it from being found as little as a template's."""
    assert found(memory(f"\n\n{RENT} \n"), f"Context:{RENT}Question") == [RENT]


def test_a_changed_document_is_not_found() -> None:
    """Recognition is verbatim: another word, another text."""
    assert found(memory(RENT), RENT.replace("rent", "Rent")) == []


def test_short_texts_are_not_remembered() -> None:
    """A name or a yes would be found where it is no document."""
    made = memory("yes", "x" * 39, "y" * 40)
    assert len(made) == 1


def test_documents_that_overlap_end_where_the_last_one_ends() -> None:
    """Chunks that overlap or contain each other give spans that do not; what follows stays out."""
    whole = f"{RENT} {HEAT}"
    assert memory(RENT, whole, HEAT).find(f"{whole}. Why?")[-1].end == len(whole)
    one, other = whole[:90], whole[50:]
    spans = memory(one, other).find(whole)
    assert spans == (Span(start=0, end=90),)


def test_the_number_of_documents_is_bounded() -> None:
    """The documents that were not retrieved for longest give way."""
    made = memory(max_documents=3)
    for number in (0, 1, 2, 3, 1):
        made.remember([f"{number:04} {RENT}"])
    made.remember([HEAT])
    assert [bool(made.find(f"{number:04} {RENT}")) for number in range(4)] == [False, True, False, True]


def test_the_size_of_the_memory_is_bounded() -> None:
    """No number of large documents holds more characters than allowed."""
    made = memory(*(f"{number:04}" + "x" * 96 for number in range(50)), max_characters=1_000)
    assert len(made) == 10


def test_a_document_larger_than_the_memory_leaves_it_usable() -> None:
    """What cannot be kept is not kept; the documents that fit stay."""
    made = memory(RENT, "x" * 2_000, max_characters=1_000)
    assert found(made, RENT) == [RENT]


def test_forgetting_forgets_everything() -> None:
    """After `clear` nothing is found, and the whole size is free again."""
    made = memory(RENT, max_characters=len(RENT))
    made.clear()
    assert (len(made), made.find(RENT)) == (0, ())
    made.remember([RENT])
    assert found(made, RENT) == [RENT]


def test_the_process_has_one_memory() -> None:
    """What one part of a program retrieves is recognised in the calls of another."""
    remember_documents([RENT])
    assert found(process_memory(), f"{RENT}!") == [RENT]


def test_threads_may_remember_and_find_at_once() -> None:
    """Eight threads that remember and find together neither fail nor exceed the bound."""
    made = DocumentMemory(max_documents=20)
    failed: list[Exception] = []

    def work(name: int) -> None:
        try:
            for number in range(200):
                made.remember([f"{name} {number} {RENT}"])
                made.find(f"{name} {number} {RENT}")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failed, len(made)) == ([], 20)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(st.text("ab ", min_size=40, max_size=90), max_size=5), st.text("ab ", max_size=300), st.data()
)
def test_spans_are_documents_and_never_overlap(texts: list[str], filler: str, data: st.DataObject) -> None:
    """Whatever texts look like, each span is a remembered text, in order, behind the one before it."""
    prompt = filler + "".join(data.draw(st.permutations(texts))) if texts else filler
    made = memory(*texts)
    spans = made.find(prompt)
    assert {prompt[span.start : span.end] for span in spans} <= {text.strip() for text in texts}
    ends = [0, *(span.end for span in spans)]
    assert all(end <= span.start for end, span in zip(ends, spans, strict=False))
