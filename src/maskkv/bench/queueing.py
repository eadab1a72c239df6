"""`python -m maskkv.bench.queueing`: what `maskkv plan --rate` simulates beside what a real server does."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from maskkv import mini
from maskkv.bench.clients import Fields, Server, question, serving
from maskkv.bench.report import spread
from maskkv.capacity import Arrival, Limits, Run, Simulation, Size, poisson, quantile
from maskkv.errors import InputError, MaskKVError
from maskkv.pace import Pace, read
from maskkv.records import append, environment, prepare_file

_ALONE = 5
_MOST_CLIENTS = 128


@dataclass(frozen=True)
class Seen:
    """Say when a client sent a request, saw its first token and its end; seconds from the start of the load."""

    sent: float
    first: float
    done: float
    size: Size


def parser() -> argparse.ArgumentParser:
    """Describe the options."""
    options = argparse.ArgumentParser(
        prog="python -m maskkv.bench.queueing",
        description="Measure the pace of the bundled dLLM, load a server with it at random times, and simulate the "
        "same load with that pace, round by round; ends with one line of JSON.",
    )
    add = options.add_argument
    add("--rate", type=float, action="append", help="requests a second, repeatable (default: 0.5 and 1)")
    add("--prompt-length", type=int, action="append", help="tokens of documents, repeatable (default: 128 and 512)")
    add("--gen-length", type=int, default=32, help="tokens of the response, a multiple of 8 (default: 32)")
    add("--budget", type=int, default=32, help="pairs per KV head and layer (default: 32)")
    add("--max-batch", type=int, default=8, help="requests that run together (default: 8)")
    add("--seconds", type=float, default=60, help="of each load (default: 60)")
    add("--rounds", type=int, default=3, help="each measures the pace and every load once (default: 3)")
    add("--seed", type=int, default=0, help="of arrivals (default: 0)")
    add("--json-out", type=Path, help="append the JSON line to this file too")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; return the exit status."""
    options = parser().parse_args(arguments)
    try:
        options.rate = options.rate or [0.5, 1.0]
        options.prompt_length = options.prompt_length or [128, 512]
        for name in ("gen_length", "budget", "max_batch", "seconds", "rounds"):
            if getattr(options, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} {getattr(options, name)}: expected at least 1")
        if min(options.rate) <= 0 or min(options.prompt_length) < 1:
            raise InputError("--rate and --prompt-length: expected numbers above 0")
        if options.json_out is not None:
            prepare_file(options.json_out)
        told = {name: value for name, value in vars(options).items() if name != "json_out"}
        record = {"benchmark": "queueing", "environment": environment(), **told, "loads": compare(options)}
        print(json.dumps(record))
        if options.json_out is not None:
            append(options.json_out, record)
    except MaskKVError as error:
        print(f"maskkv: error: {error}", file=sys.stderr)
        return 2
    return 0


def compare(options: argparse.Namespace) -> list[Fields]:
    """Measure and simulate every load in every round, and return the figures of each rate."""
    rounds: dict[float, list[Fields]] = {rate: [] for rate in options.rate}
    with serving(["--max-batch", str(options.max_batch), "--max-queue", "1000"]) as server:
        _alone(server, options)  # The first requests pay for what is set up once.
        for number in range(options.rounds):
            pace = _pace(options)
            alone = _alone(server, options)
            for rate in options.rate:
                seen = _load(server, options, rate, seed=options.seed + number)
                rounds[rate].append(_figures(seen, alone, pace, options.max_batch))
                print(f"round {number + 1}, {rate:g} a second: {json.dumps(rounds[rate][-1])}", file=sys.stderr)
    return [
        {
            "rate": rate,
            "requests": [each["requests"] for each in found],
            **{
                name: {
                    "measured": spread(each["measured"][name] for each in found),
                    "simulated": spread(each["simulated"][name] for each in found),
                    "ratio": _ratios([(each["measured"][name], each["simulated"][name]) for each in found]),
                }
                for name in found[0]["measured"]
            },
        }
        for rate, found in rounds.items()
    ]


def _ratios(pairs: Sequence[tuple[float, float]]) -> dict[str, float] | None:
    """Return the spread of measured over simulated; None where nothing was simulated to take time."""
    ratios = [measured / simulated for measured, simulated in pairs if simulated > 0]
    return spread(ratios) if ratios else None


def _pace(options: argparse.Namespace) -> Pace:
    """Have `maskkv bench` measure the bundled dLLM in a process of its own."""
    batches = sorted({1, -(-options.max_batch // 2), options.max_batch})
    words = [f"--prompt-length={length}" for length in options.prompt_length]
    words += [f"--batch-size={batch}" for batch in batches]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pace.jsonl"
        words += ["--model", str(mini.folder()), "--policy", "maskkv", f"--budget={options.budget}", "--repeats=1"]
        words += [f"--gen-length={options.gen_length}", "--none-steps=1", "--json-out", str(file)]
        done = subprocess.run([sys.executable, "-m", "maskkv", "bench", *words], capture_output=True, text=True)
        if done.returncode:
            raise InputError(f"the pace cannot be measured: {done.stderr.strip()}")
        return read(file, "maskkv", options.budget)


def _body(options: argparse.Namespace, number: int, length: int) -> Fields:
    """Return a request whose first token is certain after its first step, and whose every step is taken."""
    more = {"stream": True, "remasking": "sequential", "stop_at_eos": False}
    return question(number, length, options.gen_length, options.budget, **more)


def _sizes(options: argparse.Namespace) -> list[Size]:
    return [Size(length, options.gen_length, options.gen_length) for length in options.prompt_length]


def _alone(server: Server, options: argparse.Namespace) -> dict[Size, float]:
    """Return the seconds to the first token of a request that meets no other, the median of a few."""
    found = {}
    for size in _sizes(options):
        body = _body(options, 0, size.prompt_length)
        found[size] = median(server.timed(body)[0] for _ in range(_ALONE))
    return found


def _load(server: Server, options: argparse.Namespace, rate: float, seed: int) -> list[Seen]:
    """Send requests at random times, and return what their clients saw."""
    sizes = _sizes(options)
    arrivals = poisson(rate, sizes, [1.0] * len(sizes), max(10, round(rate * options.seconds)), seed)
    with ThreadPoolExecutor(_MOST_CLIENTS) as pool:
        start = time.perf_counter()

        def ask(number: int, size: Size) -> Seen:
            sent = time.perf_counter() - start
            first, done = server.timed(_body(options, number, size.prompt_length))
            return Seen(sent, sent + first, sent + done, size)

        asked = []
        for number, arrival in enumerate(arrivals):
            time.sleep(max(0.0, start + arrival.at - time.perf_counter()))
            asked.append(pool.submit(ask, number, arrival.size))
        return [each.result() for each in asked]


def _figures(seen: Sequence[Seen], alone: dict[Size, float], pace: Pace, max_batch: int) -> Fields:
    """Compare what clients saw with what is simulated for the very same times and sizes."""
    ordered = sorted(seen, key=lambda each: each.sent)
    arrivals = [Arrival(each.sent, each.size) for each in ordered]
    run = Simulation(pace, Limits(max_batch, 1000)).run(arrivals, 1)
    measured = {
        "busy": _busy(ordered) / ordered[-1].sent,
        **_seconds("wait", [max(0.0, each.first - each.sent - alone[each.size]) for each in ordered]),
        **_seconds("answer", [each.done - each.sent for each in ordered]),
    }
    return {"requests": len(seen), "measured": measured, "simulated": _simulated(run)}


def _simulated(run: Run) -> dict[str, float]:
    waits = [each.wait for each in run.visits]
    return {
        "busy": run.utilisation,
        **_seconds("wait", waits),
        **_seconds("answer", [each.latency for each in run.visits]),
    }


def _seconds(name: str, values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {f"{name}_mean_s": mean(values), f"{name}_p90_s": quantile(ordered, 0.9) or 0.0}


def _busy(ordered: Sequence[Seen]) -> float:
    """Return the seconds up to the last arrival in which some request was being answered."""
    total, end, until = 0.0, 0.0, ordered[-1].sent
    for each in ordered:
        total += max(0.0, min(each.done, until) - max(each.sent, end))
        end = max(end, each.done)
    return total


if __name__ == "__main__":
    sys.exit(main())
