"""A short run of the training program, stopped and taken up again, and the folder it leaves."""

import math
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

import maskkv
from maskkv.training import bpe, reading
from maskkv.training.export import published_config
from maskkv.training.heads import Shape
from maskkv.training.reading_data import Paragraphs, Rows
from maskkv.training.structure import structured
from maskkv.training.trainer import Trainer

SHAPE = Shape(700, n_layers=3, mlp_hidden_size=32)


def trainer(tokenizer: Tokenizer) -> Trainer:
    words = reading.vocabulary(tokenizer)
    return Trainer(published_config(asdict(SHAPE), 0, 1, 2048), structured(SHAPE, words, 1))


@pytest.fixture
def steps(small_tokenizer: Tokenizer, small_corpus: Path) -> reading.Steps:
    return reading.Steps(Rows(small_tokenizer, Paragraphs(small_corpus)), seed=1, tokens=5 * 512, per_step=512)


def test_a_run_that_was_stopped_ends_where_an_uninterrupted_one_does(
    small_tokenizer: Tokenizer, steps: reading.Steps, tmp_path: Path
) -> None:
    checks = [steps[0]]
    whole = trainer(small_tokenizer)
    reading.train(whole, steps, checks, tmp_path / "whole", math.inf, 0)
    assert whole.step == len(steps) == 5
    assert whole.tokens == sum(step.ids.numel() for step in steps)
    parts = trainer(small_tokenizer)
    while parts.step < 5:
        parts = trainer(small_tokenizer)
        if (tmp_path / "parts" / "checkpoint.safetensors").exists():
            parts.load(tmp_path / "parts" / "checkpoint.safetensors")
        reading.train(parts, steps, checks, tmp_path / "parts", 0.0, 0)
    assert parts.tokens == whole.tokens
    for name, weight in whole.master.items():
        assert torch.equal(parts.master[name], weight), name
    best = [float((tmp_path / name / "best" / "loss.txt").read_text()) for name in ("whole", "parts")]
    assert best[1] <= best[0]


def test_marks_and_spellings_are_found(small_tokenizer: Tokenizer) -> None:
    words = reading.vocabulary(small_tokenizer)
    marks, stops = ([small_tokenizer.decode([token]) for token in tokens] for tokens in (words.questions, words.stops))
    assert {mark.strip() for mark in marks} == {"?"}
    assert {".", "\n"} <= {stop[0] for stop in stops} <= {".", "!", "?", "\n"}
    capitals = {frozenset(small_tokenizer.decode([token]) for token in tokens) for tokens in words.spellings}
    assert any({"The", " the"} <= tokens for tokens in capitals)


def test_rates_fall_to_zero_and_lengths_grow(steps: reading.Steps) -> None:
    assert reading.factor(0.0) == reading.factor(0.2) == max(reading.factor(share / 10) for share in range(10))
    assert reading.factor(1.0) == 0
    shares, lengths = zip(*reading.STAGES, strict=True)
    assert shares == tuple(sorted(shares))
    assert shares[-1] == 1
    assert max(lengths[-1]) == reading.LONGEST
    assert max(lengths[0]) < 200


def test_the_command_leaves_a_folder_that_loads(
    small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole command with a tokenizer of its usual size: two steps of the real shape."""
    bpe.write(bpe.trained(Paragraphs(small_corpus).texts, 900), 2048, tmp_path / "tokenizer")
    paths = ["--corpus", str(small_corpus), "--tokenizer", str(tmp_path / "tokenizer"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(reading, "_CHECKED", (128,))
    monkeypatch.setattr(sys, "argv", ["reading", *paths, "--tokens", "256", "--step-tokens", "128", "--workers", "0"])
    reading.main()
    model = maskkv.load(str(tmp_path / "out" / "best"))
    assert model.model.config.num_layers == 8
    assert model.model.config.num_kv_heads == 2
    assert model.generate("Who is it?", gen_length=8, steps=2).steps >= 1
