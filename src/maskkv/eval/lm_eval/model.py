"""A diffusion language model as lm-evaluation-harness wants it: importing this registers it there as `maskkv`."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeVar

import lm_eval.models  # type: ignore[import-untyped]  # noqa: F401  a registry that holds anything is not filled later
from lm_eval.api.instance import Instance  # type: ignore[import-untyped]
from lm_eval.api.model import LM  # type: ignore[import-untyped]
from lm_eval.api.registry import register_model  # type: ignore[import-untyped]
from lm_eval.utils import simple_parse_args_string  # type: ignore[import-untyped]
from tqdm import tqdm  # type: ignore[import-untyped]

from maskkv.api import LanguageModel
from maskkv.decoding.engine import Engine
from maskkv.decoding.sequence import RunningSequence
from maskkv.errors import InputError
from maskkv.eval.answering import UnscoredAnswer
from maskkv.eval.lm_eval import arguments
from maskkv.eval.lm_eval.estimator import LikelihoodEstimator
from maskkv.eval.lm_eval.likelihood import Likelihood, check_uncached
from maskkv.eval.lm_eval.pairs import Pair, Pairs
from maskkv.eval.lm_eval.requests import Estimate, Request, cut, estimate_key, from_line, key, read, to_line
from maskkv.eval.store import Answers
from maskkv.generation import Generation
from maskkv.plan import Workload, check_fits
from maskkv.text.stream import Stream, first_stop

Told = TypeVar("Told")


@register_model("maskkv")
class MaskKVModel(LM):  # type: ignore[misc]
    """Answer requests of lm-evaluation-harness: generate texts, or estimate how likely they are.

    Texts are generated under the model's policy and budget, `together` of them side by side; `likelihood` says how
    likelihoods are estimated, without a cache. What `store` has answers to is not asked again. `answers` are those to
    each task's latest requests, in the requests' order.
    """

    def __init__(
        self,
        llm: LanguageModel,
        schedule: Generation | None = None,
        *,
        together: int = arguments.TOGETHER,
        store: Answers[str, UnscoredAnswer] | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__()
        self.llm = llm
        self.schedule = Generation(gen_length=arguments.GEN_LENGTH) if schedule is None else schedule
        self.together = together
        self.store = Answers(from_line) if store is None else store
        self.likelihood = (likelihood or Likelihood()).resolved(llm.model.config)
        self.answers: dict[str, list[UnscoredAnswer]] = {}
        self._fingerprint = llm.fingerprint()
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
        if flags.get("device") == "cuda:0":  # the harness's default, whether there is such a device or not
            flags["device"] = "auto"
        loaded = arguments.load({**flags, **arg_dict})
        return cls(loaded.llm, loaded.schedule, together=loaded.together, likelihood=loaded.likelihood)

    @property
    def tokenizer_name(self) -> str:
        """Name the tokenizer, for the harness's caches of prompts."""
        return f"maskkv-{self._fingerprint}"

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
            "fingerprint": self._fingerprint,
            "policy": repr(self.llm.policy_for()),
            "budget": self.llm.budget_for(self.llm.policy_for()),
            "schedule": asdict(self.schedule),
            "likelihood": asdict(self.likelihood),
        }

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Answer the requests, a number of them side by side.

        Raises:
            InputError: A prompt is empty, or an option is unknown or unusable.
        """
        made = list(self._read(requests))
        keys = [key(self.llm, self._fingerprint, each, timed=self.together == 1) for each in made]
        found = {place: held for place, each in enumerate(keys) if (held := self.store.known.get(each)) is not None}
        missing = {place: each for place, each in enumerate(made) if place not in found}
        # A bar on terminals only, unless it is disabled.
        with tqdm(total=len(missing), desc="answering", disable=True if disable_tqdm else None) as bar:
            for place, answer in self._answered(missing):
                self.store.add([to_line(keys[place], answer)])
                found[place] = answer
                bar.update()
        answers = [found[place] for place in range(len(made))]
        return self._told("generate_until", requests, answers, [answer.text for answer in answers])

    def loglikelihood(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Estimate the log-likelihood of each text after its context, and tell whether greedy decoding gives it.

        Without `is_check_greedy` it is said not to.

        Raises:
            InputError: The model has a policy with a cache, or a text has no tokens, or too many.
        """
        pairs = self._pairs(requests)
        asked = [
            (pairs.pair(str(request.task_name), *request.args, rendered=request.args[0] in self._rendered),)
            for request in requests
        ]
        found = self._estimated(asked, disable_tqdm, check_greedy=self.likelihood.is_check_greedy)
        return self._told("loglikelihood", requests, found, [(-each.nll, each.greedy) for each in found])

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """Estimate the log-likelihood of each text from its beginning, in windows where it is long; 0 if it is empty.

        Raises:
            InputError: The model has a policy with a cache.
        """
        pairs = self._pairs(requests)
        asked = [tuple(pairs.windows(request.args[0])) for request in requests]
        found = self._estimated(asked, disable_tqdm, check_greedy=False)
        return self._told("loglikelihood_rolling", requests, found, [-each.nll for each in found])

    def _told(
        self, kind: str, requests: Sequence[Instance], answers: Sequence[UnscoredAnswer], told: list[Told]
    ) -> list[Told]:
        """Take down the answers by task, have the harness's own cache keep what it is told, and return that."""
        by_task: dict[str, list[UnscoredAnswer]] = {}
        for request, answer, each in zip(requests, answers, told, strict=True):
            by_task.setdefault(str(request.task_name), []).append(answer)
            self.cache_hook.add_partial(kind, request.args, each)
        self.answers |= by_task
        return told

    def _pairs(self, requests: Sequence[Instance]) -> Pairs:
        for request in requests:
            check_uncached(str(request.task_name), self.llm.policy_for())
        return Pairs(self.llm, self.likelihood)

    def _estimated(self, asked: Sequence[tuple[Pair, ...]], quiet: bool, *, check_greedy: bool) -> list[Estimate]:
        """Estimate each request's pairs together; equal requests are estimated once."""
        settings = replace(self.likelihood, is_check_greedy=check_greedy)
        keys = [estimate_key(self.llm, self._fingerprint, pairs, settings, self.schedule) for pairs in asked]
        missing = {own: pairs for own, pairs in zip(keys, asked, strict=True) if own not in self.store.known}
        estimator = LikelihoodEstimator(self.llm, settings, self.schedule)
        for own, pairs in tqdm(missing.items(), desc="estimating", disable=True if quiet else None):
            self.store.add([to_line(own, estimator.estimate(pairs))])
        known = [self.store.known[own] for own in keys]
        return [each for each in known if isinstance(each, Estimate)]

    def _read(self, requests: Sequence[Instance]) -> Iterator[Request]:
        """Translate requests; one that is made again draws from another seed."""
        repeats: Counter[str] = Counter()
        for request in requests:
            context, options = request.args
            text = self.llm.text
            ids = text.encode_rendered(context) if context in self._rendered else text.encode(context)
            made = Request(str(request.task_name), tuple(ids), read(options, self.schedule))
            yield made.drawn_anew(repeats[context])
            repeats[context] += 1

    def _answered(self, requests: Mapping[int, Request]) -> Iterator[tuple[int, UnscoredAnswer]]:
        """Yield the places of the requests with their answers, as these are done."""
        engine = Engine(self.llm.model, self.llm.profile)
        waiting, running = deque(requests.items()), dict[int, _Running]()
        while waiting or running:
            while waiting and len(running) < self.together:
                place, request = waiting.popleft()
                llm, made = self.llm, request.asked.generation
                policy = llm.policy_for()
                budget = llm.budget_for(policy)
                check_fits(llm.model, Workload(len(request.prompt), made, policy, budget, llm.kv_dtype))
                number = llm.add_to(engine, request.prompt, made, policy, budget)
                running[number] = _Running(place, request, self.llm)
            for step in engine.step():
                each, sequence = running[step.sequence], engine[step.sequence]
                if each.stops(sequence) or step.finished:
                    yield each.place, each.answer(sequence, timed=self.together == 1)
                    engine.remove(step.sequence)
                    del running[step.sequence]


class _Running:
    """Follow one sequence until a stop is in its text."""

    def __init__(self, place: int, request: Request, llm: LanguageModel) -> None:
        self.place = place
        self._request = request
        self._llm = llm
        self._stream = Stream(llm.text, llm.model.config.mask_id, llm.model.config.eos_ids)
        self._text = ""
        self._start = time.perf_counter()

    def stops(self, sequence: RunningSequence) -> bool:
        """Take in what is certain by now and say whether a stop is in it; what comes later would be cut off."""
        # The canvas itself: in `sequence.response()` masks read as the end, and half a character would be all of it.
        self._text += self._stream.push(sequence.canvas.response.tolist())
        return first_stop(self._text, self._request.asked.until) is not None

    def answer(self, sequence: RunningSequence, timed: bool) -> UnscoredAnswer:
        """Report the text up to the stop."""
        latency = time.perf_counter() - self._start
        return UnscoredAnswer(
            text=cut(self._text, self._request.asked.until),
            prompt_length=len(self._request.prompt),
            gen_length=self._request.asked.generation.gen_length,
            tokens=len(self._llm.said(sequence.response())),  # masks read as the end there
            steps=sequence.index,
            cache_bytes=sequence.cache_bytes,
            full_cache_bytes=sequence.full_cache_bytes(self._llm.model.dtype.itemsize),
            latency_s=latency if timed else None,
        )
