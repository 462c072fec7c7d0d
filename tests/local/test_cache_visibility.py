"""When what a call wrote can be read by another one."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from local_support import ANSWER, NOVA, POINT, question, text, user

from bedrock_local import LocalBedrock, ManualClock
from bedrock_local.answers.base import Prompt, Reply
from bedrock_local.caching import PromptCache
from bedrock_local.prompt import Dialect, render
from bedrock_local.tokens import TokenCounter
from bedrock_routing.catalog import CacheRules


class _Meeting:
    """Let calls answer only once all of them have arrived."""

    name = "meeting"

    def __init__(self, parties: int) -> None:
        self._barrier = threading.Barrier(parties, timeout=10)

    def reply(self, prompt: Prompt) -> Reply:
        self._barrier.wait()
        return Reply(text=ANSWER)


@pytest.mark.parametrize(("visible", "writers"), [("first-event", 6), ("at-once", 1)])
def test_parallel_first_calls(visible: Any, writers: int) -> None:
    """Calls that begin before the first response event all write; visible at once, only one does."""
    with LocalBedrock(answers=_Meeting(6), visible=visible) as bedrock:
        client = bedrock.client(max_pool_connections=6)
        asked = {"modelId": NOVA, "system": [text(1500), POINT], "messages": [question()]}
        threads = [threading.Thread(target=client.converse, kwargs=asked) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=10)
        usages = [request.usage or {} for request in bedrock.requests]
        assert len(usages) == 6
        assert sum(usage["cacheWriteInputTokens"] > 0 for usage in usages) == writers


def test_call_reads_only_what_was_readable_when_it_arrived() -> None:
    """An entry that appears after a call arrived is not read by it, and stays for later calls."""
    cache = PromptCache(ManualClock())
    rules = CacheRules(min_tokens=1, sections=frozenset({"messages"}))
    dialect = Dialect(key="amazon.nova-lite", provider="amazon", whole=True)
    prefix = render({"messages": [user(text(9), POINT)]}, dialect, TokenCounter("fast"))
    early, later = cache.arrive(), cache.arrive()
    first = cache.plan("scope", prefix, rules, early)
    cache.commit(first)
    second = cache.plan("scope", prefix, rules, later)
    assert (second.read, second.write) == (0, first.write)
    third = cache.plan("scope", prefix, rules, cache.arrive())
    cache.commit(second)
    assert (third.read, third.write) == (first.write, 0)
