"""Units reach workers that may be lost; nothing here needs Ray, and nothing is answered."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskkv.cluster.sharing import TRIES, Done, Host, Lost, room, share
from maskkv.errors import InputError, MaskKVError
from maskkv.eval.answering import Answered, Unit
from maskkv.eval.mini import MiniTask


def units(count):
    return [Unit(MiniTask("two-hop", 64, range(100)), (3 * place, 3 * place + 2), ()) for place in range(count)]


class FakePool:
    """Answer each unit with its first number, in an order of its own, unless their worker is lost."""

    def __init__(self, lose=lambda unit: False, seed=0):
        self.lose = lose
        self.chance = Random(seed)
        self.busy = {}
        self.alive = set()
        self.started = 0
        self.most = 0
        self.tried = []

    def start(self):
        self.started += 1
        self.alive.add(self.started)
        return self.started

    def send(self, worker, unit):
        assert worker in self.alive, "a worker that is lost is asked nothing"
        assert worker not in self.busy, "a worker does one unit at a time"
        self.busy[worker] = unit
        self.tried.append(unit.numbers)
        self.most = max(self.most, len(self.busy))

    def next(self):
        worker = self.chance.choice(sorted(self.busy))
        unit = self.busy.pop(worker)
        if self.lose(unit):
            self.alive.remove(worker)
            return Lost(worker, "killed")
        return Done(worker, [Answered(unit.task, unit.numbers[0], 64, 8, ())])


def lost_first(times, of=lambda unit: True):
    """Lose the workers of units, the first few times that each is tried."""
    seen = Counter()

    def lose(unit):
        seen[unit.numbers] += 1
        return of(unit) and seen[unit.numbers] <= times

    return lose


@given(st.integers(0, 12), st.integers(1, 5), st.integers(0, TRIES - 1), st.integers(0, 99))
def test_every_unit_is_answered_once_whatever_is_lost(count, workers, losses, seed):
    asked, pool = units(count), FakePool(lost_first(losses), seed)
    got = [each.number for answered in share(asked, pool, workers) for each in answered]
    assert sorted(got) == [unit.numbers[0] for unit in asked]
    assert pool.started == min(workers, count) + losses * count, "one worker in place of each that was lost"
    assert pool.most <= workers


def test_answers_are_handed_on_before_others_are_done():
    pool = FakePool()
    shared = share(units(4), pool, 2)
    next(shared)
    assert len(pool.tried) == 2


def test_a_lost_unit_is_done_before_those_that_nobody_began():
    pool = FakePool(lost_first(1, lambda unit: unit.numbers[0] == 0))
    list(share(units(5), pool, 1))
    assert [numbers[0] for numbers in pool.tried] == [0, 0, 3, 6, 9, 12]


def test_a_unit_that_loses_every_worker_is_named_in_one_line():
    pool = FakePool(lost_first(99, lambda unit: unit.numbers[0] == 3))
    with pytest.raises(MaskKVError) as raised:
        list(share(units(3), pool, 2))
    assert str(raised.value) == (
        "3 workers were lost, one after the other, over mini two-hop, examples 3 to 5 (out of memory?): killed"
    )
    assert pool.tried.count((3, 5)) == TRIES


def test_losses_of_different_units_do_not_add_up():
    pool = FakePool(lost_first(TRIES - 1))
    assert len(list(share(units(6), pool, 2))) == 6


def test_an_error_of_a_worker_ends_the_run():
    class Refusing(FakePool):
        def next(self):
            raise InputError("length 9 is too short")

    with pytest.raises(InputError, match="length 9"):
        list(share(units(3), Refusing(), 2))


hosts = st.lists(st.builds(Host, st.integers(0, 20), st.integers(0, 4)), min_size=1, max_size=4)


@given(hosts, st.integers(1, 30))
def test_as_many_workers_as_wanted_get_as_many_cores_as_fit(found, wanted):
    total = sum(host.cores for host in found)
    if wanted > total:
        with pytest.raises(InputError, match=f"the cluster has room for {total} workers, one per core"):
            room(found, wanted, on_gpus=False)
        return
    made = room(found, wanted, on_gpus=False)
    fit = [cores for cores in range(1, 21) if sum(host.cores // cores for host in found) >= wanted]
    assert (made.workers, made.cores) == (wanted, max(fit))


@pytest.mark.parametrize(
    ("found", "on_gpus", "workers", "cores"),
    [
        ([Host(2, 0)], False, 1, 2),
        ([Host(16, 0)], False, 4, 4),
        ([Host(16, 0), Host(6, 0)], False, 5, 4),
        ([Host(3, 0), Host(3, 0), Host(0, 0)], False, 2, 3),
        ([Host(16, 8), Host(16, 8)], True, 16, 1),
    ],
)
def test_a_cluster_that_nobody_divides_is_divided_sensibly(found, on_gpus, workers, cores):
    made = room(found, None, on_gpus=on_gpus)
    assert (made.workers, made.cores) == (workers, cores)


@pytest.mark.parametrize(("gpus", "wanted", "said"), [(0, None, "0 workers, one per GPU"), (2, 3, "2 workers")])
def test_more_workers_than_gpus_are_refused(gpus, wanted, said):
    with pytest.raises(InputError, match=f"the cluster has room for {said}"):
        room([Host(8, gpus)], wanted, on_gpus=True)
