"""How long the steps of a server take on a machine: read from what `maskkv bench` measured there, never assumed."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskkv import records
from maskkv.errors import InputError

Grid = Mapping[int, Mapping[int, tuple[float, float]]]
"""Seconds of a prompt's pass and of a pass over live rows, by the prompt's length and the number of sequences."""


@dataclass(frozen=True)
class Pace:
    """Hold the measured seconds of one policy on one machine.

    `grids` has one grid for each length of responses. Between measured lengths and numbers of sequences seconds are
    drawn out in straight lines, beyond them nothing is known. A prompt is read in every `prompt_interval`-th step, or
    once (None).
    """

    grids: Mapping[int, Grid]
    prompt_interval: int | None
    parameters: int
    dtype: str
    measured: str
    """What it was measured on, for people."""

    @property
    def most_together(self) -> int:
        """Return the most sequences that were measured together, at every length."""
        return min(max(batches) for grid in self.grids.values() for batches in grid.values())

    def check(self, prompt_lengths: Sequence[int], gen_lengths: Sequence[int]) -> None:
        """Refuse lengths that were not measured.

        Raises:
            InputError: A prompt is longer or shorter than all that were measured, or a response has another length.
        """
        for gen_length in gen_lengths:
            if gen_length not in self.grids:
                known = ", ".join(map(str, sorted(self.grids)))
                raise InputError(
                    f"responses of {gen_length} tokens were not measured, only of {known}: add a record of "
                    f"`maskkv bench --gen-length {gen_length}`"
                )
            least, most = min(self.grids[gen_length]), max(self.grids[gen_length])
            for length in prompt_lengths:
                if not least <= length <= most:
                    raise InputError(
                        f"prompts of {length:,} tokens were not measured, only from {least:,} to {most:,}: add a "
                        f"record of `maskkv bench --prompt-length {length}`"
                    )

    def reading(self, prompt_length: int, gen_length: int) -> float:
        """Return the seconds of the pass over a prompt."""
        grid = self.grids[gen_length]
        return _between(prompt_length, sorted(grid), lambda length: _first(grid[length])[0])

    def live(self, prompt_length: int, gen_length: int, together: int) -> float:
        """Return the seconds of a pass over the live rows of so many sequences."""
        grid = self.grids[gen_length]

        def at(length: int) -> float:
            return _between(together, sorted(grid[length]), lambda batch: grid[length][batch][1])

        return _between(prompt_length, sorted(grid), at)


def _first(batches: Mapping[int, tuple[float, float]]) -> tuple[float, float]:
    return batches[min(batches)]


def _between(place: int, known: Sequence[int], value: Callable[[int], float]) -> float:
    """Return a value on the straight line between the two known places around one."""
    index = bisect_left(known, place)
    if index == len(known):
        return value(known[-1])
    if known[index] == place or index == 0:
        return value(known[index])
    left, right = known[index - 1], known[index]
    part = (place - left) / (right - left)
    return (1 - part) * value(left) + part * value(right)


def read(file: Path, policy: str, budget: int | None, *, reads_once: bool = False) -> Pace:
    """Read what `maskkv bench --json-out FILE` measured of a policy; of equal sizes the last line counts.

    A response refresh takes longer than other passes over live rows: a step counts as their mean over an interval.
    `reads_once` says that the model's prompts are read once, whatever the schedule.

    Raises:
        InputError: The file cannot be read, or holds no such measurement.
    """
    grids: dict[int, dict[int, dict[int, tuple[float, float]]]] = {}
    about: set[tuple[str, str, int, int, str, int | None]] = set()
    seen: set[str] = set()
    if not file.is_file():
        raise InputError(f"there is no {file}: `maskkv bench --json-out {file}` makes it, on the machine that serves")
    try:
        for record in records.read(file):
            if record.get("benchmark") != "policies":
                continue
            line: dict[str, Any] = record
            schedule = line["schedule"]
            for run in line["runs"]:
                for case in reversed(run["cases"]):  # With a layer profile, where there are both.
                    seen.add(f"{case['policy']}{'' if case['budget'] is None else ' ' + str(case['budget'])}")
                    if (case["policy"], case["budget"]) != (policy, budget):
                        continue
                    seconds = _seconds(case["step_s"], run["batch_size"], schedule["response_interval"])
                    lengths = grids.setdefault(line["gen_length"], {})
                    lengths.setdefault(run["prompt_length"], {})[run["batch_size"]] = seconds
                    once = reads_once or schedule["one_pass"]
                    interval = 1 if "everything" in case["step_s"] else schedule["prompt_interval"]
                    machine = (line["device"], line["environment"]["threads"])
                    about.add((line["name"], *machine, line["parameters"], line["dtype"], None if once else interval))
    except (KeyError, TypeError) as error:
        raise InputError(f"{file} holds a line that `maskkv bench` did not write ({error})") from None
    if not grids:
        wanted = policy if budget is None else f"{policy} {budget}"
        found = f"it has {', '.join(sorted(seen))}" if seen else "expected lines of `maskkv bench --json-out FILE`"
        raise InputError(f"{file} has no measurement of {wanted}: {found}")
    if len(about) > 1:
        raise InputError(f"{file} holds measurements of several models, machines or schedules: give one that has one")
    ((name, device, threads, parameters, dtype, interval),) = about
    return Pace(grids, interval, parameters, dtype, f"{name} in {dtype} on {device}, {threads} threads")


def _seconds(kinds: Mapping[str, Mapping[str, float]], together: int, interval: int) -> tuple[float, float]:
    """Return the seconds of one prompt's pass, of several one after the other, and of a step between."""
    whole = kinds.get("prompt") or kinds["everything"]
    between = [kinds[name]["median"] for name in ("response", "partial") if name in kinds]
    mean = (between[0] + (interval - 1) * between[-1]) / interval if between else 0.0
    if not (0 < whole["median"] < math.inf and 0 <= mean < math.inf):
        raise TypeError(f"{whole['median']} s, {mean} s")
    return whole["median"] / together, mean
