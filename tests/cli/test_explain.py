from __future__ import annotations

import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bedrock_routing import Ledger, Receipt, Usage
from bedrock_routing.cli import main
from bedrock_routing.misses import ADVICE, Miss

WHERE = "Where does the spare key hang?"


def missing(reason: Any, tokens: int, lost: str, **more: Any) -> Receipt:
    return Receipt(
        router_arn="arn",
        model="amazon.nova-pro-v1:0",
        usage=Usage(fresh=10, write_5m=tokens, output=5),
        miss=Miss(reason=reason, tokens=tokens, lost_usd=Decimal(lost), **more),
        cost_usd=Decimal("0.5"),
        uncached_cost_usd=Decimal("0.75"),
        strongest_cost_usd=Decimal(2),
    )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Write a log of three calls with two reasons for misses."""
    path = tmp_path / "calls.jsonl"
    ledger = Ledger(log=path)
    ledger.add(missing("lifetime over", 3_000, "0.125", detail="last used 400 s before; it lives 5m"))
    ledger.add(
        missing("block changed", 9_000, "0.25", path="system.0", detail="first different at character 7")
    )
    ledger.add(Receipt(model="amazon.nova-lite-v1:0", usage=Usage(fresh=90, read=10)))
    return path


def test_what_ask_logs_explain_reads(notes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`ask --log` appends a line per call; `explain` prints the same table that `ask` ended with."""
    path = tmp_path / "calls.jsonl"
    asked: list[str] = []
    for _ in range(2):
        assert (
            main(["ask", str(notes), "--log", str(path), "-q", WHERE, "-q", "Which day is paragraph 7?"]) == 0
        )
        asked.append(capsys.readouterr().out)
    assert len(path.read_text("utf-8").splitlines()) == 4
    path.write_text("\n".join(path.read_text("utf-8").splitlines()[:2]), "utf-8")
    assert main(["explain", str(path)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[:3] == asked[0].rstrip().splitlines()[-3:]
    assert "2 calls" in out
    assert "Nothing was missed" in out


def test_misses_stand_by_reason_with_what_to_do(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The most tokens come first, then the total; each reason has its advice, the newest places are named."""
    assert main(["explain", str(log)]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    head = lines.index("missed         calls  tokens       lost")
    assert [line.split() for line in lines[head + 2 : head + 5]] == [
        ["block", "changed", "1", "9,000", "$0.250000"],
        ["lifetime", "over", "1", "3,000", "$0.125000"],
        ["total", "2", "12,000", "$0.375000"],
    ]
    assert [ADVICE[reason] in out for reason in ADVICE] == [
        reason in ("lifetime over", "block changed") for reason in ADVICE
    ]
    assert "block changed at system.0: first different at character 7" in out
    assert "0.1% of the prompt tokens read" in out


def test_three_baselines_and_what_is_not_in_them(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Money against each baseline, unknown where one call's price is, and a word on quality."""
    assert main(["explain", str(log)]) == 0
    assert "unknown" in capsys.readouterr().out.split("instead")[1]
    log.write_text("".join(log.read_text("utf-8").splitlines(keepends=True)[:2]), "utf-8")
    assert main(["explain", str(log)]) == 0
    shown = capsys.readouterr().out.split("instead")[1]
    rows = [line.split("  ") for line in shown.splitlines()[2:5]]
    assert [[cell.strip() for cell in row if cell.strip()] for row in rows] == [
        ["no caching, same models", "$1.500000", "$0.500000"],
        ["caching, strongest model, no router", "$4.000000", "$3.000000"],
        ["router, no caching", "$1.500000", "$0.500000"],
    ]
    assert "Quality is not in these numbers" in shown


def test_standard_input_is_a_log_too(
    log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`explain -` reads what is piped into it."""
    assert main(["explain", str(log)]) == 0
    expected = capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO(log.read_text("utf-8")))
    assert main(["explain", "-"]) == 0
    assert capsys.readouterr().out == expected


def test_bad_lines_are_named_and_left_out(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Up to five are shown with their numbers, and how many there are in all."""
    with log.open("a", encoding="utf-8") as file:
        file.write("no json\n" * 6 + "{}\n")
    assert main(["explain", str(log)]) == 0
    shown = capsys.readouterr()
    assert "3 calls" in shown.out
    errors = shown.err.splitlines()
    assert [line.split(":")[1] for line in errors[:5]] == [f" line {number}" for number in range(4, 9)]
    assert errors[5:] == ["left out: 7 lines in all"]


def test_names_in_a_log_do_not_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters and markup of a foreign log are not obeyed."""
    path = tmp_path / "calls.jsonl"
    data = Receipt(model="\x1b[2Jmodel[red]", usage=Usage(fresh=1)).to_dict()
    path.write_text(f"{json.dumps(data)}\nno json \x1b[2J\n", "utf-8")
    assert main(["explain", str(path)]) == 0
    shown = capsys.readouterr()
    assert "[2Jmodel[red]" in shown.out
    assert "\x1b" not in shown.out + shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "{folder}/gone.jsonl"], "gone.jsonl cannot be read: No such file or directory"),
        (["explain", "{folder}"], "cannot be read: Is a directory"),
        (["explain", "{folder}/empty.jsonl"], "holds no receipt"),
        (["ask", "{folder}/notes.md", "-q", "Why?", "--log", "{folder}/no/calls.jsonl"], "cannot be written"),
    ],
)
def test_a_log_that_cannot_be_used(
    notes: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One clear message on stderr, and exit code 2."""
    (notes.parent / "empty.jsonl").write_text("\n", "utf-8")
    assert main([each.replace("{folder}", str(notes.parent)) for each in arguments]) == 2
    shown = capsys.readouterr()
    assert message in shown.err.replace("\n", "")
    assert "Traceback" not in shown.err
