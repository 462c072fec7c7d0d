"""What workloads cost with this project, with other libraries' automatic caching, and at the very least.

Everyone replays the same calls against the same local Bedrock; costs come from the token counts on the wire
and the prices of genai-prices, in units of what the calls cost without caching. Output is in all numbers,
quality in none. `share` is the part of the saving that was reached of what was possible for one who knows all
calls beforehand and who will answer them; `ordered` allows another order of the documents, the best of three:
as given, as our retrievers put them, and the most retrieved first. Run it:

    python benchmarks/savings.py [--quick] [--workload same,day] [--target "one Claude"] [--only ours]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from savings_corpora import real
from savings_peers import PEERS
from savings_runs import TARGETS, Run, least, popular_first, run_ours, run_peer
from savings_workloads import MissingDataError, Workload, synthetic

from bedrock_routing.policy import AffinityKind

_WORKLOADS = {**synthetic(), **real()}
_QUICK = 0.25
_NONE = "no caching"
_COLUMNS = (*PEERS, "ours", "ours, ordered")
_SHOWN = (*_COLUMNS, "optimum", "ordered", "share", "ordered")
_LABEL = 62
_KINDS = ("read", "5m", "1h", "fresh")
_TOP = 6


def main() -> int:
    """Print the table; return 1 where a row is dearer than no caching or than another library."""
    options = _options()
    names = options.workload.split(",") if options.workload else list(_WORKLOADS)
    targets = [options.target] if options.target else list(TARGETS)
    rows: list[dict[str, Any]] = []
    print(_header())
    for name in names:
        try:
            workload = _WORKLOADS[name](
                random.Random(options.seed),  # noqa: S311 - a workload, no secret
                _QUICK if options.quick else 1.0,
            )
        except MissingDataError as missing:
            print(f"{name}: skipped, {missing}")
            continue
        for target in targets:
            rows.append(
                _measured(name, workload, target, only_ours=options.only == "ours", affinity=options.affinity)
            )
            print(_line(rows[-1]), flush=True)
    for row in rows:
        _explain(row, every=options.why)
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1), "utf-8")
    if options.plot:
        _plot(rows, options.plot)
    return int(any(row["notes"] for row in rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of each workload")
    parser.add_argument("--workload", help=f"some of {','.join(_WORKLOADS)}")
    parser.add_argument("--target", choices=list(TARGETS))
    parser.add_argument("--only", choices=["ours"], help="leave the other libraries out")
    parser.add_argument(
        "--affinity", choices=["router", "sticky", "cost"], default="router", help="who is asked, of two"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the made-up workloads")
    parser.add_argument("--why", action="store_true", help="say for every row what was not cached and why")
    parser.add_argument("--json", metavar="FILE", help="write the rows")
    parser.add_argument("--plot", metavar="FILE", help="draw the rows; needs matplotlib")
    return parser.parse_args()


def _measured(
    name: str, workload: Workload, target: str, *, only_ours: bool, affinity: AffinityKind
) -> dict[str, Any]:
    models = TARGETS[target]
    began = time.perf_counter()
    runs: dict[str, Run] = {
        peer: run_peer(workload, models, place)
        for peer, place in PEERS.items()
        if peer == _NONE or not only_ours
    }
    runs["ours"] = run_ours(workload, models, affinity=affinity)
    if workload.ordered:
        runs["ours, ordered"] = run_ours(workload, models, ordered=True, affinity=affinity)
    none = runs[_NONE]
    plain = none.cost
    bounds = {"ours": least(workload, none.models)}
    if workload.ordered:
        ordered = [
            least(workload, none.models, runs["ours, ordered"].orders),
            least(workload, none.models, popular_first(workload)),
        ]
        bounds["ours, ordered"] = min(bounds["ours"], *ordered, key=lambda bound: bound.cost)
    ratios = {column: float(run.cost / plain) for column, run in runs.items()}
    output = float(none.output_cost)
    optimum = {column: (bound.cost + output) / float(plain) for column, bound in bounds.items()}
    row: dict[str, Any] = {
        "workload": name,
        "title": workload.title,
        "target": target,
        "calls": len(workload.calls),
        "repeats": workload.repeats,
        "uncached_usd": float(plain),
        "cost": ratios,
        "optimum": optimum,
        "share": {
            column: (1 - ratios[column]) / (1 - bound) if bound < 1 - 1e-6 else None
            for column, bound in optimum.items()
        },
        "tokens": {
            **{column: run.tokens for column, run in runs.items()},
            **{f"optimum for {column}": dict(bound.tokens) for column, bound in bounds.items()},
        },
        "skipped": dict(runs["ours"].skipped().most_common(_TOP)),
        "seconds": round(time.perf_counter() - began, 1),
    }
    return {**row, "notes": list(_missed(row))}


def _missed(row: dict[str, Any]) -> Sequence[str]:
    """Return what the row does not keep: never above 1.02, no library cheaper by 1 %, 0.90 of the saving."""
    cost, best = row["cost"], min(row["cost"].get("ours, ordered", 9.0), row["cost"]["ours"])
    peers = {peer: each for peer, each in cost.items() if not peer.startswith("ours")}
    cheapest = min(peers, key=lambda peer: peers[peer])
    share = max((each for each in row["share"].values() if each is not None), default=1.0)
    notes: list[str] = []
    if cost["ours"] > 1.02:
        notes.append(f"above 1.02: {cost['ours']:.3f}")
    if best > peers[cheapest] * 1.01:
        notes.append(f"{cheapest} is cheaper: {peers[cheapest]:.3f} to {best:.3f}")
    if row["repeats"] and share < 0.90:
        notes.append(f"{share:.2f} of the possible saving")
    return notes


def _header() -> str:
    return f"{'cost in units of no caching':{_LABEL}}" + "".join(
        f"{name:>{len(name) + 2}}" for name in _SHOWN
    )


def _line(row: dict[str, Any]) -> str:
    label = f"{row['title']}, {row['target']} ({row['calls']})"
    numbers = [row["cost"].get(column) for column in _COLUMNS]
    for kind in ("optimum", "share"):
        numbers += [row[kind].get(column) for column in ("ours", "ours, ordered")]
    shown = "".join(
        f"{'-' if number is None else f'{number:.3f}':>{len(name) + 2}}"
        for name, number in zip(_SHOWN, numbers, strict=True)
    )
    return f"{label:{_LABEL}}{shown}  {'; '.join(row['notes'])}".rstrip()


def _explain(row: dict[str, Any], *, every: bool) -> None:
    if not row["notes"] and not every:
        return
    print(f"\n{row['title']}, {row['target']}: {'; '.join(row['notes']) or 'kept'}")
    for column, tokens in row["tokens"].items():
        print(f"  {column:26}" + "".join(f"{kind:>6} {tokens.get(kind, 0):>10,}" for kind in _KINDS))
    for reason, count in row["skipped"].items():
        print(f"  {count:5} x {reason}")


def _plot(rows: Sequence[dict[str, Any]], file: str) -> None:
    try:
        from matplotlib import pyplot as plt  # noqa: PLC0415 - optional  # pyright: ignore[reportMissingImports]
    except ImportError:
        print("no plot: matplotlib is not installed")
        return
    figure, axes = plt.subplots(figsize=(12, 0.5 * len(rows) + 2))
    for column in _COLUMNS:
        points = [(row["cost"][column], place) for place, row in enumerate(rows) if column in row["cost"]]
        ours = column.startswith("ours")
        axes.plot(*zip(*points, strict=True), "D" if ours else "o", label=column, alpha=0.9 if ours else 0.5)
    bounds = [(row["optimum"]["ours"], place) for place, row in enumerate(rows)]
    axes.plot(*zip(*bounds, strict=True), "|", color="black", markersize=16, label="optimum")
    axes.axvline(1.0, color="grey", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [f"{row['title']}, {row['target']}" for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("cost in units of no caching (output included)")
    axes.legend(loc="lower left", ncols=3)
    figure.tight_layout()
    figure.savefig(file)
    print(f"plot: {file}")


if __name__ == "__main__":
    sys.exit(main())
