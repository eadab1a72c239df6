"""What is loaded is said once, and every way to say it reaches the model."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

import maskkv
from maskkv import api
from maskkv.decoding.engine import Engine
from maskkv.errors import InputError
from maskkv.generation import Generation
from maskkv.loading import Loading
from tests.cli.tiny import save_tiny

EVERY = Loading("a/b", "cpu", "bf16", 2.5, Path("p.json"), "int8", "int8", compile=True)
SPLIT = replace(EVERY, compile=False, tensor_parallel=2)
"""What cannot be asked for together with all others."""


@pytest.mark.usefixtures("untyped")
def test_load_takes_every_option_with_the_same_default(monkeypatch):
    got = []
    monkeypatch.setattr(api, "load_model", lambda loading, **rest: got.append((loading, rest)))
    maskkv.load(**vars(EVERY), policy="snapkv", budget="5%", evicted="host")
    maskkv.load(**vars(SPLIT))
    maskkv.load()
    assert got == [
        (EVERY, {"policy": "snapkv", "budget": "5%", "evicted": "host"}),
        (SPLIT, {"policy": "maskkv", "budget": 256, "evicted": None}),
        (Loading(), {"policy": "maskkv", "budget": 256, "evicted": None}),
    ]
    for field in fields(Loading):
        assert {getattr(EVERY, field.name), getattr(SPLIT, field.name)} != {field.default}


def test_a_model_says_how_it_was_loaded(tmp_path):
    loading = Loading(save_tiny(tmp_path), dtype="float16", rope_scale=2.0, kv_dtype="int8")
    llm = api.load_model(loading, policy="full")
    assert llm.loading == loading
    assert (llm.rope_scale, llm.kv_dtype, llm.policy.name) == (2.0, "int8", "full")
    assert str(llm.model.dtype) == "torch.float16"


def test_every_sequence_is_stretched_and_stored_as_the_model_was_loaded(tmp_path):
    llm = api.load_model(Loading(save_tiny(tmp_path), rope_scale=2.0, kv_dtype="int8"))
    engine = Engine(llm.model)
    settings = engine[llm.add_to(engine, [20, 21, 22], Generation(gen_length=8), llm.policy, 2)].settings
    assert (settings.rope_scale, settings.kv_dtype) == (2.0, "int8")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kv_dtype": "int4"}, "kv_dtype 'int4': expected one of auto, int8, fp8"),
        ({"quantize": "int2"}, "quantize 'int2': expected one of int8, int4"),
        ({"rope_scale": 0.5}, "rope_scale 0.5: expected a factor of at least 1"),
        ({"profile": 5}, "profile 5: expected a LayerProfile or its file"),
        ({"compile": "no"}, "compile 'no': expected True or False"),
        ({"tensor_parallel": True}, "tensor_parallel must be a whole number from 1 to 64, not True"),
        ({"tensor_parallel": 65}, "tensor_parallel must be a whole number from 1 to 64, not 65"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_what_is_unusable_anywhere_is_refused_before_anything_is_read(options, says):
    with pytest.raises(InputError) as refused:
        Loading(**options)
    assert str(refused.value) == says


def test_records_call_a_model_by_its_hub_id_or_its_folder(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    same = [folder, str(folder), ".", "~/mine", "../mine"]
    assert [Loading(each).name for each in same] == ["mine"] * len(same)
    assert [Loading(each).name for each in (None, "owner/name")] == ["mini", "owner/name"]
    assert replace(Loading(), device="cpu").name == "mini"
