"""What the leading process does with the others, and what it refuses."""

import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from tests.parallel.parts import CPU, Counted, answer, part_of, settings_for
from tests.reference import LLADA, random_model, random_prompt

from maskkv.cache import NoCache, Prefix
from maskkv.decoding.engine import Engine
from maskkv.errors import InputError
from maskkv.eviction.policy import Policy
from maskkv.eviction.view import LayerView
from maskkv.mixing import resolve
from maskkv.models.transformer import Transformer
from maskkv.parallel.splitting import split


@pytest.fixture(scope="module")
def two() -> Iterator[Transformer]:
    """Split a model of LLaDA's kind over two processes."""
    model = split(partial(part_of, LLADA, 0), 2, CPU)
    yield model
    model.ranks.end()


def test_bytes_are_those_of_one_device(two: Transformer) -> None:
    one, ids = random_model(LLADA), random_prompt(LLADA, 40)
    engines = [Engine(model) for model in (one, two)]
    for engine in engines:
        engine.add(ids, settings_for(LLADA), resolve("full"))
        engine.step()
    whole, own = (engine[0] for engine in engines)
    # Half of the pairs of 56 rows, and all outputs of 16 live ones, in 3 layers.
    pairs, outputs = 3 * 2 * 4 * 8 * 56 * 4, 3 * 2 * 32 * 16 * 4
    assert (whole.cache_bytes, own.cache_bytes) == (pairs + outputs, pairs // 2 + outputs)
    assert own.full_cache_bytes(4) == own.cache_bytes


def test_the_prompt_is_read_again_at_the_same_steps(two: Transformer) -> None:
    """How far values have moved is told from the heads of both."""
    settings = settings_for(LLADA, value_drift=0.3)
    prompts = [random_prompt(LLADA, 40)]
    alone = answer(random_model(LLADA), prompts, settings, resolve("maskkv"))
    assert alone[0].prompt_passes > 1
    assert alone == answer(two, prompts, settings, resolve("maskkv"))


def refusing() -> Policy:
    """Return a policy that fails on purpose in the middle of a pass."""
    return replace(resolve("mask-voting"), name="refusing", scorer=Refusing())


@dataclass(frozen=True)
class Refusing:
    def __call__(self, view: LayerView) -> torch.Tensor:
        raise InputError("not today")


@dataclass(frozen=True)
class OwnHeadsOnly:
    def __call__(self, view: LayerView) -> torch.Tensor:
        return view.keys[: view.evictable].norm(dim=-1).T


def test_what_is_refused_in_the_middle_of_a_pass_harms_no_later_answer(two: Transformer) -> None:
    engine = Engine(two)
    number = engine.add(random_prompt(LLADA, 40), settings_for(LLADA), refusing(), 6)
    with pytest.raises(InputError, match="not today"):
        engine.step()
    engine.remove(number)
    told: list[Exception] = []
    engine.add(random_prompt(LLADA, 40), settings_for(LLADA), refusing(), 6)
    assert engine.step(lambda number, error: told.append(error)) == []
    assert [str(error) for error in told] == ["not today"]
    other = [random_prompt(LLADA, 20)]
    expected = answer(random_model(LLADA), other, settings_for(LLADA), resolve("maskkv"))
    assert answer(two, other, settings_for(LLADA), resolve("maskkv")) == expected


def test_what_cannot_be_told_the_others_harms_no_later_answer(two: Transformer) -> None:
    """A sequence that is not there is no more there in the other process; a policy of a function's is nowhere else."""

    class Nowhere(Refusing):
        pass

    engine = Engine(two)
    with pytest.raises(KeyError):
        engine.remove(7)
    policy = replace(resolve("mask-voting"), name="nowhere", scorer=Nowhere())
    with pytest.raises(InputError, match="import what a policy is made of from its module"):
        engine.add(random_prompt(LLADA, 20), settings_for(LLADA), policy, 6)
    number = engine.add(random_prompt(LLADA, 20), settings_for(LLADA), resolve("maskkv"), 6)
    engine.step()
    engine.remove(number)
    assert answer(two, [random_prompt(LLADA, 20)], settings_for(LLADA), resolve("maskkv"))
    assert two.ranks.alive


def test_a_callback_that_fails_leaves_no_sequence_behind(two: Transformer) -> None:
    """The other process has removed it."""

    def tell(number: int, error: Exception) -> None:
        raise ValueError("not told")

    engine = Engine(two)
    number = engine.add(random_prompt(LLADA, 20), settings_for(LLADA), refusing(), 6)
    with pytest.raises(ValueError, match="not told"):
        engine.step(tell)
    with pytest.raises(KeyError):
        engine[number]


def test_a_policy_that_ranks_its_own_heads_only_is_told_so(two: Transformer) -> None:
    engine = Engine(two)
    policy = replace(resolve("mask-voting"), name="own", scorer=OwnHeadsOnly())
    engine.add(random_prompt(LLADA, 40), settings_for(LLADA), policy, 6)
    with pytest.raises(
        InputError, match=r"expected scores of 4 KV heads × 40 pairs, not of 2 × 40; .* LayerView\.gathered"
    ):
        engine.step()


def test_a_pass_by_oneself_is_refused(two: Transformer) -> None:
    ids = torch.tensor(random_prompt(LLADA, 20))
    with pytest.raises(InputError, match="load it without tensor_parallel"):
        two(ids, two.rotation(torch.arange(20)), NoCache())
    assert two.ranks.alive


def test_so_is_one_of_another_thread_while_this_one_exchanges_sums(
    two: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    own = two.layers[1].mlp.forward

    def meanwhile() -> None:
        ids = torch.tensor(random_prompt(LLADA, 20))
        try:
            two(ids, two.rotation(torch.arange(20)), NoCache())
        except InputError as error:
            told.append(str(error))

    def forward(x: torch.Tensor) -> torch.Tensor:
        if not told:
            monkeypatch.setattr(two.layers[1].mlp, "forward", own)
            thread = threading.Thread(target=meanwhile)
            thread.start()
            thread.join()
        return own(x)

    monkeypatch.setattr(two.layers[1].mlp, "forward", forward)
    prompts = [random_prompt(LLADA, 20)]
    expected = answer(random_model(LLADA), prompts, settings_for(LLADA), resolve("full"))
    assert answer(two, prompts, settings_for(LLADA), resolve("full")) == expected
    assert len(told) == 1


def test_another_model_is_refused_while_one_is_split(two: Transformer) -> None:
    with pytest.raises(InputError, match="close that first"):
        split(partial(part_of, LLADA, 0), 2, CPU)


def test_a_prefix_is_for_one_device(two: Transformer) -> None:
    with pytest.raises(InputError, match="one device"):
        Prefix().bind(two)


def test_threads_take_turns(two: Transformer) -> None:
    prompts = [random_prompt(LLADA, length) for length in (20, 30)]
    expected = [answer(random_model(LLADA), [each], settings_for(LLADA), resolve("maskkv")) for each in prompts]
    found: dict[int, list[Counted]] = {}

    def run(index: int) -> None:
        found[index] = answer(two, [prompts[index]], settings_for(LLADA), resolve("maskkv"))

    threads = [threading.Thread(target=run, args=(index,)) for index in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [found[0], found[1]] == expected


def test_ctrl_c_comes_after_the_step(two: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would leave the other process waiting; and the model goes on answering."""
    engine, own = Engine(two), two.layers[1].mlp.forward
    number = engine.add(random_prompt(LLADA, 40), settings_for(LLADA), resolve("none"))

    def interrupted(x: torch.Tensor) -> torch.Tensor:
        signal.raise_signal(signal.SIGINT)
        return own(x)

    monkeypatch.setattr(two.layers[1].mlp, "forward", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            engine.step()
    finally:
        signal.signal(signal.SIGINT, before)
    assert engine[number].index == 1, "the step was taken to its end"
    monkeypatch.undo()
    prompts = [random_prompt(LLADA, 20)]
    expected = answer(random_model(LLADA), prompts, settings_for(LLADA), resolve("maskkv"))
    assert answer(two, prompts, settings_for(LLADA), resolve("maskkv")) == expected
