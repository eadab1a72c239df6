"""`maskkv doctor`: what it finds on this CPU, on a pretended card, and where something is broken."""

import json
import os
import re
import subprocess
import sys
import tomllib
import types
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import maskkv
from maskkv import checkup, memory, mini
from maskkv.api import LanguageModel
from maskkv.bench.gpu import device, kernel_checks, model_checks
from maskkv.bench.gpu.verdicts import Verdict
from maskkv.checkpoints import weights
from maskkv.checkup import Finding
from maskkv.generation import Generation
from maskkv.ops import fused, linear
from tests.emulated import CUDA, moved, pretended

ROOT = Path(__file__).parents[2]
GB = 10**9


def by_name(findings):
    return {finding.about: finding for finding in findings}


def test_every_extra_is_named_with_its_libraries():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    del declared["dev"]
    names = {
        extra: tuple(re.match(r"[\w-]+", each).group() for each in libraries if not each.startswith("maskkv["))
        for extra, libraries in declared.items()
    }
    assert {extra: libraries for extra, (_, libraries) in checkup.EXTRAS.items()} == names


def test_a_missing_extra_is_no_error_and_told_how_to_get(run, monkeypatch):
    monkeypatch.setattr(checkup, "_version", lambda library: None if library == "uvicorn" else "1")
    missing = Finding("maskkv[serve]", "for the HTTP server, `maskkv serve`: pip install 'maskkv[serve]'", ok=None)
    assert [finding for finding in checkup.extras() if not finding.ok] == [missing]
    ran = run("doctor", "--device", "cpu")
    assert ran.status == 0
    (line,) = [line for line in ran.out.splitlines() if "maskkv[serve] " in line]
    assert line.startswith("not installed  maskkv[serve]")


def test_a_missing_library_is_broken(monkeypatch):
    monkeypatch.setattr(checkup, "_version", lambda library: None)
    assert not any(finding.ok for finding in checkup.versions() if finding.about in checkup.LIBRARIES)


def test_memory_is_told_by_the_rule_that_refuses(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 12_300_000_000)
    room = by_name(checkup.processor())["memory"].found
    assert room == "12.3 GB free for weights and responses, and for evicted pairs that wait (evicted=host)"


@pytest.mark.parametrize(
    ("native", "said"),
    [
        (True, "multiplies natively"),
        (False, "multiplies, but emulates it: --dtype auto computes in float32 instead, if memory allows"),
        (None, "multiplies; whether natively is not known"),
    ],
)
def test_what_the_cpu_multiplies_says_what_auto_does(native, said, monkeypatch):
    monkeypatch.setattr(linear, "multiplies", lambda device, dtype: native)
    assert by_name(checkup.processor())["bfloat16 on cpu"] == Finding("bfloat16 on cpu", said)


def test_a_wrong_product_is_broken(monkeypatch):
    monkeypatch.setattr(torch, "ones", lambda *sizes, **options: torch.full(sizes, 2.0, **options))
    assert by_name(checkup.processor())["float32 on cpu"] == Finding("float32 on cpu", "multiplies wrongly", ok=False)


@pytest.mark.parametrize(
    ("built", "said"),
    [
        (None, "none, this torch is built without it: the CPU computes"),
        ("12.9", "none, torch, built for 12.9, finds no device: the CPU computes (the driver is too old)"),
    ],
)
def test_without_a_card_it_says_why_and_asks_nothing_of_one(built, said, monkeypatch):
    def is_available():
        if built:
            warnings.warn("the driver is too old\nupdate it", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(torch.version, "cuda", built)
    assert list(checkup.cards()) == [Finding("cuda", said)]
    assert list(checkup.tried("cpu")) == []


@pytest.mark.parametrize("error", [ImportError("no torch"), RuntimeError("CUDA error\n  at 0x0"), AssertionError()])
def test_what_raises_is_broken_in_one_line(error):
    def findings():
        yield Finding("one", "found")
        raise error

    first, last = checkup.guarded("two", findings())
    assert (first.ok, last.about, last.ok) == (True, "two", False)
    assert last.found in ("ImportError: no torch", "RuntimeError: CUDA error", "AssertionError")


def test_an_error_of_ours_speaks_for_itself_and_once(run):
    ran = run("doctor", "--device", "gpu", "--json")
    broken = [each for each in json.loads(ran.out) if each["ok"] is False]
    assert [each["found"] for each in broken] == ["device 'gpu' is unknown; supported: auto, cpu, cuda, cuda:N, mps"]


def test_without_torch_everything_is_broken_and_nothing_raises():
    code = "import sys\nsys.modules['torch'] = None\nfrom maskkv.cli import main\nsys.exit(main(['doctor', '--json']))"
    path = {"PYTHONPATH": str(ROOT / "src")}
    ran = subprocess.run([sys.executable, "-c", code], env={**os.environ, **path}, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (1, "")
    broken = {each["about"]: each["found"] for each in json.loads(ran.stdout) if each["ok"] is False}
    assert broken.keys() == {"cpu", "cuda", "device", "bundled dLLM"}
    assert {found.partition(":")[0] for found in broken.values()} == {"ModuleNotFoundError"}


@pytest.fixture
def card(monkeypatch):
    """Pretend that there is a card, and answer what torch would ask its driver; the checks are shorter."""
    free, held, used = 70 * GB, 6 * GB, 2 * GB
    for name, answer in {
        "is_available": True,
        "device_count": 1,
        "get_device_capability": (9, 0),
        "get_device_name": "Pretended",
        "mem_get_info": (free, 80 * GB),
        "memory_reserved": held,
        "memory_allocated": used,
        "max_memory_allocated": used,
        "reset_peak_memory_stats": None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *device, answer=answer: answer)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(device, "driver", lambda: "580.1")
    monkeypatch.setattr(model_checks, "FAMILIES", {"llada": model_checks.FAMILIES["llada"]})
    short = Generation(gen_length=16, prompt_interval=7, response_interval=3, stop_at_eos=False)
    monkeypatch.setattr(model_checks, "GENERATION", short)
    monkeypatch.setattr(model_checks, "DISTINCT", 8)
    with pretended():
        yield


def nothing(device):
    yield from ()


WITHOUT_TRITON = "instead of its kernels plain torch runs, which is slower: pip install triton"


def test_a_card_is_told_and_tried(card):
    found = by_name([*checkup.cards(), *checkup.tried("cuda")])
    assert {about: finding.found for about, finding in found.items()} == {
        "cuda": "torch is built for 13.0, driver 580.1",
        "cuda:0": "Pretended, compute capability 9.0, 80.0 GB, 66.6 GB free for weights and responses",
        **dict.fromkeys(("float32 on cuda:0", "bfloat16 on cuda:0", "float16 on cuda:0"), "multiplies natively"),
        "triton": WITHOUT_TRITON,
        "variable-length attention": "segments: right in 2 comparisons",
        "kernels for votes": "votes: right in 9 comparisons",
        "kernels by row": "norm, rotation, swiglu, similarity, norm of some, join, scatter: right in 14 comparisons",
        "kernel for the choice of rows": "least: right in 2 comparisons",
        "tokens as on the CPU": "tokens as on the CPU: right in 4 comparisons",
        "CUDA graphs": "graphs: right in 2 comparisons",
    }
    assert [about for about, finding in found.items() if not finding.ok] == ["triton"]
    assert found["triton"].ok is None


def test_a_card_that_computes_wrongly_is_broken(card, monkeypatch):
    def wrong(device):
        yield "norm, float32", Verdict(True, 0.0)
        yield "join, float32", Verdict(False, 0.5)

    def impossible(device):
        yield "segments, bfloat16", Verdict(True, 0.0)
        raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.\nat 0x0")

    monkeypatch.setattr(model_checks, "tokens", nothing)
    monkeypatch.setattr(model_checks, "graphs", nothing)
    monkeypatch.setattr(kernel_checks, "rows", wrong)
    monkeypatch.setattr(kernel_checks, "segments", impossible)
    broken = {each.about: each.found for each in checkup.tried("cuda:0") if each.ok is False}
    assert broken == {
        "variable-length attention": "RuntimeError: FlashAttention only supports Ampere GPUs or newer.",
        "kernels by row": "1 of 2 comparisons fail, join, float32: 0.5",
    }


def test_kernels_that_run_are_told_by_the_version_of_triton(card, monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", types.SimpleNamespace(__version__="3.9"))
    monkeypatch.setattr(fused, "_has_triton", lambda: True)
    assert list(checkup._triton(CUDA)) == [Finding("triton", "3.9, its kernels run")]


def test_a_triton_that_does_not_import_is_broken(card, monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.setattr(fused, "_has_triton", lambda: True)
    (found,) = checkup.guarded("triton", checkup._triton(CUDA))
    assert found.ok is False


def test_doctor_on_a_card_prints_all_of_it(run, card, monkeypatch):
    own = maskkv.load(device="cpu", dtype="float32")
    unpacked = weights.load(mini.folder(), "cpu", "float32")
    there = LanguageModel(moved(unpacked), own.text, profile=own.profile)
    monkeypatch.setattr(model_checks, "tokens", nothing)
    monkeypatch.setattr(model_checks, "graphs", nothing)
    monkeypatch.setattr("maskkv.cli.doctor.load", lambda loading: there)
    # Only a driver pins memory.
    monkeypatch.setattr("maskkv.ops.host._kept_here", lambda tensor: tensor.cpu())
    ran = run("doctor", "--device", "cuda", "--json")
    assert (ran.status, ran.err) == (0, "")
    found = {each.pop("about"): each for each in json.loads(ran.out)}
    assert found["triton"] == {"found": WITHOUT_TRITON, "ok": None}
    assert found["bundled dLLM"]["found"].endswith("float32 on cuda:0")
    assert found["answer to a question"]["found"].startswith("right: ")
    assert found["pairs that come back"]["ok"]


def test_doctor_tries_another_model_on_a_few_tokens(run, tiny):
    ran = run("doctor", "--model", tiny)
    assert (ran.status, ran.err) == (0, "")
    assert "BROKEN" not in ran.out
    assert "tokens/s" in ran.out
    assert "ok  pairs that come back" in ran.out


def test_doctor_says_what_is_broken_and_fails(run, tmp_path):
    ran = run("doctor", "--model", tmp_path, "--json")
    findings = json.loads(ran.out)
    assert ran.status == 1
    assert [finding["about"] for finding in findings if not finding["ok"]] == [str(tmp_path)]
    assert "has no config.json" in findings[-1]["found"]


def test_doctor_says_in_one_line_what_nobody_expected(run, monkeypatch):
    def load(*given, **settings):
        raise RuntimeError("CUDA error: out of luck\nCompile with TORCH_USE_CUDA_DSA")

    monkeypatch.setattr("maskkv.api.load_model", load)
    ran = run("doctor", "--json")
    assert (ran.status, ran.err) == (1, "")
    assert json.loads(ran.out)[-1] == {
        "about": "bundled dLLM", "found": "RuntimeError: CUDA error: out of luck", "ok": False,
    }  # fmt: skip


def test_doctor_fails_if_the_bundled_model_answers_wrongly(run, monkeypatch, tiny):
    monkeypatch.setattr("maskkv.mini.folder", lambda: tiny)
    ran = run("doctor", "--json")
    assert ran.status == 1
    assert by_name(Finding(**each) for each in json.loads(ran.out))["answer to a question"].found.startswith("wrong: ")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kept": [[[0, 1, 2]]]}, r"^3 pairs are held; expected: \d+$"),
        ({"tokens": [0] * 8}, "^with a budget of the whole prompt the tokens are not those of a full cache$"),
    ],
)
def test_pairs_that_do_not_come_back_as_they_should_are_broken(changes, says, monkeypatch):
    llm = maskkv.load()
    answer = llm.generate_ids

    def wrong(prompt, made, policy, budget):
        result = answer(prompt, made, policy=policy, budget=budget)
        return result if policy == "full" else replace(result, **changes)

    monkeypatch.setattr(llm, "generate_ids", wrong)
    found = checkup.coming_back(llm)
    assert found.ok is False
    assert re.search(says, found.found)
