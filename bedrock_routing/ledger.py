"""Add receipts up: totals, and per model that really answered; a table in print, HTML in a notebook.

A ledger may also write each receipt to a log, as a line of JSON, and can be read back from one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from decimal import Decimal
from html import escape
from os import PathLike
from pathlib import Path
from typing import TextIO

from bedrock_routing.misses import Misses
from bedrock_routing.receipt import Receipt
from bedrock_routing.receipt_log import BadLineError, ReceiptLog, read_lines
from bedrock_routing.savings import Savings

__all__ = ["Ledger", "Totals", "collect", "record"]

_HEADINGS = ("model", "calls", "fresh", "read", "written", "out", "cost", "saved")
_UNKNOWN_MODEL = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Be the sum of some receipts. Money is `None` as soon as one call's price is unknown."""

    calls: int = 0
    fresh: int = 0
    read: int = 0
    written: int = 0
    output: int = 0
    cost_usd: Decimal | None = Decimal(0)
    uncached_cost_usd: Decimal | None = Decimal(0)
    without_usage: int = 0
    """Calls whose reply never said its tokens, as a cut stream; they are in `calls` and nowhere else."""

    @property
    def prompt(self) -> int:
        """Return all prompt tokens."""
        return self.fresh + self.read + self.written

    @property
    def hit_ratio(self) -> float | None:
        """Return the share of prompt tokens that was read from the cache."""
        return self.read / self.prompt if self.prompt else None

    @property
    def saved_usd(self) -> Decimal | None:
        """Return what caching saved against the same models without caching."""
        if self.cost_usd is None or self.uncached_cost_usd is None:
            return None
        return self.uncached_cost_usd - self.cost_usd

    def plus(self, receipt: Receipt) -> Totals:
        """Return the totals with one more call."""
        usage = receipt.usage
        if usage is None:
            return replace(
                self,
                calls=self.calls + 1,
                without_usage=self.without_usage + 1,
                cost_usd=None,
                uncached_cost_usd=None,
            )
        return Totals(
            calls=self.calls + 1,
            fresh=self.fresh + usage.fresh,
            read=self.read + usage.read,
            written=self.written + usage.write,
            output=self.output + usage.output,
            cost_usd=_sum(self.cost_usd, receipt.cost_usd),
            uncached_cost_usd=_sum(self.uncached_cost_usd, receipt.uncached_cost_usd),
            without_usage=self.without_usage,
        )


class Ledger:
    """Collect receipts; safe for threads. Totals count every call, `receipts` keeps the newest ones.

    `log`: a path to append to, an open text file, or a `ReceiptLog` with settings of its own. It gets a line
    per receipt at once; a line that cannot be written never breaks a call. A path that cannot be opened
    raises `OSError` here.
    """

    def __init__(
        self, *, keep: int = 1_000, log: str | PathLike[str] | TextIO | ReceiptLog | None = None
    ) -> None:
        self._receipts: deque[Receipt] = deque(maxlen=keep)
        self._per_model: dict[str, Totals] = {}
        self._total = Totals()
        self._misses = Misses()
        self._savings = Savings()
        self._bad_lines: tuple[BadLineError, ...] = ()
        self._log = log if log is None or isinstance(log, ReceiptLog) else ReceiptLog(log)
        self._lock = threading.Lock()

    @classmethod
    def read(cls, source: str | PathLike[str] | Iterable[str], *, keep: int = 1_000) -> Ledger:
        """Read a log from a path, or from lines; `bad_lines` says what is no receipt."""
        ledger = cls(keep=keep)
        if isinstance(source, str | PathLike):
            with Path(source).open(encoding="utf-8", errors="replace") as lines:
                ledger._take(lines)
        else:
            ledger._take(source)
        return ledger

    def _take(self, lines: Iterable[str]) -> None:
        bad: list[BadLineError] = []
        for each in read_lines(lines):
            if isinstance(each, BadLineError):
                bad.append(each)
            else:
                self.add(each)
        self._bad_lines = tuple(bad)

    def add(self, receipt: Receipt) -> None:
        """Count one call."""
        model = receipt.model or receipt.invoked_model_id or _UNKNOWN_MODEL
        with self._lock:
            self._receipts.append(receipt)
            self._per_model[model] = self._per_model.get(model, Totals()).plus(receipt)
            self._total = self._total.plus(receipt)
            self._misses = self._misses.plus(receipt.miss)
            self._savings = self._savings.plus(receipt)
        if self._log is not None:
            self._log.write(receipt)

    @property
    def receipts(self) -> tuple[Receipt, ...]:
        """Return the newest receipts, oldest first."""
        with self._lock:
            return tuple(self._receipts)

    @property
    def total(self) -> Totals:
        """Return the sum over all calls."""
        return self._total

    @property
    def per_model(self) -> dict[str, Totals]:
        """Return the sums by the model that answered."""
        with self._lock:
            return dict(self._per_model)

    @property
    def bad_lines(self) -> tuple[BadLineError, ...]:
        """Return the lines of the log that was read which are no receipts."""
        return self._bad_lines

    def misses(self) -> Misses:
        """Return what was cached, sent again and not read: sums by reason, and the newest examples."""
        return self._misses

    def savings(self) -> Savings:
        """Return the cost of all calls and of three other ways to make them; quality is not in it."""
        return self._savings

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table's rows: one per model, and the total where there are several."""
        per_model = self.per_model
        rows = [_row(model, totals) for model, totals in per_model.items()]
        return rows if len(rows) == 1 else [*rows, _row("total", self.total)]

    def __str__(self) -> str:
        return table([_HEADINGS, *self.rows()])

    def __repr__(self) -> str:
        total = self.total
        return f"<Ledger: {total.calls} calls, cost {money(total.cost_usd)}, saved {money(total.saved_usd)}>"

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(each)}</th>" for each in _HEADINGS)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


_ACTIVE: ContextVar[tuple[Ledger, ...]] = ContextVar("bedrock_routing_ledgers", default=())


@contextmanager
def collect(ledger: Ledger | None = None) -> Generator[Ledger]:
    """Collect the receipts of all calls made inside the block, in this context and in copies of it.

    Blocks may nest; each sees its own calls. Threads count where the context is copied to them, as both
    frameworks do.
    """
    chosen = Ledger() if ledger is None else ledger
    _ACTIVE.set((*_ACTIVE.get(), chosen))
    try:
        yield chosen
    finally:
        # Not by token: a generator or a fixture may be closed in another context than it was opened in.
        active = _ACTIVE.get()
        last = max((place for place, each in enumerate(active) if each is chosen), default=None)
        if last is not None:
            _ACTIVE.set(active[:last] + active[last + 1 :])


def record(receipt: Receipt, own: Ledger | None) -> None:
    """Add a receipt to the caller's own ledger and to every block that collects here."""
    ledgers = {id(ledger): ledger for ledger in (own, *_ACTIVE.get()) if ledger is not None}
    for ledger in ledgers.values():
        ledger.add(receipt)


def _sum(total: Decimal | None, value: Decimal | None) -> Decimal | None:
    return None if total is None or value is None else total + value


def _row(name: str, totals: Totals) -> tuple[str, ...]:
    counts = (totals.calls, totals.fresh, totals.read, totals.written, totals.output)
    return (name, *(f"{count:,}" for count in counts), money(totals.cost_usd), money(totals.saved_usd))


def money(value: Decimal | None) -> str:
    """Write an amount in USD; six decimals, since one call costs fractions of a cent."""
    if value is None:
        return "unknown"
    return f"-${-value:.6f}" if value < 0 else f"${value:.6f}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Write rows as a table, the first of them as its head; numbers stand to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
