"""Parts of machines and of cards: worked numbers, and that the parts fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskkv import policies
from maskkv.bench.shapes import shape
from maskkv.cluster import shares
from maskkv.errors import InputError
from maskkv.generation import Generation
from maskkv.models.part import Part
from maskkv.plan import Shape, Workload

GB = 10**9
LLADA = Shape(shape("llada-8b"), 2)
WORK = Workload(32_768, Generation(), policies.named("maskkv"), 256)


@pytest.mark.parametrize(
    ("cores", "replicas", "cpus", "threads", "parts"),
    [
        ([2], 2, 1.0, 1, 2),
        ([2], 1, 2.0, 2, 1),
        ([2], 3, 0.6666, 1, 3),
        ([8], 3, 2.6666, 2, 3),
        ([4, 2], 3, 2.0, 2, 2),
        ([2, 2], 3, 1.0, 1, 2),  # 4 / 3 of a core would fit once on each
        ([1, 1], 2, 1.0, 1, 1),
        ([0, 16], 2, 8.0, 8, 2),
        ([10, 3], 4, 3.0, 3, 3),
    ],
)
def test_cores_are_divided_into_the_largest_parts_that_are_enough(cores, replicas, cpus, threads, parts):
    assert shares.of_cores(cores, replicas) == shares.Share(cpus, 0.0, threads, parts)


@given(st.lists(st.integers(1, 64), min_size=1, max_size=4), st.integers(1, 12))
def test_as_many_parts_fit_as_replicas_are_asked_for(cores, replicas):
    share = shares.of_cores(cores, replicas)
    fitting = [int(each / share.cpus) for each in cores]
    assert sum(fitting) >= replicas
    assert max(fitting) == share.parts
    assert share.threads <= max(1, share.cpus)


def test_a_cluster_without_cores_is_refused():
    with pytest.raises(InputError, match="no CPU core"):
        shares.of_cores([0], 1)


def test_a_card_is_divided_by_what_weights_and_a_full_batch_take():
    needed = LLADA.peak(WORK, 16) + shares.CONTEXT_BYTES
    for parts in (1, 2, 3):
        card = int(parts * needed / 0.9) + 10
        share = shares.of_card(card, LLADA, WORK, 16)
        assert share.parts == parts
        assert share.gpus * parts <= 1 < share.gpus * (parts + 1)
        assert share.options() == {"num_cpus": 1.0, "num_gpus": share.gpus}
        # What is left to requests is enough for the batch that was planned, and all parts fit the card.
        memory = shares.on_card(card, parts, LLADA.weight_bytes)
        assert memory >= LLADA.peak(WORK, 16) - LLADA.weight_bytes - 1
        assert parts * (memory + LLADA.weight_bytes + shares.CONTEXT_BYTES) <= 0.9 * card


def test_llada_8b_takes_a_third_of_a_card_of_80_gb():
    assert LLADA.peak(WORK, 16) + shares.CONTEXT_BYTES == pytest.approx(21.8 * GB, rel=0.01)
    assert shares.of_card(80 * GB, LLADA, WORK, 16).gpus == 0.3333


def test_a_card_that_is_too_small_is_refused_in_one_line():
    with pytest.raises(InputError, match=r"a replica needs about [0-9.]+ GB with 16 requests .* --max-batch"):
        shares.of_card(16 * GB, LLADA, WORK, 16)


def test_a_model_that_is_split_takes_whole_cards_of_one_host():
    """LLaDA-8B on two cards of 16 GB each: half of it fits on either, and a host with three cards has room for one."""
    half = Shape(Part(0, 2).config(LLADA.config), LLADA.itemsize)
    share = shares.of_card(16 * GB, half, WORK, 16, cards=2)
    assert share == shares.Share(2.0, 2.0, 1, 1)
    assert shares.fitting_on(share, [3, 8, 1]) == 5
    with pytest.raises(InputError, match="a replica needs about"):
        shares.of_card(8 * GB, half, WORK, 16, cards=2)
