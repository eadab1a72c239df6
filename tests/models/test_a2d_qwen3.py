"""A2D Qwen3: the mask token that only the tokenizer knows, tied and untied heads, and the template without thinking."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from tests.saved_models import A2D, both_ways, published, reference, write
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

import maskkv
from maskkv.cache import NoCache
from maskkv.checkpoints import configs, weights
from maskkv.errors import CheckpointError

FAMILY = "a2d_qwen3"
UNNAMED = {name: value for name, value in A2D.items() if name != "mask_token_id"}
TEMPLATE = (
    "{% for each in messages %}<|im_start|> {{ each['role'] }} {{ each['content'] }} <|im_end|> {% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant "
    "{% if enable_thinking is defined and enable_thinking is false %}<think> </think> {% endif %}{% endif %}"
)
TOKENS = torch.randint(0, 64, (29,), generator=torch.Generator().manual_seed(5))


def tokenizer(mask: str = "<|mask|>") -> Tokenizer:
    words = ["unk", "user", "assistant", "hello", "<think>", "</think>", *map(str, range(53))]
    made = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="unk"))
    made.pre_tokenizer = WhitespaceSplit()
    for token in ("<|im_start|>", "<|im_end|>", mask):
        made.add_special_tokens([AddedToken(token, special=True, normalized=False)])
    return made


def folder(path: Path, raw: dict[str, Any] = UNNAMED, mask: str | None = "<|mask|>") -> Path:
    write(path, raw, published(FAMILY, reference(FAMILY)))
    if mask is not None:
        tokenizer(mask).save(str(path / "tokenizer.json"))
        (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return path


def test_the_mask_is_the_tokenizer_s(tmp_path: Path) -> None:
    assert tokenizer().token_to_id("<|mask|>") == 61
    path = folder(tmp_path)
    config = configs.read(path)
    assert config == weights.load(path, "cpu").config == weights.config_of(path)
    assert config.mask_id == 61
    assert configs.needs_tokenizer(path)


def test_a_config_that_names_its_mask_is_believed(tmp_path: Path) -> None:
    for number, mask in enumerate(("<|mask|>", None)):
        path = folder(tmp_path / str(number), A2D, mask)
        assert configs.read(path).mask_id == 63
        assert not configs.needs_tokenizer(path)


@pytest.mark.parametrize("mask", [None, "<|other|>"])
def test_nothing_that_names_the_mask_is_said_in_one_line(mask: str | None, tmp_path: Path) -> None:
    path = folder(tmp_path, UNNAMED, mask)
    for read in (configs.read, weights.load, weights.config_of, maskkv.load):
        with pytest.raises(CheckpointError) as refusal:
            read(path)
        assert str(refusal.value) == (
            f"{path}: config.json: there is no mask_token_id, and no tokenizer with <|mask|> beside it; "
            "supported: either"
        )


def test_a_mask_outside_the_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"mask_token_id is 61; supported: a token id in 0\.\.59"):
        configs.read(folder(tmp_path, UNNAMED | {"vocab_size": 60}))


def test_of_a_hub_id_the_tokenizer_is_fetched_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path)
    fetched: list[str] = []

    def fetch(repo: str, name: str, **options: object) -> str:
        fetched.append(name)
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    assert weights.config_of("owner/model").mask_id == 61
    assert fetched == ["config.json", "tokenizer.json"]
    fetched.clear()
    (tmp_path / "config.json").write_text(json.dumps(A2D))
    assert weights.config_of("owner/model").mask_id == 63
    assert fetched == ["config.json"]


@pytest.mark.parametrize("dtype_field", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("tied", [True, False])
def test_logits_equal_qwen3_s_tied_and_untied(tied: bool, shards: int, dtype_field: str, tmp_path: Path) -> None:
    theirs = reference(FAMILY, tied=tied)
    norms = [each for name, each in theirs.named_parameters() if name.endswith(("q_norm.weight", "k_norm.weight"))]
    assert len(norms) == 4
    assert all((each != 1).all() for each in norms)
    tensors = published(FAMILY, theirs, tied=tied)
    assert ("lm_head.weight" in tensors) != tied
    raw = {name: value for name, value in A2D.items() if name not in ("dtype", "rope_theta", "rope_scaling")}
    raw |= {dtype_field: "float32", "tie_word_embeddings": tied}
    raw |= {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}}
    path = write(tmp_path, raw, tensors, shards)
    for dtype, most in ((torch.float32, 1e-5), (torch.bfloat16, 2.0**-7)):
        ours = weights.load(path, "cpu", dtype)
        assert ours.config.tied_head == tied
        with torch.inference_mode():
            found = ours.logits(ours(TOKENS, ours.rotation(torch.arange(29)), NoCache())).float()
        expected = both_ways(in_dtype(theirs, dtype), TOKENS).float()
        assert (found - expected).abs().max() <= most * expected.abs().max()


def in_dtype(model: Any, dtype: torch.dtype) -> Any:
    """Cast a model of transformers; its frequencies stay in fp32."""
    frequencies = model.model.rotary_emb.inv_freq.clone()
    model = model.to(dtype)
    model.model.rotary_emb.inv_freq = frequencies
    return model


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    model = weights.load(folder(tmp_path / "one"), "cpu")
    weights.save(model, tmp_path / "two", UNNAMED | {"mask_token_id": 61})
    again = weights.load(tmp_path / "two", "cpu")
    assert weights.fingerprint(again) == weights.fingerprint(model)
    again.config = replace(model.config, shares="largest_first")
    assert weights.fingerprint(again) != weights.fingerprint(model)


def test_the_template_is_told_not_to_think_as_transformers_tells_it(tmp_path: Path) -> None:
    path = folder(tmp_path)
    llm = maskkv.load(path, device="cpu")
    messages = [{"role": "user", "content": "hello"}]
    theirs: Any = PreTrainedTokenizerFast(tokenizer_file=str(path / "tokenizer.json"))
    theirs.chat_template = TEMPLATE
    expected = theirs.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False, enable_thinking=False
    )
    assert llm.text.chat(messages) == expected == llm.prompt_ids("hello")
    assert expected[-2:] == [4, 5]


def test_a_loaded_model_answers_under_every_policy(tmp_path: Path) -> None:
    llm = maskkv.load(folder(tmp_path), device="cpu", budget=2)
    for policy in ("none", "full", "maskkv", "snapkv"):
        answer = llm.generate("hello " * 9, policy=policy, gen_length=8, steps=6, block_length=8, stop_at_eos=False)
        assert len(answer.tokens) == 8
        assert answer.steps == 6
        assert 61 not in answer.tokens
    loose = llm.generate("hello", gen_length=10, steps=5, block_length=4, shares="rounded", stop_at_eos=False)
    assert len(loose.tokens) == 10
