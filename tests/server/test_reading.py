"""Prompts are read beside the event loop: how many at a time, for how long, and which are not read at all."""

import asyncio
import subprocess
import sys
import threading

import pytest

from maskkv.server.app import create_app
from maskkv.server.errors import ApiError
from maskkv.server.jobs import Deadline
from maskkv.server.reading import _THREADS, Readers
from maskkv.server.requests import ChatRequest
from maskkv.server.settings import ServerSettings
from tests.server.live import MODEL, SHORT, until


class Stuck:
    """Do work that takes until it is let go."""

    def __init__(self) -> None:
        self.begun = 0
        self._go = threading.Semaphore(0)

    def __call__(self, *_: object) -> int:
        self.begun += 1
        number = self.begun
        self._go.acquire()
        return number

    def let_go(self, count: int = 1) -> None:
        self._go.release(count)


async def begun(stuck: Stuck, count: int) -> None:
    while stuck.begun < count:
        await asyncio.sleep(0.001)


def test_few_are_read_at_a_time_a_number_waits_and_more_are_refused():
    async def check():
        readers, stuck = Readers(3), Stuck()
        running = [asyncio.ensure_future(readers.do(stuck)) for _ in range(_THREADS)]
        await begun(stuck, _THREADS)
        waiting = [asyncio.ensure_future(readers.do(stuck)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(ApiError, match="3 prompts are waiting to be read already") as refusal:
            await readers.do(stuck)
        assert (refusal.value.status, refusal.value.code) == (429, "queue_full")
        assert stuck.begun == _THREADS
        # One that gives up waiting makes room; one that is done gives its thread to the next.
        waiting.pop().cancel()
        await asyncio.sleep(0)
        waiting.append(asyncio.ensure_future(readers.do(stuck)))
        stuck.let_go()
        await begun(stuck, _THREADS + 1)
        stuck.let_go(9)
        assert sorted(await asyncio.gather(*running, *waiting)) == list(range(1, _THREADS + 4))

    asyncio.run(check())


def test_work_that_nobody_waits_for_counts_until_it_is_done():
    async def check():
        readers, stuck = Readers(1), Stuck()
        for _ in range(_THREADS):
            with pytest.raises(ApiError, match=r"reading took longer than 0\.01 s") as late:
                async with Deadline.after(0.01).kept("reading"):
                    await readers.do(stuck)
            assert (late.value.status, late.value.code) == (504, "timeout")
        assert stuck.begun == _THREADS
        next_one = asyncio.ensure_future(readers.do(stuck))
        await asyncio.sleep(0.01)
        assert stuck.begun == _THREADS
        stuck.let_go(9)
        assert await next_one == _THREADS + 1

    asyncio.run(check())


def test_what_work_raises_arrives_and_its_thread_is_free_again():
    async def check():
        readers = Readers(1)
        for _ in range(2 * _THREADS):
            with pytest.raises(ZeroDivisionError):
                await readers.do(lambda: 1 // 0)
        assert await readers.do(lambda: 7) == 7

    asyncio.run(check())


def test_a_process_ends_although_something_is_still_being_read():
    program = """
import asyncio, threading
from maskkv.server.app import create_app
from maskkv.server.errors import ApiError
from maskkv.server.jobs import Deadline
from maskkv.server.reading import Readers

async def main():
    try:
        async with Deadline.after(0.01).kept("reading"):
            await Readers(1).do(threading.Event().wait)
    except ApiError as late:
        print(late.code)

asyncio.run(main())
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "timeout\n", "")


def ask(live, kind, prompt, **fields):
    if kind == "chat":
        return live.chat(prompt, **fields)
    return live.http.post("/v1/completions", json={"prompt": prompt, "max_tokens": 16, **fields})


@pytest.mark.parametrize("kind", ["chat", "completion"])
def test_the_time_of_a_request_begins_before_its_prompt_is_read(start, llm, monkeypatch, kind):
    stuck = Stuck()
    with start(timeout=0.2) as live:
        monkeypatch.setattr(llm.text, "render" if kind == "chat" else "encode", stuck)
        late = ask(live, kind, SHORT.content)
        assert (late.status_code, late.json()["error"]["code"]) == (504, "timeout")
        assert live.http.get("/health").status_code == 200
        until(lambda: stuck.begun == 1)
        assert live.runner.idle
        monkeypatch.undo()
        stuck.let_go()


def test_the_time_of_a_look_begins_before_its_prompt_is_read(start, llm, monkeypatch):
    stuck = Stuck()
    with start(timeout=0.2) as live:
        monkeypatch.setattr(llm.text, "render", stuck)
        late = live.http.post("/api/lens", json={"messages": [{"role": "user", "content": SHORT.content}]})
        assert late.json()["error"]["message"] == "looking took longer than 0.2 s"
        stuck.let_go()


def test_whose_prompt_is_still_being_read_when_the_server_must_end_is_told(llm, monkeypatch):
    stuck = Stuck()
    monkeypatch.setattr(llm.text, "render", stuck)
    asked = ChatRequest.model_validate({"messages": [{"role": "user", "content": SHORT.content}]})

    async def check():
        service = create_app(llm, MODEL, ServerSettings()).state.service
        for ends in (False, True):
            task = asyncio.ensure_future(service.begin(asked))
            await begun(stuck, 1 + ends)
            if ends:
                service.runner.end()
            task.cancel()
            with pytest.raises(ApiError if ends else asyncio.CancelledError) as told:
                await task
        assert (told.value.status, told.value.code) == (503, "shutting_down")

    asyncio.run(check())
    stuck.let_go(2)


def test_the_clock_of_a_request_is_started_once(start, llm, monkeypatch):
    """What reading took is not given to the answer once more."""
    log, after, render = [], Deadline.after, llm.text.render
    monkeypatch.setattr(Deadline, "after", lambda seconds: log.append(seconds) or after(seconds))
    monkeypatch.setattr(llm.text, "render", lambda messages: log.append("read") or render(messages))
    with start(timeout=60) as live:
        assert live.chat().status_code == 200
    assert log == [60, "read"]


@pytest.mark.parametrize("kind", ["chat", "completion"])
def test_a_prompt_that_is_too_long_by_its_words_is_not_encoded(start, llm, monkeypatch, kind):
    with start(max_prompt_length=100) as live:
        for name in ("encode", "encode_rendered"):
            monkeypatch.setattr(llm.text, name, None)
        refused = ask(live, kind, "the " * 1000)
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (400, "context_length_exceeded")
        assert error["param"] == ("messages" if kind == "chat" else "prompt")
        assert "at least 1,00" in error["message"]
        assert error["message"].endswith(" tokens: expected at most 100")


@pytest.mark.parametrize("kind", ["chat", "completion"])
def test_a_prompt_may_be_exactly_as_long_as_the_server_allows(start, llm, kind):
    prompt = " . ".join(["the"] * 40)
    tokens = len(llm.text.encode(prompt)) if kind == "completion" else len(llm.prompt_ids(prompt))
    with start(max_prompt_length=tokens) as live:
        assert ask(live, kind, prompt).status_code == 200
        error = ask(live, kind, f"{prompt} .").json()["error"]
        assert error["message"].endswith(f" {tokens + 1} tokens: expected at most {tokens}")
        ids = live.http.post("/v1/completions", json={"prompt": [5] * (tokens + 1)}).json()["error"]
        assert ids["message"] == f"the prompt has {tokens + 1} tokens: expected at most {tokens}"


def test_many_messages_are_refused_before_they_are_encoded(start, llm, monkeypatch):
    with start(max_prompt_length=100) as live:
        monkeypatch.setattr(llm.text, "encode_rendered", None)
        messages = [{"role": "user", "content": "the"}] * 20_000
        refused = live.http.post("/v1/chat/completions", json={"messages": messages})
        assert refused.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/lens"])
def test_a_full_queue_is_noticed_before_the_prompt_is_read(start, llm, monkeypatch, path):
    def full():
        raise ApiError(429, "full", "queue_full")

    with start() as live:
        monkeypatch.setattr(llm.text, "render", None)
        monkeypatch.setattr(live.runner, "check_room", full)
        refused = live.http.post(path, json={"messages": [{"role": "user", "content": SHORT.content}]})
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")


@pytest.mark.parametrize("fields", [{"policy": "x" * 5000}, {"max_tokens": 10**6}, {"model": "y" * 5000}])
def test_what_costs_nothing_to_refuse_is_refused_before_the_prompt_is_read(start, llm, monkeypatch, fields):
    with start() as live:
        monkeypatch.setattr(llm.text, "render", None)
        error = live.chat(**fields).json()["error"]
        assert error["type"] == "invalid_request_error"
        # What the client wrote is quoted in part.
        assert len(error["message"]) < 300
