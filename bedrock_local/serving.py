"""Run the local Bedrock in the foreground, as the command line does."""

from __future__ import annotations

import threading
from collections.abc import Callable

from bedrock_local.answers.base import AnswerEngine
from bedrock_local.local import LocalBedrock
from bedrock_local.pace import Pace

__all__ = ["serve"]


def serve(
    port: int = 8123,
    answers: str | AnswerEngine = "extractive",
    pace: Pace | None = None,
    on_ready: Callable[[str], None] = print,
) -> None:
    """Serve until interrupted; `on_ready` gets the endpoint's URL once it answers."""
    with LocalBedrock(port=port, answers=answers, pace=pace) as bedrock:
        on_ready(bedrock.endpoint_url)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return
