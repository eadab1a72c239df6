"""A case's measurements as fields of a record, and a record as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Column, Table

from maskkv.bench.machine import Machine
from maskkv.bench.measure import Case, Cost, Timing


def spread(values: Iterable[float]) -> dict[str, float]:
    """Return median, least and most."""
    values = list(values)
    return {"median": median(values), "min": min(values), "max": max(values)}


def summary(
    case: Case,
    cost: Cost,
    timings: Sequence[Timing],
    references: Mapping[str, Sequence[Timing]],
    num_steps: int,
    machine: Machine,
) -> dict[str, Any]:
    """Summarise a case; `references` are the timings of `none` and, if it was measured, `full`, one per repeat.

    A ratio compares whole responses of the case and of a reference in the same repeat. A case that was timed in part
    (`none`) is extrapolated to `num_steps`: each of its steps counts as the mean of those timed.
    """
    kinds = timings[0].kinds
    extrapolated = timings[0].tokens == 0
    steps = num_steps if extrapolated else len(kinds)
    flops = sum(cost.flops[each] for each in kinds) * steps // len(kinds)
    pairs = list(zip(timings, references["none"], strict=True))
    floors = {name: machine.floor(cost.flops[name], cost.moved[name]) for name in cost.flops}
    return {
        **asdict(case),
        "steps": steps,
        "steps_timed": len(kinds),
        "extrapolated": extrapolated,
        "first_commit_s": spread(each.first_commit_s for each in timings),
        "steps_per_s": spread(1 / _mean(own.seconds) for own in timings),
        "tokens_per_s": None if extrapolated else spread(own.tokens / sum(own.seconds) for own in timings),
        "speedup": spread(_mean(none.seconds) * num_steps / (_mean(own.seconds) * steps) for own, none in pairs),
        "cpu_speedup": spread(
            _mean(none.cpu_seconds) * num_steps / (_mean(own.cpu_seconds) * steps) for own, none in pairs
        ),
        "over_full": spread(
            sum(full.seconds) / (_mean(own.seconds) * steps)
            for own, full in zip(timings, references["full"], strict=True)
        )
        if "full" in references
        else None,
        "response_s": spread(_mean(own.seconds) * steps for own in timings),
        "step_s": {kind: spread(_of_kind(timings, kind)) for kind in dict.fromkeys(kinds)},
        "step_flops": cost.flops,
        "step_moved_bytes": cost.moved,
        "step_floor_s": floors,
        "response_flops": flops,
        "response_floor_s": sum(floors[each] for each in kinds) * steps / len(kinds),
        "cache_bytes": cost.cache_bytes,
        "peak_live_bytes": cost.peak_live_bytes,
    }


def show(record: dict[str, Any], console: Console) -> None:
    """Print the record as tables of at most 60 columns per run, with what was measured and what was not."""
    machine = record["machine"]
    console.print(
        f"{record['name']}: {record['parameters']:,} parameters, {record['dtype']}, "
        f"{record['environment']['threads']} threads; matrix product "
        f"{machine['flops_per_s'] / 1e9:,.0f} GFLOP/s, copy {machine['bytes_per_s'] / 1e9:,.1f} GB/s.",
        soft_wrap=True,
    )
    for run in record["runs"]:
        sequences = f", {run['batch_size']} sequences" if run["batch_size"] > 1 else ""
        console.print(
            f"\nPrompt {run['prompt_length']:,} tokens, response {record['gen_length']}{sequences}.", style="bold"
        )
        for table in _tables(run, record["repeats"]):
            # A title of the table's own is wrapped where the table ends.
            console.print(f"\n{table.title}", soft_wrap=True)
            table.title = None
            console.print(table)
    console.print(_notes(record), style="dim", soft_wrap=True)


def _tables(run: dict[str, Any], repeats: int) -> Iterator[Table]:
    """Yield tables of at most 60 columns."""
    cases = run["cases"]
    several = repeats > 1
    speed = _table("Speed: median, and least–most, over repeats", "steps/s", "tokens/s", "× none", "by CPU")
    steps = _table("Milliseconds of a step; below, in floors", "prompt", "response", "partial")
    size = _table("Size", "× full", "first commit", "cache", "peak live")
    work = _table("Work", "GFLOP", "none ÷ own", "of bound")
    for case in cases:
        name, kinds = _label(case), case["step_s"]
        # Without a cache every step is a refresh of everything.
        names = ("prompt" if "prompt" in kinds else "everything", "response", "partial")
        bound = cases[0]["response_flops"] / case["response_flops"]
        speed.add_row(
            name + (" *" if case["extrapolated"] else ""),
            _range(case["steps_per_s"], "{:.3g}", several),
            "" if case["tokens_per_s"] is None else _range(case["tokens_per_s"], "{:.3g}", several),
            _range(case["speedup"], "{:.1f}", several),
            _range(case["cpu_speedup"], "{:.1f}", several),
        )
        steps.add_row(name, *(_against_floor(case, kind) if kind in kinds else "" for kind in names))
        size.add_row(
            name,
            "" if case["over_full"] is None else _range(case["over_full"], "{:.2f}", several),
            f"{case['first_commit_s']['median']:.2f} s",
            decimal(case["cache_bytes"]),
            decimal(case["peak_live_bytes"]),
        )
        work.add_row(
            name,
            f"{case['response_flops'] / 1e9:,.3g}",
            f"{bound:.1f}",
            f"{case['speedup']['median'] / bound:.2f}",
        )
    yield from (speed, steps, size, work)


def _table(title: str, *columns: str) -> Table:
    made = Table(Column("policy", no_wrap=True), title=title, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right")
    return made


def _against_floor(case: dict[str, Any], name: str) -> str:
    own, floor = case["step_s"][name]["median"], case["step_floor_s"][name]
    return f"{own * 1e3:,.0f}\n{own / floor:.1f} ×"


def _notes(record: dict[str, Any]) -> str:
    lines = [
        f"Timed: policies in turn in one process, {record['repeats']} times; a ratio is of responses, within one turn.",
        "Peak live: tensors alive in a prompt refresh without the weights; inside fused kernels nothing is seen.",
        "GFLOP: of a response; each kind of step counted once, times its steps; none ÷ own bounds × none.",
        "Floor: the operations at the rate of a matrix product, or the bytes that must be moved at that of a copy.",
        "Layer importance was measured before, as with a calibration profile; †: without one.",
        "By CPU: the same ratio in seconds of this process's threads, which other programs hardly change.",
        "prompt, response, partial: what a step recomputes.",
    ]
    partly = next((case for case in record["runs"][0]["cases"] if case["extrapolated"]), None)
    if partly is not None:
        lines.insert(
            1,
            f"* {_label(partly)}: the first {partly['steps_timed']} of {partly['steps']} steps, all alike, were timed; "
            "the response is extrapolated.",
        )
    return "\n".join(lines)


def _label(case: dict[str, Any]) -> str:
    known = Case(case["policy"], case["budget"]).label
    return known if case["profiled"] else f"{known} †"


def _range(values: dict[str, float], form: str, several: bool) -> str:
    """Write a median with its range below it, which a single measurement does not have."""
    median_, least, most = (form.format(values[key]) for key in ("median", "min", "max"))
    if not several:
        return f"{median_}\n–"
    return median_ if least == most else f"{median_}\n{least}–{most}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _of_kind(timings: Sequence[Timing], kind: str) -> list[float]:
    """Return the mean seconds of a kind of step, per repeat."""
    return [
        _mean([second for name, second in zip(own.kinds, own.seconds, strict=True) if name == kind]) for own in timings
    ]
