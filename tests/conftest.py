import asyncio
from typing import Any

import pytest

from bedrock_routing import resources, routers
from bedrock_routing.loop_clients import has_extra
from bedrock_routing.tables import Bounded


@pytest.fixture(autouse=True)
def _fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget routers and warm prefixes: the port of a service that is gone may be another one's by now."""
    monkeypatch.setattr(routers, "_resolved", {})
    monkeypatch.setattr(resources, "_states", Bounded(64))


@pytest.fixture(params=[False, True], ids=["threads", "event loop"])
def native(request: pytest.FixtureRequest) -> bool:
    """Run a test on each path of async calls."""
    if request.param and not has_extra():
        pytest.skip("the extra 'async' is not installed")
    return request.param


@pytest.fixture
def no_default_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whatever uses the event loop's own executor fail."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the event loop's default executor was used")

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "run_in_executor", refuse)
