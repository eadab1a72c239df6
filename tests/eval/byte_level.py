"""A tiny random model that reads any text: one token per byte, in the published LLaDA layout."""

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from maskkv import checkpoint
from maskkv.models import llada
from maskkv.models.transformer import Transformer
from tests.cli.tiny import RAW

SPECIAL = ("<|end|>", "<|mask|>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
BYTES = RAW | {
    "vocab_size": 260, "embedding_size": 260, "eos_token_id": 256, "pad_token_id": 256, "mask_token_id": 257,
}  # fmt: skip


def save_byte_level(folder: Path, seed: int = 0) -> Path:
    """Write weights, config, tokenizer and chat template; the model says printable ASCII and the end only."""
    torch.manual_seed(seed)
    model = Transformer(llada.read_config(BYTES))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.3)
        silent = [number for number, letter in enumerate(alphabet) if not "!" <= letter <= "~"]
        model.head.weight[silent] = 0.0
    checkpoint.save(model.requires_grad_(False).eval(), folder, BYTES)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE, "eos_token": "<|end|>"}))
    return folder
