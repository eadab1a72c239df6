"""Evicted pairs that wait in host memory: what requests get of them, what is counted, and that they go again."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from maskkv import policies
from maskkv.cache.tier import Tier
from maskkv.generation import Generation
from maskkv.mixing import mix
from maskkv.plan import Need, Shape, Workload
from maskkv.server import runner as runners
from maskkv.server.app import create_app
from maskkv.server.settings import ServerSettings
from tests.server.live import LONG, MODEL, SHORT, Gate, until

HOST = mix(policies.named("maskkv"), evicted="host")


def need_of(llm, policy, budget=8, gen_length=16):
    work = Workload(len(llm.prompt_ids(SHORT.content)), Generation(gen_length=gen_length), policy, budget, llm.kv_dtype)
    return Shape.of(llm.model).need(work, 16)


def test_an_answer_is_the_library_s_and_says_what_came_back(start, llm):
    alone = llm.generate(SHORT.content, policy=HOST, budget=8, gen_length=16)
    with start() as live:
        answer = live.chat(budget=8, evicted="host").json()
        assert answer["choices"][0]["message"]["content"] == alone.text
        said = answer["maskkv"]
        assert (said["policy"], said["host_bytes"], said["recalled_pairs"]) == (
            "maskkv(evicted=host)", alone.host_bytes, alone.recalled,
        )  # fmt: skip
        assert alone.recalled > 0
        until(lambda: live.runner.idle)
        assert live.metric("maskkv_recalled_pairs_total") == alone.recalled
        assert live.metric("maskkv_host_bytes") == 0
        dropping = live.chat(budget=8).json()["maskkv"]
        assert (dropping["policy"], dropping["host_bytes"], dropping["recalled_pairs"]) == ("maskkv", 0, 0)


def test_the_server_s_own_choice_holds_for_the_page_s_lens_too(start):
    with start(evicted="host") as live:
        assert live.chat(budget=8).json()["maskkv"]["policy"] == "maskkv(evicted=host)"
        assert live.chat(budget=None, policy="full").json()["maskkv"]["policy"] == "full"
        body = {"messages": [{"role": "user", "content": SHORT.content}], "budget": 8, "max_tokens": 8}
        seen = live.http.post("/api/lens", json=body)
        assert (seen.status_code, seen.json()["evicted"]["policy"]) == (200, "maskkv(evicted=host)")


def test_evicted_of_a_policy_that_evicts_nothing_is_refused_in_one_line(live):
    refused = live.chat(policy="full", budget=None, evicted="host")
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "evicted"
    assert refused.json()["error"]["message"] == "policy full evicts nothing: no pair of it can wait in host memory"


def test_a_request_that_leaves_takes_its_second_tier_along(start, llm, monkeypatch):
    tiers, make = [], Tier.__init__

    def noted(self, *given):
        make(self, *given)
        tiers.append(weakref.ref(self))

    monkeypatch.setattr(Tier, "__init__", noted)
    body = {"messages": [{"role": "user", "content": SHORT.content}], "budget": 8, "evicted": "host", **LONG}
    with start() as live:
        gate = Gate(live.runner)
        gate.pass_steps(3)
        with live.asked(body):
            until(lambda: gate.arrived == 4)
            assert live.metric("maskkv_host_bytes") == need_of(llm, HOST, gen_length=256).host
            gc.collect()
            assert len([each for each in tiers if each() is not None]) == llm.model.config.num_layers
        until(lambda: all(place.job.cancelled for place in list(live.runner._running.values())))
        gate.open()
        until(lambda: live.runner.idle and live.metric("maskkv_host_bytes") == 0)
        until(lambda: gc.collect() >= 0 and all(each() is None for each in tiers))


@pytest.mark.parametrize(("spare", "together"), [(0, 2), (-1, 1)])
def test_on_a_cpu_both_tiers_share_the_memory_that_is_given(start, llm, spare, together):
    need = need_of(llm, HOST)
    with start(memory=2 * (need.held + need.host) + need.reading + spare) as live, ThreadPoolExecutor(2) as pool:
        gate = Gate(live.runner)
        answers = [pool.submit(live.chat, budget=8, evicted="host") for _ in range(2)]
        until(lambda: len(live.runner._running) + len(live.runner._waiting) == 2)
        gate.pass_steps(1)
        until(lambda: gate.arrived == 2)
        running = len(live.runner._running)
        gate.open()  # before anything is asserted: a server whose thread is held does not end
        assert running == together
        assert [each.result().status_code for each in answers] == [200, 200]


def test_what_never_finds_room_to_wait_is_refused(start, llm):
    need = need_of(llm, HOST)
    with start(memory=need.alone) as live:
        assert live.chat(budget=8).status_code == 200
        error = live.chat(budget=8, evicted="host").json()["error"]
        assert error["code"] == "memory_exceeded"
        assert "beside the weights" in error["message"]


def test_on_a_gpu_the_second_tiers_of_all_share_the_host_s_memory(llm, monkeypatch):
    """The model's device is pretended, and nothing runs."""
    need = need_of(llm, HOST)
    monkeypatch.setattr(runners, "available", lambda device: 2 * need.host)
    runner = create_app(llm, MODEL, ServerSettings(memory=need.alone + need.held)).state.service.runner
    monkeypatch.setattr(type(llm.model), "device", torch.device("cuda"))
    work = Workload(len(llm.prompt_ids(SHORT.content)), Generation(gen_length=16), HOST, 8, llm.kv_dtype)
    assert runner._need(work) == need
    assert runner._fits(Need(1, 1, 2 * need.host))
    assert not runner._fits(Need(1, 1, 2 * need.host + 1))
    runner._host_memory = need.host - 1
    with pytest.raises(runners.ApiError, match=r"MiB of host memory, and the server has .*evicted: drop, needs less"):
        runner._need(work)
