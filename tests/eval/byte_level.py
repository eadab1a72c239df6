"""Tiny random models that read any text: one token per byte, in the published layouts of LLaDA and SDAR."""

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers.convert_slow_tokenizer import bytes_to_unicode

from maskkv.checkpoints import weights
from maskkv.models.families import llada, sdar
from maskkv.models.transformer import Transformer
from tests.cli.tiny import RAW

SPECIAL = ("<|end|>", "<|mask|>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
FRAGMENTS = [
    end + first for end in (b"\x82\xac", b"\x97\xa5", b"\x9d\xb1", b"\xac\xbc") for first in (b"\xe2", b"\xe6")
]
"""Tokens that end one character of three bytes and begin the next: in any order, every character spans two of them."""
END = 256 + len(FRAGMENTS)
BYTES = RAW | {
    "vocab_size": END + len(SPECIAL), "embedding_size": END + len(SPECIAL),
    "eos_token_id": END, "pad_token_id": END, "mask_token_id": END + 1,
}  # fmt: skip
SDAR_BYTES = {
    "model_type": "sdar", "architectures": ["SDARForCausalLM"], "attention_bias": False, "hidden_act": "silu",
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12,
    "intermediate_size": 48, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "max_position_embeddings": 4096,
    "tie_word_embeddings": False, "block_size": 4, "vocab_size": END + len(SPECIAL), "eos_token_id": END,
    "mask_token_id": END + 1,
}  # fmt: skip


def save_byte_level(folder: Path, seed: int = 0, *, causal: bool = False) -> Path:
    """Write weights, config, tokenizer and chat template; the model says fragments of characters and the end only.

    It is LLaDA, or (`causal`) SDAR.
    """
    torch.manual_seed(seed)
    raw, family = (SDAR_BYTES, sdar) if causal else (BYTES, llada)
    model = Transformer(family.read_config(raw))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = bytes_to_unicode()
    spelled = ["".join(letters[byte] for byte in fragment) for fragment in FRAGMENTS]
    tokenizer = Tokenizer(BPE({piece: number for number, piece in enumerate([*alphabet, *spelled])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.3)
        model.head.weight[: len(alphabet)] = 0.0
    weights.save(model.requires_grad_(False).eval(), folder, raw)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE, "eos_token": "<|end|>"}))
    return folder
