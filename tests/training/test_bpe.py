"""The tokenizer: every text comes back as it was, digits stand alone, and conversations are laid out for answers."""

from itertools import islice
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from maskkv.text.tokenizer import Text
from maskkv.training import bpe
from maskkv.training.record_lines import lines

SIZE = 400


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return bpe.trained(lines(Random(1), 300), SIZE)


@pytest.fixture(scope="module")
def text(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Text:
    folder = tmp_path_factory.mktemp("tokenizer")
    bpe.write(tokenizer, 512, folder)
    return Text.load(folder)


def test_special_tokens_come_first_and_every_byte_has_one(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() == SIZE
    assert [tokenizer.id_to_token(number) for number in (0, 1)] == [bpe.EOS, bpe.MASK]
    assert all(len(tokenizer.encode(bytes([0xC3, byte]).decode()).ids) == 2 for byte in range(0x80, 0xC0))


@given(st.text())
def test_any_text_comes_back(tokenizer: Tokenizer, given_text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(given_text).ids) == given_text


@pytest.mark.parametrize(
    ("written", "pieces"),
    [
        (" 4417", [" ", "4", "4", "1", "7"]),
        ("max_retries = 30s", ["max", "_", "retries", " =", " ", "3", "0", "s"]),
        ("HTTPServer openFile", ["HTTP", "Server", " open", "File"]),
        ("It doesn't\n\nmatter.", ["It", " doesn", "'t", "\n\n", "matter", "."]),
        ("a:\n    b: 'tab'", ["a", ":", "\n", "   ", " b", ":", " '", "tab", "'"]),
    ],
)
def test_where_words_are_cut(tokenizer: Tokenizer, written: str, pieces: list[str]) -> None:
    cut = [written[start:end] for _, (start, end) in tokenizer.pre_tokenizer.pre_tokenize_str(written)]
    assert cut == pieces


def test_training_twice_gives_the_same(tokenizer: Tokenizer) -> None:
    assert bpe.trained(lines(Random(1), 300), SIZE).to_str() == tokenizer.to_str()


def test_a_conversation_ends_with_the_cue(text: Text) -> None:
    messages = [
        {"role": "system", "content": " Quote. "},
        {"role": "user", "content": "Who?\n"},
        {"role": "assistant", "content": " Anna. "},
        {"role": "user", "content": "Where?"},
    ]
    expected = f"Quote.\n\nWho?\n\nAnswer:\nAnna.{bpe.EOS}\n\nWhere?\n\nAnswer:\n"
    assert text.render(messages) == expected


def test_training_texts_are_the_corpus_and_made_up_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe, "read", lambda path, part: iter([f"{path} {part}"]))
    assert list(islice(bpe.texts(Path("corpus")), 1)) == ["corpus train"]
    assert any(text.endswith("?") for text in bpe.facts(2))
