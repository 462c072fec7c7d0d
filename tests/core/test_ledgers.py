from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Callable
from contextvars import copy_context
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_local import LocalBedrock
from bedrock_routing import Ledger, PricePolicy, Receipt, RoutedClient, Totals, Usage, collect, parse
from bedrock_routing.ledger import record
from bedrock_routing.misses import Lost, Miss
from bedrock_routing.receipt_log import ReceiptLog
from bedrock_routing.savings import lost_by, strongest_cost_of

LITE, PRO = parse("amazon.nova-lite-v1:0"), parse("amazon.nova-pro-v1:0")


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


def missing(reason: Any = "lifetime over", lost: str | None = "0.5", **more: Any) -> Receipt:
    miss = Miss(reason=reason, tokens=2_000, lost_usd=None if lost is None else Decimal(lost), **more)
    return Receipt(usage=Usage(fresh=1), miss=miss)


def test_misses_add_up_by_reason() -> None:
    """Calls, tokens and money are summed in all and by reason; the newest ten misses are kept as examples."""
    ledger = filled(
        receipt(), missing(), missing("model switched"), *[missing(path=f"{n}") for n in range(11)]
    )
    misses = ledger.misses()
    assert misses.total == Lost(calls=13, tokens=26_000, usd=Decimal("6.5"))
    assert misses.by_reason == {
        "lifetime over": Lost(calls=12, tokens=24_000, usd=Decimal("6.0")),
        "model switched": Lost(calls=1, tokens=2_000, usd=Decimal("0.5")),
    }
    assert [each.path for each in misses.examples] == [str(number) for number in range(1, 11)]


def test_a_miss_of_unknown_price_makes_its_sums_unknown() -> None:
    """Tokens are still counted."""
    misses = filled(missing(lost=None), missing(), missing("unexplained")).misses()
    assert (misses.total.usd, misses.by_reason["lifetime over"].usd) == (None, None)
    assert misses.by_reason["unexplained"].usd == Decimal("0.5")
    assert misses.total.tokens == 6_000


def test_savings_name_three_baselines(
    serve: Callable[..., LocalBedrock], connect: Callable[..., RoutedClient], document: str
) -> None:
    """The same tokens without caching, on the dearest model with its cache, and routed without caching."""
    ledger = Ledger()
    client = connect(serve(routing="alternate"), "amazon.nova:1", ledger=ledger)
    for number in range(4):
        asked: list[Any] = [{"role": "user", "content": [{"text": f"Why {number}?"}]}]
        client.converse(system=[{"text": document}], messages=asked)
    receipts, savings = ledger.receipts, ledger.savings()
    usages = [each.usage for each in receipts if each.usage]
    assert len(usages) == 4
    pro = sum((strongest_cost_of((PRO,), usage, PricePolicy()) or Decimal(0) for usage in usages), Decimal(0))
    assert pro > (savings.cost_usd or 0) > 0
    assert savings.baselines == {
        "no caching, same models": ledger.total.uncached_cost_usd,
        "caching, strongest model, no router": pro,
        "router, no caching": ledger.total.uncached_cost_usd,
    }
    assert savings.saved["no caching, same models"] == ledger.total.saved_usd
    assert savings.saved["caching, strongest model, no router"] == pro - (savings.cost_usd or 0)


def test_a_baseline_that_is_not_known_is_not_guessed() -> None:
    """A call without a router says nothing of one; an unknown price makes the dearest model unknown."""
    direct = Receipt(
        usage=Usage(fresh=1),
        cost_usd=Decimal(1),
        uncached_cost_usd=Decimal(2),
        strongest_cost_usd=None,
    )
    routed = Receipt(
        router_arn="arn",
        usage=Usage(fresh=1),
        cost_usd=Decimal(1),
        uncached_cost_usd=Decimal(2),
        strongest_cost_usd=Decimal(3),
    )
    assert list(filled(routed).savings().saved.values()) == [Decimal(1), Decimal(2), Decimal(1)]
    assert list(filled(routed, direct).savings().saved.values()) == [Decimal(2), None, None]
    assert list(filled(routed, Receipt()).savings().saved.values()) == [None, None, None]


def test_the_strongest_model_is_the_dearest_known() -> None:
    """Of two models the one with the higher input price counts; with one of unknown price nobody knows."""
    usage, prices = Usage(fresh=1_000, read=5_000, output=10), PricePolicy(per_request_usd=1.0)
    pro = strongest_cost_of((PRO,), usage, prices)
    assert strongest_cost_of((LITE, PRO), usage, prices) == pro != strongest_cost_of((LITE,), usage, prices)
    assert pro is not None
    assert pro < 1  # nobody asks a router here, so its fee is not in it
    assert strongest_cost_of((LITE, parse("acme.thinker-9-v1:0")), usage, prices) is None
    assert strongest_cost_of((), usage, prices) is None


def test_what_a_miss_lost_never_exceeds_what_was_paid_for() -> None:
    """Written tokens are taken first, then fresh ones; of an unknown model nothing is known."""
    usage = Usage(fresh=1_000, write_5m=1_000)
    claude, prices = parse("anthropic.claude-sonnet-4-5-20250929-v1:0"), PricePolicy()
    price = Decimal("0.0000033")
    assert lost_by(500, claude, usage, prices) == 500 * price * (Decimal("1.25") - Decimal("0.1"))
    assert lost_by(9_000, claude, usage, prices) == lost_by(2_000, claude, usage, prices)
    assert lost_by(500, parse("acme.thinker-9-v1:0"), usage, prices) is None


def test_a_log_has_a_line_per_call_and_is_read_back(tmp_path: Path) -> None:
    """Each line stands in the file as soon as the call is counted; two ledgers append to one file."""
    path = tmp_path / "calls.jsonl"
    written = Ledger(log=path)
    for number, each in enumerate((receipt(), missing(path="system.0", detail="d")), start=1):
        written.add(each)
        assert len(path.read_text("utf-8").splitlines()) == number
    Ledger(log=str(path)).add(receipt())
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert all(datetime.fromisoformat(line["at"]).utcoffset() is not None for line in lines)
    again = Ledger.read(path)
    assert again.receipts == (*written.receipts, receipt())
    assert (again.misses(), again.bad_lines) == (written.misses(), ())


def test_a_log_may_be_an_open_file() -> None:
    """It is written to and not closed."""
    file = io.StringIO()
    Ledger(log=file).add(receipt())
    assert Ledger.read(file.getvalue().splitlines()).total == filled(receipt()).total


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "{}",
        '{"cache": {"miss": {"reason": "lifetime over"}}}',
        '{"cache": {"fresh": 1, "skipped": [{}]}}',
        '{"cache": {}, "cost_usd": "much"}',
        '{"cache": {}, "cost_usd": NaN}',
        '{"cache": {"fresh": "many"}}',
        '{"cache": {"fresh": -1}}',
        '{"cache": {"miss": {"reason": "bad luck", "tokens": 1}}}',
        '{"cache": {}, "model": ["m"]}',
        "[" * 100_000,
    ],
)
def test_a_line_that_is_no_receipt_is_named_and_not_counted(line: str) -> None:
    """The good lines around it count."""
    good = json.dumps(receipt().to_dict())
    ledger = Ledger.read([good, line, "", good])
    assert ledger.total.calls == 2
    assert [each.number for each in ledger.bad_lines] == [2]
    assert str(ledger.bad_lines[0]).startswith("line 2: ")


def test_a_log_that_fails_breaks_no_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The call is counted, and the failure is logged once."""
    folder = tmp_path / "logs"
    folder.mkdir()
    ledger = Ledger(log=folder / "calls.jsonl")
    (folder / "calls.jsonl").unlink()
    folder.rmdir()
    with caplog.at_level(logging.WARNING, logger="bedrock_routing"):
        ledger.add(receipt())
        ledger.add(receipt())
    assert (ledger.total.calls, len(caplog.records)) == (2, 1)


def test_a_log_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    """A ledger that cannot write is not made; no call has been made by then."""
    with pytest.raises(OSError, match="gone"):
        Ledger(log=tmp_path / "gone" / "calls.jsonl")


def test_text_of_a_prompt_is_logged_only_where_it_is_asked_for() -> None:
    """By default a line names places and numbers only."""
    shown = missing(excerpt=("Secret 1", "Secret 2"))
    plain, open_log = io.StringIO(), io.StringIO()
    Ledger(log=plain).add(shown)
    Ledger(log=ReceiptLog(open_log, excerpts=True)).add(shown)
    assert "Secret" not in plain.getvalue()
    (read,) = Ledger.read(open_log.getvalue().splitlines()).misses().examples
    assert read.excerpt == ("Secret 1", "Secret 2")


_json = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), st.lists)
_parts = st.dictionaries(st.sampled_from([*Receipt().to_dict()["cache"], "reason", "tokens", "path"]), _json)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.dictionaries(st.sampled_from(list(Receipt().to_dict())), _json),
    _json | _parts | st.fixed_dictionaries({"fresh": st.integers(0, 9), "miss": _parts}),
)
def test_no_line_breaks_the_reading_of_a_log(data: dict[str, Any], cache: object) -> None:
    """Whatever stands in a line, it is counted or named, and the table is printed."""
    ledger = Ledger.read([json.dumps({**data, "cache": cache})])
    assert ledger.total.calls + len(ledger.bad_lines) == 1
    assert "calls" in str(ledger)
