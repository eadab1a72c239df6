"""`python -m maskkv.bench.gpu`: check and time LLaDA-8B's shape on a GPU; each result is written at once, as JSON.

Weights are random and made on the device. With --json-out the lines are appended to a file, so that a run that is cut
off leaves what it measured until then; without, they are printed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from maskkv.bench.gpu import checks, choices, kernels, limits, pace
from maskkv.bench.gpu.device import free_unused, name_of
from maskkv.bench.gpu.subject import Fields, Subject
from maskkv.bench.shapes import SHAPES
from maskkv.checkpoints.weights import DTYPES
from maskkv.errors import InputError, MaskKVError
from maskkv.records import append, environment, prepare_file

SHORTEST_RESPONSE = 32
_LONGEST_SUMMARY = 240


@dataclass(frozen=True)
class Item:
    """Describe a measurement; it is skipped if fewer than `least_s` seconds are left on a GPU."""

    name: str
    run: Callable[[Subject], Iterator[Fields]]
    least_s: int
    needs_cuda: bool = False


ITEMS = (
    Item("card", pace.card, 15),
    Item("correctness", checks.correctness, 20),
    Item("maskkv", pace.maskkv, 5),
    Item("profile", kernels.profiles, 10, needs_cuda=True),
    Item("side by side", pace.side_by_side, 5),
    Item("together", pace.together, 5),
    Item("24 GB", limits.small_card, 10, needs_cuda=True),
    Item("host", kernels.host, 5, needs_cuda=True),
    Item("options", choices.choices, 5),
)


def parser() -> argparse.ArgumentParser:
    """Describe the options."""
    described = argparse.ArgumentParser(prog="python -m maskkv.bench.gpu", description=__doc__)
    add = described.add_argument
    add("--json-out", type=Path, help="append the lines to this file instead of printing them")
    add("--seconds", type=float, default=420.0, help="begin nothing that would end later (default: 420)")
    add("--only", action="append", metavar="ITEM", help="of the items, this one; repeatable")
    add("--shape", default="llada-8b", choices=sorted(SHAPES))
    add("--dtype", default="bfloat16", choices=sorted(DTYPES))
    add("--device", default="cuda")
    add("--unit", type=int, default=1024, help="prompt lengths are multiples of it (default: 1024)")
    add("--gen-length", type=int, default=128, help="tokens of a response (default: 128)")
    add("--sequences", type=int, default=32, help="how many run together (default: 32)")
    add("--budget", type=int, default=256, help="pairs per KV head and layer (default: 256)")
    return described


def main(arguments: Sequence[str] | None = None) -> int:
    """Check and measure; return 1 if an item failed or a check did not pass, 2 if the options make no sense here."""
    given = parser().parse_args(arguments)
    try:
        items = chosen(given)
        out = append if given.json_out is not None else _print
        log = Log(common(given), partial(out, given.json_out))
        subject = Subject(
            given.shape,
            DTYPES[given.dtype],
            torch.device(given.device),
            given.unit,
            given.gen_length,
            given.sequences,
            given.budget,
            given.seconds,
        )
        for item in items:
            measure(item, subject, log)
    except MaskKVError as error:  # of what was asked for, or of a full disk
        print(f"maskkv: error: {error}", file=sys.stderr)
        return 2
    return int(log.failed)


def chosen(given: argparse.Namespace) -> list[Item]:
    """Return the items that were asked for; InputError if an option makes no sense here."""
    try:
        device = torch.device(given.device)
    except RuntimeError:
        raise InputError(f"--device {given.device}: expected cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no CUDA device here: --device cpu --shape tiny --unit 8 tries the script out")
    names = [item.name for item in ITEMS]
    for name in given.only or ():
        if name not in names:
            raise InputError(f"--only {name}: there is no such item, expected one of {', '.join(names)}")
    if given.gen_length < SHORTEST_RESPONSE or given.gen_length % 8:
        raise InputError(f"--gen-length {given.gen_length}: expected a multiple of 8 from {SHORTEST_RESPONSE} on")
    if not given.seconds >= 0:
        raise InputError(f"--seconds {given.seconds:g}: expected a number from 0 on")
    if given.json_out is not None:
        prepare_file(given.json_out)
    for name in ("unit", "sequences", "budget"):
        if getattr(given, name) < 1:
            raise InputError(f"--{name} {getattr(given, name)}: expected at least 1")
    return [item for item in ITEMS if given.only is None or item.name in given.only]


def common(given: argparse.Namespace) -> Fields:
    """Return the fields that every line has."""
    return {
        "benchmark": "gpu",
        "device": name_of(torch.device(given.device)),
        "shape": given.shape,
        "dtype": given.dtype,
        "gen_length": given.gen_length,
        "environment": environment(),
    }


@dataclass
class Log:
    """Write each line at once, with a summary on standard error."""

    common: Fields
    write: Callable[[Fields], None]
    failed: bool = False
    since: float = field(default_factory=time.perf_counter)

    def add(self, item: str, fields: Fields) -> None:
        """Write a line, with the seconds since the line before."""
        now = time.perf_counter()
        taken, self.since = round(now - self.since, 3), now
        self.failed |= "error" in fields or not all(
            check["passed"] is not False for check in fields.get("checks", {}).values()
        )
        print(f"{item} ({taken:.1f} s): {summary(fields)}", file=sys.stderr, flush=True)
        self.write({**self.common, "item": item, "seconds": taken, **fields})


def measure(item: Item, subject: Subject, log: Log) -> None:
    """Run an item if there is time; its failure is written down, and does not stop the others."""
    log.since = time.perf_counter()
    skipped = subject.skipped(item.least_s if subject.on_cuda else 0.1)
    if item.needs_cuda and not subject.on_cuda:
        skipped = {"skipped": "needs CUDA"}
    if skipped:
        log.add(item.name, skipped)
        return
    try:
        for fields in item.run(subject):
            log.add(item.name, fields)
            free_unused(subject.device)
    except Exception as error:
        traceback.print_exc()
        log.add(item.name, {"error": f"{type(error).__name__}: {error}"})
    free_unused(subject.device)


def summary(fields: Fields) -> str:
    """Return a line's fields as text, cut to one screen line or two."""
    said = ", ".join(f"{name} {_said(value)}" for name, value in fields.items() if value is not None)
    return said if len(said) <= _LONGEST_SUMMARY else f"{said[: _LONGEST_SUMMARY - 1]}…"


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} {_said(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_said, value)) + "]"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _print(_: None, record: Fields) -> None:
    print(json.dumps(record, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    sys.exit(main())
