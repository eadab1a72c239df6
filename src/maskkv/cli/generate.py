"""`maskkv generate`: a prompt in, an answer out."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

from rich.filesize import decimal

from maskkv.cli import documents, terminal
from maskkv.cli.documents import PromptFlags
from maskkv.cli.flags import Json, PolicyFlags, flagged, load
from maskkv.cli.stretched import Notice
from maskkv.generation import Generation
from maskkv.loading import Loading
from maskkv.result import Result, finish


@flagged
def generate(
    *,
    prompt: PromptFlags,
    loading: Loading,
    policy: PolicyFlags,
    generation: Generation,
    as_json: Json = False,
) -> None:
    """Answer a prompt.

    The answer goes to standard output; what it cost, and what the KV cache kept, to standard error.
    """
    text = prompt.prompt()
    chosen = policy.chosen()
    llm = load(loading)
    ids = documents.encoded(text, partial(llm.prompt_ids, raw=prompt.raw))
    Notice(llm)(len(ids) + generation.gen_length)
    steps = llm.stream_ids(ids, generation, policy=chosen, budget=policy.budget_for(chosen))
    with terminal.progress("reading the prompt", generation.num_steps) as advance:
        result = finish(steps, lambda step: advance(step.index + 1, "denoising"))
    if as_json:
        terminal.put_json(asdict(result))
    else:
        terminal.put(result.text)
        terminal.note(summary(result))


def pairs_per_head(result: Result) -> float | None:
    """Return how many prompt pairs a KV head kept per layer, on average; None without a cache."""
    heads = [len(positions) for layer in result.kept for positions in layer]
    return sum(heads) / len(heads) if heads else None


def sureness(result: Result) -> str:
    """Say how sure the model was of the token of the answer that it was least sure of; it may be sure and wrong."""
    return f"{min(result.confidences):.0%}" if result.confidences else "-"


def summary(result: Result) -> str:
    """Say in three lines what an answer cost, what was kept for it, and how sure of it the model was."""
    pairs = pairs_per_head(result)
    full = decimal(result.full_cache_bytes)
    if pairs is None:
        kept = f"no cache ({full} with one)"
    else:
        part = result.cache_bytes / result.full_cache_bytes
        kept = (
            f"kept {pairs:,.1f} of {result.prompt_length:,} prompt pairs per KV head, "
            f"cache {decimal(result.cache_bytes)} of {full} un-evicted ({part:.1%})"
        )
    if result.host_bytes:
        kept += f", {decimal(result.host_bytes)} in host memory; {result.recalled:,} pairs came back"
    return (
        f"{result.policy}: {kept}\n{result.steps} steps in {result.latency_s:.2f} s, "
        f"{result.tokens_per_s:.1f} tokens/s, peak memory {decimal(result.peak_memory_bytes)}\n"
        f"least sure of its tokens: {sureness(result)}"
    )
