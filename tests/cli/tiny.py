"""A tiny random model that reads the bundled model's words, in the published LLaDA layout."""

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from maskkv.checkpoints import weights
from maskkv.mini import words
from maskkv.models.families import llada
from maskkv.models.transformer import Transformer

TEMPLATE = (
    "{% for message in messages %}{% if not loop.first %} {% endif %}{{ message['content'] }} answer :{% endfor %}"
)
RAW = {
    "model_type": "llada",
    "architectures": ["LLaDAModelLM"],
    "d_model": 32,
    "n_layers": 3,
    "n_heads": 4,
    "n_kv_heads": 2,
    "mlp_hidden_size": 48,
    "vocab_size": len(words.VOCABULARY),
    "embedding_size": len(words.VOCABULARY),
    "max_sequence_length": 4096,
    "rope_theta": 10000.0,
    "rope_full_precision": True,
    "rms_norm_eps": 1e-5,
    "activation_type": "silu",
    "block_type": "llama",
    "include_bias": False,
    "layer_norm_type": "rms",
    "rope": True,
    "weight_tying": False,
    "mask_token_id": words.VOCABULARY.index(words.MASK),
    "eos_token_id": words.VOCABULARY.index(words.EOS),
    "pad_token_id": words.VOCABULARY.index(words.EOS),
}


def tiny_model(seed: int) -> Transformer:
    """Make a model whose attention is sharp enough for votes to differ."""
    torch.manual_seed(seed)
    model = Transformer(llada.read_config(RAW))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.3)
    return model.requires_grad_(False).eval()


def save_tiny(folder: Path, seed: int = 0) -> Path:
    """Write weights, config, tokenizer and chat template."""
    weights.save(tiny_model(seed), folder, RAW)
    numbers = {word: number for number, word in enumerate(words.VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token=words.UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in words.SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"chat_template": TEMPLATE, "eos_token": words.EOS}), encoding="utf-8"
    )
    return folder
