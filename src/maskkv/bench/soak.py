"""Minutes of all that clients do to one server: `python -m maskkv.bench.serving soak`."""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from maskkv.bench.clients import ClientAnswer, Fields, Server, question, serving
from maskkv.errors import InputError

ROUNDS = 4
"""After each, what the idle server holds is noted; the first warms up allocators and thread pools."""

_BODIES = 24
_MOST_BODY_BYTES = 200_000
_LOOKS, _BETWEEN_S = 5, 0.2
"""How often, and how far apart, open files are counted: a closed connection takes a moment to go."""
_POOL = min(32, (os.cpu_count() or 1) + 4)
"""Most threads of an event loop's pool, which starts them as it needs them."""
_GROWTH = 1.1
"""Resident memory at the end over that after the first round, above which it counts as growing."""

_REFUSED: dict[str, tuple[Fields, str]] = {
    "no such field": ({"n": 7}, "400"),
    "no such budget": ({"budget": 0}, "400"),
    "no such policy": ({"policy": "nobody"}, "400"),
    "no such model": ({"model": "another"}, "404"),
    "too long": ({"max_tokens": 1_000_000}, "400"),
}
"""Fields that are refused, and the status that refuses them."""

_KINDS = {
    "whole": 4, "stream": 4, "canvas": 1, "stream left": 4, "left unread": 2, "too large": 1, "cut off": 1, "noise": 1,
    "refused": 2,
}  # fmt: skip
"""What clients do, and its weight in the draw."""


@dataclass(frozen=True)
class Rest:
    """Say what an idle server holds."""

    idle: bool
    resident_mib: float
    cache_bytes: int
    threads: int
    open_files: int

    @classmethod
    def of(cls, server: Server) -> Rest:
        """Wait until the server is idle, then read its metrics."""
        idle = server.wait_idle()
        open_files = []
        for _ in range(_LOOKS):
            time.sleep(_BETWEEN_S)
            now = server.metrics()
            open_files.append(int(now["process_open_fds"]))
        return cls(
            idle=idle,
            resident_mib=round(now["process_resident_memory_bytes"] / 2**20, 1),
            cache_bytes=int(now["maskkv_cache_bytes"]),
            threads=server.threads(),
            open_files=min(open_files),
        )


@dataclass
class Seen:
    """Collect the outcomes of one client's requests."""

    outcomes: Counter[str] = field(default_factory=Counter)
    improper: Counter[str] = field(default_factory=Counter)
    """Outcomes that are faults of the server."""
    answers: list[tuple[int, ClientAnswer]] = field(default_factory=list)
    """Complete answers, each with the number of its request."""

    def note(self, kind: str, came: str, *proper: str) -> None:
        """Count an outcome, as improper unless it is one of `proper` or a full queue's refusal."""
        self.outcomes[f"{kind}: {came}"] += 1
        if came not in (*proper, "429 queue_full", "429"):
            self.improper[f"{kind}: {came}"] += 1


def bodies(options: argparse.Namespace) -> list[Fields]:
    """Return the requests that clients repeat, from short to long, each with one right answer."""
    chance = random.Random(options.seed)
    shortest, longest = options.prompt_length, options.longest_prompt or options.prompt_length
    if longest < shortest:
        raise InputError(f"--longest-prompt {longest}: expected at least --prompt-length, {shortest}")
    made = []
    for number in range(_BODIES):
        length = round(shortest * (longest / shortest) ** (number / (_BODIES - 1)))
        budget = chance.choice([8, options.budget, 256, None])
        body = question(number, length, options.gen_length, budget, seed=number)
        if number % 3 == 0:
            body |= {"temperature": 0.7, "cfg_scale": chance.choice([0, 0, 0.5])}
        if number % 4 == 0:
            body |= {"policy": chance.choice(["full", "snapkv", "adakv", "squeezeattention"])}
        made.append(body)
    return made


def soak(options: argparse.Namespace) -> Fields:
    """Put the server under mixed load and record what happened; an empty `faults` means that nothing was wrong.

    Every complete answer is compared with the answer that the same request got before the load, alone.
    """
    asked = bodies(options)
    # Fewer places than clients, so that the queue fills up too.
    places = str(max(1, options.clients // 4))
    limits = ["--max-batch", places, "--max-queue", places, "--max-body-bytes", str(_MOST_BODY_BYTES)]
    with serving(limits) as server, ThreadPoolExecutor(options.clients) as pool:
        # This also pays for what is set up once, and takes the memory of the longest prompt.
        alone = [server.ask(body) for body in asked]
        rests, clients = [Rest.of(server)], []
        for turn in range(ROUNDS):
            end = time.monotonic() + 60 * options.minutes / ROUNDS
            behaving = [
                pool.submit(_behave, server, asked, f"{options.seed} {turn} {client}", end)
                for client in range(options.clients)
            ]
            clients += [client.result() for client in behaving]
            rests.append(Rest.of(server))
        answers = [answer for client in clients for answer in client.answers]
        different = [number for number, answer in answers if answer.told != alone[number].told]
        answered = {name: count for name, count in server.metrics().items() if name.startswith("maskkv_requests_total")}
        broken = server.errors()
    improper = sum((client.improper for client in clients), Counter[str]())
    return {
        "outcomes": dict(sorted(sum((client.outcomes for client in clients), Counter[str]()).items())),
        "requests": int(sum(answered.values())),
        "status_500": int(sum(count for name, count in answered.items() if 'status="500"' in name)),
        "answers_compared": len(answers),
        "answers_different": len(different),
        "resident_mib": [each.resident_mib for each in rests],
        "threads": [each.threads for each in rests],
        "open_files": [each.open_files for each in rests],
        "faults": faults(rests, improper, different, broken),
    }


def faults(rests: Sequence[Rest], improper: Counter[str], different: Sequence[int], broken: Sequence[str]) -> list[str]:
    """Describe what was wrong; `rests` are from before the load and after each of its rounds."""
    warm, last = rests[1], rests[-1]
    found = [f"{count} × {what}" for what, count in sorted(improper.items())]
    found += [f"request {number}: another answer than alone" for number in sorted(set(different))]
    found += [f"logged: {event}" for event in sorted(set(broken))]
    if not all(each.idle and each.cache_bytes == 0 for each in rests):
        found.append("requests or caches stay when nobody asks")
    if last.resident_mib > _GROWTH * warm.resident_mib:
        found.append(f"memory grows from {warm.resident_mib} MiB to {last.resident_mib} MiB")
    if last.threads > rests[0].threads + _POOL:
        found.append(f"threads grow from {rests[0].threads} to {last.threads}, past the {_POOL} of the loop's pool")
    if last.open_files > warm.open_files:
        found.append(f"open files grow from {warm.open_files} to {last.open_files}")
    return found


def _behave(server: Server, asked: Sequence[Fields], seed: str, end: float) -> Seen:
    """Act as one client until `end`: ask, stream, hang up, send oversized and malformed bodies."""
    chance = random.Random(seed)
    seen = Seen()
    # Long prompts take longer, so they are drawn less often.
    rarity = [1 / math.sqrt(len(body["messages"][0]["content"])) for body in asked]
    while time.monotonic() < end:
        number = chance.choices(range(len(asked)), rarity)[0]
        kind = chance.choices(list(_KINDS), list(_KINDS.values()))[0]
        if kind in ("whole", "stream", "canvas"):
            more: Fields = {"diffusing": True} if kind == "canvas" else {}
            answer = server.ask({**asked[number], "stream": kind != "whole", **more})
            if answer.status == 200 and answer.error is None:
                seen.answers.append((number, answer))
            seen.note(kind, _came(answer), "200")
        elif kind == "stream left":
            leave = chance.randint(1, asked[number]["max_tokens"])
            answer = server.ask({**asked[number], "stream": True, "diffusing": True}, hang_up_after=leave)
            seen.note(kind, _came(answer), "200")
        elif kind == "refused":
            wrong = chance.choice(sorted(_REFUSED))
            fields, status = _REFUSED[wrong]
            answer = server.ask({**asked[number], **fields})
            seen.note(wrong, str(answer.status), status)
        else:
            answer = _nonsense(server, asked[number], kind, chance, seen)
        if answer.status == 429:
            time.sleep(chance.uniform(0.1, 1))
    return seen


def _nonsense(server: Server, body: Fields, kind: str, chance: random.Random, seen: Seen) -> ClientAnswer:
    """Send a malformed or oversized body, or close the connection before the answer."""
    content = json.dumps(body).encode()
    parts, proper = {
        "left unread": (content, "0"), "too large": (b" " * (_MOST_BODY_BYTES + 100_000), "413"),
        "noise": (chance.randbytes(200), "400"), "cut off": (content[: chance.randrange(len(content))], "400"),
    }[kind]  # fmt: skip
    try:
        answer = server.send(parts, wait=kind != "left unread")
    except OSError as error:  # A body that is refused unread breaks the line.
        seen.note(kind, type(error).__name__, *(["BrokenPipeError", "ConnectionResetError"] * (kind == "too large")))
        return ClientAnswer(0)
    seen.note(kind, str(answer.status), proper)
    return answer


def _came(answer: ClientAnswer) -> str:
    return f"{answer.status}{f' {answer.error}' if answer.error else ''}"
