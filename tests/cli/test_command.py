from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from bedrock_local import LocalBedrock
from bedrock_routing.cli import main

README = Path(__file__).resolve().parents[2] / "README.md"
WHERE = "Where does the spare key hang?"
LINE = re.compile(
    r"^(\S+) \| read ([\d,]+)[^|]*\| written ([\d,]+) \| fresh ([\d,]+) \| out ([\d,]+) \| cost",
    re.MULTILINE,
)


def lines(text: str) -> list[tuple[str, ...]]:
    return [match.groups() for match in LINE.finditer(text)]


def test_an_answer_comes_with_source_model_and_tokens(
    notes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without credentials a local Bedrock answers, says so, quotes the file and names it."""
    assert main(["ask", str(notes), "-q", WHERE]) == 0
    out = capsys.readouterr().out
    assert "local Bedrock (no AWS credentials found)" in out
    assert "The spare key hangs behind the blue door." in out
    assert "sources: notes.md" in out
    assert [line[0] for line in lines(out)] == ["amazon.nova-lite-v1:0"]


def test_the_second_question_reads_the_documents_from_the_cache(
    notes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two questions over the same text: the first writes it, the second reads it."""
    assert main(["ask", str(notes), "-q", WHERE, "-q", "Which day is paragraph 7 about?"]) == 0
    first, second = lines(capsys.readouterr().out)
    assert (first[1], second[2]) == ("0", "0")
    assert first[2] == second[1] != "0"


def test_no_cache_places_no_points(notes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --no-cache every question pays for the whole prompt."""
    assert main(["ask", str(notes), "--no-cache", "-q", WHERE, "-q", WHERE]) == 0
    assert [line[1:3] for line in lines(capsys.readouterr().out)] == [("0", "0"), ("0", "0")]


def test_retrieval_sends_only_passages(notes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --retrieve the prompt holds the best passages, and the answer is still there."""
    assert main(["ask", str(notes), "--retrieve", "-k", "1", "-q", WHERE]) == 0
    out = capsys.readouterr().out
    assert "The spare key hangs behind the blue door." in out
    assert sum(int(count.replace(",", "")) for count in lines(out)[0][1:4]) < 700


def test_the_demo_reads_the_cache_and_uses_both_models(capsys: pytest.CaptureFixture[str]) -> None:
    """Answers two and three read the guides, the hard question gets the larger model; the README shows it."""
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    asked = lines(out)
    assert [line[0] for line in asked] == ["amazon.nova-lite-v1:0"] * 4 + ["amazon.nova-pro-v1:0"]
    assert [line[1] == "0" for line in asked] == [True, False, False, False, True]
    shown, printed = (
        text[text.index("model   ") :].splitlines()[2:5] for text in (README.read_text("utf-8"), out)
    )
    assert [row.split()[:5] for row in shown] == [row.split()[:5] for row in printed]


def test_a_conversation_goes_on_until_exit(
    notes: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In --chat each answer becomes part of the next prompt; 'exit' ends it."""
    said = iter([WHERE, "And the door?", "exit"])
    monkeypatch.setattr("builtins.input", lambda *_: next(said))
    assert main(["ask", str(notes), "--chat"]) == 0
    assert len(lines(capsys.readouterr().out)) == 2


def test_credentials_in_the_environment_are_used(
    notes: Path, aws: LocalBedrock, capsys: pytest.CaptureFixture[str]
) -> None:
    """With credentials the call goes where the AWS settings point to."""
    assert main(["ask", str(notes), "-q", WHERE, "--router", "Nova Prompt Router"]) == 0
    assert "no AWS credentials" not in capsys.readouterr().out
    assert aws.requests[-1].model_id == aws.router_arn("amazon.nova:1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ask", "-q", "Why?"], "Name the files or folders"),
        (["ask", "{notes}"], "Ask a question with -q"),
        (["ask", "{notes}", "-q", "  "], "Ask a question with -q"),
        (["ask", "{notes}.gone", "-q", "Why?"], "does not exist"),
        (["ask", "{notes}", "-q", "Why?", "--router", "No Such Router"], "'Nova Prompt Router'"),
        (["ask", "{notes}", "-q", "Why?", "--router", "a/b"], "router's short form: amazon.nova:1"),
        (["ask", "{notes}", "-q", "Why?", "--router", "anthropic.claude:1"], "reached its end of life"),
        (["ask", "{notes}", "-q", "Why?", "--profile", "nobody"], "profile 'nobody'"),
        (["ask", "{notes}", "-q", "Why?", "--answers", "oracle"], "extractive"),
    ],
)
def test_a_wrong_input_is_one_clear_message(
    notes: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot work says why on stderr, without a traceback, and fails."""
    assert main([each.replace("{notes}", str(notes)) for each in arguments]) in (1, 2)
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["empty.pdf", "scan.txt"])
def test_a_file_without_text_is_named(
    tmp_path: Path, notes: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bad file beside a good one is left out and named; alone it is an error."""
    bad = tmp_path / name
    bad.write_bytes(b"" if name.endswith("pdf") else bytes(range(256)) * 20)
    assert main(["ask", str(notes), str(bad), "-q", WHERE]) == 0
    assert f"left out: {bad}" in capsys.readouterr().err
    assert main(["ask", str(bad), "-q", WHERE]) == 2
    assert name in capsys.readouterr().err


def test_the_local_bedrock_serves_until_interrupted() -> None:
    """`serve` prints its address, answers an unmodified boto3 client and ends on Ctrl-C."""
    command = [sys.executable, "-m", "bedrock_routing.cli", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        url = first.split()[3]
        client = boto3.client(
            "bedrock",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )
        assert len(client.list_prompt_routers()["promptRouterSummaries"]) == 3
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) in (0, 130)


def test_help_needs_no_framework() -> None:
    """`--help` answers although LangChain cannot be imported."""
    code = (
        "import sys; sys.modules['langchain_core'] = None; from bedrock_routing import cli; cli.main(['-h'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, "serve" in done.stdout) == (0, True)
