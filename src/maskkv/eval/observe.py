"""What queries read while a model denoises, and what its layers change: the observations behind Figs. 1 and 7.

Meanwhile nothing is cached and nothing is evicted. Attention is summed over bins of neighbouring positions, so that an
observation stays small whatever the prompt's length.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from maskkv import policies, records
from maskkv.api import LanguageModel
from maskkv.cache import ImportanceProbe, NoCache, WatchingCache
from maskkv.decoding.engine import Engine
from maskkv.decoding.proposals import Proposals
from maskkv.decoding.sampler import propose
from maskkv.errors import InputError
from maskkv.eval.answering import fitted
from maskkv.eval.benchmark import Task
from maskkv.eval.conditions import Conditions
from maskkv.eviction.view import LayerView
from maskkv.generation import Generation
from maskkv.json_lines import Record
from maskkv.models.config import ModelConfig
from maskkv.models.step_cache import StepCache
from maskkv.ops.attention import Queries, UnrotatedKeys
from maskkv.ops.host import on_host
from maskkv.policies.maskkv import PromptPreference

BENCHMARK = "observe"
N = 1
"""Examples of each task by default: a figure needs few, and every step reads the whole prompt."""
MOST_BINS = 128
"""The most bins of the prompt, and of the response."""


@dataclass(frozen=True)
class Observation:
    """Hold what was seen while one response was denoised; attention is the mean over queries.

    Step by step: `mask` and `prompt` are what mask queries and prompt queries read of each bin of the prompt, the mean
    over layers and heads; `similarity` is the mean cosine, per layer, between the residual stream before and after
    attention. Of the first step, per layer and KV head: `heads_prompt` and `heads_response` are what mask queries read
    of the bins of prompt and response (together 1); `preference` is P_h (Eq. 14).
    """

    prompt_length: int
    gen_length: int
    prompt_bin_tokens: int
    response_bin_tokens: int
    mask: list[list[float]] = field(default_factory=list)
    prompt: list[list[float]] = field(default_factory=list)
    heads_prompt: list[list[list[float]]] = field(default_factory=list)
    heads_response: list[list[list[float]]] = field(default_factory=list)
    preference: list[list[float]] = field(default_factory=list)
    similarity: list[list[float]] = field(default_factory=list)


class AttentionProbe:
    """Collect what mask queries and prompt queries read in one pass, per layer and KV head.

    `mask` and `prompt` hold what one query reads of each pair, on average; `preference` is P_h (Eq. 14).
    """

    def __init__(self, config: ModelConfig, masked: Bool[Tensor, " gen_length"]) -> None:
        self._config = config
        self._masked = masked
        self.mask: list[Float[Tensor, "kv_heads pairs"]] = []
        self.prompt: list[Float[Tensor, "kv_heads pairs"]] = []
        self.preference: list[Float[Tensor, " kv_heads"]] = []

    def read(
        self,
        layer: int,
        keys: Float[Tensor, "rows kv_heads head_dim"],
        values: Float[Tensor, "rows kv_heads head_dim"],
        queries: Queries,
        unrotated: UnrotatedKeys,
    ) -> None:
        """Compute what a layer's queries read."""
        prompt_length = len(keys) - len(self._masked)
        view = LayerView(layer, self._config.num_layers, keys, values, queries, prompt_length, self._masked)
        group = self._config.num_heads // self._config.num_kv_heads
        self.mask.append(view.mass("mask") / (group * int(self._masked.sum())))
        self.prompt.append(view.mass("prompt") / (group * prompt_length))
        self.preference.append(PromptPreference().preference(view))


def run(llm: LanguageModel, name: str, tasks: Sequence[Task], schedule: Generation, file: Path) -> Iterator[Record]:
    """Observe every example of the tasks that `file` does not hold yet; yield each one's name once its record is there.

    Raises:
        InputError: The model cannot read a task, `file` holds other records, or another run is writing to it.
    """
    conditions = Conditions.of(llm, name, schedule, isolated=True)
    with records.Journal(file) as journal:
        held = {_identity(record) for record in journal.read()}
        for task, number in [(each, number) for each in tasks for number in each.numbers]:
            named: Record = {
                "benchmark": BENCHMARK,
                **conditions.model,
                "task": task.name,
                "settings": task.settings,
                **task.settings,
                "number": number,
                "schedule": conditions.schedule,
            }
            if _identity(named) not in held:
                example = task.example(llm, number)
                seen = observe(llm, example.prompt, fitted(schedule, example))
                journal.extend([{**named, **asdict(seen), **conditions.environment}])
            yield named


def observe(llm: LanguageModel, prompt: Sequence[int], generation: Generation) -> Observation:
    """Denoise a response without a cache, and observe every step.

    Raises:
        InputError: The prompt is empty or has ids outside the vocabulary, guidance is on, or the model is block-causal.
    """
    if llm.model.config.causal_block is not None:
        raise InputError(f"{llm.model.config.family} is block-causal: what observe counts is bidirectional attention")
    if generation.cfg_scale:
        raise InputError(f"cfg_scale {generation.cfg_scale}: guidance reads two prompts at once, observe it at 0")
    engine, model = Engine(llm.model), llm.model
    sequence = engine[engine.add(prompt, generation, policies.named("none"), rope_scale=llm.rope_scale)]
    canvas = sequence.canvas
    rotation = model.rotation(torch.arange(len(canvas.tokens), device=model.device), sequence.settings.rope_scale)
    seen = Observation(
        prompt_length=len(prompt),
        gen_length=generation.gen_length,
        prompt_bin_tokens=math.ceil(len(prompt) / MOST_BINS),
        response_bin_tokens=math.ceil(generation.gen_length / MOST_BINS),
    )
    with torch.inference_mode():
        while not sequence.finished:
            attention = AttentionProbe(model.config, canvas.masked)
            layers = ImportanceProbe(model.config.num_layers, model.device)
            cache: StepCache = WatchingCache(NoCache(), on_pairs=attention.read, on_attention=layers.compare)
            hidden = model(canvas.tokens, rotation, cache)
            _note(seen, attention, layers)
            logits = model.logits(hidden[sequence.logit_rows().to(hidden.device)])
            (proposals,) = propose([sequence.sampler], [logits])
            sequence.commit(Proposals(*on_host(proposals.columns)))
    return seen


def _note(seen: Observation, attention: AttentionProbe, layers: ImportanceProbe) -> None:
    """Append what one pass showed to an observation."""
    masks = torch.stack(attention.mask)
    if not seen.mask:
        of_prompt, of_response = masks.split([seen.prompt_length, seen.gen_length], dim=-1)
        seen.heads_prompt.extend(_digits(binned(of_prompt, seen.prompt_bin_tokens)))
        seen.heads_response.extend(_digits(binned(of_response, seen.response_bin_tokens)))
        seen.preference.extend(_digits(torch.stack(attention.preference)))
    for steps, heads in ((seen.mask, masks), (seen.prompt, torch.stack(attention.prompt))):
        steps.append(_digits(binned(heads.mean((0, 1))[: seen.prompt_length], seen.prompt_bin_tokens)))
    seen.similarity.append(_digits(1 - torch.tensor(layers.importance)))


def binned(values: Float[Tensor, "*leading positions"], width: int) -> Float[Tensor, "*leading bins"]:
    """Sum `width` neighbours at a time; the last bin may have fewer."""
    missing = -values.shape[-1] % width
    return F.pad(values, (0, missing)).unflatten(-1, (-1, width)).sum(-1)


def _digits(values: Tensor) -> list[Any]:
    """Return nested lists of numbers with four significant digits, more than a figure shows."""
    flat = torch.tensor([float(f"{value:.4g}") for value in values.flatten().tolist()], dtype=torch.float64)
    found: list[Any] = flat.reshape(values.shape).tolist()
    return found


def _identity(record: Record) -> str:
    names = ("fingerprint", "dtype", "rope_scale", "task", "settings", "number", "schedule")
    return json.dumps([record.get(name) for name in names], sort_keys=True)
