"""Decide whom to ask: AWS where there are credentials, else a local Bedrock, and say which in one line."""

from __future__ import annotations

import errno
import os
from argparse import Namespace
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from rich.console import Console

from bedrock_local import LocalBedrock, Pace
from bedrock_local.serving import serve as serve_local
from bedrock_routing.arns import parse
from bedrock_routing.client import RoutedClient
from bedrock_routing.errors import ConfigurationError

__all__ = ["connect", "serve"]

_DEFAULT_REGION = "us-east-1"
_BEARER = "AWS_BEARER_TOKEN_BEDROCK"
_LOOKING_UP = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
"""A router is looked up once; where the control plane cannot be reached, a question must not wait for it."""
_PACE = Pace(prompt_tokens_per_second=5_000, output_tokens_per_second=150, first_token_seconds=0.3)


@contextmanager
def connect(options: Namespace, console: Console) -> Generator[RoutedClient]:
    """Yield the client that every framework's model asks; a local Bedrock runs as long as the block."""
    parse(options.router)  # a wrong one is said before anything starts
    if options.local or not _has_credentials(options.profile):
        with LocalBedrock(answers=options.answers, pace=_PACE if options.pace else None) as bedrock:
            why = "as asked" if options.local else "no AWS credentials found"
            console.print(_local_line(options, why), markup=False)
            yield _client(
                options,
                _session(None),
                config=Config(proxies={}, signature_version="v4"),
                region_name=bedrock.region,
                endpoint_url=bedrock.endpoint_url,
                aws_access_key_id="local",
                aws_secret_access_key="local",  # noqa: S106 - made up; a loopback socket asks for none
            )
        return
    session = _session(options.profile)
    region = options.region or session.region_name or _DEFAULT_REGION
    account = f"profile {options.profile}" if options.profile else "your AWS credentials"
    console.print(f"Asking {options.router} on AWS, {region}, with {account}.", markup=False)
    yield _client(options, session, config=Config(), region_name=region)


def serve(options: Namespace, console: Console) -> None:
    """Run the local Bedrock until interrupted, and print how to reach it."""

    def ready(url: str) -> None:
        console.print(f"Local Bedrock at {url} (simulated answers and times). For any AWS SDK:", markup=False)
        console.print(f"export AWS_ENDPOINT_URL_BEDROCK_RUNTIME={url} AWS_ENDPOINT_URL_BEDROCK={url}")
        console.print("export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local AWS_REGION=us-east-1")

    pace = _PACE if options.pace else None
    try:
        serve_local(port=options.port, answers=options.answers, pace=pace, on_ready=ready)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"Port {options.port} is in use; --port 0 takes any free one."
            ) from error
        raise


def _local_line(options: Namespace, why: str) -> str:
    times = "replies take simulated time" if options.pace else "times are not Bedrock's"
    return f"Asking {options.router} on a local Bedrock ({why}): answers by {options.answers}, {times}."


def _client(options: Namespace, session: Any, *, config: Config, **where: Any) -> RoutedClient:
    """Return the client of both planes; each is made at its first use."""
    return RoutedClient(
        lambda: session.client("bedrock-runtime", config=config, **where),
        model=options.router,
        control=lambda: session.client("bedrock", config=config.merge(_LOOKING_UP), **where),
        cache=not options.no_cache,
    )


def _has_credentials(profile: str | None) -> bool:
    return bool(os.environ.get(_BEARER)) or _session(profile).get_credentials() is not None


def _session(profile: str | None) -> Any:
    try:
        return boto3.Session(profile_name=profile)
    except Exception as error:
        raise ConfigurationError(f"AWS profile {profile!r} cannot be used: {error}") from error
