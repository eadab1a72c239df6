"""What the measurements say: one record for programs, two tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from maskkv.bench.measure import Case, Cost, Timing


def spread(values: Iterable[float]) -> dict[str, float]:
    """Return median, least and most."""
    values = list(values)
    return {"median": median(values), "min": min(values), "max": max(values)}


def summary(
    case: Case, cost: Cost, timings: Sequence[Timing], reference: Sequence[Timing], num_steps: int
) -> dict[str, Any]:
    """Summarise a case; `reference` are the timings of `none`, one for each repeat of the case's own.

    A ratio is between a case and `none` in the same repeat. A response that was timed in part is extrapolated:
    each of its steps counts as the mean of those timed.
    """
    kinds = timings[0].kinds
    flops = sum(cost.flops[each] for each in kinds) * num_steps // len(kinds)
    pairs = list(zip(timings, reference, strict=True))
    return {
        **asdict(case),
        "steps": num_steps,
        "steps_timed": len(kinds),
        "extrapolated": len(kinds) < num_steps,
        "steps_per_s": spread(1 / _mean(own.seconds) for own in timings),
        "speedup": spread(_mean(none.seconds) / _mean(own.seconds) for own, none in pairs),
        "cpu_speedup": spread(_mean(none.cpu_seconds) / _mean(own.cpu_seconds) for own, none in pairs),
        "response_s": spread(_mean(own.seconds) * num_steps for own in timings),
        "step_s": {kind: spread(_of_kind(timings, kind)) for kind in dict.fromkeys(kinds)},
        "step_flops": cost.flops,
        "response_flops": flops,
        "cache_bytes": cost.cache_bytes,
        "peak_live_bytes": cost.peak_live_bytes,
    }


def show(record: dict[str, Any], console: Console) -> None:
    """Print the record as two tables, with what was measured and what was not."""
    cases = record["cases"]
    console.print(
        f"Random LLaDA {record['shape']!r}: {record['parameters']:,} parameters, {record['dtype']}, "
        f"{record['environment']['threads']} threads. Prompt {record['prompt_length']:,} tokens, "
        f"response {record['gen_length']}.",
        soft_wrap=True,
    )
    console.print(_speed_table(cases))
    console.print(_cost_table(cases))
    console.print(_notes(record), style="dim", soft_wrap=True)


def _speed_table(cases: Sequence[dict[str, Any]]) -> Table:
    table = Table("policy", title="Speed: median, and least–most, over repeats", title_justify="left")
    for column in ("steps/s", "× none", "by CPU time", "prompt refresh", "response refresh", "partial"):
        table.add_column(column, justify="right")
    for case in cases:
        kinds = case["step_s"]
        # Without a cache every step is a refresh of everything.
        steps = (kinds.get("prompt", kinds.get("everything")), kinds.get("response"), kinds.get("partial"))
        table.add_row(
            _label(case) + (" *" if case["extrapolated"] else ""),
            _range(case["steps_per_s"], "{:.3g}"),
            _range(case["speedup"], "{:.1f}"),
            _range(case["cpu_speedup"], "{:.1f}"),
            *(f"{step['median'] * 1e3:,.0f} ms" if step else "" for step in steps),
        )
    return table


def _cost_table(cases: Sequence[dict[str, Any]]) -> Table:
    none = next(case for case in cases if case["policy"] == "none")
    table = Table("policy", title="Size and work", title_justify="left")
    for column in ("cache", "peak live", "GFLOP/response", "none ÷ own"):
        table.add_column(column, justify="right")
    for case in cases:
        table.add_row(
            _label(case),
            decimal(case["cache_bytes"]),
            decimal(case["peak_live_bytes"]),
            f"{case['response_flops'] / 1e9:,.3g}",
            f"{none['response_flops'] / case['response_flops']:.1f}",
        )
    return table


def _notes(record: dict[str, Any]) -> str:
    lines = [
        f"Timed: policies in turn in one process, {record['repeats']} times; each ratio is within one turn.",
        "Peak live: tensors alive in a prompt refresh without the weights; inside fused kernels nothing is seen.",
        "GFLOP: one step of each kind counted, times the steps of that kind; none ÷ own bounds × none.",
        "Layer importance was measured before, as with a calibration profile.",
        "By CPU time: the same ratio in seconds of this process's threads, which other programs hardly change.",
    ]
    for case in record["cases"]:
        if case["extrapolated"]:
            lines.insert(
                1,
                f"* {_label(case)}: the first {case['steps_timed']} of {case['steps']} steps, all alike, were timed; "
                "the response is extrapolated.",
            )
    return "\n".join(lines)


def _label(case: dict[str, Any]) -> str:
    return case["policy"] if case["budget"] is None else f"{case['policy']} {case['budget']}"


def _range(values: dict[str, float], form: str) -> str:
    median_, least, most = (form.format(values[key]) for key in ("median", "min", "max"))
    return median_ if least == most else f"{median_}\n{least}–{most}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _of_kind(timings: Sequence[Timing], kind: str) -> list[float]:
    """Return the mean seconds of a kind of step, per repeat."""
    return [
        _mean([second for name, second in zip(own.kinds, own.seconds, strict=True) if name == kind]) for own in timings
    ]
