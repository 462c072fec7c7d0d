"""Make boto3 clients when they are first needed: the caller's own, and its control plane."""

from __future__ import annotations

import threading
from typing import Any

from botocore.client import BaseClient
from botocore.config import Config
from botocore.httpsession import MAX_POOL_CONNECTIONS
from botocore.session import Session

from bedrock_routing.accounts import credentials_of, is_client

__all__ = ["Lazy", "connections_of", "control_of", "is_botocore"]

_CONTROL_CONFIG = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
"""The control plane is asked once per process; where it cannot be reached, a call must not wait for it."""


class Lazy:
    """Hold a client, or make it on first use, once, from whatever thread comes first."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._made: Any = None if callable(source) and not is_client(source) else source
        self._lock = threading.Lock()

    def get(self) -> Any:
        """Return the client."""
        if self._made is None:
            with self._lock:
                if self._made is None:
                    self._made = self._source()
        return self._made


def control_of(client: Any) -> Any:
    """Make a control-plane client for the same Region, at the same endpoint if that is not AWS's."""
    meta = client.meta
    own = None if meta.endpoint_url.partition("//")[2].startswith("bedrock-runtime") else meta.endpoint_url
    session: Any = Session()
    credentials = credentials_of(client)
    if credentials is not None:
        # The object itself, not a copy of its keys: temporary ones are renewed in it.
        session._credentials = credentials
    return session.create_client(
        "bedrock", region_name=meta.region_name, endpoint_url=own, config=_CONTROL_CONFIG
    )


def connections_of(client: Any) -> int:
    """Return how many calls a client can make at once without opening connections only to drop them."""
    config = getattr(getattr(client, "meta", None), "config", None)
    found = getattr(config, "max_pool_connections", None)
    return found if isinstance(found, int) and found > 0 else MAX_POOL_CONNECTIONS


def is_botocore(client: Any) -> bool:
    """Tell botocore's own clients from stand-ins, which may not know every operation."""
    return isinstance(client, BaseClient)
