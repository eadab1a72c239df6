"""A diffusion language model as lm-evaluation-harness wants it: importing this registers it there as `maskkv`."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NoReturn

import lm_eval.models  # type: ignore[import-untyped]  # noqa: F401  a registry that holds anything is not filled later
from lm_eval.api.instance import Instance  # type: ignore[import-untyped]
from lm_eval.api.model import LM  # type: ignore[import-untyped]
from lm_eval.api.registry import register_model  # type: ignore[import-untyped]
from lm_eval.utils import simple_parse_args_string  # type: ignore[import-untyped]
from tqdm import tqdm  # type: ignore[import-untyped]

from maskkv import checkpoint
from maskkv.api import LanguageModel
from maskkv.engine import Engine
from maskkv.errors import InputError
from maskkv.eval.lm_eval import arguments
from maskkv.eval.lm_eval.requests import Asked, cut, read
from maskkv.generation import Generation
from maskkv.sequence import RunningSequence
from maskkv.text import Stream


@dataclass(frozen=True)
class Answer:
    """Report one answer and what it cost; `tokens` counts those that were certain when it ended."""

    text: str
    prompt_length: int
    tokens: int
    steps: int
    cache_bytes: int
    full_cache_bytes: int


@register_model("maskkv")
class MaskKVModel(LM):  # type: ignore[misc]
    """Answer those requests of lm-evaluation-harness that generate text, under the model's policy and budget.

    `together` sequences denoise side by side; `answers` are those to the latest requests, in their order.
    """

    def __init__(
        self, llm: LanguageModel, schedule: Generation | None = None, *, together: int = arguments.TOGETHER
    ) -> None:
        super().__init__()
        self.llm = llm
        self.schedule = Generation(gen_length=arguments.GEN_LENGTH) if schedule is None else schedule
        self.together = together
        self.answers: list[Answer] = []
        self._device = llm.model.device
        self._rendered: set[str] = set()

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> MaskKVModel:
        """Make one from `--model_args pretrained=…,policy=…,budget=…`."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> MaskKVModel:
        """Make one from `--model_args` as a mapping; `additional_config` holds flags of the harness itself."""
        flags = {name: value for name, value in (additional_config or {}).items() if name != "max_batch_size"}
        loaded = arguments.load({**flags, **arg_dict})
        return cls(loaded.llm, loaded.schedule, together=loaded.together)

    @property
    def tokenizer_name(self) -> str:
        """Name the tokenizer, for the harness's caches of prompts."""
        return f"maskkv-{checkpoint.fingerprint(self.llm.model)}"

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Return the checkpoint's chat template, of which there is one at most."""
        if isinstance(chat_template, str):
            raise InputError(
                f"there is no chat template named {chat_template!r}: expected none, or the checkpoint's own"
            )
        return self.llm.text.chat_template if chat_template else ""

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Write a conversation as the checkpoint's template does; without a generation prompt its end stays open."""
        rendered = self.llm.text.render(chat_history, continue_last=not add_generation_prompt)
        self._rendered.add(rendered)
        return rendered

    def get_model_info(self) -> dict[str, object]:
        """Return what the harness's own results say of the model."""
        return {
            "fingerprint": checkpoint.fingerprint(self.llm.model),
            "policy": repr(self.llm.policy),
            "budget": self.llm.budget,
            "schedule": asdict(self.schedule),
        }

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Answer the requests, a number of them side by side.

        Raises:
            InputError: A prompt is empty, or asks for what there is not.
        """
        engine = Engine(self.llm.model, self.llm.profile)
        waiting, running, found = deque(enumerate(self._read(requests))), dict[int, _Running](), dict[int, Answer]()
        # A bar on terminals only, unless it is disabled.
        with tqdm(total=len(requests), desc="answering", disable=True if disable_tqdm else None) as bar:
            while waiting or running:
                while waiting and len(running) < self.together:
                    place, (prompt, asked) = waiting.popleft()
                    llm, config = self.llm, self.llm.model.config
                    settings = (asked.generation, llm.policy, llm.budget, llm.rope_scale, llm.kv_dtype)
                    stream = Stream(self.llm.text, config.mask_id, config.eos_ids)
                    running[engine.add(prompt, *settings)] = _Running(place, asked.until, stream)
                for step in engine.step():
                    each, sequence = running[step.sequence], engine[step.sequence]
                    if each.stops(sequence) or step.finished:
                        found[each.place] = self._answer(each, sequence)
                        engine.remove(step.sequence)
                        del running[step.sequence]
                        bar.update()
        self.answers = [found[place] for place in range(len(requests))]
        for request, answer in zip(requests, self.answers, strict=True):
            self.cache_hook.add_partial("generate_until", request.args, answer.text)
        return [answer.text for answer in self.answers]

    def loglikelihood(self, requests: Sequence[Instance]) -> NoReturn:
        """Refuse a task that compares likelihoods."""
        _refuse(requests)

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> NoReturn:
        """Refuse a task that measures perplexity."""
        _refuse(requests)

    def _read(self, requests: Sequence[Instance]) -> Iterator[tuple[list[int], Asked]]:
        """Yield token ids and settings; a request that is repeated draws from another seed each time."""
        repeats: Counter[str] = Counter()
        for request in requests:
            context, options = request.args
            asked = read(options, self.schedule)
            seed = asked.generation.seed + repeats[context]
            repeats[context] += 1
            text = self.llm.text
            ids = text.encode_rendered(context) if context in self._rendered else text.encode(context)
            yield ids, replace(asked, generation=replace(asked.generation, seed=seed))

    def _answer(self, running: _Running, sequence: RunningSequence) -> Answer:
        response = sequence.response()
        settled = response[
            : next((i for i, token in enumerate(response) if token == self.llm.model.config.mask_id), None)
        ]
        return Answer(
            text=cut(running.text, running.until),
            prompt_length=sequence.extent.prompt_length,
            tokens=len(self.llm.said(settled)),
            steps=sequence.index,
            cache_bytes=sequence.cache_bytes,
            full_cache_bytes=sequence.full_cache_bytes(self.llm.model.dtype.itemsize),
        )


class _Running:
    """Follow one sequence until a stop is in its text."""

    def __init__(self, place: int, until: tuple[str, ...], stream: Stream) -> None:
        self.place = place
        self.until = until
        self.text = ""
        self._stream = stream

    def stops(self, sequence: RunningSequence) -> bool:
        """Take in what is certain by now and say whether a stop is in it; what comes later would be cut off."""
        self.text += self._stream.push(sequence.response())
        return any(stop in self.text for stop in self.until)


def _refuse(requests: Sequence[Instance]) -> NoReturn:
    raise InputError(
        f"the task {requests[0].task_name} asks for likelihoods, of which a diffusion language model has an estimate "
        "only: expected a task of output type generate_until"
    )
