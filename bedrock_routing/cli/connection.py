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
from bedrock_routing.errors import ConfigurationError
from langchain_bedrock_routing import ChatBedrockRouter

__all__ = ["connect", "serve"]

_DEFAULT_REGION = "us-east-1"
_BEARER = "AWS_BEARER_TOKEN_BEDROCK"
_PACE = Pace(prompt_tokens_per_second=5_000, output_tokens_per_second=150, first_token_seconds=0.3)


@contextmanager
def connect(options: Namespace, console: Console) -> Generator[ChatBedrockRouter]:
    """Yield the chat model that answers; a local Bedrock runs as long as the block."""
    parse(options.router)  # a wrong one is said before anything starts
    if options.local or not _has_credentials(options.profile):
        with LocalBedrock(answers=options.answers, pace=_PACE if options.pace else None) as bedrock:
            why = "as asked" if options.local else "no AWS credentials found"
            console.print(_local_line(options, why), markup=False)
            yield _model(
                options,
                region_name=bedrock.region,
                endpoint_url=bedrock.endpoint_url,
                aws_access_key_id="local",
                aws_secret_access_key="local",  # noqa: S106 - made up; a loopback socket asks for none
                config=Config(proxies={}, signature_version="v4"),
            )
        return
    region = options.region or _session(options.profile).region_name or _DEFAULT_REGION
    account = f"profile {options.profile}" if options.profile else "your AWS credentials"
    console.print(f"Asking {options.router} on AWS, {region}, with {account}.", markup=False)
    yield _model(options, region_name=region, credentials_profile_name=options.profile)


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


def _model(options: Namespace, **where: Any) -> ChatBedrockRouter:
    return ChatBedrockRouter(
        model=options.router,
        cache=not options.no_cache,
        max_tokens=options.max_tokens,
        temperature=0,
        **where,
    )


def _has_credentials(profile: str | None) -> bool:
    return bool(os.environ.get(_BEARER)) or _session(profile).get_credentials() is not None


def _session(profile: str | None) -> Any:
    try:
        return boto3.Session(profile_name=profile)
    except Exception as error:
        raise ConfigurationError(f"AWS profile {profile!r} cannot be used: {error}") from error
