import pytest

from bedrock_routing import resources, routers
from bedrock_routing.tables import Bounded


@pytest.fixture(autouse=True)
def _fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget routers and warm prefixes: the port of a service that is gone may be another one's by now."""
    monkeypatch.setattr(routers, "_resolved", {})
    monkeypatch.setattr(resources, "_states", Bounded(64))
