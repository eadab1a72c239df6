"""A model that transformers has loaded answers as its files would, in its own memory."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedTokenizerFast

import maskkv
from maskkv.checkpoints import quantizing
from maskkv.errors import CheckpointError, InputError
from tests.cli.tiny import TEMPLATE
from tests.saved_models import TINY, published, reference, write, write_tiny

FAMILIES = pytest.mark.parametrize("family", TINY)
BOTH_WAYS = pytest.mark.parametrize("family", [family for family in TINY if family != "llada2_moe"])
"""Those that can write the blocks of `SHORT`: LLaDA2's have 32 tokens."""
WORDS = ["<eos>", "<unk>", "<end>", *(f"w{number}" for number in range(58)), "answer", ":", "<mask>"]
SHORT = {"gen_length": 8, "block_length": 4, "stop_at_eos": False}


class Held(nn.Module):
    """Stand for a class of remote code: the published names, and a config of transformers."""

    name_or_path = ""

    def __init__(self, tensors: dict[str, Tensor], raw: dict[str, Any]) -> None:
        super().__init__()
        kind = type("RemoteConfig", (PreTrainedConfig,), {"model_type": raw["model_type"]})
        self.config = kind(**{name: value for name, value in raw.items() if name != "model_type"})
        self._tensors = {name: nn.Parameter(tensor) for name, tensor in tensors.items()}

    def state_dict(self, **_: Any) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self._tensors.items()}


def held(family: str, dtype: torch.dtype = torch.float32, **changes: Tensor | None) -> Held:
    tensors = published(family, reference(family)) | changes
    return Held({name: each.to(dtype) for name, each in tensors.items() if each is not None}, TINY[family])


def fast_tokenizer(mask: str = "<mask>") -> PreTrainedTokenizerFast:
    words = [mask if word == "<mask>" else word for word in WORDS]
    inside = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    inside.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inside.add_special_tokens([AddedToken(word, special=True) for word in ("<eos>", "<end>", mask)])
    made = PreTrainedTokenizerFast(tokenizer_object=inside, eos_token="<eos>", mask_token=mask)
    made.chat_template = TEMPLATE
    return made


@FAMILIES
def test_its_weights_lie_in_the_memory_of_the_model_it_was_given(family: str) -> None:
    given = held(family)
    llm = maskkv.from_transformers(given)
    # A parameter may be a part of a tensor (one matrix for queries, keys and values).
    pointers = {tensor.untyped_storage().data_ptr() for tensor in given.state_dict().values()}
    used = {parameter.untyped_storage().data_ptr() for parameter in llm.model.parameters()}
    assert used == pointers
    assert not any(parameter.requires_grad for parameter in llm.model.parameters())
    assert all(parameter.requires_grad for parameter in given._tensors.values()), "what was given stays as it is"
    if TINY[family].get("tie_word_embeddings"):
        assert llm.model.head.weight.data_ptr() == llm.model.embed.weight.data_ptr()


@pytest.mark.parametrize("family", ["a2d_qwen3", "llada_moe", "llada2_moe"])
def test_a_mask_that_the_config_leaves_out_is_the_tokenizer_s(family: str) -> None:
    unnamed = {name: value for name, value in TINY[family].items() if name != "mask_token_id"}
    given = Held(published(family, reference(family)), unnamed)
    shared = maskkv.from_transformers(given, fast_tokenizer("<|mask|>"))
    assert shared.model.config.mask_id == WORDS.index("<mask>")
    for tokenizer in (None, fast_tokenizer()):
        with pytest.raises(CheckpointError, match=r"^Held: config.json: there is no mask_token_id, and no tokenizer"):
            maskkv.from_transformers(given, tokenizer)


@BOTH_WAYS
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_its_tokens_are_those_of_its_files(family: str, dtype: str, tmp_path: Path) -> None:
    tokenizer = fast_tokenizer()
    given = held(family, getattr(torch, dtype))
    folder = write(tmp_path, TINY[family], given.state_dict())
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE, "eos_token": "<eos>"}))
    read = maskkv.load(folder, device="cpu", dtype=dtype, budget=6)
    for source in (tokenizer, folder, str(folder)):
        shared = maskkv.from_transformers(given, source, budget=6)
        assert (str(shared.model.dtype), shared.loading.dtype) == (f"torch.{dtype}", dtype)
        prompt = "w1 w2 <mask> w3 w4 w5 w6 w7 w8 w9 w10 w11"
        assert shared.prompt_ids(prompt) == read.prompt_ids(prompt)
        own, other = shared.generate(prompt, **SHORT), read.generate(prompt, **SHORT)
        assert own.text == other.text
        if dtype == "float32":
            assert (own.tokens, own.kept) == (other.tokens, other.kept)
        torch.testing.assert_close(shared.logits(range(20)), read.logits(range(20)), rtol=2e-2, atol=2e-2)


def test_the_tokenizer_that_was_given_is_not_changed() -> None:
    tokenizer = fast_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(3)
    before = tokenizer.backend_tokenizer.to_str()
    llm = maskkv.from_transformers(held("llada"), tokenizer)
    assert len(llm.prompt_ids("w1 w2 w3 w4 w5", raw=True)) == 5
    assert tokenizer.backend_tokenizer.to_str() == before
    tokenizer.chat_template = {"default": "{{ messages[0]['content'] }}", "tool_use": "never"}
    assert maskkv.from_transformers(held("llada"), tokenizer).prompt_ids("w1 w2") == [4, 5]


def test_options_are_those_of_load() -> None:
    given = held("llada")
    llm = maskkv.from_transformers(given, policy="snapkv", budget="5%", evicted="host", rope_scale=2.0, kv_dtype="int8")
    assert (llm.policy.name, llm.budget, llm.evicted) == ("snapkv", "5%", "host")
    assert (llm.rope_scale, llm.kv_dtype, llm.loading.device) == (2.0, "int8", "cpu")
    assert (llm.loading.name, llm.has_text) == ("Held", False)
    given.name_or_path = "owner/name"
    assert maskkv.from_transformers(given).loading.name == "owner/name"


def test_its_own_weights_stay_when_they_are_quantised() -> None:
    pytest.importorskip("torchao")
    given = held("llada")
    before = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    llm = maskkv.from_transformers(given, quantize="int8")
    assert quantizing.quantization(llm.model) == "int8"
    assert all(torch.equal(tensor, before[name]) for name, tensor in given.state_dict().items())


QUERY = "model.transformer.blocks.1.q_proj.weight"


class Odd(Tensor):
    """A tensor that another library stores in its own way."""


def quantised() -> Held:
    given = held("llada")
    given.config.quantization_config = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    return given


def renamed_type() -> Held:
    given = held("llada")
    type(given.config).model_type = "gpt2"
    return given


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: held("llada", **{QUERY: None}), f"Held: of 21 expected tensors it misses 1: {QUERY}"),
        (lambda: held("llada", extra=torch.ones(2)), "Held: of 21 expected tensors it has 1 too many: extra"),
        (lambda: held("llada", **{QUERY: torch.ones(3, 32)}), rf"Held: {QUERY} has shape \[3, 32\], expected \[32, 32"),
        (lambda: held("llada", torch.float64), "has dtype float64; supported: F32, BF16, F16"),
        (lambda: held("llada", **{QUERY: torch.full((32, 32), torch.nan)}), f"tensor {QUERY} holds NaN"),
        (lambda: held("llada", **{QUERY: torch.ones(32, 32, device="meta")}), f"{QUERY} is on the meta device"),
        (quantised, "Held is quantised by bitsandbytes: expected plain weights; load it without quantization_config"),
        (renamed_type, "Held: config.json: model_type is 'gpt2'; supported: 'a2d-qwen3', 'Dream', "),
    ],
)
def test_what_is_not_a_whole_plain_model_is_refused_by_name(make: Any, says: str) -> None:
    with pytest.raises(CheckpointError, match=says) as refused:
        maskkv.from_transformers(make())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (torch.ones(32, 32, dtype=torch.bfloat16), f"{QUERY} is in bfloat16, model.transformer.wte.weight in float32"),
        (torch.ones(32, 32).as_subclass(Odd), f"{QUERY} is stored by tests, as Odd: expected a plain tensor"),
    ],
)
def test_a_tensor_unlike_the_others_is_refused_by_name(changed: Tensor, says: str) -> None:
    given = held("llada")
    tensors = given.state_dict()
    given.state_dict = lambda: tensors | {QUERY: changed}  # type: ignore[method-assign]
    with pytest.raises(CheckpointError, match=says):
        maskkv.from_transformers(given)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: maskkv.from_transformers(5), InputError, "model 5: expected a loaded model of transformers"),
        (
            lambda: maskkv.from_transformers(held("llada"), device="cpu"),
            InputError,
            "unknown option device; supported: rope_scale, profile, kv_dtype, quantize, compile",
        ),
        (lambda: maskkv.from_transformers(held("llada"), kv_dtype="int2"), InputError, "kv_dtype 'int2': expected one"),
        (lambda: maskkv.from_transformers(held("llada"), budget=0), InputError, "budget"),
        (
            lambda: maskkv.from_transformers(held("llada"), object()),
            CheckpointError,
            "tokenizer object has no backend_tokenizer of the tokenizers library: give a PreTrainedTokenizerFast",
        ),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_what_cannot_be_meant_gets_one_line(call: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call()


def test_a_folder_of_files_is_named_as_it_is_loaded(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "mine", "dream")
    given = held("dream")
    given.name_or_path = str(folder)
    assert maskkv.from_transformers(given).loading.name == maskkv.load(folder).loading.name == "mine"
