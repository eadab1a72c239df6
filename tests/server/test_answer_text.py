"""The text of an answer: the same whatever a step commits, cut at the earliest stop, its tokens counted up to there."""

from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskkv import policies
from maskkv.decoding.engine import Step
from maskkv.decoding.sampler import Commit
from maskkv.generation import Generation
from maskkv.server.answer_text import AnswerText
from maskkv.server.translate import EngineRequest
from tests.text.test_stream import BYTE_TOKENS, BYTES, EOS, MASK, sure

# Characters of several tokens, and few letters of which stops overlap.
IDS = st.one_of(
    st.lists(st.one_of(BYTE_TOKENS, st.just(EOS)), min_size=1, max_size=16),
    st.lists(st.sampled_from(BYTES.encode("ab")), min_size=1, max_size=8),
)
STOPS = st.one_of(*(st.lists(st.text(letters, min_size=1, max_size=3), max_size=4) for letters in ("xab é日😀", "ab")))


def steps(response: Sequence[int], parts: Iterable[Sequence[int]]) -> Iterable[Step]:
    """Commit the response's positions part by part."""
    for index, part in enumerate(parts):
        positions = tuple(sorted(part))
        tokens = tuple(response[position] for position in positions)
        sure_of = (1.0,) * len(positions)
        yield Step(0, index, None, positions, tokens, sure_of, 0, False, Mock(spec=Commit))


def answered(
    response: Sequence[int], parts: Iterable[Sequence[int]], stops: Sequence[str], limit: int
) -> tuple[list[str], AnswerText]:
    """Return what a client is given step by step, up to the finish."""
    generation = Generation(gen_length=len(response), block_length=len(response))
    request = EngineRequest((1,), generation, policies.named("full"), None, limit, tuple(stops))
    answer, pieces = AnswerText(BYTES, request, MASK, [EOS]), []
    for step in steps(response, parts):
        pieces.append(answer.push(step))
        if answer.finish_reason is not None:
            break
    return pieces, answer


def expected(response: list[int], stops: Sequence[str], limit: int) -> tuple[str, str, int]:
    """Cut the complete text: what was said, why it ends, and of how many tokens."""
    said = response[: response.index(EOS)] if EOS in response[:limit] else response[:limit]
    ended = len(said) < limit
    text = sure(BYTES, said, ended)
    places = [(text.find(stop), text.find(stop) + len(stop)) for stop in stops if stop in text]
    if not places:
        return text, "stop" if ended else "length", len(said)
    start, end = min(places)
    counts = (count for count in range(len(said)) if len(sure(BYTES, said[:count], False)) >= end)
    return text[:start], "stop", next(counts, len(said))


@given(ids=IDS, stops=STOPS, data=st.data(), order=st.randoms(use_true_random=False))
def test_an_answer_does_not_depend_on_what_a_step_commits(
    ids: list[int], stops: list[str], data: st.DataObject, order: Any
) -> None:
    limit = data.draw(st.integers(1, len(ids)))
    places = list(range(len(ids)))
    order.shuffle(places)
    parts = []
    while places:
        parts.append([places.pop() for _ in range(min(len(places), order.randint(1, 5)))])
    pieces, answer = answered(ids, parts, stops, limit)
    found = ("".join(pieces), answer.finish_reason, answer.completion_tokens)
    assert found == expected(ids, stops, limit)


@pytest.mark.parametrize("cuts", [cuts for count in range(5) for cuts in combinations(range(1, 5), count)])
def test_the_stop_that_begins_first_wins_although_another_is_complete_before_it(cuts: tuple[int, ...]) -> None:
    ids = BYTES.encode("xabcy")
    assert len(ids) == 5
    parts = [range(start, end) for start, end in pairwise((0, *cuts, 5))]
    for stops in (["abc", "b"], ["b", "abc"]):
        pieces, answer = answered(ids, parts, stops, 5)
        assert ("".join(pieces), answer.finish_reason, answer.completion_tokens) == ("x", "stop", 4)
    pieces, answer = answered(ids, parts, ["abd", "b"], 5)
    assert ("".join(pieces), answer.finish_reason, answer.completion_tokens) == ("xa", "stop", 3)


def test_a_stop_wins_once_the_one_that_begins_before_it_can_come_no_more() -> None:
    ids = BYTES.encode("xab")
    for response, limit in ((ids, 3), ([*ids, EOS, *ids], 7), ([*ids, *ids], 3)):
        pieces, answer = answered(response, [[place] for place in range(len(response))], ["abc", "b"], limit)
        assert ("".join(pieces), answer.finish_reason, answer.completion_tokens) == ("xa", "stop", 3)


def test_usage_counts_the_tokens_of_a_stop_to_its_end() -> None:
    ids = BYTES.encode("xa日y")
    assert len(ids) == 6
    _, answer = answered(ids, [range(6)], ["a日"], 6)
    # x, a, and the three bytes of 日; not the y behind them, and not only the first byte.
    assert (answer.finish_reason, answer.completion_tokens) == ("stop", 5)


@pytest.mark.parametrize("limit", [2, 3, 4])
def test_a_limit_inside_of_a_character_ends_the_text_before_it(limit: int) -> None:
    ids = BYTES.encode("a😀")
    assert len(ids) == 5
    pieces, answer = answered(ids, [range(5)], [], limit)
    assert (pieces, answer.finish_reason, answer.completion_tokens) == (["a"], "length", limit)


def test_no_more_is_held_back_than_may_be_the_beginning_of_a_stop() -> None:
    ids = BYTES.encode("aabx")
    pieces, _ = answered(ids, [[place] for place in range(4)], ["abc"], 4)
    assert pieces == ["", "a", "", "abx"]
