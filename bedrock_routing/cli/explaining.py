"""Print what a log of receipts says: where the money went, what was missed and what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console

from bedrock_routing.errors import ConfigurationError
from bedrock_routing.ledger import Ledger, money, table
from bedrock_routing.misses import ADVICE, Lost, Misses
from bedrock_routing.savings import Savings

__all__ = ["explain"]

_BAD_LINES_SHOWN = 5


def explain(log: str, out: Console, err: Console) -> None:
    """Read a log, or standard input for `-`, and print its account."""
    ledger = _read(log)
    _complain(ledger, err)
    total = ledger.total
    if not total.calls:
        raise ConfigurationError(f"{log} holds no receipt; --log and Ledger(log=...) write them.")
    _print(out, str(ledger))
    share = "unknown" if total.hit_ratio is None else f"{total.hit_ratio:.1%}"
    _print(out, f"\n{total.calls:,} calls, {share} of the prompt tokens read from the cache")
    if total.without_usage:
        _print(out, f"{total.without_usage:,} replies did not say their tokens, so sums of money are unknown")
    _print(out, f"\n{_missed(ledger.misses())}\n\n{_saved(ledger.savings())}")


def _read(log: str) -> Ledger:
    if log == "-":
        return Ledger.read(sys.stdin)
    try:
        return Ledger.read(log)
    except OSError as error:
        raise ConfigurationError(f"The log {log} cannot be read: {error.strerror or error}.") from error


def _complain(ledger: Ledger, err: Console) -> None:
    bad = ledger.bad_lines
    for line in bad[:_BAD_LINES_SHOWN]:
        _print(err, f"left out: {line}")
    if len(bad) > _BAD_LINES_SHOWN:
        _print(err, f"left out: {len(bad):,} lines in all")


def _missed(misses: Misses) -> str:
    """Return a row per reason, the most tokens first, and what to do about each."""
    if not misses.total.calls:
        return "Nothing was missed: what had been cached and came again was read."
    worst = sorted(misses.by_reason.items(), key=lambda each: -each[1].tokens)
    sums: list[tuple[str, Lost]] = [*worst, *([("total", misses.total)] if len(worst) > 1 else [])]
    rows = [(name, f"{lost.calls:,}", f"{lost.tokens:,}", money(lost.usd)) for name, lost in sums]
    advice = [f"  {reason}: {ADVICE[reason]}" for reason, _ in worst]
    places = _places(misses)
    return "\n".join([table([("missed", "calls", "tokens", "lost"), *rows]), "", *advice, *places])


def _places(misses: Misses) -> Sequence[str]:
    """Return where the newest misses happened, each place once."""
    found = {
        f"  {each.reason}{f' at {each.path}' if each.path else ''}: {each.detail}": None
        for each in reversed(misses.examples)
        if each.detail
    }
    return ["", "newest:", *found] if found else []


def _saved(savings: Savings) -> str:
    saved = savings.saved
    rows = [(name, money(cost), money(saved[name])) for name, cost in savings.baselines.items()]
    note = "Quality is not in these numbers: how good other answers would have been, nobody knows."
    return f"{table([('instead', 'cost', 'saved'), *rows])}\n{note}"


def _print(out: Console, text: str) -> None:
    out.print("".join(each for each in text if each == "\n" or each.isprintable()), markup=False)
