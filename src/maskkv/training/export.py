"""Write the bundled model's folder: weights, config, tokenizer and chat template, in LLaDA's published layout."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Digits, Punctuation, Sequence, Whitespace
from torch import Tensor

from maskkv.mini import words
from maskkv.mini.compose import CUE
from maskkv.training.init import Shape

_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] | trim }}"
    f"{{% if not loop.last %}} {{% endif %}}{{% endfor %}}{{% if add_generation_prompt %}} {' '.join(CUE)}{{% endif %}}"
)


def export(weights: Mapping[str, Tensor], shape: Shape, trained_length: int, folder: Path) -> None:
    """Write every file of the folder; each appears whole or not at all, so a reader never sees half a file."""
    write_weights(weights, config(shape, trained_length), folder)
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(trained_length))
    _write(folder / "tokenizer.json", _tokenizer().to_str(pretty=True).encode() + b"\n")


def write_weights(weights: Mapping[str, Tensor], settings: Mapping[str, object], folder: Path) -> None:
    """Write weights by their published names, in bfloat16, and the config that belongs to them."""
    folder.mkdir(parents=True, exist_ok=True)
    rounded = {name: weight.detach().to("cpu", torch.bfloat16).contiguous() for name, weight in weights.items()}
    _write(folder / "model.safetensors", save(rounded, metadata={"format": "pt"}))
    _write_json(folder / "config.json", settings)


def config(shape: Shape, trained_length: int) -> dict[str, object]:
    """Give the config.json of the word-list model."""
    eos, mask = words.VOCABULARY.index(words.EOS), words.VOCABULARY.index(words.MASK)
    return published_config({**asdict(shape), "n_kv_heads": shape.n_heads}, eos, mask, trained_length)


def published_config(shape: Mapping[str, Any], eos: int, mask: int, trained_length: int) -> dict[str, object]:
    """Give every field of a published LLaDA config.json for sizes by their names in it."""
    return {
        "activation_type": "silu",
        "alibi": False,
        "alibi_bias_max": 8.0,
        "architectures": ["LLaDAModelLM"],
        "attention_dropout": 0.0,
        "attention_layer_norm": False,
        "attention_layer_norm_with_affine": True,
        "bias_for_layer_norm": False,
        "block_group_size": 1,
        "block_type": "llama",
        "bos_token_id": eos,
        "d_model": shape["d_model"],
        "embedding_dropout": 0.0,
        "embedding_size": shape["vocab_size"],
        "eos_token_id": eos,
        "flash_attention": False,
        "include_bias": False,
        "include_qkv_bias": False,
        "init_device": "meta",
        "input_emb_norm": False,
        "layer_norm_type": "rms",
        "layer_norm_with_affine": True,
        "mask_token_id": mask,
        "max_sequence_length": trained_length,
        "mlp_hidden_size": shape["mlp_hidden_size"],
        "mlp_ratio": shape["mlp_hidden_size"] // shape["d_model"],
        "model_type": "llada",
        "multi_query_attention": None,
        "n_heads": shape["n_heads"],
        "n_kv_heads": shape["n_kv_heads"],
        "n_layers": shape["n_layers"],
        "pad_token_id": eos,
        "precision": "amp_bf16",
        "residual_dropout": 0.0,
        "rms_norm_eps": 1e-5,
        "rope": True,
        "rope_full_precision": True,
        "rope_theta": shape["rope_theta"],
        "scale_logits": False,
        "torch_dtype": "bfloat16",
        "use_cache": False,
        "vocab_size": shape["vocab_size"],
        "weight_tying": False,
    }


def _tokenizer_config(trained_length: int) -> dict[str, object]:
    return {
        "chat_template": _CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": words.EOS,
        "mask_token": words.MASK,
        "model_max_length": trained_length,
        "pad_token": words.EOS,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": words.UNKNOWN,
    }


def _tokenizer() -> Tokenizer:
    """Build the word tokenizer: lower case, punctuation apart, one token a word."""
    vocabulary = {word: index for index, word in enumerate(words.VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=words.UNKNOWN))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Sequence([Whitespace(), Punctuation(), Digits(individual_digits=True)])
    tokenizer.add_special_tokens(list(words.SPECIAL))
    return tokenizer


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    _write(path, (json.dumps(content, indent=2) + "\n").encode())


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)
