"""How long it takes to construct a chat model, beside langchain-aws's own; no service is called.

    python benchmarks/construction.py [--rounds 30]

`ChatBedrockConverse` makes two boto3 clients at once, `ChatBedrockRouter` none before its first call, which
then makes them. So the time to the first client is measured, too: it is not saved, it is spent later, and
only once for all configurations of `init_router_model(..., configurable_fields=[...])`.
"""

import argparse
import logging
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from langchain_aws import ChatBedrockConverse

from langchain_bedrock_routing import ChatBedrockRouter, init_router_model

ARN = "arn:aws:bedrock:us-east-1:123412341234:prompt-router/abcd1234efgh"
REGION = "us-east-1"


def theirs() -> Any:
    return ChatBedrockConverse(model=ARN, provider="amazon", region_name=REGION)


def ours() -> Any:
    return ChatBedrockRouter(model=ARN, region_name=REGION)


def one_line() -> Any:
    return init_router_model(f"bedrock_routing:{ARN}", region_name=REGION)


def ours_with_client() -> Any:
    return ours().client.meta.region_name


def milliseconds(make: Callable[[], Any], rounds: int) -> list[float]:
    """Return the time of each construction but the first, which also imports and reads files."""
    times: list[float] = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        make()
        times.append((time.perf_counter() - start) * 1000)
    return sorted(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    logging.disable(logging.WARNING)  # langchain-aws says each time that it does not stream a router
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    cases = {
        "ChatBedrockConverse": theirs,
        "ChatBedrockRouter": ours,
        "init_router_model": one_line,
        "ChatBedrockRouter and its first client": ours_with_client,
    }
    base = 0.0
    print(f"{'':40}{'median ms':>12}{'max ms':>12}{'ratio':>10}")
    for name, make in cases.items():
        times = milliseconds(make, rounds)
        median = statistics.median(times)
        base = base or median
        print(f"{name:40}{median:12.2f}{times[-1]:12.2f}{median / base:10.5f}")


if __name__ == "__main__":
    main()
