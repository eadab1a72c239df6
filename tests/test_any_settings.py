"""Random settings, policies, budgets and prompts: what must hold of every answer, whatever was asked for.

An example is made of its number alone. What fails says how to repeat it:

    python -c "import tests.conftest; from tests import test_any_settings as t; t.check_anything(1234)"
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, get_args

import pytest
import torch
from torch import Tensor

from maskkv import policies
from maskkv.cache import NoCache, Refresh
from maskkv.checkpoints import weights
from maskkv.checks import KV_DTYPES
from maskkv.decoding.engine import Engine, Step
from maskkv.errors import InputError
from maskkv.eviction.policy import Policy
from maskkv.eviction.profile import LayerProfile
from maskkv.eviction.recall import HOST_DTYPES, INDEXES, RECALL_TALLIES, RECALL_VOTERS, Recall
from maskkv.eviction.view import TALLIES
from maskkv.generation import Algorithm, Generation
from maskkv.mixing import mix
from maskkv.models.transformer import Transformer
from maskkv.policies.maskkv import BoundaryAware, PromptPreference
from tests import reference_sampler
from tests.reference import SlowEviction, slow_run
from tests.saved_models import TINY, published, reference, write

FEW, MANY, BATCH = 24, 10_000, 100
BOTH_WAYS = sorted(TINY.keys() - {"llada2_moe", "sdar"})
"""The bidirectional families: block-causal models refuse most of these settings, and have samplers of their own."""
EXTREMES = (5e-324, 1e-310, 1e-300, 1e-45, 1e-30, 1e-3, 1e3, 1e30, 1e39, 1e300, 1.7e308)
VOTERS = ("mask", "mask-last:3", "mask-first:2", "mask-part:2/3", "block", "last:4", "last:500", "prompt", "all")
T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """One sequence: what is asked of the engine, and the ticks at which it joins and leaves."""

    prompt: tuple[int, ...]
    generation: Generation
    policy: Policy
    budget: int | None
    rope_scale: float | None = 1.0
    kv_dtype: str = "auto"
    joins: int = 0
    leaves: int | None = None

    def add_to(self, engine: Engine) -> int:
        return engine.add(self.prompt, self.generation, self.policy, self.budget, self.rope_scale, self.kv_dtype)


@dataclass(frozen=True)
class Example:
    model: Transformer
    profile: LayerProfile | None
    most_prompts: int | None
    asked: list[Asked]


@dataclass
class Run:
    """All that one sequence did."""

    steps: list[Step] = field(default_factory=list)
    kept: list[list[list[list[int]]]] = field(default_factory=list)
    """After each step."""


def batches(few: int, many: int) -> list[Any]:
    """Return the examples that always run, and slow batches of the others."""
    slow = [range(start, min(start + BATCH, many)) for start in range(few, many, BATCH)]
    return [
        pytest.param(numbers, marks=marks, id=f"{numbers.start}-{numbers.stop - 1}")
        for numbers, marks in [(range(few), ()), *[(own, pytest.mark.slow) for own in slow]]
    ]


def each(check: Callable[[int], None], numbers: range) -> None:
    """Check every example, and tell of each that fails how to repeat it."""
    failed = []
    for number in numbers:
        try:
            check(number)
        except Exception as error:
            again = f"import tests.conftest; from tests import test_any_settings as t; t.{check.__name__}({number})"
            error.add_note(f'python -c "{again}"')
            failed.append(error)
    if failed:
        raise ExceptionGroup(f"{len(failed)} of {len(numbers)} examples", failed)


@pytest.mark.parametrize("numbers", batches(FEW, MANY))
def test_any_settings(numbers: range) -> None:
    each(check_anything, numbers)


@pytest.mark.parametrize("numbers", batches(FEW // 4, MANY // 10))
def test_any_greedy_settings_give_what_the_slow_restatement_gives(numbers: range) -> None:
    each(check_greedy, numbers)


@pytest.mark.parametrize("numbers", batches(FEW // 2, MANY // 5))
def test_any_sampler_without_a_cache_is_the_published_one(numbers: range) -> None:
    each(check_sampler, numbers)


def check_anything(number: int) -> None:
    """Several sequences come and go: each one obeys its settings, spends its budget, and is what it is alone."""
    chance = Random(number)
    example = draw(chance)
    together = run(example)
    for asked, own in zip(example.asked, together, strict=True):
        assert_obeys(example.model, asked, own)
        assert_spends(example, asked, own)
    if example.model.dtype == torch.float64:
        asked, own = chance.choice(list(zip(example.asked, together, strict=True)))
        assert_alone(example, asked, own)
        if chance.random() < 0.4:
            assert_refreshed_at_every_step_is_no_cache(example, asked)


def check_greedy(number: int) -> None:
    """One vector at a time, in dictionaries: intervals, ratios, budgets, α, β, edges, guidance and positions."""
    chance = Random(f"greedy {number}")
    model = tiny(chance, torch.float64)
    eviction = slow_eviction(chance, model.config.num_layers)
    known = None if eviction is None or eviction.importance is None else profile(eviction.importance)
    asked = Asked(
        prompt=prompt(chance, model),
        generation=redrawn(lambda: Generation(**{**lengths(chance, 12), **caching(chance), "stop_at_eos": False})),
        policy=policies.named("full") if eviction is None else as_policy(eviction),
        budget=None if eviction is None else eviction.budget,
        rope_scale=chance.choice([1.0, 1.0, 7.5]),
    )
    if chance.random() < 0.3:
        asked = replace(asked, generation=replace(asked.generation, cfg_scale=chance.uniform(0.1, 2.0)))
    seen = run(Example(model, known, None, [asked]))[0]

    def slow(model: Transformer) -> list[Any]:
        scale = asked.rope_scale or 1.0
        steps = slow_run(model, list(asked.prompt), asked.generation, without_a_middle(eviction, model), scale)
        return [(step.positions, step.tokens, step.confidences, step.kept) for step in steps]

    got = [
        (step.positions, step.tokens, step.confidences, kept) for step, kept in zip(seen.steps, seen.kept, strict=True)
    ]
    assert_alike(got, slow, model)


def check_sampler(number: int) -> None:
    """Whole canvases through a whole pass, both samplers restated in plain loops."""
    chance = Random(f"sampler {number}")
    model = tiny(chance, torch.float64)
    config = model.config
    temperatures = [0.0, 0.0, 0.7, 1.0, 1.6]
    generation = redrawn(
        lambda: Generation(**{**lengths(chance, 16), **sampling(chance, temperatures), "stop_at_eos": False})
    )
    asked = Asked(prompt(chance, model), generation, policies.named("none"), None)
    seen = run(Example(model, None, None, [asked]))[0]

    def slow(model: Transformer) -> list[Any]:
        def logits(canvas: list[int]) -> Tensor:
            tokens = [*asked.prompt, *canvas]
            rotation = model.rotation(torch.arange(len(tokens)))
            every = model.logits(model(torch.tensor(tokens), rotation, NoCache()))
            first = len(asked.prompt) - config.logit_shift
            return every[first : first + len(canvas)].float()

        given = (logits, generation, config.mask_id, config.eos_ids)
        with torch.inference_mode():
            history = (
                reference_sampler.llada(*given, config.shares)
                if generation.alg is None
                else reference_sampler.dream(*given)
            )
        return [tuple(zip(*events, strict=True)) or ((), (), ()) for events in history]

    got = [(step.positions, step.tokens, step.confidences) for step in seen.steps]
    assert_alike(got, slow, model)


def run(example: Example) -> list[Run]:
    """Run sequences together, and refuse what cannot be asked in between."""
    engine = Engine(example.model, example.profile, most_prompts=example.most_prompts)
    runs = [Run() for _ in example.asked]
    numbers: dict[int, int] = {}
    unfinished = set(range(len(runs)))
    tick = 0
    while unfinished:
        for index, asked in enumerate(example.asked):
            if asked.joins == tick:
                numbers[asked.add_to(engine)] = index
            if asked.leaves == tick and index in numbers.values():
                number = next(number for number, own in numbers.items() if own == index)
                engine.remove(number)
                del numbers[number]
                unfinished.discard(index)
        for step in engine.step():
            index = numbers[step.sequence]
            runs[index].steps.append(step)
            runs[index].kept.append(engine[step.sequence].kept())
            if step.finished:
                unfinished.discard(index)
        tick += 1
        assert tick < 1000, "some sequence never finishes"
    return runs


def assert_obeys(model: Transformer, asked: Asked, own: Run) -> None:
    """Check one sequence's steps against what was asked for, without knowing the model."""
    config, generation = model.config, asked.generation
    tokens: dict[int, int] = {}
    for index, step in enumerate(own.steps):
        assert step.index == index
        left = [position for position in range(generation.gen_length) if position not in tokens]
        stop = (left[0] // generation.block_length + 1) * generation.block_length
        candidates = [position for position in left if position < stop]
        assert list(step.positions) == sorted(set(step.positions) & set(candidates))
        assert [position for position, _, _ in step.proposals()] == candidates
        proposed = {position: (token, confidence) for position, token, confidence in step.proposals()}
        for position, token, confidence in zip(step.positions, step.tokens, step.confidences, strict=True):
            assert proposed[position] == (token, confidence)
            tokens[position] = token
        assert all(0 <= confidence <= 1 + 1e-6 for _, _, confidence in step.proposals())
        assert all(0 <= token < config.vocab_size and token != config.mask_id for _, token, _ in step.proposals())
        if generation.logits_eos_inf:
            assert all(token != config.eos_ids[0] for _, token, _ in step.proposals())
        assert step.masks_left == generation.gen_length - len(tokens)
        assert step.finished == over(tokens, config.eos_ids if generation.stop_at_eos else (), generation.gen_length)
        assert step.finished == (step is own.steps[-1]) or asked.leaves is not None
        assert_on_time(asked, step, own.steps[index - 1] if index else None)
    limit = generation.num_steps * (2 if generation.min_confidence is not None else 1)
    assert len(own.steps) <= limit
    if not generation.confidence_decides and generation.alg is None and generation.min_confidence is None:
        shares = [
            share
            for start in range(0, generation.gen_length, generation.block_length)
            for share in reference_sampler.shared_out(
                min(generation.block_length, generation.gen_length - start), generation, config.shares
            )
        ]
        assert [len(step.positions) for step in own.steps] == shares[: len(own.steps)]


def over(tokens: dict[int, int], ends: Sequence[int], length: int) -> bool:
    """Tell whether every position is decided up to the first end token."""
    for position in range(length):
        if position not in tokens:
            return False
        if tokens[position] in ends:
            return True
    return True


def assert_on_time(asked: Asked, step: Step, before: Step | None) -> None:
    """Check what a step recomputes."""
    generation = asked.generation
    if not asked.policy.cached:
        assert step.refresh is None
        return
    live = Refresh.RESPONSE if step.index % generation.response_interval == 0 else Refresh.PARTIAL
    due = generation.by_the_clock and step.index % generation.prompt_interval == 0
    if before is None or due or put_off(generation, before):
        assert step.refresh is Refresh.PROMPT
    else:
        assert step.refresh is live or (generation.value_drift is not None and step.refresh is Refresh.PROMPT)


def put_off(generation: Generation, step: Step) -> bool:
    """Tell whether a step doubted, and so committed nothing."""
    surest = step.commit.proposals.surest
    if generation.min_confidence is None or step.refresh is Refresh.PROMPT:
        return False
    assert surest is not None
    doubted = float(surest.max()) < generation.min_confidence
    assert not (doubted and step.positions)
    return doubted


def assert_spends(example: Example, asked: Asked, own: Run) -> None:
    """Check what is kept after every step: exactly the budget, by layer and by head."""
    config = example.model.config
    evictable = len(asked.prompt) - config.logit_shift
    budget, evicts = asked.budget, asked.policy.can_evict
    for step, kept in zip(own.steps, own.kept, strict=True):
        if not asked.policy.cached:
            assert kept == []
            continue
        assert [len(heads) for heads in kept] == [config.num_kv_heads] * config.num_layers
        for rows in (rows for heads in kept for rows in heads):
            assert rows == sorted(set(rows) & set(range(evictable)))
        counts = [[len(rows) for rows in heads] for heads in kept]
        if budget is None or not evicts or budget >= evictable:
            assert counts == [[evictable] * config.num_kv_heads] * config.num_layers
            continue
        assert sum(map(sum, counts)) == budget * config.num_kv_heads * config.num_layers
        if not asked.policy.layer_budget.needs_importance or example.profile is not None:
            importance = None if example.profile is None else example.profile.importance
            sizes = {"num_layers": config.num_layers, "kv_heads": config.num_kv_heads, "evictable": evictable}
            assert [sum(heads) for heads in counts] == asked.policy.layer_pairs(budget, **sizes, importance=importance)
        if not asked.policy.revote or step.refresh is not Refresh.PROMPT:
            before = own.kept[max(0, step.index - 1)]
            assert counts == [[len(rows) for rows in heads] for heads in before]
            assert kept == before or asked.policy.recall is not None


def assert_alone(example: Example, asked: Asked, own: Run) -> None:
    """Check that a sequence among others is the same alone."""

    def alone(model: Transformer) -> list[Any]:
        single = run(Example(model, example.profile, None, [replace(asked, joins=0, leaves=None)]))[0]
        return steps_of(single)[: len(own.steps)]

    assert_alike(steps_of(own), alone, example.model)


def assert_refreshed_at_every_step_is_no_cache(example: Example, asked: Asked) -> None:
    """Check that a prompt read in every step leaves nothing to the cache, whatever is evicted from it."""
    rules = {"one_pass": False, "min_confidence": None, "value_drift": None}
    generation = replace(asked.generation, prompt_interval=1, **rules)
    every = replace(asked, generation=generation, joins=0, leaves=None)

    def uncached(model: Transformer) -> list[Any]:
        none = replace(every, policy=policies.named("none"))
        return [each[:3] for each in steps_of(run(Example(model, None, None, [none]))[0])]

    cached = run(Example(example.model, example.profile, None, [every]))[0]
    assert_alike([each[:3] for each in steps_of(cached)], uncached, example.model)


def steps_of(own: Run) -> list[Any]:
    return [
        (step.positions, step.tokens, step.confidences, step.refresh, kept)
        for step, kept in zip(own.steps, own.kept, strict=True)
    ]


def assert_alike(got: list[Any], expected: Callable[[Transformer], list[Any]], model: Transformer) -> None:
    """Compare step by step; a difference counts unless the expected answer is a tie, which a nudge decides."""
    wanted = expected(model)
    if alike(got, wanted):
        return
    if all(alike(expected(nudged(model, seed)), wanted) for seed in range(4)):
        first = next(
            (i for i, pair in enumerate(zip(got, wanted, strict=False)) if not alike([pair[0]], [pair[1]])), -1
        )
        raise AssertionError(f"{len(got)} steps of {len(wanted)}, first different {first}:\n{got}\nexpected\n{wanted}")


def alike(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        a[:2] == b[:2] and a[2] == pytest.approx(b[2], abs=2e-3) and a[3:] == b[3:]
        for a, b in zip(one, other, strict=True)
    )


def nudged(model: Transformer, seed: int) -> Transformer:
    """Change every weight by a millionth."""
    random = torch.Generator().manual_seed(seed)
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        noise = torch.randn(parameter.shape, generator=random, dtype=torch.float64)
        parameter.mul_(1 + 1e-6 * noise.to(parameter.dtype))
    return other


def draw(chance: Random) -> Example:
    """Draw an example."""
    dtype = chance.choice([torch.float64, torch.float64, torch.float64, torch.float32, torch.bfloat16])
    model = tiny(chance, dtype)
    asked = [ask(chance, model) for _ in range(chance.choice([1, 1, 2, 3, 4]))]
    if chance.random() < 0.2:  # One prompt under two policies shares its passes.
        asked.append(replace(asked[0], policy=redrawn(lambda: a_policy(chance)), budget=chance.randint(1, 9)))
    if len(asked) > 1 and chance.random() < 0.3:
        leaver = chance.randrange(1, len(asked))
        asked[leaver] = replace(asked[leaver], leaves=asked[leaver].joins + chance.randint(1, 9))
    known = chance.choice([None, profile(importance(chance, model.config.num_layers))])
    return Example(model, known, chance.choice([None, None, 1, 2]), asked)


def ask(chance: Random, model: Transformer) -> Asked:
    words = prompt(chance, model)
    temperatures = [0.0, 0.0, chance.uniform(0.01, 3), chance.choice(EXTREMES)]
    return Asked(
        prompt=words,
        generation=redrawn(
            lambda: Generation(
                **{**lengths(chance, 24), **sampling(chance, temperatures), **caching(chance), **rule(chance)}
            )
        ),
        policy=redrawn(lambda: a_policy(chance)),
        budget=chance.choice([None, 1, chance.randint(1, len(words)), chance.randint(1, len(words)), len(words) + 3]),
        rope_scale=chance.choice([None, 1.0, 7.5]),
        kv_dtype=chance.choice(["auto", "auto", "auto", *KV_DTYPES]),
        joins=chance.choice([0, 0, chance.randint(0, 8)]),
    )


def redrawn(make: Callable[[], T]) -> T:
    """Draw until what was drawn fits together; what does not is refused in one line."""
    for _ in range(1000):
        try:
            return make()
        except InputError as error:
            refused = str(error)
        assert refused.strip()
        assert "\n" not in refused
    raise AssertionError("nothing that is drawn fits together")


def lengths(chance: Random, most: int) -> dict[str, Any]:
    length = chance.randint(1, most)
    block = chance.choice([each for each in range(1, length + 1) if length % each == 0])
    steps = length // block * chance.randint(1, block + chance.choice([0, 0, 0, 3]))
    fitting = {"gen_length": length, "block_length": block, "steps": chance.choice([None, steps])}
    if chance.random() < 0.7:
        return fitting
    loose = {"block_length": chance.randint(1, length), "steps": chance.choice([None, chance.randint(1, length)])}
    return fitting | chance.choice([{"shares": "largest_first"}, {"shares": "rounded"} | loose])


def sampling(chance: Random, temperatures: Sequence[float]) -> dict[str, Any]:
    """Draw how tokens are picked; half of it is left at its default."""
    options: dict[str, Any] = {
        "temperature": chance.choice(temperatures),
        "seed": chance.choice([0, chance.randrange(2**63)]),
        "alg": chance.choice([None, None, *get_args(Algorithm)]),
        "logits_eos_inf": chance.random() < 0.2,
    }
    if options["alg"] is None:
        options |= {
            "remasking": chance.choice(["low_confidence", "low_confidence", "random"]),
            "confidence_eos_eot_inf": chance.random() < 0.2,
        }
    else:
        options |= {
            "alg_temp": chance.choice([0.0, 0.0, chance.uniform(0.05, 2), *temperatures[3:]]),
            "eps": chance.choice([1e-3, 1.0, chance.uniform(1e-6, 1), 1e-300]),
            "top_p": chance.choice([None, 1.0, chance.uniform(0.05, 1), chance.uniform(0.05, 1), 1e-300]),
            "top_k": chance.choice([None, None, chance.randint(1, 70)]),
        }
    decides = chance.random()
    if decides < 0.1:
        options["threshold"] = chance.choice([0.0, 1.0, chance.uniform(0, 0.3)])
    elif decides < 0.2:
        options["factor"] = chance.choice([1e-300, 1e300, chance.uniform(0.5, 4)])
    return options


def caching(chance: Random) -> dict[str, Any]:
    return {
        "prompt_interval": chance.choice([chance.randint(1, 8), 50]),
        "response_interval": chance.choice([chance.randint(1, 6), 50]),
        "transfer_ratio": chance.choice([0.0, 0.25, chance.random(), 1.0]),
    }


def rule(chance: Random) -> dict[str, Any]:
    """Draw guidance, when to stop, and when the prompt is read again."""
    options: dict[str, Any] = {
        "stop_at_eos": chance.random() < 0.5,
        "cfg_scale": chance.choice([0.0, 0.0, 0.0, chance.uniform(0.1, 3), chance.choice(EXTREMES)]),
    }
    which = chance.choice(["clock", "clock", "one_pass", "min_confidence", "value_drift"])
    if which == "one_pass":
        options["one_pass"] = True
    elif which != "clock":
        options[which] = chance.choice([1e-300, chance.uniform(0.01, 0.5), 1.0])
    return options


def a_policy(chance: Random) -> Policy:
    """Draw a policy, with some of its parts exchanged."""
    base = policies.named(chance.choice(policies.names()))
    if not base.can_evict or chance.random() < 0.4:
        return base
    changes: dict[str, Any] = {
        "layer_budget": chance.choice(["uniform", "maskkv", "pyramidkv", "squeezeattention"]),
        "head_budget": chance.choice(["uniform", "maskkv", "adakv"]),
        "voters": chance.choice(VOTERS),
        "tally": chance.choice(TALLIES),
        "value_weighted": True,
        "pooled": True,
        "kernel": chance.choice([1, 3, 7, 201]),
        "protect_window": True,
        "layer_base": chance.choice([0.0, 1.0, chance.random()]),
        "boundary_layers": chance.randint(1, 4),
        "head_base": chance.choice([0.0, 1.0, chance.random()]),
        "revote": False,
    }
    wanted = chance.sample(sorted(changes), chance.randint(1, 4))
    mixed = mix(base, **{name: changes[name] for name in wanted})
    return mixed if chance.random() < 0.6 else replace(mixed, recall=a_recall(chance))


def a_recall(chance: Random) -> Recall:
    """Draw how evicted pairs come back."""
    voters, tally = chance.choice(RECALL_VOTERS), chance.choice(RECALL_TALLIES)
    return Recall(chance.choice([1, 1, 2, 5]), voters, tally, chance.choice(INDEXES), chance.choice(HOST_DTYPES))


def prompt(chance: Random, model: Transformer) -> tuple[int, ...]:
    """Draw a prompt; it may hold end tokens and the mask token like any other."""
    length = chance.choice([1, 2, 3, chance.randint(1, 60), chance.randint(1, 60), chance.randint(1, 60)])
    return tuple(chance.randrange(model.config.vocab_size) for _ in range(length))


def importance(chance: Random, layers: int) -> tuple[float, ...]:
    kind = chance.choice(["any", "any", "any", "zero", "one", "extreme"])
    if kind == "zero":
        return (0.0,) * layers
    if kind == "one":
        alone = chance.randrange(layers)
        return tuple(float(layer == alone) for layer in range(layers))
    if kind == "extreme":
        return tuple(chance.choice([0.0, 5e-324, 1e-300, 1.0, 2.0]) for _ in range(layers))
    return tuple(chance.uniform(0.01, 1) for _ in range(layers))


def profile(each: tuple[float, ...]) -> LayerProfile:
    return LayerProfile("tiny", "0" * 64, 1, 32, each, (0.0,) * len(each))


def slow_eviction(chance: Random, layers: int) -> SlowEviction | None:
    """Draw what the slow restatement can evict by; None evicts nothing."""
    if chance.random() < 0.2:
        return None
    return SlowEviction(
        budget=chance.choice([1, 2, 3, 5, 9, 20, 60]),
        importance=chance.choice([None, tuple(chance.uniform(0.01, 1) for _ in range(layers))]),
        layer_base=chance.choice([None, 0.4, chance.random()]),
        head_base=chance.choice([None, 0.1, chance.random()]),
        boundary_layers=chance.randint(1, 2),
        revote=chance.random() < 0.8,
        recall=replace(a_recall(chance), index="none", host_dtype="auto") if chance.random() < 0.5 else None,
    )


def without_a_middle(eviction: SlowEviction | None, model: Transformer) -> SlowEviction | None:
    """Give every layer the same where all of them are edges."""
    if eviction is None or model.config.num_layers > 2 * eviction.boundary_layers:
        return eviction
    return replace(eviction, layer_base=None)


def as_policy(eviction: SlowEviction) -> Policy:
    changes: dict[str, Any] = {"revote": eviction.revote}
    whole = replace(mix(policies.named("maskkv"), **changes), recall=eviction.recall)
    uniform = policies.named("mask-voting")
    return replace(
        whole,
        layer_budget=uniform.layer_budget
        if eviction.layer_base is None
        else BoundaryAware(eviction.layer_base, eviction.boundary_layers),
        head_budget=uniform.head_budget if eviction.head_base is None else PromptPreference(eviction.head_base),
    )


def tiny(chance: Random, dtype: torch.dtype) -> Transformer:
    """Draw a model; a pass reads rows in chunks of some size."""
    family, layers, seed = chance.choice(BOTH_WAYS), chance.choice([1, 2, 3, 5]), chance.randrange(2)
    model = loaded(family, layers, seed, dtype)
    model._chunk_rows = chance.choice([None, None, 9, 29])
    return model


@cache
def loaded(family: str, layers: int, seed: int, dtype: torch.dtype) -> Transformer:
    """Load a tiny checkpoint from its files."""
    made = reference(family, kv_heads=(2, 4)[seed], scale=(0.15, 0.3)[seed], seed=seed, layers=layers)
    named: dict[str, Any] = {"llada": {"n_layers": layers, "n_kv_heads": (2, 4)[seed]}}.get(
        family, {"num_hidden_layers": layers, "num_key_value_heads": (2, 4)[seed]}
    )
    if family == "llada_moe":
        named["moe_layer_freq"] = [int(layers == 1), *[1] * (layers - 1)]
    with TemporaryDirectory() as folder:
        write(Path(folder), TINY[family] | named, published(family, made))
        model = weights.load(folder, "cpu", "float32")
        return model.to(dtype)
