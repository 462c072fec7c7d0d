"""Tell whose boto3 client it is: endpoint, Region and account."""

from __future__ import annotations

from typing import Any

__all__ = ["credentials_of", "scope_of"]


def scope_of(client: Any) -> str:
    """Return what tells the endpoint, Region and account of a boto3 client apart."""
    credentials = credentials_of(client)
    account = credentials.get_frozen_credentials().access_key if credentials is not None else None
    return f"{client.meta.endpoint_url} {client.meta.region_name} {account}"


def credentials_of(client: Any) -> Any:
    """Return the (refreshable) credentials that a boto3 client was made with, or `None`.

    boto3 has no public way to ask; where the private one is gone, the default chain serves.
    """
    credentials: Any = getattr(getattr(client, "_request_signer", None), "_credentials", None)
    return credentials if hasattr(credentials, "get_frozen_credentials") else None
