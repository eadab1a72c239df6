"""The facade: a model, its tokenizer and a default policy, from text to text."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from maskkv import mini, mixing
from maskkv.budget import DEFAULT_BUDGET, Budget, check_budget
from maskkv.cache import Prefix
from maskkv.checkpoints import configs, folders, tokenizer_files, weights
from maskkv.decoding import reference
from maskkv.decoding.canvas import check_prompt
from maskkv.decoding.engine import Engine, Step
from maskkv.errors import CheckpointError
from maskkv.eviction.policy import Policy
from maskkv.eviction.profile import LayerProfile
from maskkv.eviction.recall import check_evicted
from maskkv.generation import Generation, chosen
from maskkv.loading import Loading
from maskkv.models.stretch import stretch
from maskkv.models.transformer import Transformer
from maskkv.placing import place
from maskkv.plan import Workload, check_fits
from maskkv.reporting import reported
from maskkv.result import Result, finish
from maskkv.text.tokenizer import Text, Token, before_end, check_text

Message = dict[str, str]
"""One turn of a chat: `role` and `content`."""


class Default(Enum):
    """Stand for "whatever the model was loaded with" where None has a meaning of its own."""

    MODEL = "model"


class LanguageModel:
    """Answer prompts with a diffusion language model; `load` makes one.

    `policy`, `budget` and `evicted` are defaults that every call may override; so is each field of `Generation`, given
    by name. `loading` says how the model was loaded: its `rope_scale` and `kv_dtype` hold for every sequence.
    `fingerprint()` tells its weights from others. Without a tokenizer (`text` None) it answers token ids only.
    """

    def __init__(  # noqa: PLR0913 (what was loaded, and what holds where a call does not say)
        self,
        model: Transformer,
        text: Text | None,
        *,
        policy: str | Policy = "maskkv",
        budget: Budget = DEFAULT_BUDGET,
        evicted: str | None = None,
        profile: LayerProfile | None = None,
        loading: Loading | None = None,
        fingerprint: Callable[[], str] | None = None,
    ) -> None:
        self.model = model
        self._text = text
        self.policy = mixing.given(policy)
        self.budget = check_budget(budget)
        self.evicted = None if evicted is None else check_evicted(evicted)
        self.profile = profile
        self.loading = Loading() if loading is None else loading
        self.fingerprint = fingerprint or partial(weights.fingerprint, model)
        self.rope_scale = self.loading.rope_scale
        self.kv_dtype = self.loading.kv_dtype

    @property
    def has_text(self) -> bool:
        """Tell whether there is a tokenizer."""
        return self._text is not None

    @property
    def text(self) -> Text:
        """Return the tokenizer; CheckpointError if the model came without."""
        if self._text is None:
            raise CheckpointError(f"this model {tokenizer_files.NO_TOKENIZER}; it answers token ids only")
        return self._text

    def close(self) -> None:
        """End the processes that hold other parts of the model, if it is split; nothing can be asked afterwards."""
        self.model.ranks.end()

    def generate(
        self,
        prompt: str,
        generation: Generation | None = None,
        *,
        policy: str | Policy | None = None,
        budget: Budget | Default = Default.MODEL,
        evicted: str | None = None,
        raw: bool = False,
        **settings: Any,
    ) -> Result:
        """Answer a prompt, put to the model as one user turn (`raw`, or no chat template: as it stands)."""
        ids = self.prompt_ids(prompt, raw=raw)
        return self.generate_ids(ids, generation, policy=policy, budget=budget, evicted=evicted, **settings)

    def chat(
        self,
        messages: Sequence[Message],
        generation: Generation | None = None,
        *,
        policy: str | Policy | None = None,
        budget: Budget | Default = Default.MODEL,
        evicted: str | None = None,
        prefix: Prefix | None = None,
        **settings: Any,
    ) -> Result:
        """Answer the last of several turns; a `prefix` given to one after the other spares what was read before."""
        ids = self.text.chat(messages)
        return self.generate_ids(
            ids, generation, policy=policy, budget=budget, evicted=evicted, prefix=prefix, **settings
        )

    def stream(
        self,
        prompt: str,
        generation: Generation | None = None,
        *,
        policy: str | Policy | None = None,
        budget: Budget | Default = Default.MODEL,
        evicted: str | None = None,
        raw: bool = False,
        **settings: Any,
    ) -> Generator[Step, None, Result]:
        """Yield one `Step` per denoising step of the answer; the generator returns the Result."""
        ids = self.prompt_ids(prompt, raw=raw)
        return self.stream_ids(ids, generation, policy=policy, budget=budget, evicted=evicted, **settings)

    def generate_ids(
        self,
        prompt: Sequence[int],
        generation: Generation | None = None,
        *,
        policy: str | Policy | None = None,
        budget: Budget | Default = Default.MODEL,
        evicted: str | None = None,
        prefix: Prefix | None = None,
        **settings: Any,
    ) -> Result:
        """Answer a prompt of token ids; what a `prefix` holds of it is not read again (`Engine.add`)."""
        return finish(
            self.stream_ids(
                prompt, generation, policy=policy, budget=budget, evicted=evicted, prefix=prefix, **settings
            )
        )

    def stream_ids(
        self,
        prompt: Sequence[int],
        generation: Generation | None = None,
        *,
        policy: str | Policy | None = None,
        budget: Budget | Default = Default.MODEL,
        evicted: str | None = None,
        prefix: Prefix | None = None,
        **settings: Any,
    ) -> Generator[Step, None, Result]:
        """Yield one `Step` per denoising step of the answer to token ids; the generator returns the Result."""
        ids = check_prompt(prompt, self.model.config.vocab_size)
        made, asked = chosen(generation, settings), self.policy_for(policy, evicted)
        work = Workload(len(ids), made, asked, self.budget_for(asked, budget), self.kv_dtype)
        check_fits(self.model, work)
        engine = Engine(self.model, self.profile)
        number = self.add_to(engine, ids, work.generation, work.policy, work.pairs, prefix)
        return self._run(engine, number)

    def add_to(
        self,
        engine: Engine,
        prompt: Sequence[int],
        generation: Generation,
        policy: Policy,
        budget: Budget,
        prefix: Prefix | None = None,
    ) -> int:
        """Add a sequence to an engine, stretched and stored as this model was loaded; return its number there."""
        return engine.add(prompt, generation, policy, budget, self.rope_scale, self.kv_dtype, prefix)

    def logits(self, ids: Sequence[int], rope_scale: float | None = 1.0) -> Float[Tensor, "length vocab"]:
        """Return the logits of every row, with nothing cached or (unless told) stretched: the reference.

        `rope_scale` None stretches RoPE as `generate` would for prompt and response of this length together: by what
        the model was loaded with, else as the length needs. Row i of a model whose logits are shifted (Dream) predicts
        token i + 1.
        """
        ids = check_prompt(ids, self.model.config.vocab_size)
        stretched = stretch(self.model.config, len(ids), self.rope_scale if rope_scale is None else rope_scale)
        return reference.logits(self.model, ids, stretched)

    def prompt_ids(self, prompt: str, *, raw: bool = False) -> list[int]:
        """Return the token ids of a prompt as `generate` puts it to the model."""
        return [token.id for token in self.prompt_tokens(prompt, raw=raw)]

    def prompt_tokens(self, prompt: str, *, raw: bool = False) -> list[Token]:
        """Cut a prompt into its tokens as `generate` puts it to the model."""
        check_text(prompt)
        if raw or not self.text.has_chat_template:
            return self.text.tokens(prompt)
        return self.text.chat_tokens([{"role": "user", "content": prompt}])

    def said(self, response: Sequence[int]) -> list[int]:
        """Return the tokens of a response up to its first end token."""
        return before_end(response, self.model.config.eos_ids)

    def policy_for(self, policy: str | Policy | None = None, evicted: str | None = None) -> Policy:
        """Return the policy of a call that asks for these; None: as the model was loaded."""
        taken = self.policy if policy is None else mixing.given(policy)
        # What holds for all calls is no mistake in one whose policy evicts nothing.
        return mixing.mix(taken, evicted=self.evicted if evicted is None and taken.can_evict else evicted)

    def budget_for(self, policy: Policy, budget: Budget | Default = Default.MODEL) -> Budget:
        """Return the budget of a call under this policy that asks for this one; None if the policy evicts nothing."""
        taken = self.budget if isinstance(budget, Default) else check_budget(budget)
        return taken if policy.can_evict else None

    def _run(self, engine: Engine, number: int) -> Generator[Step, None, Result]:
        on_cuda = self.model.device.type == "cuda"
        if on_cuda:
            torch.cuda.reset_peak_memory_stats(self.model.device)
        start = time.perf_counter()
        finished = False
        confidences: dict[int, float] = {}
        while not finished:
            for step in engine.step():
                finished = step.finished
                confidences |= zip(step.positions, step.confidences, strict=True)
                yield step
        latency = time.perf_counter() - start
        sequence = engine[number]
        tokens = sequence.response()
        text = "" if self._text is None else self._text.decode_response(tokens, self.model.config.eos_ids)
        return reported(sequence, self.model, text, len(self.said(tokens)), latency, confidences)


def load(  # noqa: PLR0913 (a user's choices, each with its name)
    model: str | Path | None = None,
    *,
    policy: str | Policy = "maskkv",
    budget: Budget = DEFAULT_BUDGET,
    evicted: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    rope_scale: float | None = None,
    profile: LayerProfile | str | Path | None = None,
    kv_dtype: str = "auto",
    quantize: str | None = None,
    compile: bool = False,
    tensor_parallel: int = 1,
) -> LanguageModel:
    """Load a model: a local folder, a hub id, or (None) the bundled dLLM.

    A folder without a tokenizer answers token ids only. `policy` may be one of your own, `module:NAME`, whose module is
    imported. `budget` is pairs per KV head and layer, or a part of each prompt, `"5%"`, rounded up; the policies
    `full` and `none` evict nothing, whatever it is. `evicted` pairs are gone (`drop`), or wait
    in host memory and come back when they are wanted (`host`); None: as the policy says. `profile` is a layer profile
    or its file; None takes the one that maskkv ships for this very model, and without one a prompt's first pass tells.
    `rope_scale` None stretches RoPE as each prompt's length needs. `dtype="auto"` is the file's, or float32 on a CPU
    that would emulate that and has the memory (`weights.load`). `kv_dtype` is what kept prompt pairs are stored in: the
    model's own dtype (`auto`), `int8` or `fp8`; `quantize` stores the layers' weights in 8 or 4 bits (`int8`, `int4`).
    `compile` compiles the layers. `tensor_parallel` splits the model over so many devices of this machine.

    Raises:
        CheckpointError: The folder's files cannot be used.
        ProfileError: The profile is malformed or belongs to another model.
        InputError: The policy is unknown, or an argument is out of range.
    """
    loading = Loading(model, device, dtype, rope_scale, profile, kv_dtype, quantize, compile, tensor_parallel)
    return load_model(loading, policy=policy, budget=budget, evicted=evicted)


def load_model(
    loading: Loading, *, policy: str | Policy = "maskkv", budget: Budget = DEFAULT_BUDGET, evicted: str | None = None
) -> LanguageModel:
    """Do what `load` does, for callers that hold its options as a `Loading`."""
    resolved = mixing.resolve(policy) if isinstance(policy, str) else mixing.given(policy)
    check_budget(budget)  # before gigabytes are read
    mixing.mix(resolved, evicted=evicted)
    folder = folders.resolve(loading.model or mini.folder())
    text = Text.load(folder, configs.read(folder).thinking) if tokenizer_files.present(folder) else None
    model, profile, fingerprint = place(folder, loading)
    return LanguageModel(
        model, text, policy=resolved, budget=budget, evicted=evicted, profile=profile, loading=loading,
        fingerprint=fingerprint,
    )  # fmt: skip
