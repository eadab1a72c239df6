"""Whether the device computes what the CPU and plain formulas do: the list of checks, and the item that runs them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import torch

from maskkv.bench.gpu import kernel_checks, model_checks
from maskkv.bench.gpu.subject import Fields, Subject
from maskkv.bench.gpu.verdicts import Found, Verdict


@dataclass(frozen=True)
class Check:
    """Hold a check, which yields a named verdict for each thing that it compares."""

    run: Callable[[torch.device], Found]
    needs_cuda: bool = False


CHECKS = (
    Check(kernel_checks.segments, needs_cuda=True),
    Check(kernel_checks.votes),
    Check(kernel_checks.rows),
    Check(kernel_checks.least),
    Check(model_checks.tokens),
    Check(model_checks.keeping_everything),
    Check(model_checks.hidden_states),
    Check(model_checks.graphs),
    Check(model_checks.settings),
    Check(model_checks.policies),
    Check(model_checks.bundled),
    Check(model_checks.eight_bits),
)


def correctness(subject: Subject) -> Iterator[Fields]:
    """Run every check; one that raises has failed."""
    verdicts: dict[str, Verdict] = {}
    for check in CHECKS:
        name = check.run.__name__
        if check.needs_cuda and not subject.on_cuda:
            verdicts[name] = Verdict(None, "needs CUDA")
            continue
        try:
            verdicts |= check.run(subject.device)
        except Exception as error:
            traceback.print_exc()
            verdicts[name] = Verdict(False, f"{type(error).__name__}: {error}")
    yield {
        "failed": [name for name, verdict in verdicts.items() if verdict.passed is False],
        "checks": {name: asdict(verdict) for name, verdict in verdicts.items()},
    }
