"""Tell whose boto3 client it is: endpoint, Region and account."""

from __future__ import annotations

from typing import Any

__all__ = ["address_of", "credentials_of", "is_client", "scope_of"]


def is_client(source: Any) -> bool:
    """Tell a client from what makes one: mocks and proxies of clients can be called too."""
    return hasattr(source, "converse") or hasattr(source, "get_prompt_router")


def address_of(client: Any) -> str | None:
    """Return the endpoint and Region of a boto3 client; `None` of a stand-in that has no `meta`."""
    meta = getattr(client, "meta", None)
    return None if meta is None else f"{meta.endpoint_url} {meta.region_name}"


def scope_of(client: Any) -> str:
    """Return what tells the endpoint, Region and account of a boto3 client apart."""
    credentials = credentials_of(client)
    account = credentials.get_frozen_credentials().access_key if credentials is not None else None
    return f"{address_of(client)} {account}"


def credentials_of(client: Any) -> Any:
    """Return the (refreshable) credentials that a boto3 client was made with, or `None`.

    boto3 has no public way to ask; where the private one is gone, the default chain serves.
    """
    credentials: Any = getattr(getattr(client, "_request_signer", None), "_credentials", None)
    return credentials if hasattr(credentials, "get_frozen_credentials") else None
