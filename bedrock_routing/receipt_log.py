"""Write receipts as JSON lines, one per call, and read them back.

A line holds numbers, names and places on the wire, no text of a prompt unless that is asked for.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any, TextIO, cast

from bedrock_routing.misses import ADVICE
from bedrock_routing.receipt import Receipt

__all__ = ["BadLineError", "ReceiptLog", "read_lines"]

logger = logging.getLogger("bedrock_routing")


class ReceiptLog:
    """Append receipts to a file, or write them to an open one; each is there when `write` returns.

    A path is tried when the log is made, and `OSError` says that it cannot be written. It is opened anew for
    each line, so that the file may be moved away. `excerpts`: also write the characters around a change in a
    prompt, which are text of the prompt.
    """

    def __init__(self, target: str | PathLike[str] | TextIO, *, excerpts: bool = False) -> None:
        self._path = Path(target) if isinstance(target, str | PathLike) else None
        self._file = None if isinstance(target, str | PathLike) else target
        self._excerpts = excerpts
        self._lock = threading.Lock()
        self._has_failed = False
        if self._path is not None:
            self._path.open("a", encoding="utf-8").close()

    def write(self, receipt: Receipt) -> None:
        """Write one line; what goes wrong is logged once and never raised."""
        try:
            line = f"{json.dumps(self._shown(receipt))}\n"
            with self._lock:
                self._append(line)
        except Exception:
            if not self._has_failed:
                logger.warning("a receipt could not be written to its log; calls go on", exc_info=True)
            self._has_failed = True

    def _shown(self, receipt: Receipt) -> dict[str, Any]:
        data = receipt.to_dict()
        if self._excerpts and receipt.miss is not None:
            data["cache"]["miss"] = receipt.miss.to_dict(excerpt=True)
        return {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), **data}

    def _append(self, line: str) -> None:
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
        elif self._file is not None:
            self._file.write(line)
            self._file.flush()


class BadLineError(Exception):
    """Say which line is no receipt, and why."""

    def __init__(self, number: int, why: str) -> None:
        self.number = number
        super().__init__(f"line {number}: {why}")


def read_lines(lines: Iterable[str]) -> Iterator[Receipt | BadLineError]:
    """Yield what each line holds; empty lines are passed over."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _receipt(number, line)


def _receipt(number: int, line: str) -> Receipt | BadLineError:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        return BadLineError(number, f"no JSON ({error})")
    if not isinstance(data, dict) or "cache" not in data:
        return BadLineError(number, "no receipt")
    try:
        receipt = Receipt.from_dict(cast("dict[str, Any]", data))
        wrong = next(_wrong_values(receipt), None)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return BadLineError(number, f"not a receipt as it should be ({type(error).__name__})")
    return receipt if wrong is None else BadLineError(number, f"{wrong} is not what it should be")


def _wrong_values(receipt: Receipt) -> Iterator[str]:
    """Yield what cannot be added up or printed: a log may come from anywhere."""
    usage, miss = receipt.usage, receipt.miss
    names: dict[str, object] = {
        "model": receipt.model,
        "invoked_model_id": receipt.invoked_model_id,
        "decided_by": receipt.decided_by,
        "router_choice": receipt.router_choice,
        "purpose": receipt.purpose,
    }
    counts = {f"cache.{name}": count for name, count in (asdict(usage) if usage else {}).items()}
    money = {
        "cost_usd": receipt.cost_usd,
        "uncached_cost_usd": receipt.uncached_cost_usd,
        "strongest_cost_usd": receipt.strongest_cost_usd,
    }
    if miss is not None:
        names |= {"cache.miss.path": miss.path, "cache.miss.detail": miss.detail}
        counts["cache.miss.tokens"] = miss.tokens
        money["cache.miss.lost_usd"] = miss.lost_usd
        if miss.reason not in ADVICE:
            yield "cache.miss.reason"
    yield from (name for name, value in names.items() if not isinstance(value, str | None))
    yield from (name for name, value in counts.items() if type(value) is not int or value < 0)
    yield from (name for name, value in money.items() if value is not None and not value.is_finite())
