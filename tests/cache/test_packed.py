"""What several sequences remember lies in one place while they run together, and nowhere else."""

from dataclasses import replace

import pytest
from tests.reference import CONFIGS, random_model, random_prompt

from maskkv import policies
from maskkv.bench.memory import LiveBytes
from maskkv.cache.evicting import LiveState
from maskkv.decoding.engine import Engine
from maskkv.generation import Generation
from maskkv.plan import Shape, Workload

BUDGETS = (2, 5, 9)


def engine_with_three(lengths: tuple[int, ...] = (8, 8, 8), **options: int) -> tuple[Engine, list[int]]:
    model = random_model(CONFIGS["dream"])
    engine = Engine(model)
    numbers = [
        engine.add(
            random_prompt(model.config, 30 + budget),
            Generation(gen_length=length, block_length=4, stop_at_eos=False, **options),
            policies.named("maskkv"),
            budget,
        )
        for budget, length in zip(BUDGETS, lengths, strict=True)
    ]
    return engine, numbers


def states(engine: Engine, number: int) -> list[LiveState]:
    cache = engine[number].branches[0].cache
    assert cache is not None
    return [cache.state(layer) for layer in range(4)]


def addresses(engine: Engine, number: int) -> list[int]:
    """Return the storages that a sequence's tensors lie in."""
    tensors = [
        each for state in states(engine, number) for each in (state.pairs.keys, state.pairs.values, state.outputs)
    ]
    return [each.untyped_storage().data_ptr() for each in tensors]


def test_steps_between_refreshes_allocate_nothing_that_lasts() -> None:
    engine, numbers = engine_with_three(prompt_interval=6, response_interval=3)
    with LiveBytes() as live:
        for _ in range(3):
            engine.step()
        shared, held = addresses(engine, numbers[0]), live.now
        assert all(addresses(engine, number) == shared for number in numbers)
        engine.step()
        # The first response refresh finds out where each segment lies for rows of its kind.
        held = live.now
        engine.step()
        engine.step()
        assert addresses(engine, numbers[0]) == shared
        engine.model.asked.clear()
        assert live.now <= held


def test_joining_leaves_no_copy_behind() -> None:
    engine, numbers = engine_with_three()
    with LiveBytes() as live:
        for _ in range(2):
            engine.step()
        cached = sum(engine[number].cache_bytes for number in numbers)
        floats = [each for each in live.alive() if each.nbytes >= cached // 100]
        assert sum(each.nbytes for each in floats) <= 1.2 * cached
        engine.model.asked.clear()


def test_a_finished_sequence_holds_no_one_elses_memory() -> None:
    engine, numbers = engine_with_three(lengths=(4, 8, 8))
    while not engine[numbers[0]].finished:
        engine.step()
    finished = set(addresses(engine, numbers[0]))
    assert not finished & {*addresses(engine, numbers[1]), *addresses(engine, numbers[2])}
    for state in states(engine, numbers[0]):
        assert state.nbytes == sum(
            each.untyped_storage().nbytes() for each in (state.pairs.keys, state.pairs.values, state.outputs)
        )
    before = engine[numbers[0]].cache_bytes
    engine.step()
    assert engine[numbers[0]].cache_bytes == before


def test_a_later_refresh_fills_the_same_memory() -> None:
    """What a captured pass reads and writes stays where it is, and nothing is held twice meanwhile."""
    engine, numbers = engine_with_three(prompt_interval=3, response_interval=3)
    with LiveBytes() as live:
        for _ in range(3):
            engine.step()
        engine.model.asked.clear()
        before, held, peak = [addresses(engine, number) for number in numbers], live.now, live.peak
        kept = [engine[number].kept() for number in numbers]
        live.reset_peak()
        for _ in range(2):
            engine.step()
        engine.model.asked.clear()
        assert [engine[number].kept() for number in numbers] != kept, "the case is to be one where a vote differs"
        assert [addresses(engine, number) for number in numbers] == before
        assert live.now <= held
        # The last of the three sequences was first read with the pairs of all beside it, too; what is new are indices.
        assert live.peak <= 1.05 * peak


def three_of_full(*intervals: int, lengths: tuple[int, ...] = (140, 150, 160)) -> tuple[Engine, list[int]]:
    engine = Engine(random_model(replace(CONFIGS["llada"], num_layers=8)))
    return engine, [
        engine.add(
            random_prompt(engine.model.config, length),
            Generation(gen_length=8, block_length=8, prompt_interval=interval, stop_at_eos=False),
            policies.named("full"),
        )
        for interval, length in zip(intervals, lengths, strict=True)
    ]


def test_refreshes_at_different_times_take_what_is_planned() -> None:
    """Whoever is refreshed alone must not hold on to what the others were joined in."""
    engine, numbers = three_of_full(2, 3, 5)
    work = Workload(160, engine[numbers[2]].settings.generation, policies.named("full"))
    shape = Shape.of(engine.model)
    planned = shape.peak(work, 3) - shape.weight_bytes
    with LiveBytes() as live:
        for _ in range(8):
            engine.step()
            engine.model.asked.clear()
            assert live.now <= 1.1 * sum(engine[number].cache_bytes for number in numbers)
        assert live.peak <= 1.1 * planned


@pytest.mark.parametrize("removed", [False, True])
def test_whoever_goes_on_holds_only_its_own(removed: bool) -> None:
    """A long prompt beside a short one, which goes on alone once the other is finished or removed."""
    engine, (long, short) = three_of_full(50, 50, lengths=(400, 20))
    with LiveBytes() as live:
        for _ in range(3):
            engine.step()
        if removed:
            engine.remove(long)
        else:
            while not engine[long].finished:
                engine.step()
            engine.remove(long)
        engine.model.asked.clear()
        assert live.now <= 1.3 * engine[short].cache_bytes
