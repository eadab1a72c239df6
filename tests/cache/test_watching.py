"""A watched pass is the pass, and the callbacks see it in order."""

from typing import Any

import pytest
import torch
from tests.reference import CONFIGS, random_model, random_prompt

from maskkv.cache import NoCache, WatchingCache
from maskkv.models.step_cache import StepCache, Sublayer

FIRST = 5
"""The first row whose output `Spied` needs of the last layer: where a chunk starts, so that sums are the same."""


class Spied(NoCache):
    """Write down what is asked, and need only the last rows."""

    def __init__(self, told: list[Any]) -> None:
        super().__init__()
        self.told = told

    def stale(self, layer: int, values: torch.Tensor) -> None:
        self.told.append(("stale", layer, len(values)))

    def hold(self, layer: int, *held: Any) -> None:
        self.told.append(("hold", layer))
        super().hold(layer, *held)

    def first(self, layer: int, sublayer: Sublayer) -> int:
        self.told.append(("first", layer, sublayer))
        return FIRST if layer == 3 else 0

    def attend(self, layer: int, queries: torch.Tensor, span: slice) -> torch.Tensor:
        self.told.append(("attend", layer, span))
        return super().attend(layer, queries, span)

    def add(
        self, layer: int, sublayer: Sublayer, residual: torch.Tensor, fresh: torch.Tensor, span: slice
    ) -> torch.Tensor:
        self.told.append(("add", layer, sublayer, span))
        return super().add(layer, sublayer, residual, fresh, span)


MODEL = random_model(CONFIGS["dream"], chunk_rows=5)
TOKENS = torch.tensor(random_prompt(MODEL.config, 12))


def passed(cache: StepCache) -> torch.Tensor:
    """Return the rows of one pass, in chunks of five rows."""
    return MODEL(TOKENS, MODEL.rotation(torch.arange(12)), cache)


def test_every_question_is_handed_on_and_every_answer_back() -> None:
    alone: list[Any] = []
    watched: list[Any] = []
    cache: StepCache = WatchingCache(Spied(watched))
    assert torch.equal(passed(cache), passed(Spied(alone)))
    assert watched == alone
    verbs = {name for name in vars(StepCache) if not name.startswith("_")}
    assert {told[0] for told in watched} == verbs


def test_rows_that_are_stale_are_named_by_the_inner_cache() -> None:
    class Choosing(NoCache):
        def stale(self, layer: int, values: torch.Tensor) -> torch.Tensor:
            return torch.tensor([layer, len(values)])

    found = WatchingCache(Choosing()).stale(2, torch.zeros(5, 2, 8))
    assert found is not None
    assert found.tolist() == [2, 5]


def test_pairs_are_seen_before_they_are_held() -> None:
    told: list[Any] = []

    def seen(layer: int, keys: torch.Tensor, values: torch.Tensor, queries: Any, unrotated: Any) -> None:
        told.append(("pairs", layer))
        assert keys.shape == values.shape == unrotated(slice(0, 12)).shape == (12, 2, 8)
        assert queries(slice(3, 5)).shape == (2, 6, 8)

    cache: StepCache = WatchingCache(Spied(told), on_pairs=seen)
    assert torch.equal(passed(cache), passed(NoCache())[FIRST:])
    order = [each[:2] for each in told if each[0] in ("pairs", "hold")]
    assert order == [(what, layer) for layer in range(4) for what in ("pairs", "hold")]


def test_every_rows_attention_is_seen_and_what_the_inner_cache_needs_comes_out() -> None:
    around: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {layer: [] for layer in range(4)}
    cache: StepCache = WatchingCache(
        Spied([]), on_attention=lambda layer, before, after: around[layer].append((before.clone(), after.clone()))
    )
    whole = passed(cache)
    assert torch.equal(whole, passed(NoCache())[FIRST:])
    assert torch.equal(torch.cat([before for before, _ in around[0]]), MODEL.embed(TOKENS))
    for spans in around.values():
        before, after = (torch.cat(rows) for rows in zip(*spans, strict=True))
        assert before.shape == after.shape == (12, before.shape[1])
        assert not torch.isclose(before, after).all(1).any()


@pytest.mark.parametrize(
    ("sublayer", "expected"),
    [(Sublayer.ATTENTION, (FIRST, 0)), (Sublayer.MLP, (FIRST, FIRST))],
    ids=["attention", "mlp"],
)
def test_only_attention_that_is_watched_is_needed_of_all_rows(sublayer: Sublayer, expected: tuple[int, int]) -> None:
    unwatched = WatchingCache(Spied([]), on_pairs=lambda *_: None)
    watched = WatchingCache(Spied([]), on_attention=lambda *_: None)
    assert (unwatched.first(3, sublayer), watched.first(3, sublayer)) == expected
