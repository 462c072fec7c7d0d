from __future__ import annotations

import threading
from contextvars import copy_context
from decimal import Decimal

import pytest

from bedrock_routing import Ledger, Receipt, Totals, Usage, collect
from bedrock_routing.ledger import record


def receipt(model: str | None = "amazon.nova-lite-v1:0", cost: str | None = "0.25") -> Receipt:
    return Receipt(
        model=model,
        usage=Usage(fresh=10, read=20, write_5m=30, write_1h=40, output=50),
        cost_usd=None if cost is None else Decimal(cost),
        uncached_cost_usd=None if cost is None else Decimal(1),
    )


def filled(*receipts: Receipt) -> Ledger:
    ledger = Ledger()
    for each in receipts:
        ledger.add(each)
    return ledger


def test_totals_add_up() -> None:
    """Calls, tokens and money of all receipts are summed, in all and by the model that answered."""
    ledger = filled(receipt(), receipt(), receipt("amazon.nova-pro-v1:0", "0.5"))
    assert ledger.total == Totals(
        calls=3,
        fresh=30,
        read=60,
        written=210,
        output=150,
        cost_usd=Decimal("1.0"),
        uncached_cost_usd=Decimal(3),
    )
    assert {model: totals.calls for model, totals in ledger.per_model.items()} == {
        "amazon.nova-lite-v1:0": 2,
        "amazon.nova-pro-v1:0": 1,
    }
    assert (ledger.total.saved_usd, ledger.total.hit_ratio) == (Decimal("2.0"), 60 / 300)


def test_one_unknown_price_makes_the_sum_unknown() -> None:
    """A total that leaves a call out would be a guess."""
    ledger = filled(receipt(), receipt("acme.thinker-9-v1:0", None))
    assert (ledger.total.cost_usd, ledger.total.saved_usd) == (None, None)
    assert ledger.per_model["amazon.nova-lite-v1:0"].cost_usd == Decimal("0.25")


def test_a_call_without_usage_costs_an_unknown_amount() -> None:
    """A stream that was cut did cost something, so its money is unknown, not zero."""
    totals = filled(Receipt(complete=False)).total
    assert (totals.calls, totals.without_usage, totals.cost_usd, totals.saved_usd) == (1, 1, None, None)


def test_the_table_has_a_row_per_model_and_a_total() -> None:
    """In print the columns are model, calls, fresh, read, written, out, cost and saved."""
    ledger = filled(receipt(), receipt("amazon.nova-pro-v1:0", None), receipt(None, "2"))
    head, line, *rows = str(ledger).splitlines()
    assert head.split() == ["model", "calls", "fresh", "read", "written", "out", "cost", "saved"]
    assert set(line) == {"-", " "}
    assert [row.split() for row in rows] == [
        ["amazon.nova-lite-v1:0", "1", "10", "20", "70", "50", "$0.250000", "$0.750000"],
        ["amazon.nova-pro-v1:0", "1", "10", "20", "70", "50", "unknown", "unknown"],
        ["unknown", "1", "10", "20", "70", "50", "$2.000000", "-$1.000000"],
        ["total", "3", "30", "60", "210", "150", "unknown", "unknown"],
    ]


def test_one_model_needs_no_total() -> None:
    """The table of a single model is its one row; an empty ledger shows an empty total."""
    assert [row[0] for row in filled(receipt()).rows()] == ["amazon.nova-lite-v1:0"]
    assert Ledger().rows() == [("total", "0", "0", "0", "0", "0", "$0.000000", "$0.000000")]


def test_a_notebook_shows_the_same_table_without_markup_of_others() -> None:
    """Names in the HTML table are escaped."""
    shown = filled(receipt("<b>&model"))._repr_html_()
    assert "<td>&lt;b&gt;&amp;model</td>" in shown
    assert (shown.count("<tr>"), shown.count("<th>")) == (2, 8)


def test_memory_is_bounded_and_totals_are_not() -> None:
    """Only the newest receipts are kept, all are counted."""
    ledger = Ledger(keep=3)
    for number in range(10):
        ledger.add(Receipt(model="m", latency_ms=number, usage=Usage(fresh=1)))
    assert [each.latency_ms for each in ledger.receipts] == [7, 8, 9]
    assert ledger.total.calls == 10


def test_no_call_is_lost_between_threads() -> None:
    """Twenty threads that count at once lose nothing."""
    ledger = Ledger(keep=1)

    def count() -> None:
        for _ in range(200):
            ledger.add(receipt())

    threads = [threading.Thread(target=count) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (ledger.total.calls, ledger.total.fresh, ledger.total.cost_usd) == (4_000, 40_000, Decimal(1_000))


def test_blocks_that_collect_may_nest() -> None:
    """Each block sees the calls inside it, the outer one those of the inner too."""
    with collect() as outer:
        record(receipt(), None)
        with collect() as inner:
            record(receipt(), None)
        record(receipt(), None)
    record(receipt(), None)
    assert (outer.total.calls, inner.total.calls) == (3, 1)


def test_a_ledger_that_is_named_twice_counts_once() -> None:
    """The client's own ledger may also be the one that collects."""
    own = Ledger()
    with collect(own), collect(own):
        record(receipt(), own)
    assert own.total.calls == 1


def test_a_block_ends_also_after_an_error() -> None:
    """What fails inside a block leaves no ledger behind."""
    with pytest.raises(KeyError), collect() as ledger:
        raise KeyError
    record(receipt(), None)
    assert ledger.total.calls == 0


def test_threads_count_where_the_context_is_copied_to_them() -> None:
    """A thread with a copy of the context counts, one without does not."""
    with collect() as ledger:
        context = copy_context()
        threads = [
            threading.Thread(target=context.run, args=(record, receipt(), None)),
            threading.Thread(target=record, args=(receipt(), None)),
        ]
        for thread in threads:
            thread.start()
            thread.join()
    assert ledger.total.calls == 1
