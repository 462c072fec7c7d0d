from __future__ import annotations

from pathlib import Path

import pytest

from bedrock_local import Fault, LocalBedrock
from bedrock_routing.cli import main

WHERE = "Where does the spare key hang?"


def ask(notes: Path, *more: str) -> int:
    return main(["ask", str(notes), "-q", WHERE, *more])


def test_a_missing_permission_is_said(
    notes: Path, aws: LocalBedrock, capsys: pytest.CaptureFixture[str]
) -> None:
    """An AccessDenied names what a call through a router needs."""
    aws.fail(Fault.denied("bedrock:InvokeModel", "*"), times=9, operation="ConverseStream")
    assert ask(notes) == 1
    err = capsys.readouterr().err
    assert "AccessDeniedException" in err
    assert "on every model behind it" in err


def test_throttling_is_said(notes: Path, aws: LocalBedrock, capsys: pytest.CaptureFixture[str]) -> None:
    """When botocore's retries are used up, the message says whose quota it is."""
    aws.fail(Fault.throttling(), times=9, operation="ConverseStream")
    assert ask(notes) == 1
    assert "The quota of the invoked model is used up" in capsys.readouterr().err


def test_a_cut_answer_is_not_taken_for_a_whole_one(
    notes: Path, aws: LocalBedrock, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stream that is cut in the middle ends with an error after what it did say."""
    aws.fail(Fault.cut(after_events=2), operation="ConverseStream")
    assert ask(notes) == 1
    assert "the answer is cut off" in capsys.readouterr().err


def test_an_endpoint_that_is_down_is_said(
    notes: Path, monkeypatch: pytest.MonkeyPatch, aws: LocalBedrock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody listens: the message names the address."""
    aws.stop()
    assert ask(notes) == 1
    assert aws.endpoint_url in capsys.readouterr().err


def test_a_router_that_may_not_be_looked_up_still_answers(
    notes: Path, aws: LocalBedrock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without bedrock:GetPromptRouter the call goes out by ARN, without cache points."""
    for operation in ("GetPromptRouter", "ListPromptRouters"):
        aws.fail(Fault.denied(f"bedrock:{operation}", "*"), times=9, operation=operation)
    assert ask(notes, "--router", aws.router_arn("amazon.nova:1")) == 0
    assert "behind the blue door" in capsys.readouterr().out
