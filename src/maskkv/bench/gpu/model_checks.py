"""Whether tiny models of both families answer on the device as on the CPU, and alike in every mode."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from maskkv.api import load
from maskkv.bench.gpu.subject import random_prompt
from maskkv.bench.gpu.verdicts import Found, Verdict, close, count_different, same
from maskkv.bench.shapes import SHAPES, random_model
from maskkv.cache import EvictingCache, Extent, NoCache, PackedCache, Refresh, SharedRefresh
from maskkv.decoding.engine import Engine
from maskkv.generation import Generation
from maskkv.mini.tasks import TASKS, sample
from maskkv.models.config import ModelConfig
from maskkv.models.transformer import Transformer
from maskkv.policies import named, names

DISTINCT = 16
"""Fewest different tokens of a response: a monotonous one would prove little by being equal."""
_TINY = replace(SHAPES["tiny"], vocab_size=512, mask_id=511, eos_ids=(510,), pad_id=510, rope_theta=100.0)
FAMILIES = {
    "llada": _TINY,
    "dream": replace(_TINY, family="dream", logit_shift=1, qkv_bias=True, rope_dtype="model"),
}
"""Both have two query heads per KV head; the small RoPE base keeps neighbouring rows from becoming the same token."""
GENERATION = Generation(gen_length=32, prompt_interval=12, response_interval=5, stop_at_eos=False)
SEED = 0
_PROMPTS = (100, 61, 83)


def tokens(device: torch.device) -> Found:
    """Compare the tokens of whole responses with those of the CPU, in fp32."""
    for family, config in FAMILIES.items():
        here = lively_model(config, SEED)
        there = copy.deepcopy(here).to(device)
        there.pack_weights()
        for policy, budget in (("none", None), ("full", None), ("maskkv", 16), ("snapkv", 16)):
            (expected,), (found,) = (responses(model, policy, budget, _PROMPTS[:1]) for model in (here, there))
            kinds, other = len(set(expected)), count_different(expected, found)
            yield (
                f"tokens as on the CPU, {family}, {policy}",
                Verdict(other == 0 and kinds >= DISTINCT, f"{other} of {len(expected)} differ, {kinds} kinds"),
            )


def keeping_everything(device: torch.device) -> Found:
    """Compare a budget of the whole prompt with no eviction, in bf16."""
    for family, config in FAMILIES.items():
        model = lively_model(config, SEED).to(device, torch.bfloat16)
        (full,) = responses(model, "full", None, _PROMPTS[:1])
        (kept,) = responses(model, "maskkv", _PROMPTS[0], _PROMPTS[:1])
        yield f"keeping everything, {family}", same(kept, full)


def hidden_states(device: torch.device) -> Found:
    """Compare the live rows that read cached pairs with those of a pass over everything, in bf16."""
    for family, config in FAMILIES.items():
        # Sharp attention would make much of the rounding of its scores.
        model = random_model(config, SEED).to(device, torch.bfloat16)
        model.pack_weights()
        yield f"hidden states, {family}", close(*live_rows(model, _PROMPTS[0]), tolerance=1e-2)


def graphs(device: torch.device) -> Found:
    """Compare replayed graphs with passes that run as they are, in bf16, alone and together."""
    for family, config in FAMILIES.items():
        model = lively_model(config, SEED).to(device, torch.bfloat16)
        model.pack_weights()
        for prompts in (_PROMPTS[:1], _PROMPTS):
            eager, replayed = (responses(model, "maskkv", 16, prompts, graphs=each) for each in (False, True))
            other = sum(map(count_different, eager, replayed))
            yield f"graphs, {family}, {len(prompts)} together", Verdict(other == 0, f"{other} tokens differ")


SETTINGS: tuple[dict[str, Any], ...] = (
    {"temperature": 0.7, "seed": 3},
    {"remasking": "random"},
    {"confidence_eos_eot_inf": True, "logits_eos_inf": True},
    {"threshold": 0.9},
    {"factor": 1.0},
    {"min_confidence": 0.5},
    {"value_drift": 0.05},
    {"cfg_scale": 1.0},
    {"alg": "entropy", "temperature": 0.5, "top_p": 0.9, "top_k": 20, "alg_temp": 0.2},
    {"alg": "topk_margin"},
    {"alg": "origin"},
)
"""Each a way to sample or to schedule refreshes."""


def settings(device: torch.device) -> Found:
    """Compare the tokens with CUDA graphs and without, for every way to sample and to schedule refreshes."""
    model = lively_model(list(FAMILIES.values())[-1], SEED).to(device, torch.bfloat16)
    for changes in SETTINGS:
        generation = replace(GENERATION, **changes)
        eager, replayed = (
            responses(model, "maskkv", 16, _PROMPTS, graphs=each, generation=generation) for each in (False, True)
        )
        other = sum(map(count_different, eager, replayed))
        said = ", ".join(f"{name}={value}" for name, value in changes.items())
        yield f"settings, {said}", Verdict(other == 0, f"{other} tokens differ")


def policies(device: torch.device) -> Found:
    """Compare the tokens under every policy with those of the CPU, in fp32."""
    here = lively_model(FAMILIES["llada"], SEED)
    there = copy.deepcopy(here).to(device)
    for policy in names():
        expected, found = (responses(model, policy, 16, _PROMPTS[:1])[0] for model in (here, there))
        yield f"policy {policy}", same(found, expected)


def bundled(device: torch.device) -> Found:
    """Load the bundled model from its files on the device and on the CPU, and compare answers in fp32."""
    samples = [sample(task, 400, seed) for seed, task in enumerate(TASKS)]
    answers: list[list[str]] = []
    for place in ("cpu", str(device)):
        llm = load(device=place, dtype="float32", budget=32)
        answers.append([llm.generate(each.content, gen_length=32).text for each in samples])
    other = sum(a != b for a, b in zip(*answers, strict=True))
    yield "bundled model", Verdict(other == 0, f"{other} of {len(samples)} answers differ")


def eight_bits(device: torch.device) -> Found:
    """Answer with kept pairs in 8 bits: the response is complete, and logits that are no numbers raise."""
    model = lively_model(FAMILIES["llada"], SEED).to(device, torch.bfloat16)
    for kind in ("int8", "fp8"):
        (response,) = responses(model, "maskkv", 16, _PROMPTS[:1], kv_dtype=kind)
        yield f"pairs in {kind}", Verdict(len(response) == GENERATION.gen_length, f"{len(response)} tokens")


def lively_model(config: ModelConfig, seed: int) -> Transformer:
    """Make a random model on the CPU whose responses have many kinds of tokens.

    The mask's embedding is small, so that a row becomes what it reads; queries and keys are large, so that each row
    reads a few pairs of its own.
    """
    model = random_model(config, seed)
    generator = torch.Generator().manual_seed(seed)
    model.embed.weight[config.mask_id] *= 0.05
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(0.0, 0.3, generator=generator)
        elif name.endswith(("q_proj.weight", "k_proj.weight")):
            parameter.mul_(2.0)
    return model


def responses(
    model: Transformer,
    policy: str,
    budget: int | None,
    prompts: tuple[int, ...],
    *,
    graphs: bool = True,
    kv_dtype: str = "auto",
    generation: Generation | None = None,
) -> list[list[int]]:
    """Answer random prompts of these lengths together."""
    engine = Engine(model, cuda_graphs=graphs)
    for number, length in enumerate(prompts):
        prompt = random_prompt(model.config, length, number)
        engine.add(prompt, generation or GENERATION, named(policy), budget, kv_dtype=kv_dtype)
    while engine.step():
        pass
    return [engine[number].response() for number in range(len(prompts))]


@torch.inference_mode()
def live_rows(
    model: Transformer, prompt_length: int
) -> tuple[Float[Tensor, "live hidden"], Float[Tensor, "live hidden"]]:
    """Return the live rows of a response refresh that follows a prompt refresh, and of a pass over everything."""
    config, device = model.config, model.device
    extent = Extent(prompt_length, config.logit_shift, GENERATION.gen_length)
    masks = [config.mask_id] * GENERATION.gen_length
    rows = torch.tensor([*random_prompt(config, prompt_length, 0), *masks], device=device)
    rotation = model.rotation(torch.arange(len(rows), device=device))
    live = model.rotation(torch.arange(extent.evictable, len(rows), device=device))
    cache = EvictingCache(config, extent, named("full"), None, GENERATION.transfer_ratio)
    masked = torch.ones(GENERATION.gen_length, dtype=torch.bool)
    cache.begin(Refresh.PROMPT, masked)
    model(rows, rotation, SharedRefresh([cache], config.num_layers - 1, extent.evictable))
    cache.begin(Refresh.RESPONSE, masked)
    cached = model(rows[extent.evictable :], live, PackedCache([cache]))
    return cached, model(rows, rotation, NoCache())[extent.evictable :]
