"""Rows for the model that quotes: what is masked, with which weight, and that seeds decide everything."""

import re
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from maskkv.reading.stated import QUESTIONS
from maskkv.reading.tasks import passages
from maskkv.training.reading_data import CUE, EOS, MASK, Paragraphs, Rows, hidden
from maskkv.training.trainer import Batch


@pytest.fixture(scope="module")
def rows(small_tokenizer: Tokenizer, small_corpus: Path) -> Rows:
    return Rows(small_tokenizer, Paragraphs(small_corpus))


def restored(batch: Batch) -> torch.Tensor:
    """Put back what the masks hide."""
    ids = batch.ids.flatten().clone()
    ids[batch.where] = batch.targets
    return ids.view_as(batch.ids)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**9), length=st.sampled_from([192, 320, 512]))
def test_every_mask_is_learned_from_once(rows: Rows, seed: int, length: int) -> None:
    batch = rows.batch(3, length, seed)
    assert batch.ids.shape == (3, length)
    assert torch.equal((batch.ids.flatten() == MASK).nonzero().flatten(), batch.where.sort().values)
    assert len(batch.where.unique()) == len(batch.where) == len(batch.targets) == len(batch.weights)
    assert (batch.targets != MASK).all()
    assert (batch.weights > 0).all()
    # Answers weigh 1 to 1.3 each; facts that stand twice add at most a half for each, plain text counts for less.
    assert 0.1 <= float(batch.weights.sum()) <= 1.8 + 1e-5


@given(seed=st.integers(0, 10**9), count=st.integers(1, 40))
def test_an_answer_is_masked_anywhere_or_from_some_place_on(seed: int, count: int) -> None:
    masks = dict(hidden(count, Random(seed)))
    places, weights = sorted(masks), [masks[place] for place in sorted(masks)]
    if weights[0] < 1 or len(places) == 1:
        assert sum(weights) == pytest.approx(1)
        assert len(set(weights)) == 1
    else:
        assert places == list(range(places[0], count))
        assert sum(weights[1:]) == pytest.approx(0.3)


def test_a_third_of_the_answers_have_nothing_yet() -> None:
    """0.6 of the answers are masked to their end, and 0.6 of those, with one in ten of the others, from their start."""
    whole = sum(len(hidden(10, Random(seed))) == 10 for seed in range(4000)) / 4000
    assert whole == pytest.approx(0.6 * (0.6 + 0.4 / 10) + 0.4 / 10, abs=0.03)


def test_a_seed_decides_the_rows(rows: Rows) -> None:
    first, second, other = rows.batch(2, 256, 7), rows.batch(2, 256, 7), rows.batch(2, 256, 8)
    assert torch.equal(first.ids, second.ids)
    assert torch.equal(first.where, second.where)
    assert not torch.equal(first.ids, other.ids)


def test_answers_quote_what_stands_before_them(rows: Rows, small_tokenizer: Tokenizer) -> None:
    quoted = absent = 0
    for seed in range(30):
        row = restored(rows.batch(1, 512, seed))[0].tolist()
        text = small_tokenizer.decode(row, skip_special_tokens=False)
        for cue in re.finditer(re.escape(CUE), text):
            answer = text[cue.end() :].split("<|endoftext|>")[0]
            for line in answer.split("\n"):
                absent += line == "Not in the text."
                quoted += line in text[: cue.start()]
    assert quoted > 40
    assert absent > 3


def test_what_is_masked_is_answers_and_now_and_then_a_fact_that_stands_twice(
    rows: Rows, small_tokenizer: Tokenizer
) -> None:
    before = behind = 0
    for seed in range(40):
        batch = rows.batch(1, 320, seed)
        row = restored(batch)[0].tolist()
        cue = small_tokenizer.encode(CUE, add_special_tokens=False).ids
        starts = [spot for spot in range(len(row)) if row[spot : spot + len(cue)] == cue]
        if starts:
            before += int((batch.where < starts[0]).sum())
            behind += int((batch.where >= starts[0] + len(cue)).sum())
            # The cue itself is never hidden.
            hidden = {spot + offset for spot in starts for offset in range(len(cue))}
            assert not hidden & set(batch.where.tolist())
    assert 0 < before < behind


def test_the_rest_of_a_row_is_the_end_token(rows: Rows) -> None:
    ends = [restored(rows.batch(1, 320, seed))[0, -1].item() for seed in range(20)]
    assert ends.count(EOS) > 10


def test_held_out_rows_have_the_held_out_phrasings(small_tokenizer: Tokenizer, small_corpus: Path, rows: Rows) -> None:
    unseen = Rows(small_tokenizer, Paragraphs(small_corpus), unseen=True)

    def asks(made: Rows, phrasing: str) -> bool:
        texts = [small_tokenizer.decode(restored(made.batch(1, 320, seed))[0].tolist()) for seed in range(60)]
        return any(phrasing in text for text in texts)

    phrasing = "Help me find the"
    assert any(phrasing in each for each in QUESTIONS.held_out)
    assert asks(unseen, phrasing)
    assert not asks(rows, phrasing)


def test_the_parts_of_a_corpus_are_apart(small_corpus: Path) -> None:
    train, validation = (Paragraphs(small_corpus, split).texts for split in ("train", "validation"))
    assert not set(train) & set(validation)
    assert set(train) | set(validation) == set(passages())
    assert validation
