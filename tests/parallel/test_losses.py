"""What is said and left when a process of a model is lost, or never gets as far as that."""

import os
import signal
from functools import partial

import pytest
import torch
from tests.parallel.parts import CPU, answer, failing, part_of, settings_for
from tests.reference import LLADA, random_model, random_prompt

from maskkv.decoding.engine import Engine
from maskkv.errors import DeviceLostError, InputError, MaskKVError
from maskkv.mixing import resolve
from maskkv.parallel.splitting import split


def test_a_process_that_is_killed_is_one_clear_error() -> None:
    model = split(partial(part_of, LLADA, 0), 2, CPU)
    engine = Engine(model)
    number = engine.add(random_prompt(LLADA, 40), settings_for(LLADA), resolve("full"))
    engine.step()
    os.kill(model.ranks._followers[0]._process.pid, signal.SIGKILL)
    with pytest.raises(DeviceLostError, match="part 2 of 2 of the model ended") as caught:
        engine.step()
    assert "\n" not in str(caught.value)
    assert not model.ranks.alive
    engine.remove(number)
    with pytest.raises(DeviceLostError, match="load it again"):
        engine.add(random_prompt(LLADA, 40), settings_for(LLADA), resolve("full"))
    with pytest.raises(DeviceLostError, match="load it again"):
        Engine(model)
    # And it can be: nothing of the lost one is in the way.
    again = split(partial(part_of, LLADA, 0), 2, CPU)
    prompts = [random_prompt(LLADA, 20)]
    expected = answer(random_model(LLADA), prompts, settings_for(LLADA), resolve("full"))
    assert answer(again, prompts, settings_for(LLADA), resolve("full")) == expected
    again.ranks.end()


def _fails(x: torch.Tensor) -> torch.Tensor:
    raise MemoryError("none left")


def test_a_failure_in_this_process_alone_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would wait for it: out of memory, say."""
    model = split(partial(part_of, LLADA, 0), 2, CPU)
    follower = model.ranks._followers[0]
    engine = Engine(model)
    engine.add(random_prompt(LLADA, 40), settings_for(LLADA), resolve("full"))
    monkeypatch.setattr(model.layers[1].mlp, "forward", _fails)
    with pytest.raises((MemoryError, DeviceLostError)):
        engine.step()
    assert not model.ranks.alive
    assert follower._process.exitcode is not None


def _no_memory(hidden: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("no memory for the vocabulary")


def _interrupted(hidden: torch.Tensor) -> torch.Tensor:
    raise SystemExit("a signal came")


def test_a_failure_after_a_pass_ends_the_others_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would take part in another exchange than this one, and gloo would end this process."""
    model = split(partial(part_of, LLADA, 0), 2, CPU)
    follower = model.ranks._followers[0]
    engine = Engine(model)
    for length in (40, 30):
        engine.add(random_prompt(LLADA, length), settings_for(LLADA), resolve("full"))
    engine.step()
    monkeypatch.setattr(model, "logits", _no_memory)
    told: list[str] = []
    assert engine.step(lambda number, error: told.append(str(error))) == []
    assert told == ["no memory for the vocabulary"] * 2
    assert follower._process.exitcode is not None
    with pytest.raises(DeviceLostError, match="load it again"):
        engine.step()


def test_what_is_no_error_ends_the_others_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the handler of a signal raises: whoever catches it would wait for ever in the next step."""
    model = split(partial(part_of, LLADA, 0), 2, CPU)
    engine = Engine(model)
    engine.add(random_prompt(LLADA, 40), settings_for(LLADA), resolve("full"))
    monkeypatch.setattr(model.layers[1].mlp, "forward", _interrupted)
    with pytest.raises(SystemExit):
        engine.step()
    assert not model.ranks.alive


def test_a_part_that_cannot_be_made_is_said_and_nothing_is_left() -> None:
    with pytest.raises((MaskKVError, RuntimeError), match="no memory for this part"):
        split(failing, 2, CPU)
    model = split(partial(part_of, LLADA, 0), 2, CPU)
    assert model.ranks.alive
    follower = model.ranks._followers[0]
    del model
    assert follower._process.exitcode is not None, "a model that is gone takes its processes along"


@pytest.mark.parametrize(("device", "told"), [("mps", "device cpu or cuda"), ("cuda:1", "CUDA_VISIBLE_DEVICES")])
def test_other_devices_are_refused(device: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        split(partial(part_of, LLADA, 0), 2, torch.device(device))


def test_too_few_devices_are_refused() -> None:
    if torch.cuda.device_count() >= 2:
        pytest.skip("there are enough")
    with pytest.raises(InputError, match="CUDA devices found"):
        split(partial(part_of, LLADA, 0), 2, torch.device("cuda"))


@pytest.mark.parametrize("place", ["_propose", "_fetch", "_commit"])
def test_so_does_one_outside_of_a_pass(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Else this process would go on with fewer sequences than the others."""
    model = split(partial(part_of, LLADA, 0), 2, CPU)
    engine = Engine(model)
    numbers = [engine.add(random_prompt(LLADA, length), settings_for(LLADA), resolve("full")) for length in (30, 40)]
    own = getattr(engine, place)

    def failing_for_the_second(first: object, second: object) -> object:
        asked = second if isinstance(second, list) else [second]
        if numbers[1] in asked:
            raise MemoryError("none left")
        return own(first, second)

    monkeypatch.setattr(engine, place, failing_for_the_second)
    with pytest.raises((MemoryError, DeviceLostError)):
        engine.step()
    assert not model.ranks.alive


def test_this_process_too_has_its_share_of_the_threads_only() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        model = split(partial(part_of, LLADA, 0), 2, CPU)
        assert torch.get_num_threads() == 2
        model.ranks.end()
        assert torch.get_num_threads() == 4
        with pytest.raises((MaskKVError, RuntimeError)):
            split(failing, 2, CPU)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
