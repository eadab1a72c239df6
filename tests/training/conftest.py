"""A small tokenizer and a small corpus, as the programs that make the large ones write them."""

from pathlib import Path
from random import Random

import pytest
from tokenizers import Tokenizer

from maskkv.reading.compose import KINDS, make
from maskkv.reading.tasks import passages
from maskkv.reading.values import Values
from maskkv.training import bpe, corpus


@pytest.fixture(scope="session")
def small_tokenizer() -> Tokenizer:
    facts = [block.text for kind in KINDS for block in make(kind, Values(Random(kind)), 8, unseen=False)]
    return bpe.trained([*passages()[:40], *facts], size=700)


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("corpus") / "corpus.jsonl.xz"
    # The hashes of the documents' names send about one in thirty to the validation part.
    corpus.write(((f"document {number}", text) for number, text in enumerate(passages())), file)
    return file
