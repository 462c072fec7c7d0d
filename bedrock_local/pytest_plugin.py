"""A fixture for test suites: put `pytest_plugins = ["bedrock_local.pytest_plugin"]` into the top conftest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bedrock_local.clock import ManualClock
from bedrock_local.fixed import FixedAnswer
from bedrock_local.local import LocalBedrock

__all__ = ["local_bedrock"]


@pytest.fixture
def local_bedrock(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalBedrock]:
    """Serve a local Bedrock with a fixed answer and a standing clock; botocore's environment points at it."""
    with LocalBedrock(answers=FixedAnswer(), clock=ManualClock()) as bedrock:
        for name in ("AWS_ENDPOINT_URL_BEDROCK", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"):
            monkeypatch.setenv(name, bedrock.endpoint_url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
        monkeypatch.setenv("AWS_REGION", bedrock.region)
        monkeypatch.setenv("AWS_DEFAULT_REGION", bedrock.region)
        monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
        yield bedrock
