"""`python -m maskkv.bench.serving`: many clients of `maskkv serve` beside one, and minutes of all that clients do."""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import truediv
from pathlib import Path

from maskkv.bench.clients import ClientAnswer, Fields, Server, question, serving
from maskkv.bench.report import spread
from maskkv.bench.soak import soak
from maskkv.errors import InputError, MaskKVError
from maskkv.records import append, environment, prepare_file


def parser() -> argparse.ArgumentParser:
    """Describe the options."""
    options = argparse.ArgumentParser(
        prog="python -m maskkv.bench.serving",
        description="Measure `maskkv serve` on the bundled dLLM, from outside; ends with one line of JSON.",
    )
    kinds = options.add_subparsers(dest="kind", required=True)
    load = kinds.add_parser("load", help="throughput beside one client, equal answers, steps after a disconnect")
    soak = kinds.add_parser("soak", help="minutes of mixed load, disconnects, and bodies too large or malformed")
    for each in (load, soak):
        add = each.add_argument
        add("--clients", type=int, default=16, help="clients at the same time (default: 16)")
        add("--prompt-length", type=int, default=128, help="tokens of the documents (default: 128)")
        add("--gen-length", type=int, default=64, help="tokens of the response, a multiple of 8 (default: 64)")
        add("--budget", type=int, default=32, help="pairs per KV head and layer (default: 32)")
        add("--seed", type=int, default=0, help="of what clients choose (default: 0)")
        add("--json-out", type=Path, help="append the JSON line to this file too")
    load.add_argument("--rounds", type=int, default=3, help="measurements of one client and of all (default: 3)")
    load.add_argument("--turns", type=int, default=3, help="requests of each of many clients (default: 3)")
    load.add_argument("--disconnects", type=int, default=200, help="streams to hang up on (default: 200)")
    soak.add_argument("--minutes", type=float, default=10, help="how long (default: 10)")
    soak.add_argument("--longest-prompt", type=int, metavar="N", help="documents up to so many tokens, long ones rarer")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    options = parser().parse_args(arguments)
    try:
        for name in ("clients", "prompt_length", "gen_length", "budget", "rounds", "turns", "disconnects"):
            if getattr(options, name, 1) < 1:
                raise InputError(f"--{name.replace('_', '-')} {getattr(options, name)}: expected at least 1")
        if options.json_out is not None:
            prepare_file(options.json_out)
        told = {name: value for name, value in vars(options).items() if name not in ("kind", "json_out")}
        figures = load(options) if options.kind == "load" else soak(options)
        record = {"benchmark": f"serving-{options.kind}", "environment": environment(), **told, **figures}
        print(json.dumps(record))
        if options.json_out is not None:
            append(options.json_out, record)
    except MaskKVError as error:
        print(f"maskkv: error: {error}", file=sys.stderr)
        return 2
    return 1 if record.get("faults") else 0


def request(options: argparse.Namespace, number: int, **more: object) -> Fields:
    """Return the body of a request of the size that was asked for."""
    return question(number, options.prompt_length, options.gen_length, options.budget, **more)


def load(options: argparse.Namespace) -> Fields:
    """Send the same requests from one client and from many, then hang up on streams while others continue."""
    bodies = [request(options, number, stream=True) for number in range(options.clients)]
    alone, together = Rates(), Rates()
    same: list[bool] = []
    with (
        serving(["--max-batch", str(options.clients + 1)]) as server,
        ThreadPoolExecutor(options.clients) as pool,
    ):
        server.ask(bodies[0])  # The first request pays for what is set up once.
        for _ in range(options.rounds):
            with alone.measured(server):
                answers = _client(server, bodies)
            # Each client begins with another request, so that long ones and short ones meet.
            turned = [
                [(client + turn) % len(bodies) for turn in range(options.turns)] for client in range(options.clients)
            ]
            with together.measured(server):
                many = list(pool.map(lambda own: _client(server, [bodies[number] for number in own]), turned))
            for numbers, own in zip(turned, many, strict=True):
                same += [answers[each].told == got.told for each, got in zip(numbers, own, strict=True)]
        after = _hang_ups(server, options, pool)
    return {
        "answers_compared": len(same),
        "answers_different": same.count(False),
        "steps_per_answer": round(statistics.mean(each.steps for each in answers), 1),
        "alone_steps_per_s": _spread(alone.per_second),
        "together_steps_per_s": _spread(together.per_second),
        "throughput_ratio": _spread(list(map(truediv, together.per_second, alone.per_second))),
        "cpu_ratio": _spread(list(map(truediv, together.per_cpu_second, alone.per_cpu_second))),
        "hang_ups": len(after),
        "steps_after_hang_up": {
            "mean": round(statistics.mean(after), 2), "p99": after[math.ceil(0.99 * len(after)) - 1], "max": after[-1]
        },
    }  # fmt: skip


def _client(server: Server, bodies: Sequence[Fields]) -> list[ClientAnswer]:
    """Send one request after the other."""
    return [server.ask(body) for body in bodies]


@dataclass
class Rates:
    """Collect steps per second of wall time, and of the server's CPU time, which other programs hardly change."""

    per_second: list[float] = field(default_factory=list)
    per_cpu_second: list[float] = field(default_factory=list)

    @contextmanager
    def measured(self, server: Server) -> Iterator[None]:
        """Measure the steps that the server takes inside the context."""
        before, start = server.metrics(), time.perf_counter()
        yield
        seconds, after = time.perf_counter() - start, server.metrics()
        steps, cpu = (after[name] - before[name] for name in ("maskkv_steps_total", "process_cpu_seconds_total"))
        self.per_second.append(steps / seconds)
        self.per_cpu_second.append(steps / cpu)


def _spread(values: Sequence[float]) -> Fields:
    return {name: round(value, 2) for name, value in spread(values).items()}


def _hang_ups(server: Server, options: argparse.Namespace, pool: ThreadPoolExecutor) -> list[int]:
    """Return, sorted, how many steps each abandoned stream took after the last one that its client saw."""
    done = threading.Event()
    numbers = itertools.count(options.clients)

    def go_on() -> None:
        while not done.is_set():
            server.ask(request(options, next(numbers), stream=True))

    others = [pool.submit(go_on) for _ in range(options.clients - 1)]
    chance = random.Random(options.seed)
    seen: dict[str, int] = {}
    # In one block of this length nothing ends before the last step.
    body = request(options, 0, stream=True, diffusing=True, block_length=options.gen_length, stop_at_eos=False)
    for _ in range(options.disconnects):
        left = server.ask(body, hang_up_after=chance.randint(1, max(1, options.gen_length // 2)))
        seen[left.job] = left.steps
    done.set()
    for other in others:
        other.result()
    server.wait_idle()
    jobs = server.jobs()
    return sorted(jobs[job]["steps"] - steps for job, steps in seen.items())


if __name__ == "__main__":
    sys.exit(main())
