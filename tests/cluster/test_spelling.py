"""How many replicas, as it is spelt."""

import pytest

from maskkv.cluster.spelling import Replicas
from maskkv.errors import InputError


@pytest.mark.parametrize(
    ("spelt", "least", "most"),
    [("2", 2, 2), (3, 3, 3), ("1-4", 1, 4), ("2-2", 2, 2), (" 1 ", 1, 1), ("1024", 1024, 1024)],
)
def test_a_number_or_a_range(spelt, least, most):
    assert Replicas.read(spelt) == Replicas(least, most)


@pytest.mark.parametrize(
    "spelt",
    [
        "0",
        "-1",
        "4-1",
        "0-2",
        "1-",
        "-",
        "",
        "two",
        "1,2",
        "1025",
        "1-9999999",
        "²",
        "1.5",
        "1--2",
        True,
        None,
        "9" * 99,
    ],
)
def test_anything_else_is_refused_in_one_line(spelt):
    with pytest.raises(InputError, match=r"^replicas '[^\n]*': expected a number from 1 to 1,024, or a range"):
        Replicas.read(spelt)


def test_a_range_grows_when_more_requests_are_there_than_run_together():
    assert Replicas(3, 3).options(16) == {"num_replicas": 3}
    told = Replicas(1, 4).options(16)["autoscaling_config"]
    assert (told["min_replicas"], told["initial_replicas"], told["max_replicas"]) == (1, 1, 4)
    assert told["target_ongoing_requests"] == 16
