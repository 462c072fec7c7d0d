"""Make the boto3 clients of an LLM, at their first use."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import NoRegionError

__all__ = ["ClientSettings"]

Plane = Literal["bedrock-runtime", "bedrock"]

_LOOKING_UP = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
"""A router is looked up once; where the control plane cannot be reached, a call must not wait for it."""

_CREATING = threading.Lock()
"""A session must not be asked for two clients at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Hold what an LLM says about its connection; both planes are reached with the same settings."""

    region_name: str | None = None
    other_region: str | None = None
    """The Region of the model's ARN: used where neither the caller nor AWS names one."""
    endpoint_url: str | None = None
    profile_name: str | None = None
    aws_access_key_id: str | None = None
    aws_secret_access_key: str | None = None
    aws_session_token: str | None = None
    botocore_session: Any = None
    botocore_config: Config | None = None
    api_version: str | None = None
    use_ssl: bool = True
    verify: bool | str | None = None
    timeout: float
    max_retries: int
    max_connections: int

    def maker(self, plane: Plane) -> Callable[[], Any]:
        """Return what makes the client of one plane; nothing is made before it is called."""

        def make() -> Any:
            with _CREATING:
                try:
                    return self._create(plane, self.region_name)
                except NoRegionError as missing:
                    if self.other_region:
                        return self._create(plane, self.other_region)
                    missing.add_note(
                        "Pass region_name=..., set AWS_REGION, or name the model by an ARN: it has a Region."
                    )
                    raise

        return make

    def _create(self, plane: Plane, region: str | None) -> Any:
        session: Any = boto3.Session(
            profile_name=self.profile_name,
            region_name=region,
            aws_access_key_id=self.aws_access_key_id,
            aws_secret_access_key=self.aws_secret_access_key,
            aws_session_token=self.aws_session_token,
            botocore_session=self.botocore_session,
        )
        return session.client(
            plane,
            config=self._config(plane),
            api_version=self.api_version,
            use_ssl=self.use_ssl,
            verify=self.verify,
            endpoint_url=self.endpoint_url,
        )

    def _config(self, plane: Plane) -> Config:
        """Return the caller's settings; unless they say otherwise, each call at once has a connection."""
        own = Config(
            connect_timeout=self.timeout,
            read_timeout=self.timeout,
            retries={"max_attempts": self.max_retries, "mode": "standard"},
            max_pool_connections=self.max_connections,
            user_agent_extra="x-client-framework:llama_index",
        )
        own = own if self.botocore_config is None else own.merge(self.botocore_config)
        return own.merge(_LOOKING_UP) if plane == "bedrock" else own
