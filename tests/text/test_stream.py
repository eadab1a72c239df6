"""A response as text while it fills up: certain text only, whatever the tokens' bytes, and where a stop ends it."""

from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel

import maskkv
from maskkv.text.stream import Stream, certain, first_stop
from maskkv.text.tokenizer import Text
from tests.cli.tiny import save_tiny
from tests.text.test_tokenizer import llada_tokenizer

MASK, EOS = 10_000, 10_001
BYTES = Text(llada_tokenizer())
SPECIAL = BYTES._tokenizer.token_to_id("<|mdm_mask|>")


def words() -> Text:
    """Make a closed vocabulary, whose words are joined by blanks."""
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(("<pad>", "the", "key", "is", "7"))}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<pad>"])
    return Text(tokenizer)


WORDS = words()
# Whole and broken characters, one that is U+FFFD itself, and tokens that stand for nothing.
BYTE_TOKENS = st.sampled_from([*BYTES.encode("xab é日😀\ufffd the fox"), *BYTES.encode("日")[1:], SPECIAL])


def sure(text: Text, ids: list[int], ended: bool) -> str:
    written = text.decode(ids)
    return written if ended else written.rstrip("\ufffd")


@given(ids=st.lists(BYTE_TOKENS, max_size=24), ended=st.booleans(), order=st.randoms(use_true_random=False))
def test_a_stream_gives_the_text_of_the_whole_and_never_takes_anything_back(
    ids: list[int], ended: bool, order: Any
) -> None:
    whole = [*ids, *([EOS, *BYTES.encode("fox")] if ended else [])]
    response = [MASK] * len(whole)
    places = list(range(len(whole)))
    order.shuffle(places)
    stream, given_text = Stream(BYTES, MASK, [EOS]), ""
    while places:
        for place in [places.pop() for _ in range(min(len(places), order.randint(1, 5)))]:
            response[place] = whole[place]
        given_text += stream.push(response)
        known = list(takewhile(lambda token: token not in (MASK, EOS), response))
        end = EOS in response[: len(known) + 1]
        assert given_text == sure(BYTES, known, end)
        assert (stream.settled, stream.ended) == (len(known), end)
    assert given_text == BYTES.decode_response(whole, [EOS])
    assert stream.push(response) == ""
    for length in range(1, len(given_text) + 1):
        counts = (count for count in range(1, len(ids)) if len(sure(BYTES, ids[:count], False)) >= length)
        assert stream.tokens_until(length) == next(counts, len(ids))


@given(ids=st.lists(st.integers(0, 4), max_size=12))
def test_words_are_joined_as_they_are_in_the_whole(ids: list[int]) -> None:
    stream = Stream(WORDS, MASK)
    pushed = [stream.push(ids[:known]) for known in range(len(ids) + 1)]
    assert "".join(pushed) == WORDS.decode(ids)


def test_a_stream_holds_back_half_a_character() -> None:
    ids = BYTES.encode("a日")
    assert len(ids) == 4
    stream = Stream(BYTES, MASK)
    pushed = [stream.push(ids[:known] + [MASK] * (4 - known)) for known in range(5)]
    assert pushed == ["", "a", "", "", "日"]
    assert [stream.tokens_until(length) for length in (1, 2)] == [1, 4]


def test_half_a_character_that_the_length_cuts_off_is_left_out_and_one_before_an_end_token_is_not() -> None:
    half = BYTES.encode("a😀")[:3]
    assert Stream(BYTES, MASK, [EOS]).push(half) == BYTES.decode_response(half, [EOS]) == "a"
    assert Stream(BYTES, MASK, [EOS]).push([*half, EOS]) == BYTES.decode_response([*half, EOS], [EOS]) == "a\ufffd"


def test_a_result_ends_before_half_a_character_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = maskkv.load(save_tiny(tmp_path))
    monkeypatch.setattr(llm.text, "decode", lambda ids: "a\ufffd")
    result = llm.generate_ids([3, 4, 5], policy="full", gen_length=8, logits_eos_inf=True)
    assert not {*result.tokens} & {*llm.model.config.eos_ids}
    assert result.text == "a"


def test_a_stream_ends_at_the_first_end_of_sequence() -> None:
    fox, dog, sun = BYTES.encode("fox"), BYTES.encode(" dog"), BYTES.encode("日")
    stream = Stream(BYTES, MASK, [EOS])
    assert stream.push([*fox, MASK, EOS, *dog]) == "fox"
    assert not stream.ended
    assert stream.push([*fox, sun[0], EOS, *dog]) == "\ufffd"  # nothing can complete it any more
    assert stream.push([*fox, sun[0], EOS, *dog]) == ""
    assert stream.ended


@pytest.mark.parametrize("size", [100, 400])
def test_each_token_is_decoded_a_few_times_however_long_the_response_is(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    decode = BYTES.decode
    monkeypatch.setattr(BYTES, "decode", lambda ids: decoded.append(len(ids)) or decode(ids))
    ids = BYTES.encode("x日" * (size // 4))
    stream = Stream(BYTES, MASK)
    assert "".join(stream.push(ids[:known]) for known in range(len(ids) + 1)) == "x日" * (size // 4)
    assert sum(decoded) <= 6 * len(ids)


STRINGS = st.text("abc", max_size=12)
STOPS = st.lists(st.text("abc", min_size=1, max_size=4), max_size=4)


@given(text=STRINGS, stops=STOPS)
def test_the_first_stop_is_the_one_that_begins_first(text: str, stops: list[str]) -> None:
    places = [
        (place, place + len(stop)) for place in range(len(text)) for stop in stops if text.startswith(stop, place)
    ]
    assert first_stop(text, stops, complete=True) == min(places, default=None)


@given(text=STRINGS, more=STRINGS, stops=STOPS)
def test_what_is_certain_of_a_part_is_so_whatever_follows(text: str, more: str, stops: list[str]) -> None:
    whole = first_stop(text + more, stops, complete=True)
    early = first_stop(text, stops)
    if early is not None:
        assert early == whole
    elif whole is not None:
        assert whole[0] >= certain(text, stops)
    # And no more is held back than must be: something may follow that makes a stop of it.
    if early is None and certain(text, stops) < len(text):
        tail = text[certain(text, stops) :]
        assert any(stop.startswith(tail) and len(stop) > len(tail) for stop in stops)


def test_a_stop_waits_for_one_that_begins_before_it() -> None:
    assert first_stop("xab", ["abc", "b"]) is None
    assert first_stop("xabc", ["abc", "b"]) == (1, 4)
    assert first_stop("xaby", ["abc", "b"]) == (2, 3)
    assert first_stop("xab", ["abc", "b"], complete=True) == (2, 3)
    assert first_stop("xab", ["ab", "abc"]) == (1, 3)
