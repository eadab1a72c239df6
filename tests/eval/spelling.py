"""A tiny random model that spells any text byte by byte, as real checkpoints read any text."""

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from maskkv.checkpoints import weights
from maskkv.mini import words
from tests.cli.tiny import RAW, tiny_model


def save_speller(folder: Path) -> Path:
    """Write weights, config and a byte-level tokenizer without a chat template."""
    weights.save(tiny_model(0), folder, RAW)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = (words.EOS, words.MASK)  # ids 0 and 1, as in the config
    numbers = {token: number for number, token in enumerate((*special, *letters))}
    tokenizer = Tokenizer(models.BPE(numbers, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": words.EOS}), encoding="utf-8")
    return folder
