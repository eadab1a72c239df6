"""`maskkv plan --rate`: how many copies of a server a load needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskkv.budget import Budget
from maskkv.cli import terminal
from maskkv.errors import InputError

if TYPE_CHECKING:
    from maskkv.capacity import Run, Size
    from maskkv.pace import Pace
    from maskkv.plan import Shape, Workload

_SERVED_TOGETHER = 16
"""What `maskkv serve` takes by default."""
_USUAL_REQUESTS = 2000
_MOST_REQUESTS = 10**6
_PARTS = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))


@dataclass(frozen=True)
class CapacityFlags:
    """Say which load is simulated, and on how many replicas."""

    rate: Annotated[
        float | None,
        typer.Option(metavar="R", help="Simulate R requests a second (Poisson), and tell how many replicas they need."),
    ] = None
    replicas: Annotated[
        int | None, typer.Option(min=1, max=1024, help="With --rate: copies of the server; default: as few as do.")
    ] = None
    lengths: Annotated[
        str | None,
        typer.Option(
            metavar="N[:WEIGHT],...",
            help="With --rate: tokens of prompts, as in 2000:3,8000:1; default: --prompt-length.",
        ),
    ] = None
    gen_lengths: Annotated[
        str | None,
        typer.Option(
            metavar="N[:WEIGHT],...",
            help="With --rate: tokens of responses, drawn like prompts; default: --gen-length.",
        ),
    ] = None
    pace: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --rate: what steps take, as `maskkv bench --json-out FILE` measured."),
    ] = None
    wait: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="With --rate: nine in ten requests are to wait no longer; default: 1."),
    ] = None
    max_batch: Annotated[
        int | None, typer.Option(min=1, help="With --rate: as in serve; default: 16, or what was measured if less.")
    ] = None
    max_queue: Annotated[int | None, typer.Option(min=1, help="With --rate: as in serve; default: 64.")] = None
    requests: Annotated[
        int | None,
        typer.Option(
            min=100, max=10**6, help="With --rate: how many are simulated; default: 2000, or as many as it takes."
        ),
    ] = None

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated before anything is read."""
        given = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        if self.rate is None and given:
            raise InputError(f"--{given[0].replace('_', '-')} is for simulations: give --rate, requests a second")
        for name in ("rate", "wait"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"--{name} {value:g}: expected a number above 0")
        if self.rate is not None and self.pace is None:
            raise InputError(
                "nothing says how long a step takes: run `maskkv bench --json-out FILE` with these lengths on the "
                "machine that is to serve, and give --pace FILE"
            )
        for name in ("lengths", "gen_lengths"):
            _weighted(name, getattr(self, name), 1)

    def answer(self, name: str, shape: Shape, dtype: str, work: Workload, memory: int | None, *, as_json: bool) -> None:
        """Simulate the load, and print what becomes of it."""
        from maskkv import capacity

        pace = self._pace(shape, dtype, work)
        prompts = _weighted("lengths", self.lengths, work.prompt_length)
        responses = _weighted("gen_lengths", self.gen_lengths, work.generation.gen_length)
        pace.check(list(prompts), list(responses))
        most = pace.most_together
        together = min(most, _SERVED_TOGETHER) if self.max_batch is None else self.max_batch
        if together > most:
            raise InputError(
                f"--max-batch {together}: at most {most} sequences were measured together, add a record of "
                f"`maskkv bench --batch-size {together}`"
            )
        free = None if memory is None else int(0.9 * (memory - shape.weight_bytes))
        sizes = {
            self._size(shape, replace(work, prompt_length=prompt), response, together): weight * share
            for prompt, weight in prompts.items()
            for response, share in responses.items()
        }
        limits = capacity.Limits(together, self.max_queue or 64, free)
        seed = work.generation.seed
        simulation = capacity.Simulation(pace, limits, seed)
        assert self.rate is not None
        drawn = list(sizes), list(sizes.values())
        wait = self.wait or 1.0
        with terminal.waiting("simulating"):
            count = self._count(capacity.enough_requests(self.rate, capacity.full_batch(simulation, *drawn, together)))
            arrivals = capacity.poisson(self.rate, *drawn, count, seed)
            needed = capacity.fewest(simulation, arrivals, wait) if self.replicas is None else None
        asked = [self.replicas] if needed is None else [each for each in (needed - 1, needed, needed + 1) if each]
        found = {
            "model": name,
            "measured": pace.measured,
            "policy": work.policy.name,
            "budget": work.pairs,
            "rate": self.rate,
            "lengths": prompts,
            "gen_lengths": responses,
            "requests": len(arrivals),
            "seed": seed,
            "max_batch": together,
            "max_queue": limits.max_queue,
            "memory_bytes": free,
            "wait_s": wait,
            "needed": needed,
            "runs": [_figures(count, simulation.run(arrivals, count)) for count in asked if count is not None],
        }
        if as_json:
            terminal.put_json(found)
        else:
            _show(found)

    def _count(self, least: int) -> int:
        """Return how many requests are simulated, at least so many."""
        if least > _MOST_REQUESTS:
            raise InputError(
                f"--rate {self.rate:g}: {least:,} requests would have to be simulated, and {_MOST_REQUESTS:,} are the "
                "most: ask for a part of this load, and multiply the replicas"
            )
        if self.requests is not None and self.requests < least:
            raise InputError(
                f"--requests {self.requests}: at this rate all would have come before copies are as busy as they get: "
                f"expected at least {least}"
            )
        return self.requests or max(_USUAL_REQUESTS, least)

    def _pace(self, shape: Shape, dtype: str, work: Workload) -> Pace:
        """Read what was measured, of the model that is meant."""
        from maskkv import pace
        from maskkv.models import sizes

        assert self.pace is not None
        _check_budget(work.budget)
        once = shape.config.causal_block is not None
        found = pace.read(self.pace, work.policy.name, work.pairs, reads_once=once)
        own = sizes.parameters(shape.config)
        if (found.parameters, found.dtype) != (own, dtype):
            raise InputError(
                f"{self.pace} measured {found.measured}, {found.parameters:,} parameters, and {own:,} in {dtype} are "
                "meant: name the same model with --model or --shape, and --dtype"
            )
        return found

    @staticmethod
    def _size(shape: Shape, work: Workload, gen_length: int, together: int) -> Size:
        from maskkv.capacity import Size

        made = replace(work.generation, gen_length=gen_length)
        need = shape.need(replace(work, generation=made), together)
        return Size(work.prompt_length, gen_length, made.num_steps, need.held, need.reading)


def _check_budget(budget: Budget) -> None:
    if isinstance(budget, str):
        raise InputError(f"--budget {budget}: records hold numbers of pairs, give one as in 256")


def _weighted(name: str, text: str | None, usual: int) -> dict[int, float]:
    """Read lengths with their weights: 2000:3,8000."""
    if text is None:
        return {usual: 1.0}
    found: dict[int, float] = {}
    for each in text.split(","):
        length, colon, weight = each.strip().partition(":")
        try:
            value = float(weight) if colon else 1.0
            number = int(length)
        except ValueError:
            number, value = 0, 0.0
        if not (1 <= number <= 1 << 24 and 0 < value < math.inf):
            raise InputError(
                f"--{name.replace('_', '-')} {text}: expected numbers of tokens with weights, as in 2000:3,8000:1"
            )
        found[number] = found.get(number, 0.0) + value
    return found


def _figures(replicas: int, run: Run) -> dict[str, object]:
    from maskkv.capacity import quantile

    def parts(name: str) -> dict[str, float | None]:
        seconds = run.seconds(name)
        return {part: quantile(seconds, of) for part, of in _PARTS}

    return {
        "replicas": replicas,
        "utilisation": run.utilisation,
        "wait_s": parts("wait"),
        "first_step_s": parts("until_first"),
        "latency_s": parts("latency"),
        "refused": run.refused,
    }


def _show(found: Mapping[str, object]) -> None:
    budget = "" if found["budget"] is None else f" {found['budget']}"
    terminal.note(
        f"{found['model']}, {found['policy']}{budget}; pace of {found['measured']}; {found['requests']:,} requests "
        f"simulated, {found['rate']:g} a second; at most {found['max_batch']} together and {found['max_queue']} waiting"
    )
    table = terminal.table("replicas", "busy", "wait p50", "p90", "p99", "answer p50", "p90", "p99", "429")
    runs: Sequence[Mapping[str, object]] = found["runs"]  # type: ignore[assignment]
    for run in runs:
        seconds = [each for name in ("wait_s", "latency_s") for each in dict(run[name]).values()]  # type: ignore[call-overload]
        cells = ["–" if each is None else f"{each:.2f}" if each < 100 else f"{each:.0f}" for each in seconds]
        table.add_row(str(run["replicas"]), f"{run['utilisation']:.0%}", *cells, f"{run['refused']:.1%}")
    terminal.show(table)
    if found["needed"] is not None:
        terminal.put(
            f"{found['needed']} replicas: nine in ten requests wait at most {found['wait_s']:g} s, and none is refused"
        )
    terminal.put("seconds; wait: until a prompt begins to be read, answer: until it is whole")
