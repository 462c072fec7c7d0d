from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bedrock_local import Fault, FixedAnswer, LocalBedrock
from bedrock_routing import routers
from bedrock_routing.cli import main
from bedrock_routing.cli.arguments import parser
from bedrock_routing.cli.frameworks import FRAMEWORKS
from bedrock_routing.documents import process_memory

GUIDES = Path(__file__).resolve().parents[2] / "examples" / "documents"
QUESTIONS = (
    "Where does the spare key hang?",
    "What happens to a cache point when the prompt is too short?",
    "Which paragraph says {context} and {question}?",
)
ASKED = [part for question in QUESTIONS for part in ("-q", question)]
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CHANGING = re.compile(r"127\.0\.0\.1:\d+|request-id [\w-]+|\d+\.\d s\b")
"""What differs between two runs of one framework, too: the port, an id, the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Hold what one run of the command said and sent."""

    code: int
    out: str
    err: str
    sent: Sequence[tuple[str, str | None, Mapping[str, Any]]]
    usage: Sequence[Mapping[str, Any]]


Runner = Callable[..., Run]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Runner:
    """Run the command with one framework, on a local Bedrock of its own, as in a fresh process."""

    def run_once(
        framework: str,
        *arguments: str,
        spoil: Callable[[LocalBedrock], object] = lambda _: None,
        answers: Any = "extractive",
    ) -> Run:
        process_memory().clear()
        monkeypatch.setattr(routers, "_resolved", {})
        with LocalBedrock(answers=answers) as bedrock:
            monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", bedrock.endpoint_url)
            monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK", bedrock.endpoint_url)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
            monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
            monkeypatch.setattr("builtins.input", lambda *_: "exit")
            spoil(bedrock)
            code = main([*arguments, "--framework", framework])
            requests = bedrock.requests
        said = capsys.readouterr()
        return Run(
            code=code,
            out=CHANGING.sub("...", said.out),
            err=CHANGING.sub("...", said.err),
            sent=[(each.operation, _without_port(each.model_id), each.body) for each in requests],
            usage=[each.usage for each in requests if each.usage],
        )

    return run_once


def _without_port(model_id: str | None) -> str | None:
    return model_id and CHANGING.sub("...", model_id)


@pytest.fixture
def shelf(notes: Path) -> Path:
    """Put odd files beside the notes: braces as in a template, a twin, sections that repeat, PDFs."""
    folder = notes.parent
    twin = folder / "twin"
    twin.mkdir()
    text = notes.read_text("utf-8")
    (twin / "notes.md").write_text(text, "utf-8")
    (folder / "braces.md").write_text("# Braces\n\nA paragraph with {context} and {question}.\n", "utf-8")
    again = "\n\n".join(["# Part\n\n" + "The same words stand here again. " * 30] * 4)
    (folder / "again.md").write_text(again, "utf-8")
    for guide in GUIDES.glob("*.pdf"):
        (folder / guide.name).write_bytes(guide.read_bytes())
    return folder


def points(body: Mapping[str, Any]) -> int:
    turns = [each["content"] for each in body["messages"]]
    return sum("cachePoint" in block for blocks in (body.get("system", []), *turns) for block in blocks)


def bodies(run: Run) -> list[Mapping[str, Any]]:
    return [body for operation, _, body in run.sent if operation == "ConverseStream"]


# --- the same job --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "is_cached"),
    [
        ("", True),
        ("--retrieve", True),
        ("--retrieve -k 200", True),
        ("--retrieve -k 1", False),  # below every model's minimum
        ("--chat", True),
        ("--chat --retrieve -k 6", (True, True, False)),  # twice nothing came back: no third write
        ("--chat --no-cache", False),
        ("--max-tokens 20", True),
        ("--router amazon.nova-pro-v1:0", True),
        (f"--chat --router {CLAUDE}", True),
    ],
)
def test_the_wire_is_the_same(
    run: Runner, shelf: Path, arguments: str, is_cached: bool | tuple[bool, ...]
) -> None:
    """Both frameworks send the same bytes, cache points included, and print the same but for the time."""
    first, second = (run(name, "ask", str(shelf), *ASKED, *arguments.split()) for name in FRAMEWORKS)

    assert first.code == second.code == 0
    assert first.sent == second.sent
    assert (first.out, first.err) == (second.out, second.err)
    assert first.usage == second.usage
    assert len(bodies(first)) == len(QUESTIONS)
    expected = [is_cached] * len(QUESTIONS) if isinstance(is_cached, bool) else list(is_cached)
    assert [points(each) > 0 for each in bodies(first)] == expected


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("more", "second"), [("", QUESTIONS[1]), ("--chat", QUESTIONS[1]), ("--retrieve", QUESTIONS[0])]
)
def test_the_second_question_reads_the_cache(
    run: Runner, notes: Path, framework: str, more: str, second: str
) -> None:
    """What the first question wrote, the second one reads, with either framework."""
    asked = run(framework, "ask", str(notes), "-q", QUESTIONS[0], "-q", second, *more.split())

    written, read = asked.usage
    assert written["cacheReadInputTokens"] == 0
    assert read["cacheReadInputTokens"] == written["cacheWriteInputTokens"] > 1_500


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_conversation_carries_its_history(run: Runner, notes: Path, framework: str) -> None:
    """The second question of a conversation is asked after the first one and its answer, word for word."""
    asked = run(framework, "ask", str(notes), *ASKED[:4], "--chat", answers=FixedAnswer("Said {question}"))

    *_, last = bodies(asked)
    texts = ["".join(each.get("text", "") for each in turn["content"]) for turn in last["messages"]]
    assert texts == [QUESTIONS[0], f"Said {QUESTIONS[0]}", QUESTIONS[1]]
    assert [turn["role"] for turn in last["messages"]] == ["user", "assistant", "user"]


def test_an_exchange_without_an_answer_is_no_history(run: Runner, notes: Path) -> None:
    """Bedrock refuses a turn without text, so a question that got none is not repeated."""
    first, second = (
        run(name, "ask", str(notes), *ASKED[:4], "--chat", answers=FixedAnswer(" ")) for name in FRAMEWORKS
    )

    assert first.sent == second.sent
    assert [len(each["messages"]) for each in bodies(first)] == [1, 1]


def test_the_demo_is_the_same(run: Runner) -> None:
    """The demo asks and prints the same with either framework."""
    first, second = (run(name, "demo") for name in FRAMEWORKS)

    assert first == second
    assert first.code == 0
    assert len(bodies(first)) == 5


def test_templates_do_not_reach_into_documents(run: Runner, shelf: Path) -> None:
    """Braces in a document, a question or an answer stay what they are."""
    said = FixedAnswer("{question} and {history} and {context}")
    for name in FRAMEWORKS:
        asked = run(name, "ask", str(shelf / "braces.md"), *ASKED[-2:], *ASKED[:2], "--chat", answers=said)
        last = bodies(asked)[-1]
        assert "A paragraph with {context} and {question}." in last["system"][0]["text"]
        assert last["messages"][0]["content"][0]["text"] == QUESTIONS[2]
        assert last["messages"][1]["content"][0]["text"] == f"{QUESTIONS[2]} and {{history}} and {{context}}"


# --- the same failures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("ask", "-q", "Why?"),
        ("ask", "{notes}"),
        ("ask", "{notes}.gone", "-q", "Why?"),
        ("ask", "{notes}", "-q", "Why?", "--router", "No Such Router"),
        ("ask", "{notes}", "-q", "Why?", "--router", "a/b"),
        ("ask", "{notes}", "-q", "Why?", "--router", "anthropic.claude:1"),
        ("ask", "{notes}", "-q", "Why?", "--router", "amazon.no-such-model-v1:0"),
        ("ask", "{notes}", "-q", "Why?", "--profile", "nobody"),
        ("ask", "{notes}", "-q", "Why?", "--local", "--answers", "oracle"),
    ],
    ids=" ".join,
)
def test_a_wrong_input_is_the_same_message(run: Runner, notes: Path, arguments: tuple[str, ...]) -> None:
    """What cannot work fails with the same code and the same sentence."""
    named = [each.replace("{notes}", str(notes)) for each in arguments]
    first, second = (run(name, *named) for name in FRAMEWORKS)

    assert first == second
    assert first.code in (1, 2)
    assert first.err.startswith("error: ")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda aws: aws.fail(Fault.throttling(), times=20, operation="ConverseStream"),
        lambda aws: aws.fail(Fault.denied("bedrock:InvokeModel", "*"), times=9, operation="ConverseStream"),
        lambda aws: aws.fail(Fault.cut(after_events=3), operation="ConverseStream"),
        lambda aws: aws.fail(Fault.cut(after_events=3, reset=True), operation="ConverseStream"),
        lambda aws: aws.fail(
            Fault.error_in_stream("ModelErrorException", "It broke."), operation="ConverseStream"
        ),
        lambda aws: aws.fail(Fault.reset(), times=20, operation="ConverseStream"),
        lambda aws: aws.stop(),
    ],
    ids=["throttled", "denied", "cut", "reset in the answer", "error in the answer", "reset", "down"],
)
def test_a_failing_call_is_the_same_message(
    run: Runner, notes: Path, spoil: Callable[[LocalBedrock], object]
) -> None:
    """What the service or the line refuses looks the same, totals included, after as many attempts."""
    first, second = (run(name, "ask", str(notes), *ASKED[:2], spoil=spoil) for name in FRAMEWORKS)

    assert first == second
    assert first.code == 1
    assert first.err.startswith("error: ")


# --- which packages are needed -------------------------------------------------------------------------


def in_a_process(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize(
    ("framework", "package"), [("langchain", "langchain_aws"), ("llama-index", "llama_index")]
)
def test_a_framework_that_is_not_installed_is_said(notes: Path, framework: str, package: str) -> None:
    """The message names the install command, the code is 2, and nothing was started before."""
    code = (
        f"import sys; sys.modules['{package}'] = None; from bedrock_routing import cli; sys.exit(cli.main())"
    )
    done = in_a_process(code, "ask", str(notes), "-q", "Why?", "--local", "--framework", framework)

    assert (done.returncode, done.stdout) == (2, "")
    assert f"pip install 'bedrock-routing[{framework}]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("framework", "used", "unused"),
    [
        ("langchain", "langchain_aws", "llama_index"),
        ("llama-index", "llama_index", "langchain_aws"),
    ],
)
def test_only_the_chosen_framework_is_imported(notes: Path, framework: str, used: str, unused: str) -> None:
    """Each framework takes seconds to import: the other one stays out."""
    code = "import sys; from bedrock_routing import cli; cli.main(); print(*sys.modules, file=sys.stderr)"
    done = in_a_process(code, "ask", str(notes), "-q", "Why?", "--local", "--framework", framework)

    imported = {each.partition(".")[0] for each in done.stderr.split()}
    assert used in imported
    assert unused not in imported


def test_langchain_is_the_default() -> None:
    """Who says nothing asks with LangChain, in `ask` and in `demo`; what does not exist is refused."""
    assert [parser().parse_args(each).framework for each in (["ask", "."], ["demo"])] == ["langchain"] * 2
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(["demo", "--framework", "haystack"])
