"""When fronts close, and how many requests they still answer."""

import asyncio

import pytest

from maskkv.cluster import totals as module
from maskkv.cluster.totals import Totals, every_beat


def test_what_runs_is_counted_until_every_front_has_entered_the_stage():
    async def follow():
        totals = Totals()
        assert await totals.tell_front("a", [], "open", 2) == "open"
        assert await totals.tell_front("b", [], "open", 0) == "open"
        assert await totals.running() == 2
        await totals.enter("closed")
        assert await totals.running() == 4  # either may have taken one more before it heard
        assert await totals.tell_front("a", [], "open", 2) == "closed"
        assert await totals.running() == 4
        assert await totals.tell_front("a", [], "closed", 1) == "closed"
        assert await totals.tell_front("b", [], "closed", 0) == "closed"
        assert await totals.running() == 1

    asyncio.run(follow())


def test_a_front_that_is_gone_holds_nobody_up(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    async def follow():
        totals = Totals()
        await totals.tell_front("a", [], "open", 2)
        now[0] += 6
        return await totals.running()

    assert asyncio.run(follow()) == 0


def test_a_beat_that_fails_is_followed_by_others(monkeypatch, caplog):
    monkeypatch.setattr(module, "BEAT_S", 0.0)
    told = []

    async def tell():
        told.append(1)
        if len(told) == 3:
            raise asyncio.CancelledError
        raise ValueError("secret words")

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(every_beat(tell))
    assert len(told) == 3
    assert "secret" not in caplog.text
