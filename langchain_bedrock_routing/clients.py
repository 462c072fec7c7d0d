"""Make the boto3 clients of a chat model, at their first use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from botocore.config import Config
from botocore.exceptions import NoRegionError
from langchain_aws.utils import create_aws_client
from pydantic import SecretStr

__all__ = ["ClientSettings", "Connection", "add_headers"]

Plane = Literal["bedrock-runtime", "bedrock"]

_LOOKING_UP = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
"""A router is looked up once; where the control plane cannot be reached, a call must not wait for it."""

_CREATING = threading.Lock()
"""boto3's default session must not be asked for two clients at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Hold what a chat model says about its connection; both planes are reached with the same settings."""

    region_name: str | None = None
    other_region: str | None = None
    """The Region of the model's ARN or of a given client: used where neither the caller nor AWS names one."""
    endpoint_url: str | None = None
    credentials_profile_name: str | None = None
    aws_access_key_id: SecretStr | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_session_token: SecretStr | None = None
    api_key: SecretStr | None = None
    config: Config | None = None
    headers: Mapping[str, str] | None = None
    max_connections: int

    def maker(self, plane: Plane) -> Callable[[], Any]:
        """Return what makes the client of one plane; nothing is made before it is called."""

        def make() -> Any:
            with _CREATING:
                client = self._create(plane)
            if self.headers and plane == "bedrock-runtime":
                add_headers(client, self.headers)
            return client

        return make

    def _create(self, plane: Plane) -> Any:
        try:
            return create_aws_client(
                service_name=plane,
                region_name=self.region_name,
                credentials_profile_name=self.credentials_profile_name,
                aws_access_key_id=self.aws_access_key_id,
                aws_secret_access_key=self.aws_secret_access_key,
                aws_session_token=self.aws_session_token,
                endpoint_url=self.endpoint_url,
                config=self._config(plane),
                api_key=self.api_key,
            )
        except ValueError as error:
            # langchain-aws takes every botocore error for one of the credentials
            if not isinstance(error.__cause__, NoRegionError):
                raise
            if self.other_region:
                return replace(self, region_name=self.other_region)._create(plane)
            missing = error.__cause__
        missing.add_note(
            "Pass region_name=..., set AWS_REGION, or name the model by an ARN, which has a Region."
        )
        raise missing

    def _config(self, plane: Plane) -> Config:
        """Return the caller's settings; unless they say otherwise, each call at once has a connection."""
        own = Config(max_pool_connections=self.max_connections)
        own = own if self.config is None else own.merge(self.config)
        return own.merge(_LOOKING_UP) if plane == "bedrock" else own


class Connection:
    """Make the clients of some settings, each at its first use, for all models that share it."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._made: dict[Plane, Any] = {}

    def runtime(self) -> Any:
        """Return the client that conversations go through."""
        return self._get("bedrock-runtime")

    def control(self) -> Any:
        """Return the client that routers are looked up with."""
        return self._get("bedrock")

    def _get(self, plane: Plane) -> Any:
        if plane not in self._made:
            self._made.setdefault(plane, self._settings.maker(plane)())
        return self._made[plane]


def add_headers(client: Any, headers: Mapping[str, str]) -> None:
    """Send `headers` with every conversation of a boto3 client."""
    fixed = dict(headers)

    def add(request: Any, **_: Any) -> None:
        for name, value in fixed.items():
            request.headers[name] = value

    for operation in ("Converse", "ConverseStream"):
        client.meta.events.register(f"before-send.bedrock-runtime.{operation}", add)
