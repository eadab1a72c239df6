"""`maskkv eval --ray`: what can be told without a cluster, and (slow) a real one whose worker, or driver, is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import typer

import maskkv
from maskkv.checkpoints import weights
from maskkv.cli import app
from maskkv.cluster import evaluating, local
from maskkv.cluster.evaluating import Worker
from maskkv.errors import InputError
from maskkv.eval import runs
from maskkv.eval.answering import Terms, answer
from maskkv.loading import Loading
from tests.cli.tiny import save_tiny
from tests.eval.examples import TASKS, study

PATIENCE_S = 300


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return Loading(str(save_tiny(tmp_path_factory.mktemp("tiny"))), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def llm(source):
    return maskkv.load(source.model, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def terms(llm, source):
    return Terms(source, weights.fingerprint(llm.model), study().schedule, isolated=False)


@pytest.mark.parametrize(
    ("address", "here", "own"),
    [("local", True, True), ("", False, True), ("", True, False), ("auto", False, False)],
)
def test_a_ray_of_its_own_listens_on_the_loopback_only(monkeypatch, address, here, own):
    """Ray reads that when it is imported; a cluster that is there may have other hosts."""
    told = []
    monkeypatch.setattr(evaluating, "keep_to_loopback", lambda: told.append("loopback"))
    monkeypatch.setattr(evaluating, "cluster_here", lambda: here)

    def imported():
        told.append("ray")
        raise InputError("enough")

    monkeypatch.setattr(evaluating, "_ray", imported)
    with pytest.raises(InputError, match="enough"), evaluating.connected(address, None):
        pass
    assert told == (["loopback", "ray"] if own else ["ray"])


def test_a_cluster_is_here_if_a_variable_names_it_or_ray_noted_it(monkeypatch, tmp_path):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(local, "_RUNNING", tmp_path / "cluster")
    assert not local.cluster_here()
    (tmp_path / "cluster").write_text("10.0.0.1:6379")
    assert local.cluster_here()
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    (tmp_path / "cluster").unlink()
    assert local.cluster_here()


def test_a_worker_answers_as_this_process_does(llm, terms):
    worker = Worker(terms, maskkv.__version__, 1)
    for unit in runs._units(TASKS, study()):
        answered, error = worker.answer(unit)
        assert error is None
        assert answered == answer(llm, unit, terms.schedule, isolated=False)


@pytest.mark.parametrize(
    ("changes", "version", "says"),
    [
        ({}, "0.0.1", r"on .*: maskkv is .* there and 0\.0\.1 here: install the same one"),
        ({"fingerprint": "0" * 16}, None, "on .*: the weights of .* are others than here: copy the same files there"),
        ({"loading": Loading("no-such/model")}, None, "on .*: .*no-such/model"),
    ],
)
def test_a_worker_that_would_measure_something_else_says_so(terms, changes, version, says):
    (unit, *_) = runs._units(TASKS, study())
    answered, error = Worker(replace(terms, **changes), version or maskkv.__version__, 1).answer(unit)
    assert answered is None
    with pytest.raises(maskkv.MaskKVError, match=says):
        raise error


def test_an_example_that_cannot_be_made_is_an_error_with_its_host(terms):
    (unit, *_) = runs._units([replace(TASKS[1], length=9)], study())
    answered, error = Worker(terms, maskkv.__version__, 1).answer(unit)
    assert (answered, type(error)) == (None, InputError)
    assert "length 9 is too short" in str(error)


def test_files_are_named_by_their_whole_path_and_gpus_by_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("profile.json").touch()
    sent = evaluating._anywhere(Loading("model", device="cuda:1", profile=Path("profile.json")))
    assert sent == Loading(str(tmp_path / "model"), device="cuda", profile=str(tmp_path / "profile.json"))
    assert sent.name == "model"
    hub = Loading("GSAI-ML/LLaDA-8B-Instruct", device="cpu")
    assert evaluating._anywhere(hub) == hub


@pytest.mark.parametrize(
    ("words", "benchmarks", "ray"),
    [
        (["mini"], ["mini"], None),
        (["--ray", "mini"], ["mini"], ""),
        (["mini", "--ray"], ["mini"], ""),
        (["--ray", "auto", "mini", "niah"], ["mini", "niah"], "auto"),
        (["mini", "--ray", "ray://head:10001", "niah"], ["mini", "niah"], "ray://head:10001"),
        (["mini", "--ray", "10.0.0.1:6379"], ["mini"], "10.0.0.1:6379"),
        (["mini", "--ray", "[::1]:6379"], ["mini"], "[::1]:6379"),
        (["mini", "--ray", "-n", "3"], ["mini"], ""),
        (["mini", "--ray=local"], ["mini"], "local"),
    ],
)
def test_ray_takes_an_address_and_swallows_no_benchmark(words, benchmarks, ray):
    context = typer.main.get_command(app).commands["eval"].make_context("eval", words)
    assert (list(context.params["benchmarks"]), context.params["ray"]) == (benchmarks, ray)


def refused(capsys, *words):
    assert maskkv_main(*words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def maskkv_main(*words):
    from maskkv.cli import main

    return main([*map(str, words)])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--ray=head"], "--ray head: expected auto, local, HOST:PORT or ray://HOST:PORT, or nothing"),
        (["--ray=http://head:80"], "--ray http://head:80: expected auto"),
        (["--ray", "--isolated"], "--isolated measures time, which other workers would take part of: with --ray, --j"),
        (["--ray", "--isolated", "--jobs", "2"], "--isolated measures time"),
    ],
)
def test_what_no_cluster_can_do_is_refused(capsys, monkeypatch, tmp_path, words, says):
    monkeypatch.setattr("maskkv.api.load_model", None)
    assert says in refused(capsys, "eval", "mini", "--out", tmp_path, *words)


def test_a_head_that_nobody_listens_at_is_refused_at_once(capsys, monkeypatch, tmp_path):
    pytest.importorskip("ray")
    monkeypatch.setattr("maskkv.api.load_model", None)
    said = refused(capsys, "eval", "mini", "--out", tmp_path, "--ray", "ray://127.0.0.1:1")
    assert "no Ray cluster at ray://127.0.0.1:1: " in said


def test_lm_eval_refuses_ray(capsys, tmp_path):
    assert "in one process" in refused(capsys, "eval", "lm-eval", "--tasks", "x", "--ray", "--out", tmp_path)


def test_without_ray_there_is_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("maskkv.api.load_model", None)
    said = refused(capsys, "eval", "mini", "--out", tmp_path, "--ray")
    assert said == "maskkv: error: ray is not installed: pip install 'maskkv[ray]' brings it\n"


def test_processes_of_this_machine_need_no_ray(tmp_path):
    program = (
        "import sys; sys.modules['ray'] = None; from maskkv.cli import main; "
        "sys.exit(main(sys.argv[1:]) or 'maskkv.cluster.evaluating' in sys.modules)"
    )
    words = ["eval", "mini", "--task", "single-key", "--length", "64", "-n", "1", "--out", str(tmp_path)]
    assert subprocess.run([sys.executable, "-c", program, *words], capture_output=True).returncode == 0


SIZE = ("mini", "--task", "multi-key,two-hop", "-n", "96", "--length", "192", "--budget", "32", "--policy", "maskkv")
LINES = 2 * 96


def start(folder, *words):
    command = [sys.executable, "-m", "maskkv", "eval", *SIZE, "--out", str(folder), *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def parents():
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            found[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
    return found


def below(process, title):
    """Return the descendants of a process whose title starts like this."""
    known, found = parents(), []
    for each in known:
        above = each
        while above in known and above != process:
            above = known[above]
        try:
            if above == process and Path(f"/proc/{each}/cmdline").read_text().startswith(title):
                found.append(each)
        except OSError:
            continue
    return found


def answered(folder):
    file = folder / "mini.answers.jsonl"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def until(happened, process):
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    with start(folder) as process:
        assert process.wait(PATIENCE_S) == 0
    return folder


def check_same(folder, whole):
    """Compare byte by byte; answers come in any order."""
    assert (folder / "mini.jsonl").read_bytes() == (whole / "mini.jsonl").read_bytes()
    assert sorted(answered(folder)) == sorted(answered(whole))
    assert len(answered(whole)) == LINES


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(whole, tmp_path):
    pytest.importorskip("ray")
    with start(tmp_path, "--ray", "local", "--jobs", "2") as process:
        until(lambda: answered(tmp_path), process)
        first = below(process.pid, "ray::Worker")
        assert len(first) == 2
        os.kill(first[0], signal.SIGKILL)
        until(lambda: set(below(process.pid, "ray::Worker")) - set(first), process)
        assert len(answered(tmp_path)) < LINES, "it was killed too late to matter"
        assert process.wait(PATIENCE_S) == 0, process.stderr.read()
    check_same(tmp_path, whole)


@pytest.mark.slow
def test_a_killed_driver_loses_what_was_not_written_and_no_more(whole, tmp_path):
    pytest.importorskip("ray")
    with start(tmp_path, "--ray", "local", "--jobs", "2") as process:
        until(lambda: len(answered(tmp_path)) >= LINES // 6, process)
        workers = below(process.pid, "ray::")
        process.kill()
    held = answered(tmp_path)
    assert len(held) < LINES
    with start(tmp_path, "--ray", "local", "--jobs", "2") as process:
        assert process.wait(PATIENCE_S) == 0, process.stderr.read()
    check_same(tmp_path, whole)
    assert [json.loads(line)["number"] for line in answered(tmp_path)[: len(held)]] == [
        json.loads(line)["number"] for line in held
    ]
    end = time.monotonic() + PATIENCE_S
    while any(Path(f"/proc/{each}").exists() for each in workers):
        assert time.monotonic() < end, "workers outlive their driver"
        time.sleep(0.1)
