import dataclasses
import json
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.reference import CONFIGS, GROUPED, MOE, random_model
from tests.saved_models import LLADA, TINY, published, reference, write, write_tiny
from torch import Tensor

from maskkv import memory, mini
from maskkv.checkpoints import folders, precision, profiles, weights
from maskkv.errors import CheckpointError, InputError, MaskKVError
from maskkv.models import families
from maskkv.models.config import ModelConfig
from maskkv.models.transformer import Transformer

FAMILIES = sorted(TINY)
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
QUERY = "model.transformer.blocks.1.q_proj.weight"


def same(one: Transformer, other: Transformer) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as found:
        weights.load(folder, device="cpu")
    assert "\n" not in str(found.value)
    return str(found.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_sharded_equals_unsharded(family: str, tmp_path: Path) -> None:
    whole = weights.load(write_tiny(tmp_path / "whole", family), device="cpu")
    sharded = weights.load(write_tiny(tmp_path / "sharded", family, shards=3), device="cpu")
    assert same(whole, sharded)
    assert weights.fingerprint(whole) == weights.fingerprint(sharded)
    assert not whole.training
    assert not any(parameter.requires_grad for parameter in whole.parameters())


def stored_as(dtype: torch.dtype, folder: Path) -> tuple[Path, dict[str, Tensor]]:
    tensors = {name: tensor.to(dtype) for name, tensor in published("llada", reference("llada")).items()}
    return write(folder, LLADA, tensors), tensors


def dtype_of(model: Transformer) -> torch.dtype:
    (dtype,) = {tensor.dtype for tensor in model.state_dict().values()}
    return dtype


@pytest.mark.parametrize("native", [True, False, None])
def test_a_dtype_that_is_asked_for_is_taken(
    native: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "multiplies", lambda device, dtype: native)
    folder, tensors = stored_as(torch.bfloat16, tmp_path)
    for asked, dtype in (
        ("bf16", torch.bfloat16), ("float16", torch.float16), (torch.float32, torch.float32),
        (torch.bfloat16, torch.bfloat16),
    ):  # fmt: skip
        model = weights.load(folder, device="cpu", dtype=asked)
        assert dtype_of(model) == weights.dtype_of(folder, "cpu", asked) == dtype
        assert torch.equal(model.state_dict()["layers.1.q_proj.weight"], tensors[QUERY].to(dtype))


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_what_a_cpu_would_emulate_is_computed_in_float32_if_memory_allows(
    stored: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, tensors = stored_as(stored, tmp_path)
    wide = sum(4 * tensor.numel() for tensor in tensors.values())
    enough = -(-wide * 4 // 3)
    for native, free, dtype in (
        (False, enough, torch.float32),
        (False, enough - 4, stored),
        (True, 10 * wide, stored),
        (None, 10 * wide, stored),
    ):
        monkeypatch.setattr(precision, "multiplies", lambda device, dtype, native=native: native)
        monkeypatch.setattr(memory, "available", lambda device, free=free: free)
        model = weights.load(folder, device="cpu")
        assert dtype_of(model) == weights.dtype_of(folder, "cpu") == dtype
        assert torch.equal(model.state_dict()["layers.1.q_proj.weight"], tensors[QUERY].to(dtype))


def test_the_embedding_s_dtype_is_the_file_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some files hold their norms in fp32, beside matrices in bf16."""
    monkeypatch.setattr(precision, "multiplies", lambda device, dtype: True)
    _, tensors = stored_as(torch.bfloat16, tmp_path)
    folder = write(tmp_path, LLADA, {name: each.float() if each.ndim == 1 else each for name, each in tensors.items()})
    assert dtype_of(weights.load(folder, device="cpu")) == weights.dtype_of(folder, "cpu") == torch.bfloat16


def test_the_wide_weights_are_the_file_s_own_and_the_model_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, tensors = stored_as(torch.bfloat16, tmp_path / "narrow")
    exactly = weights.load(write(tmp_path / "wide", LLADA, {name: each.float() for name, each in tensors.items()}))
    narrow = weights.load(folder, "cpu", "bf16")
    monkeypatch.setattr(precision, "multiplies", lambda device, dtype: False)
    model = weights.load(folder, "cpu")
    assert same(model, exactly)
    assert weights.fingerprint(model) == weights.fingerprint(narrow) == weights.fingerprint(exactly)


def test_a_dtype_is_told_of_files_that_are_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hub id only the config is fetched."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "config.json").write_text(json.dumps(LLADA))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, name, **options: str(tmp_path / name))
    for native, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(precision, "multiplies", lambda device, dtype, native=native: native)
        assert weights.dtype_of("owner/model", "cpu") == dtype


def test_weights_are_mapped_and_not_copied(tmp_path: Path) -> None:
    model = weights.load(write_tiny(tmp_path, "llada"), device="cpu")
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("needs /proc")
    ranges = [
        line.split()[0].split("-") for line in maps.read_text().splitlines() if line.endswith(str(tmp_path / WEIGHTS))
    ]
    assert ranges
    for name, parameter in model.named_parameters():
        assert any(int(low, 16) <= parameter.data_ptr() < int(high, 16) for low, high in ranges), name


def test_a_tied_head_is_the_embedding_even_where_the_file_repeats_it(tmp_path: Path) -> None:
    theirs = reference("illada")
    tensors = published("illada", theirs)
    once = weights.load(write(tmp_path / "once", TINY["illada"], tensors), device="cpu")
    twice = tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}
    repeated = weights.load(write(tmp_path / "twice", TINY["illada"], twice), device="cpu")
    assert same(once, repeated)
    assert once.head.weight.data_ptr() == once.embed.weight.data_ptr()


def without_query(tensors: dict[str, Tensor]) -> None:
    del tensors[QUERY]


def with_bias(tensors: dict[str, Tensor]) -> None:
    tensors["model.transformer.blocks.0.q_proj.bias"] = torch.zeros(32)


def with_wide_query(tensors: dict[str, Tensor]) -> None:
    tensors[QUERY] = torch.zeros(40, 32)


def with_integer_query(tensors: dict[str, Tensor]) -> None:
    tensors[QUERY] = torch.zeros(32, 32, dtype=torch.int8)


def with_nan(tensors: dict[str, Tensor]) -> None:
    tensors[QUERY][3, 4] = float("nan")


def with_infinity(tensors: dict[str, Tensor]) -> None:
    tensors[QUERY][31, 31] = float("-inf")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without_query, f"of 21 expected tensors it misses 1: {QUERY}"),
        (with_bias, "has 1 too many: model.transformer.blocks.0.q_proj.bias"),
        (with_wide_query, f"{QUERY} has shape [40, 32], expected [32, 32]"),
        (with_integer_query, f"{QUERY} has dtype I8; supported: F32, BF16, F16"),
        (with_nan, f"{QUERY} holds NaN or infinite values as float32"),
        (with_infinity, f"{QUERY} holds NaN or infinite values as float32"),
    ],
)
@pytest.mark.parametrize("shards", [1, 2])
def test_damaged_tensors_are_named(
    damage: Callable[[dict[str, Tensor]], None], said: str, shards: int, tmp_path: Path
) -> None:
    tensors = published("llada", reference("llada"))
    damage(tensors)
    assert said in refusal(write(tmp_path, LLADA, tensors, shards))


def test_weights_too_large_for_fp16_are_refused(tmp_path: Path) -> None:
    tensors = published("llada", reference("llada"))
    tensors[QUERY][0, 0] = 1e6
    folder = write(tmp_path, LLADA, tensors)
    weights.load(folder, device="cpu")
    with pytest.raises(CheckpointError, match=f"{QUERY} holds NaN or infinite values as float16"):
        weights.load(folder, device="cpu", dtype="fp16")


def test_a_lost_shard_is_named(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path, "llada", shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert "misses 1 of its 3 shards: model-00002-of-00003.safetensors" in refusal(folder)


@pytest.mark.parametrize("kept", [0, 5, 200, -8])
def test_a_truncated_shard_is_named(kept: int, tmp_path: Path) -> None:
    folder = write_tiny(tmp_path, "llada", shards=3)
    path = folder / "model-00003-of-00003.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert f"{path} is truncated or not a safetensors file" in refusal(folder)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path, "llada", shards=2)
    first, second = folder / "model-00001-of-00002.safetensors", folder / "model-00002-of-00002.safetensors"
    name, tensor = next(iter(load_file(first).items()))
    save_file(load_file(second) | {name: tensor.clone()}, second)
    assert f"{second} repeats 1 tensors of another shard: {name}" in refusal(folder)


@pytest.mark.parametrize(
    "file",
    ["../model.safetensors", "/etc/model.safetensors", "a/../../b.safetensors", "..\\b.safetensors", "", "weights.bin"],
)
def test_an_index_cannot_point_elsewhere(file: str, tmp_path: Path) -> None:
    write_tiny(tmp_path, "llada")
    folder = write_tiny(tmp_path / "inner", "llada", shards=2)
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"][QUERY] = file
    (folder / INDEX).write_text(json.dumps(index))
    assert f"names {file!r}; supported: .safetensors files beside it" in refusal(folder)


@pytest.mark.parametrize("file", ["x" * 5000 + ".safetensors", "é" * 124 + ".safetensors", "a\0b.safetensors",
                                  "a\n.safetensors", "\ud800.safetensors"])  # fmt: skip
def test_an_index_names_files_that_can_be(file: str, tmp_path: Path) -> None:
    folder = write_tiny(tmp_path, "llada", shards=2)
    (folder / INDEX).write_text(json.dumps({"weight_map": {QUERY: file}}))
    said = refusal(folder)
    assert "supported: .safetensors files beside it" in said
    assert said.isprintable()
    assert len(said) < len(str(folder)) + 350


def test_a_stranger_s_tensor_names_are_a_part_of_one_line(tmp_path: Path) -> None:
    tensors = published("llada", reference("llada"))
    tensors["\x1b[31m\n" * 1000] = torch.zeros(1)
    said = refusal(write(tmp_path, LLADA, tensors))
    assert r"has 1 too many: \x1b[31m\n" in said
    assert said.isprintable()
    assert len(said) < len(str(tmp_path)) + 300


@pytest.mark.parametrize("name", ["config.json", WEIGHTS, INDEX])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_regular_files_are_opened(name: str, kind: str, tmp_path: Path) -> None:
    folder = write_tiny(tmp_path, "llada", shards=2 if name == INDEX else 1)
    path = folder / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    assert re.search(rf"{name} .*: it is no regular file$", refusal(folder))


def test_a_link_to_a_file_is_one(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "linked", "llada")
    for name in ("config.json", WEIGHTS):
        (folder / name).rename(tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
    weights.load(folder, device="cpu")


def test_a_file_that_is_too_large_to_read_is_refused(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path, "llada")
    os.truncate(folder / "config.json", 10**12)
    assert "it has 1,000,000,000,000 bytes; supported: at most 104,857,600" in refusal(folder)


@pytest.mark.parametrize("depth", [200, 900, 100_000])
def test_deep_json_is_refused(depth: int, tmp_path: Path) -> None:
    folder = write_tiny(tmp_path, "llada", shards=2)
    deep = "[" * depth + "]" * depth
    (folder / INDEX).write_text(f'{{"weight_map": {deep}}}')
    assert f"{INDEX} cannot be read as JSON: it is nested too deeply" in refusal(folder)
    (folder / "config.json").write_text(f'{{"model_type": {deep}}}')
    assert "config.json cannot be read as JSON: it is nested too deeply" in refusal(folder)


@pytest.mark.parametrize("field", ["d_model", "mlp_hidden_size", "embedding_size"])
def test_a_size_that_the_files_do_not_have_is_refused_before_it_is_allocated(field: str, tmp_path: Path) -> None:
    folder = write_tiny(tmp_path, "llada")
    (folder / "config.json").write_text(json.dumps(LLADA | {field: 2**24}))
    assert "expected [" in refusal(folder)


@pytest.mark.parametrize("source", ["x" * 5000, "a/b\nc", "a\0b"])
def test_a_name_that_nothing_can_have_is_refused(source: str) -> None:
    for find in (folders.resolve, weights.config_of, lambda name: weights.dtype_of(name, "cpu")):
        with pytest.raises(CheckpointError, match="is not a folder, nor a hub id") as found:
            find(source)
        assert str(found.value).isprintable()
        assert len(str(found.value)) < 300


@pytest.mark.parametrize("index", ["{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": {"a": 1}}'])
def test_a_malformed_index_is_refused(index: str, tmp_path: Path) -> None:
    folder = write_tiny(tmp_path, "llada", shards=2)
    (folder / INDEX).write_text(index)
    assert "weight_map must map tensor names to file names" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": 1} x'])
def test_malformed_json_is_refused(content: bytes, tmp_path: Path) -> None:
    folder = write_tiny(tmp_path, "llada")
    (folder / "config.json").write_bytes(content)
    assert "config.json cannot be read as JSON" in refusal(folder)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    assert "has no config.json" in refusal(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    assert "holds a JSON list; supported: an object" in refusal(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert "model_type is 'llama'; supported: 'a2d-qwen3', 'Dream', 'illada'" in refusal(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(LLADA))
    assert f"has neither {WEIGHTS} nor {INDEX}" in refusal(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"never read")
    assert "pytorch_model.bin is a pickle and never opened" in refusal(tmp_path)
    assert "is a file; give the folder that holds it" in refusal(tmp_path / "config.json")


def test_another_family_s_weights_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, LLADA, published("dream", reference("dream")))
    assert re.search(r"misses 21: .*, \.\.\. and has 27 too many: lm_head.weight, .*, \.\.\.$", refusal(folder))


def test_a_dtype_is_not_told_of_what_is_no_checkpoint(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path, "llada", shards=2)
    (folder / INDEX).unlink()
    with pytest.raises(CheckpointError, match=f"has neither {WEIGHTS} nor {INDEX}"):
        weights.dtype_of(folder, "cpu")


def test_an_id_that_is_nowhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert "nobody/nothing is not a folder, and the hub does not answer" in refusal(Path("nobody/nothing"))
    assert "is not a folder, nor a hub id (owner/name)" in refusal(Path("/no/such/folder"))


@pytest.mark.parametrize("find", [folders.resolve, weights.config_of])
def test_an_empty_name_is_not_the_current_folder(
    find: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, LLADA, published("llada", reference("llada")))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="the model has an empty name"):
        find("")


def test_the_hub_s_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0" * 40
    repo = tmp_path / "models--owner--model"
    write_tiny(repo / "snapshots" / commit, "dream", shards=2)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    assert folders.resolve("owner/model") == repo / "snapshots" / commit
    assert weights.load("owner/model", device="cpu").config.family == "dream"


def test_only_data_is_asked_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    asked: list[dict[str, Any]] = []

    def download(repo: str, **options: Any) -> str:
        asked.append({"repo": repo, **options})
        if options.get("local_files_only"):
            raise huggingface_hub.errors.LocalEntryNotFoundError("not here")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url, **options: None)
    assert folders.resolve("owner/model") == tmp_path
    files = ["config.json", "model-00001-of-00002.safetensors", INDEX, "tokenizer.json", "merges.txt", "vocab.json"]
    others = ["modeling_llada.py", "pytorch_model.bin", "model.pt", "README.md", "original/consolidated.pth"]
    for call in asked:
        allowed = huggingface_hub.utils.filter_repo_objects(files + others, allow_patterns=call["allow_patterns"])
        assert list(allowed) == files


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "mps"}, "device mps is not there: this is no Mac with a GPU that PyTorch can use; try cpu"),
        ({"device": "meta"}, "device 'meta' is unknown"),
        ({"device": "gpu"}, "device 'gpu' is unknown; supported: auto, cpu, cuda, cuda:N, mps"),
        ({"device": "cuda:99"}, "device cuda:99 is not there"),
        ({"dtype": "int8"}, "dtype int8 is unknown; supported: auto, float32"),
    ],
)
def test_unknown_devices_and_dtypes_are_bad_input(options: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        weights.load(write_tiny(tmp_path, "llada"), **options)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("max_shard_size", ["5GB", 8_000])
def test_what_is_saved_is_loaded_again(family: str, max_shard_size: int | str, tmp_path: Path) -> None:
    model = weights.load(write_tiny(tmp_path / "first", family), device="cpu")
    weights.save(model, tmp_path / "second", TINY[family], max_shard_size)
    assert (tmp_path / "second" / INDEX).exists() == (max_shard_size == 8_000)
    assert same(model, weights.load(tmp_path / "second", device="cpu"))
    assert {path.suffix for path in (tmp_path / "second").iterdir()} == {".json", ".safetensors"}


def test_saving_over_the_files_that_a_model_is_mapped_from(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path, "llada")
    model = weights.load(folder, device="cpu")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for max_shard_size in (8_000, "5GB"):
        weights.save(model, folder, LLADA, max_shard_size)
        after = weights.load(folder, device="cpu").state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", WEIGHTS]


def test_a_config_that_does_not_describe_the_model_is_not_saved(tmp_path: Path) -> None:
    model = Transformer(families.read_config(LLADA))
    with pytest.raises(MaskKVError, match="does not describe the model"):
        weights.save(model, tmp_path, LLADA | {"rope_theta": 1.0})
    assert not list(tmp_path.iterdir())


def test_a_fingerprint_does_not_depend_on_how_a_bf16_file_is_loaded(tmp_path: Path) -> None:
    theirs = reference("llada", scale=0.02).bfloat16()
    theirs.model.embed_tokens.weight.mul_(1e-4)  # fp16 holds such numbers with few bits or none
    folder = write(tmp_path, LLADA, published("llada", theirs))
    prints = {weights.fingerprint(weights.load(folder, "cpu", dtype)) for dtype in ("bf16", "fp16", "fp32")}
    assert len(prints) == 1
    assert re.fullmatch("[0-9a-f]{16}", prints.pop())


@pytest.mark.parametrize("name", ["embed.weight", "layers.1.q_proj.weight", "layers.0.mlp_norm.weight", "head.weight"])
def test_a_fingerprint_tells_models_of_one_shape_apart(name: str, tmp_path: Path) -> None:
    model = weights.load(write_tiny(tmp_path / "one", "llada"), device="cpu")
    mine = weights.fingerprint(model)
    assert mine == weights.fingerprint(model)
    assert mine != weights.fingerprint(weights.load(write_tiny(tmp_path / "two", "llada", seed=1), device="cpu"))
    dict(model.named_parameters())[name].mul_(1.02)
    assert mine != weights.fingerprint(model)


def test_a_fingerprint_tells_configs_apart(tmp_path: Path) -> None:
    tensors = published("llada", reference("llada"))
    stretched = LLADA | {"rope_theta": 20000.0}
    prints = {
        weights.fingerprint(weights.load(write(tmp_path / str(number), raw, tensors), device="cpu"))
        for number, raw in enumerate((LLADA, stretched, LLADA | {"mask_token_id": 62}))
    }
    assert len(prints) == 3


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_the_bundled_model_has_the_fingerprint_of_its_profile(dtype: str) -> None:
    """Users' own profiles and records name models by fingerprints, so those of models that exist never change."""
    model = weights.load(mini.folder(), "cpu", dtype)
    assert weights.fingerprint(model) == "596c0f3fd5a80cb3"
    assert profiles.find(None, model.config.num_layers, partial(weights.fingerprint, model)) is not None


@pytest.mark.parametrize(("family", "known"), [("llada", "fb3c204c4e3da99d"), ("dream", "122c36a87f26ac32")])
def test_models_of_every_kind_keep_their_fingerprints(family: str, known: str) -> None:
    """As above; these have what the bundled one lacks: grouped heads, biases, shifted logits."""
    assert weights.fingerprint(random_model(CONFIGS[family])) == known


def test_a_fingerprint_leaves_new_fields_out_until_they_say_something() -> None:
    """Fields of a config that came after the first profiles have defaults, those before have none."""
    first = {field.name for field in dataclasses.fields(ModelConfig) if field.default is dataclasses.MISSING}
    assert len(first) == 18
    assert weights._hashed(CONFIGS["llada"]).keys() == (first | {"lookback"}) - {"logit_shift"}
    # The same goes for what a field is made of.
    for config, said in ((MOE, {"shared_size", "bias"}), (GROUPED, {"shared_size", "bias", "groups"})):
        experts: Any = weights._hashed(config)["experts"]
        assert experts.keys() == {"layers", "count", "chosen", "size"} | said
    other = dataclasses.replace(CONFIGS["llada"], qk_norm=True)
    assert weights.fingerprint(random_model(other)) != weights.fingerprint(random_model(CONFIGS["llada"]))
