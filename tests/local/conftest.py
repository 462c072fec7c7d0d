"""A local Bedrock with a clock that tests move by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from local_support import ANSWER

from bedrock_local import FixedAnswer, LocalBedrock, ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def bedrock(clock: ManualClock) -> Iterator[LocalBedrock]:
    with LocalBedrock(answers=FixedAnswer(ANSWER), clock=clock) as running:
        yield running


@pytest.fixture
def runtime(bedrock: LocalBedrock) -> Any:
    return bedrock.client("bedrock-runtime", retries={"total_max_attempts": 1})


@pytest.fixture
def control(bedrock: LocalBedrock) -> Any:
    return bedrock.client("bedrock", retries={"total_max_attempts": 1})
