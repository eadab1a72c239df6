"""What the page asks the server for."""

import asyncio
import base64
import json
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import resources

import pytest

from maskkv import lens, policies
from maskkv.generation import Generation
from maskkv.mini import TASKS, sample, score
from maskkv.plan import Shape, Workload
from maskkv.server import page_api
from maskkv.server.app import create_app
from maskkv.server.errors import ApiError
from maskkv.server.jobs import Deadline
from maskkv.server.settings import ServerSettings
from tests.server.live import LONG, MODEL, PATIENCE_S, SHORT, Gate, events, until

MESSAGES = [{"role": "user", "content": SHORT.content}]


def test_about_names_what_may_be_chosen(live):
    about = live.http.get("/api/about").json()
    assert (about["model"], about["bundled"]) == ("maskkv-mini", True)
    assert [each["name"] for each in about["policies"]] == policies.names()
    assert [each["name"] for each in about["policies"] if not each["evicts"]] == ["full", "none"]
    assert about["examples"] == list(TASKS)
    assert next(each["about"] for each in about["policies"] if each["name"] == "snapkv").startswith("SnapKV (arXiv")


def test_about_says_what_the_model_can_and_what_its_settings_may_be(live):
    about = live.http.get("/api/about").json()
    assert (about["trained_length"], about["vocab_size"], about["ends"]) == (1056, 516, ["<|endoftext|>"])
    assert (about["evicted"], about["evicted_choices"]) == ("drop", ["drop", "host"])
    settings = about["settings"]
    assert settings["prompt_interval"] == {"type": "integer", "minimum": 1, "maximum": 2**31 - 1, "default": 50}
    assert settings["temperature"] == {"type": "number", "minimum": 0, "maximum": 2, "default": 0.0}
    assert (settings["steps"]["default"], settings["seed"]["default"]) == (None, None)


def test_about_offers_a_block_causal_model_only_what_it_takes(llm, monkeypatch):
    monkeypatch.setattr(llm.model, "config", replace(llm.model.config, causal_block=8))
    about = page_api.described(create_app(llm, MODEL, ServerSettings()).state.service)
    assert list(about["settings"]) == ["steps", "temperature", "threshold", "seed"]
    assert about["evicted_choices"] == ["drop", "host", "device"]


def test_the_first_example_is_answered_rightly(llm):
    made = sample(page_api.FIRST["task"], page_api.FIRST["length"], page_api.FIRST["seed"])
    content = f"{made.document}\n\n{made.question}"
    said = llm.generate(content, gen_length=made.gen_length, policy="maskkv", budget=page_api.FIRST["budget"]).text
    assert score(made, said) == 1


def test_an_example_is_that_of_the_generators(live):
    found = live.http.get("/api/example?task=two-hop&length=300&seed=5").json()
    made = sample("two-hop", 300, 5)
    assert (found["document"], found["question"], found["answer"]) == (made.document, made.question, made.answer)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("task=nosuch", "unknown task 'nosuch'"),
        ("length=10", "length"),
        ("length=9999", "length"),
        ("length=64&task=few-shot", ""),
        ("seed=-1", "seed: "),
    ],
)
def test_examples_that_cannot_be_are_refused(live, query, says):
    refused = live.http.get(f"/api/example?{query}")
    assert refused.status_code in ((200, 400) if "few-shot" in query else (400,))
    if refused.status_code == 400:
        assert says in refused.json()["error"]["message"]


def test_the_lens_shows_what_the_answer_kept(live, llm):
    body = {"messages": MESSAGES, "policy": "maskkv", "budget": 8, "max_tokens": 8, "seed": 1}
    seen = live.http.post("/api/lens", json=body).json()
    result = llm.generate(SHORT.content, gen_length=8, policy="maskkv", budget=8)
    assert (seen["evicted"]["text"], seen["evicted"]["cache_bytes"]) == (result.text, result.cache_bytes)
    assert "".join(seen["tokens"]).split() == SHORT.prompt.split()
    sweep = seen["sweep"]
    index = sweep["budgets"].index(8)
    assert [[len(head) for head in layer] for layer in result.kept] == sweep["counts"][index]
    raw = base64.b64decode(sweep["order"])
    order = struct.unpack(f"<{len(raw) // 2}H", raw)
    assert sorted(order[: sweep["counts"][index][0][0]]) == result.kept[0][0]


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"policy": "full"}, 400, "policy full evicts nothing"),
        ({"messages": [{"role": "user", "content": "a zebra"}]}, 400, "zebra"),
        ({"max_tokens": 10**6}, 400, "expected at most"),
        ({"nonsense": 1}, 400, "nonsense"),
        ({"model": "other"}, 404, "other"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(live, changes, status, says):
    refused = live.http.post("/api/lens", json={"messages": MESSAGES, "budget": 8, "max_tokens": 8, **changes})
    assert refused.status_code == status
    assert says in refused.json()["error"]["message"]


def test_a_look_that_fails_is_logged_and_quotes_nobody(live, caplog, monkeypatch):
    def fail(*_):
        yield lens.Progress("reading", 0, 1)
        raise RuntimeError(SHORT.content)

    monkeypatch.setattr("maskkv.lens.look", fail)
    failed = live.http.post("/api/lens", json={"messages": MESSAGES, "budget": 8, "max_tokens": 8})
    assert (failed.status_code, failed.json()["error"]["code"]) == (500, "model_failed")
    (told,) = [each.fields for each in caplog.records if each.msg == "task failed"]
    assert told["exception"] == "RuntimeError"
    assert SHORT.content not in json.dumps(told) + failed.text
    assert live.http.get("/health").status_code == 200


def test_keys_guard_it(start):
    with start(api_key="secret") as guarded:
        assert guarded.http.get("/").status_code == 200
        assert guarded.http.get("/static/page.js").status_code == 200
        for path in ("/api/about", "/api/example"):
            assert guarded.http.get(path).status_code == 401
        assert guarded.http.post("/api/lens", json={"messages": MESSAGES}).status_code == 401
        found = guarded.http.get("/api/about", headers={"authorization": "Bearer secret"})
        assert found.status_code == 200


def test_looking_waits_its_turn_between_steps_and_counts_as_waiting(start):
    with start(max_queue=1) as held:
        gate = Gate(held.runner)
        answers = []
        chat = threading.Thread(target=lambda: answers.append(held.chat(max_tokens=16)))
        chat.start()
        until(lambda: held.runner._running)
        looking = threading.Thread(
            target=lambda: answers.append(held.http.post("/api/lens", json={"messages": MESSAGES, "max_tokens": 8}))
        )
        looking.start()
        until(lambda: held.runner._tasks)
        assert held.chat().status_code == 429
        gate.open()
        chat.join()
        looking.join()
        assert [each.status_code for each in answers] == [200, 200]


def test_looking_waits_for_memory_for_the_un_evicted_answer(start, monkeypatch):
    with start() as live:
        lend, asked = live.runner.lend, []
        monkeypatch.setattr(live.runner, "lend", lambda work, needed: asked.append(needed) or lend(work, needed))
        body = {"messages": MESSAGES, "policy": "maskkv", "budget": 8, "max_tokens": 8}
        assert live.http.post("/api/lens", json=body).status_code == 200
    assert [(needed.policy.name, needed.budget) for needed in asked] == [("full", None)]


def test_looking_waits_until_its_memory_is_free(start, llm):
    length = len(llm.prompt_ids(SHORT.content))
    work = Workload(length, Generation(gen_length=8), policies.named("full"), None, llm.kv_dtype)
    body = {"messages": MESSAGES, "budget": 8, "max_tokens": 8}
    with ThreadPoolExecutor(2) as pool, start(memory=Shape.of(llm.model).need(work, 16).alone) as live:
        gate = Gate(live.runner)
        answers = [pool.submit(live.chat, max_tokens=8)]
        until(lambda: gate.arrived == 1)
        answers.append(pool.submit(live.http.post, "/api/lens", json=body))
        until(lambda: live.runner._tasks)
        gate.pass_steps(1)
        until(lambda: gate.arrived == 2)
        waiting = len(live.runner._tasks)
        gate.open()  # before anything is asserted: a server whose thread is held does not end
        assert waiting == 1
        assert [each.result().status_code for each in answers] == [200, 200]


def test_what_still_waits_for_the_model_when_the_server_must_end_is_told(llm):
    runner = create_app(llm, MODEL, ServerSettings()).state.service.runner

    async def told():
        work = (each for each in ())
        task = runner.lend(work, Workload(8, Generation(), policies.named("full"), None, llm.kv_dtype))
        assert not runner.idle
        runner.end()
        runner.start()
        return await anext(task.pieces(Deadline.after(float(PATIENCE_S)), "waiting"))

    with pytest.raises(ApiError) as refused:
        asyncio.run(told())
    assert (refused.value.status, refused.value.code) == (503, "shutting_down")


def looking(live, **changes):
    """Stream a look, and yield its events as they come."""
    body = {"messages": MESSAGES, "policy": "maskkv", "budget": 8, "max_tokens": 8, "stream": True, **changes}
    with live.http.stream("POST", "/api/lens", json=body) as answered:
        assert answered.headers["content-type"].startswith("text/event-stream")
        yield from events(answered.iter_lines())


def test_what_is_kept_comes_first_and_the_whole_is_that_of_one_answer(live):
    whole = live.http.post(
        "/api/lens", json={"messages": MESSAGES, "policy": "maskkv", "budget": 8, "max_tokens": 8}
    ).json()
    told = list(looking(live))
    reports = [each["report"] for each in told if "report" in each]
    assert reports[0].keys() >= {"tokens", "sweep", "special"}
    assert "evicted" not in reports[0]
    assert [next(iter(each)) for each in reports[1:]] == ["evicted", "reads", "film", "full", "none"]
    joined = {name: value for each in reports for name, value in each.items()}
    assert joined.keys() == whole.keys()
    timed = {"latency_s", "tokens_per_s", "peak_memory_bytes"}
    for name, value in joined.items():
        if name in ("evicted", "full", "none"):
            assert {k: v for k, v in value.items() if k not in timed} == {
                k: v for k, v in whole[name].items() if k not in timed
            }
        else:
            assert value == whole[name], name
    phases = [each["progress"]["phase"] for each in told if "progress" in each]
    assert list(dict.fromkeys(phases)) == [
        "reading the prompt",
        "answering under maskkv",
        "watching what is read",
        "answering under full",
        "answering without a cache",
    ]
    last = {each["progress"]["phase"]: each["progress"] for each in told if "progress" in each}
    assert all(last[name]["done"] == last[name]["of"] == 8 for name in list(last)[1:])


def test_others_are_answered_while_somebody_looks(start, monkeypatch):
    """A look that has no end in sight holds nobody up: each of its pieces lies between two steps."""
    ended = threading.Event()

    def endless(*_):
        while not ended.is_set():
            yield lens.Progress("reading the prompt", 0, 1)
        yield lens.Found({"policy": "maskkv"})

    monkeypatch.setattr("maskkv.lens.look", endless)
    with start(max_queue=1) as live:
        told = looking(live)
        assert next(told) == {"progress": {"phase": "reading the prompt", "done": 0, "of": 1}}
        assert live.chat().status_code == 200
        assert live.chat(max_tokens=8).status_code == 200
        ended.set()
        assert [each for each in told if "progress" not in each] == [{"report": {"policy": "maskkv"}}]


def test_looks_leave_most_of_the_queue_to_answers(start):
    with ThreadPoolExecutor(4) as pool, start(max_queue=8) as live:
        gate = Gate(live.runner)
        asked = [pool.submit(live.chat, max_tokens=8)]
        until(lambda: gate.arrived == 1)
        body = {"messages": MESSAGES, "budget": 8, "max_tokens": 8}
        for number in (1, 2):
            asked.append(pool.submit(live.http.post, "/api/lens", json=body))
            until(lambda number=number: len(live.runner._tasks) == number)
        third = live.http.post("/api/lens", json=body)
        asked.append(pool.submit(live.chat, max_tokens=8))
        until(lambda: live.runner._waiting)
        gate.open()
        assert [each.result().status_code for each in asked] == [200] * 4
    assert (third.status_code, third.json()["error"]["message"]) == (
        429,
        "2 requests are waiting already; try again later",
    )


@pytest.mark.parametrize("streamed", [True, False])
def test_who_hangs_up_while_looking_leaves_the_model_alone(start, monkeypatch, streamed):
    begun, left = threading.Event(), threading.Event()

    def endless(*_):
        try:
            while not live.runner._stopping:
                begun.set()
                yield lens.Progress("reading the prompt", 0, 1)
        finally:
            left.set()

    monkeypatch.setattr("maskkv.lens.look", endless)
    with start() as live:
        if streamed:
            told = looking(live)
            next(told)
            told.close()
        else:
            body = json.dumps({"messages": MESSAGES, "max_tokens": 8}).encode()
            head = f"POST /api/lens HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n"
            with socket.create_connection(("127.0.0.1", live.http.base_url.port)) as line:
                line.sendall(head.encode() + b"content-type: application/json\r\n\r\n" + body)
                assert begun.wait(PATIENCE_S)
        assert left.wait(PATIENCE_S)
        until(lambda: live.runner.idle)


def test_a_look_keeps_its_memory_between_its_pieces(start, llm, monkeypatch):
    ended = threading.Event()

    def endless(*_):
        while not ended.is_set():
            yield lens.Progress("reading the prompt", 0, 1)

    monkeypatch.setattr("maskkv.lens.look", endless)
    length = len(llm.prompt_ids(SHORT.content))
    work = Workload(length, Generation(gen_length=8), policies.named("full"), None, llm.kv_dtype)
    with ThreadPoolExecutor(1) as pool, start(memory=Shape.of(llm.model).need(work, 16).alone) as live:
        told = looking(live)
        next(told)
        answer = pool.submit(live.chat, max_tokens=8)
        until(lambda: live.runner._waiting)
        for _ in range(20):
            next(told)
        waiting = len(live.runner._waiting)
        ended.set()
        list(told)
        assert waiting == 1
        assert answer.result().status_code == 200


def test_a_look_that_fails_in_mid_stream_says_so(live, monkeypatch):
    def fail(*_):
        yield lens.Progress("reading the prompt", 0, 1)
        raise RuntimeError

    monkeypatch.setattr("maskkv.lens.look", fail)
    assert [each.get("error", {}).get("code") for each in looking(live)] == [None, "model_failed"]


def test_looking_has_its_time_too(start):
    with start(timeout=0.3) as live:
        gate = Gate(live.runner)
        with live.asked({"messages": MESSAGES, **LONG}):
            until(lambda: gate.arrived == 1)
            late = live.http.post("/api/lens", json={"messages": MESSAGES, "budget": 8, "max_tokens": 8})
            assert (late.status_code, late.json()["error"]["code"]) == (504, "timeout")
            assert late.json()["error"]["message"] == "looking took longer than 0.3 s"
        gate.open()


def test_the_page_may_load_nothing_from_elsewhere(live):
    page = live.http.get("/")
    assert "default-src 'none'; script-src 'self'" in page.headers["content-security-policy"]
    for folder in ("", "lens/"):
        assert live.http.get(f"/static/{folder}..%2f..%2fapp.py").status_code == 404
    folders = {"": "maskkv.server", "lens/": "maskkv.lens"}
    names = [f"{at}{file.name}" for at, of in folders.items() for file in (resources.files(of) / "static").iterdir()]
    assert {"page.js", "index.html", "lens/lens.js"} < set(names)
    for name in names:
        text = live.http.get(f"/static/{name}").text
        assert "://" not in text
        assert "innerHTML" not in text
