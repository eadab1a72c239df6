"""What many requests do to each other, and what becomes of those that leave, wait, take too long or fail."""

import asyncio
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unittest.mock import create_autospec

import httpx
import openai
import pytest

from maskkv import policies
from maskkv.cache import PackedCache
from maskkv.generation import Generation
from maskkv.mini import sample
from maskkv.plan import Shape, Workload
from maskkv.server.exchange import Exchange
from maskkv.server.jobs import Deadline, Job
from maskkv.server.replies import Reply
from maskkv.server.streaming import EventStream
from tests.server.live import LONG, MODEL, PATIENCE_S, SHORT, Gate, events, until

STREAM = {
    "messages": [{"role": "user", "content": SHORT.content}], "budget": 32, "stream": True, "diffusing": True, **LONG,
}  # fmt: skip
WHOLE = {**STREAM, "stream": False, "diffusing": False}


def ended(caplog):
    return [each.fields for each in caplog.records if each.msg == "job"]


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as threads:
        yield threads


def test_requests_that_run_together_answer_as_each_alone(live, llm, pool):
    cases = [
        ("single-key", {"policy": "maskkv", "budget": 16}), ("long-value", {"policy": "full", "budget": None}),
        ("multi-key", {"policy": "none", "budget": None}), ("few-shot", {"policy": "snapkv", "budget": 24}),
        ("single-key", {"policy": "maskkv", "budget": 32, "temperature": 1.0, "seed": 5}),
        ("long-value", {"policy": "maskkv", "budget": 8, "cfg_scale": 0.5}),
        ("multi-key", {"policy": "maskkv", "budget": 32, "block_length": 24, "threshold": 0.9}),
        ("two-hop", {"policy": "maskkv", "budget": 32, "prompt_interval": 7}),
    ]  # fmt: skip
    prompts = [sample(task, 90, 3 + index).content for index, (task, _) in enumerate(cases)]
    answers = pool.map(lambda prompt, case: live.chat(prompt, max_tokens=24, **case[1]).json(), prompts, cases)
    for prompt, (_, own), answer in zip(prompts, cases, answers, strict=True):
        alone = llm.generate(prompt, gen_length=24, **own)
        assert answer["choices"][0]["message"]["content"] == alone.text
        assert answer["maskkv"]["steps"] == alone.steps


def test_a_step_reads_one_prompt_and_goes_on_with_the_others(start, pool):
    """Requests that come together do not keep each other waiting for all of their prompts."""
    with start() as live:
        gate = Gate(live.runner)
        prompts = [sample("single-key", 90, seed).content for seed in range(4)]
        answers = [pool.submit(live.chat, prompt, max_tokens=24) for prompt in prompts]
        until(lambda: len(live.runner._running) + len(live.runner._waiting) == 4)
        for tick in range(1, 5):
            gate.pass_steps(1)
            expected = [*[0] * (4 - tick), *range(1, tick + 1)]
            until(
                lambda now=expected: (
                    sorted(live.runner._engine[each].index for each in list(live.runner._running)) == now
                )
            )
        gate.open()
        assert {answer.result().status_code for answer in answers} == {200}


def test_a_reader_that_hangs_up_is_let_go_before_the_next_step(start, caplog):
    caplog.set_level(logging.INFO, "maskkv.server")
    with start() as live:
        gate = Gate(live.runner)
        gate.pass_steps(3)
        with live.http.stream("POST", "/v1/chat/completions", json=STREAM) as response:
            seen = events(response.iter_lines())
            while next(seen)["maskkv"].get("step") != 2:
                pass
            until(lambda: gate.arrived == 4)  # past the point where it lets go of readers, before its fourth step
        jobs = [place.job for place in live.runner._running.values()]
        until(lambda: jobs[0].cancelled)
        gate.pass_steps(1)
        until(lambda: ended(caplog))  # said last: nothing runs a little before
        (job,) = ended(caplog)
        assert (job["id"], job["outcome"], job["steps"]) == (jobs[0].id, "cancelled", 4)
        assert live.metric('maskkv_jobs_total{outcome="cancelled"}') == 1
        until(lambda: live.metric("maskkv_cache_bytes") == 0)
        gate.open()


def test_a_client_that_waits_for_the_whole_answer_may_hang_up_too(start, caplog):
    caplog.set_level(logging.INFO, "maskkv.server")
    with start() as live:
        gate = Gate(live.runner)
        with live.asked(WHOLE):
            until(lambda: gate.arrived == 1)
        until(lambda: all(place.job.cancelled for place in list(live.runner._running.values())))
        gate.open()
        until(lambda: ended(caplog))
        assert [(job["outcome"], job["steps"]) for job in ended(caplog)] == [("cancelled", 1)]


def test_the_job_that_stretches_positions_is_logged_as_such(start, llm, caplog, monkeypatch):
    """Trained for the prompt and 8 tokens, asked for 8 and for 16."""
    caplog.set_level(logging.INFO)
    length = len(llm.prompt_ids(SHORT.content)) + 8
    monkeypatch.setattr(llm.model, "config", replace(llm.model.config, trained_length=length))
    with start() as live:
        for tokens in (8, 16):
            assert live.chat(max_tokens=tokens).status_code == 200
        until(lambda: len(ended(caplog)) == 2)
    assert [job["untrained"] for job in ended(caplog)] == [0, 8]


def test_a_full_queue_says_when_to_come_again(start, pool):
    with start(max_batch=1, max_queue=1) as live, live.openai() as client:
        gate = Gate(live.runner)
        first = pool.submit(live.chat)
        until(lambda: len(live.runner._running) == 1)
        second = pool.submit(live.chat)
        until(lambda: len(live.runner._waiting) == 1)
        with pytest.raises(openai.RateLimitError, match="1 requests are waiting already") as caught:
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "not even tokens"}])
        assert caught.value.code == "queue_full"
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
        assert live.metric("maskkv_waiting") == live.metric("maskkv_running") == 1
        gate.open()
        assert (first.result().status_code, second.result().status_code) == (200, 200)


def test_who_leaves_the_queue_makes_room_in_it(start, pool):
    with start(max_batch=1, max_queue=1) as live:
        gate = Gate(live.runner)
        first = pool.submit(live.chat)
        until(lambda: len(live.runner._running) == 1)
        with live.asked(WHOLE):
            until(lambda: len(live.runner._waiting) == 1)
        until(lambda: all(place.job.cancelled for place in list(live.runner._waiting)))
        second = pool.submit(live.chat)
        until(lambda: any(not place.job.cancelled for place in list(live.runner._waiting)))
        gate.open()
        assert (first.result().status_code, second.result().status_code) == (200, 200)


def test_time_that_is_up_ends_whole_answers_and_streams(start):
    with start(timeout=0.3) as live:
        gate = Gate(live.runner)
        whole = live.chat()
        assert (whole.status_code, whole.json()["error"]["code"]) == (504, "timeout")
        assert whole.json()["error"]["message"] == "the answer took longer than 0.3 s"
        with live.http.stream("POST", "/v1/chat/completions", json=STREAM) as response:
            *_, last = events(response.iter_lines())
        assert (response.status_code, last["error"]["code"]) == (200, "timeout")
        gate.open()
        until(lambda: live.runner.idle)


def test_a_reader_that_takes_nothing_more_is_cut_off_after_the_time_is_up():
    async def send_to_nobody():
        exchange = create_autospec(Exchange, instance=True)
        exchange.job = create_autospec(Job, instance=True)
        exchange.job.deadline = Deadline(asyncio.get_running_loop().time() - 60, 1.0)

        async def forever(*_):
            await asyncio.Event().wait()

        stream = EventStream(exchange, Reply(True, MODEL, "1"), None)
        async with asyncio.timeout(PATIENCE_S) as patience:
            with pytest.raises(TimeoutError):
                await stream({"type": "http", "asgi": {"spec_version": "2.3"}}, forever, forever)
        assert not patience.expired()
        exchange.close.assert_called_once()

    asyncio.run(send_to_nobody())


def test_what_can_never_fit_into_memory_is_refused_and_what_fits_later_waits(start, pool):
    with start(memory=3_000_000) as live:
        large = live.chat(max_tokens=4096)
        error = large.json()["error"]
        assert (large.status_code, error["code"]) == (400, "memory_exceeded")
        assert "and the server has 2.9 MiB: a shorter prompt" in error["message"]
        gate = Gate(live.runner)
        answers = [pool.submit(live.chat, max_tokens=128) for _ in range(3)]
        until(lambda: len(live.runner._running) + len(live.runner._waiting) == 3)
        assert len(live.runner._waiting) > 0
        gate.open()
        assert [each.result().status_code for each in answers] == [200, 200, 200]


@pytest.mark.parametrize(("spare", "together"), [(0, 2), (-1, 1)])
def test_room_is_kept_for_the_prompt_that_takes_most_to_read(start, llm, pool, spare, together):
    """It may be read again at any time: whoever comes is let in beside it only if that still fits then."""
    long = sample("single-key", 900, 1).content
    first, second = (
        Shape.of(llm.model).need(
            Workload(len(llm.prompt_ids(content)), Generation(gen_length=16), policies.named("maskkv"), 32, "auto"), 16
        )
        for content in (long, SHORT.content)
    )
    assert first.reading > second.reading
    with start(memory=first.held + second.held + first.reading + spare) as live:
        gate = Gate(live.runner)
        answers = [pool.submit(live.chat, long)]
        until(lambda: gate.arrived == 1)
        answers.append(pool.submit(live.chat))
        until(lambda: len(live.runner._waiting) == 1)
        gate.pass_steps(1)
        until(lambda: gate.arrived == 2)
        running = len(live.runner._running)
        gate.open()  # before anything is asserted: a server whose thread is held does not end
        assert running == together
        assert [each.result().status_code for each in answers] == [200, 200]


def test_a_step_that_fails_for_all_ends_them_and_says_nothing_of_them(start, caplog):
    caplog.set_level(logging.INFO, "maskkv.server")
    with start() as live:
        engine, step = live.runner._engine, live.runner._engine.step

        def fail(_):
            engine.step = step
            raise RuntimeError(f"cannot compute {SHORT.content}")

        engine.step = fail
        failed = live.chat()
        assert (failed.status_code, failed.json()["error"]["type"]) == (500, "server_error")
        assert live.chat().status_code == 200
        told = json.dumps([getattr(each, "fields", {}) for each in caplog.records]) + failed.text
        assert SHORT.content.split(".")[0] not in told
        assert "RuntimeError" in told


@pytest.mark.parametrize("where", ["the pass", "the commit", "the report"])
def test_a_request_that_fails_is_the_only_one(start, llm, pool, caplog, monkeypatch, where):
    """Those that run beside it answer as if it had never been there; it alone is told, logged and counted."""
    caplog.set_level(logging.INFO, "maskkv.server")
    prompts = [sample("single-key", 90, seed).content for seed in range(3)]
    with start() as live:
        gate, runner = Gate(live.runner), live.runner
        answers = [pool.submit(live.chat, prompt, max_tokens=24) for prompt in prompts]
        until(lambda: len(runner._running) + len(runner._waiting) == 3)
        gate.pass_steps(5)
        until(lambda: gate.arrived == 6)
        number, place = sorted(runner._running.items())[1]
        sequence, right = runner._engine[number], runner._report

        def fail(*given, **named):
            raise RuntimeError("out of order")

        def hold(cache, layer, *given):
            return (
                fail() if any(part.extent is sequence.extent for part in cache._parts) else held(cache, layer, *given)
            )

        held = PackedCache.hold
        with monkeypatch.context() as patch:
            if where == "the pass":
                patch.setattr(PackedCache, "hold", hold)
            elif where == "the commit":
                patch.setattr(sequence.sampler, "commit", fail)
            else:
                patch.setattr(runner, "_report", lambda step: fail() if step.sequence == number else right(step))
            gate.open()
            replies = [answer.result() for answer in answers]
            until(lambda: runner.idle)
        assert sorted(reply.status_code for reply in replies) == [200, 200, 500]
        for prompt, reply in zip(prompts, replies, strict=True):
            if reply.status_code == 200:
                assert reply.json()["choices"][0]["message"]["content"] == llm.generate(prompt, gen_length=24).text
            else:
                assert reply.json()["error"] | {"param": ""} == {
                    "message": "the model failed on this request", "type": "server_error", "code": "model_failed",
                    "param": "",
                }  # fmt: skip
        assert [live.metric(f'maskkv_jobs_total{{outcome="{each}"}}') for each in ("failed", "finished")] == [1, 2]
        assert live.metric("maskkv_running") == live.metric("maskkv_cache_bytes") == 0
    (failure,) = [each.fields for each in caplog.records if each.msg == "job failed"]
    assert (failure["id"], failure["exception"]) == (place.job.id, "RuntimeError")
    assert [job["outcome"] for job in ended(caplog) if job["id"] == place.job.id] == ["failed"]


@pytest.mark.parametrize("temperature", [5e-324, 1e-300])
def test_no_temperature_is_too_low(live, temperature):
    answer = live.chat(temperature=temperature, alg="entropy", top_p=0.9, alg_temp=temperature)
    assert answer.status_code == 200, answer.text


def test_a_request_that_cannot_join_harms_no_other(start):
    with start() as live:
        engine, add = live.runner._engine, live.runner._engine.add

        def fail(*_):
            engine.add = add
            raise MemoryError

        engine.add = fail
        assert live.chat().json()["error"]["code"] == "model_failed"
        assert live.chat().status_code == 200


def test_who_is_not_done_when_the_server_must_end_is_told(start, llm):
    told: list[dict] = []
    with start(drain_timeout=0) as live:
        gate = Gate(live.runner)
        gate.pass_steps(1)
        begun = threading.Event()

        def read():
            with httpx.stream("POST", f"{live.url}/v1/chat/completions", json=STREAM, timeout=PATIENCE_S) as response:
                for event in events(response.iter_lines()):
                    told.append(event)
                    begun.set()

        reader = threading.Thread(target=read)
        reader.start()
        assert begun.wait(PATIENCE_S)
    # The gate is opened once the server takes nothing more.
    reader.join()
    assert told[-1]["error"]["code"] == "shutting_down"
