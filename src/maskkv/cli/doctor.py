"""`maskkv doctor`: does this machine run maskkv."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from maskkv.checkup import Finding, coming_back, guarded, machine
from maskkv.cli import terminal
from maskkv.cli.flags import Json, flagged, load
from maskkv.cli.sample import make
from maskkv.loading import Loading

if TYPE_CHECKING:
    from maskkv.api import LanguageModel

MARKS = {True: "ok", False: "BROKEN", None: "not installed"}
STYLES = {True: None, False: "red", None: "dim"}


@flagged
def doctor(*, loading: Loading, as_json: Json = False) -> None:
    """Report versions, extras, devices and memory, and try kernels and a model.

    Exits with 1 if something is broken. On CUDA every kernel is compared with plain torch, and a tiny model's tokens
    with the CPU's. The hub is asked only for a --model that is not on this machine.
    """
    with terminal.waiting("trying this machine"):
        found = list(machine(loading.device))
    findings = [*found, *guarded(_name(loading), _try(loading))]
    if as_json:
        terminal.put_json([asdict(finding) for finding in findings])
    else:
        table = terminal.table("", "what", "found")
        for finding in findings:
            table.add_row(MARKS[finding.ok], finding.about, finding.found, style=STYLES[finding.ok])
        terminal.show(table)
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(1)


def _name(loading: Loading) -> str:
    return str(loading.model or "bundled dLLM")


def _try(loading: Loading) -> Iterator[Finding]:
    """Load the model and let it answer: the bundled one a question, another one a few tokens of anything."""
    llm = load(loading)
    config = llm.model.config
    size = sum(parameter.numel() for parameter in llm.model.parameters())
    dtype = str(llm.model.dtype).removeprefix("torch.")
    kind = f"{config.family}, {size / 1e6:,.1f} M parameters, {dtype} on {llm.model.device}"
    yield Finding(_name(loading), kind)
    if not llm.has_text:
        yield Finding("tokenizer", "none: it answers token ids only")
    told = "none: a prompt's first pass tells" if llm.profile is None else f"of {llm.profile.n} prompts"
    yield Finding("layer profile", told)
    yield _question(llm) if loading.model is None else _tokens(llm)
    yield coming_back(llm)


def _question(llm: LanguageModel) -> Finding:
    asked = make("single-key", 128, seed=0)
    result = llm.generate(asked.content, gen_length=asked.gen_length, policy="full")
    right = result.text.split() == asked.answer.split()
    found = f"right: {result.text}" if right else f"wrong: {result.text}; expected: {asked.answer}"
    return Finding("answer to a question", found, ok=right)


def _tokens(llm: LanguageModel) -> Finding:
    result = llm.generate_ids(range(8), gen_length=8, policy="full", stop_at_eos=False)
    return Finding("8 tokens", f"{8 / result.latency_s:.1f} tokens/s")
