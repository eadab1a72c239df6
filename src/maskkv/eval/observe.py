"""What queries read while a model denoises, and what its layers do: the observations of the paper's Figs. 1 and 7.

Nothing is cached and nothing evicted meanwhile. Attention is summed over bins of neighbouring positions, so that an
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
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maskkv import policies, records
from maskkv.api import LanguageModel
from maskkv.cache import ImportanceProbe, NoCache
from maskkv.decoding.engine import Engine
from maskkv.decoding.proposals import Proposals
from maskkv.decoding.sampler import propose
from maskkv.errors import InputError
from maskkv.eval.answering import fitted
from maskkv.eval.benchmark import Task
from maskkv.eval.store import Conditions
from maskkv.eviction.view import LayerView
from maskkv.generation import Generation
from maskkv.json_lines import Record
from maskkv.models.config import ModelConfig
from maskkv.models.transformer import StepCache, Sublayer
from maskkv.ops.attention import Queries, UnrotatedKeys
from maskkv.ops.host import on_host
from maskkv.policies.maskkv import PromptPreference

BENCHMARK = "observe"
N = 1
"""Examples of each task, if nobody says otherwise: a picture needs few, and every step reads the whole prompt."""
MOST_BINS = 128
"""Bins of the prompt, and of the response, at most."""


@dataclass(frozen=True)
class Observation:
    """Hold what was seen while one response was denoised; attention is that of one query, on average.

    `mask` and `prompt` are what mask queries and prompt queries read of each bin of the prompt, over all layers and
    heads, step by step. Of the first step, by layer and KV head: `heads_prompt` and `heads_response` are what mask
    queries read of the bins of prompt and response (1 in all), `preference` is P_h (Eq. 14). `similarity` is the mean
    cosine of the residual streams before and after each layer's attention, step by step.
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
    """Add up what mask queries and prompt queries read in one pass, while another cache does the work."""

    def __init__(self, inner: StepCache, config: ModelConfig, masked: Bool[Tensor, " gen_length"]) -> None:
        self._inner = inner
        self._config = config
        self._masked = masked
        self.mask: list[Float[Tensor, "kv_heads pairs"]] = []
        self.prompt: list[Float[Tensor, "kv_heads pairs"]] = []
        self.preference: list[Float[Tensor, " kv_heads"]] = []

    def stale(self, layer: int, values: Float[Tensor, "rows kv_heads head_dim"]) -> Int[Tensor, " fresh"] | None:
        """Ask the inner cache."""
        return self._inner.stale(layer, values)

    def hold(
        self,
        layer: int,
        keys: Float[Tensor, "fresh kv_heads head_dim"],
        values: Float[Tensor, "rows kv_heads head_dim"],
        queries: Queries,
        unrotated: UnrotatedKeys,
    ) -> None:
        """Ask the inner cache, and see what the layer's queries read, per KV head and query."""
        prompt_length = len(keys) - len(self._masked)
        view = LayerView(layer, self._config.num_layers, keys, values, queries, prompt_length, self._masked)
        group = self._config.num_heads // self._config.num_kv_heads
        self.mask.append(view.mass("mask") / (group * int(self._masked.sum())))
        self.prompt.append(view.mass("prompt") / (group * prompt_length))
        self.preference.append(PromptPreference().preference(view))
        self._inner.hold(layer, keys, values, queries, unrotated)

    def first(self, layer: int, sublayer: Sublayer) -> int:
        """Ask the inner cache."""
        return self._inner.first(layer, sublayer)

    def attend(
        self, layer: int, queries: Float[Tensor, "span heads head_dim"], span: slice
    ) -> Float[Tensor, "span heads head_dim"]:
        """Ask the inner cache."""
        return self._inner.attend(layer, queries, span)

    def add(
        self,
        layer: int,
        sublayer: Sublayer,
        residual: Float[Tensor, "span hidden"],
        fresh: Float[Tensor, "taken hidden"],
        span: slice,
    ) -> Float[Tensor, "span hidden"]:
        """Ask the inner cache."""
        return self._inner.add(layer, sublayer, residual, fresh, span)


def run(llm: LanguageModel, name: str, tasks: Sequence[Task], schedule: Generation, file: Path) -> Iterator[Record]:
    """Observe every example of the tasks that `file` does not hold yet; yield each one's name once its record is there.

    Raises:
        InputError: A task cannot be put to this model, the file is none of ours, or another run writes to it.
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
    """Denoise a response without a cache, and watch every step.

    Raises:
        InputError: The prompt is empty or has ids outside the vocabulary, or guidance is on.
    """
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
            attention = AttentionProbe(NoCache(), model.config, canvas.masked)
            layers = ImportanceProbe(attention, model.config.num_layers, model.device)
            hidden = model(canvas.tokens, rotation, layers)
            _note(seen, attention, layers)
            logits = model.logits(hidden[sequence.logit_rows().to(hidden.device)])
            (proposals,) = propose([sequence.sampler], [logits])
            sequence.commit(Proposals(*on_host(proposals.columns)))
    return seen


def _note(seen: Observation, attention: AttentionProbe, layers: ImportanceProbe) -> None:
    """Add what one pass showed."""
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
    """Return nested lists of numbers with four significant digits, which is more than a picture shows."""
    flat = torch.tensor([float(f"{value:.4g}") for value in values.flatten().tolist()], dtype=torch.float64)
    found: list[Any] = flat.reshape(values.shape).tolist()
    return found


def _identity(record: Record) -> str:
    names = ("fingerprint", "dtype", "rope_scale", "task", "settings", "number", "schedule")
    return json.dumps([record.get(name) for name in names], sort_keys=True)
