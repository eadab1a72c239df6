"""One prompt inspected: what a policy keeps of it, and its answer beside that of the full cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from maskkv import policies
from maskkv.api import LanguageModel
from maskkv.budget import Budget, check_budget
from maskkv.eviction.policy import Policy
from maskkv.generation import Generation
from maskkv.lens.budget_sweep import BudgetSweep, sweep
from maskkv.lens.film import Film, record
from maskkv.plan import Workload, check_fits
from maskkv.result import Result
from maskkv.text.tokenizer import Token


@dataclass(frozen=True)
class Run:
    """Report an answer and what it cost; `said` is its text token by token, up to the end token."""

    policy: str
    budget: int | None
    text: str
    said: list[str]
    steps: int
    latency_s: float
    tokens_per_s: float
    cache_bytes: int
    peak_memory_bytes: int


@dataclass(frozen=True)
class Inspection:
    """Hold all that the lens shows.

    `kept` are the positions kept at the end of the answer, `sweep` those of the first vote; they agree unless the
    answer took more than `prompt_interval` steps, or pairs came back. `film` tells the steps in between where evicted
    pairs may come back, and is None where they are dropped. `differing` lists the response positions at which the
    answers differ.
    """

    tokens: list[Token]
    evictable: int
    policy: str
    budget: int | None
    prompt_interval: int
    sweep: BudgetSweep
    kept: list[list[list[int]]]
    evicted: Run
    full: Run
    differing: list[int]
    film: Film | None


def inspect(
    llm: LanguageModel, tokens: Sequence[Token], generation: Generation, policy: Policy, budget: Budget
) -> Inspection:
    """Answer a prompt with and without eviction, and find out what the policy keeps of it at many budgets.

    Raises:
        InputError: The policy evicts nothing, or the prompt, budget or generation is unusable.
    """
    ids = [token.id for token in tokens]
    work = Workload(len(ids), generation, policy, check_budget(budget), llm.kv_dtype)
    check_fits(llm.model, work)
    swept = sweep(llm, ids, generation, policy, work.pairs)
    full = llm.generate_ids(ids, generation, policy=policies.named("full"), budget=None)
    evicted = llm.generate_ids(ids, generation, policy=policy, budget=work.pairs)
    evictable = len(ids) - llm.model.config.logit_shift
    recalls = policy.recall is not None and policy.evicts(work.pairs, evictable)
    # In a run of its own: it takes longer.
    film = record(llm, ids, generation, policy, work.pairs) if recalls else None
    answers = zip_longest(llm.said(evicted.tokens), llm.said(full.tokens))
    return Inspection(
        tokens=list(tokens),
        evictable=evictable,
        policy=policy.name,
        budget=work.pairs,
        prompt_interval=generation.prompt_interval,
        sweep=swept,
        kept=evicted.kept,
        evicted=_run(llm, evicted),
        full=_run(llm, full),
        differing=[position for position, (one, other) in enumerate(answers) if one != other],
        film=film,
    )


def _run(llm: LanguageModel, result: Result) -> Run:
    return Run(
        policy=result.policy,
        budget=result.budget,
        text=result.text,
        said=[llm.text.decode([token]) for token in llm.said(result.tokens)],
        steps=result.steps,
        latency_s=result.latency_s,
        tokens_per_s=result.tokens_per_s,
        cache_bytes=result.cache_bytes,
        peak_memory_bytes=result.peak_memory_bytes,
    )
