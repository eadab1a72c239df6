"""Messages that refuse an argument."""

import pytest

from maskkv.checks import check_kv_dtype, check_one_of, check_real, check_rope_scale, check_whole, quoted, whole
from maskkv.errors import InputError


def test_a_value_is_quoted_in_a_length_that_a_line_has_room_for():
    assert quoted("two") == "'two'"
    assert len(quoted(list(range(1000)))) == 80
    # Python itself refuses to write such a number out.
    assert quoted(10**5000) == "a number of thousands of digits"


def test_whole_numbers_are_told_from_what_only_looks_like_one():
    assert [whole(value) for value in (3, -3, 3.0, True, "3", None)] == [3, -3, None, None, None, None]


@pytest.mark.parametrize(
    ("check", "says"),
    [
        (lambda: check_whole("n", 0, 1), "n must be a whole number of at least 1, not 0"),
        (lambda: check_whole("n", 2**63, 1), "n must be a whole number from 1 to 9223372036854775807"),
        (lambda: check_whole("n", 6, 1, 5), "n must be a whole number from 1 to 5, not 6"),
        (lambda: check_real("t", 10**400, 0.0), "t must be a number of at least 0, not 1000"),
        (lambda: check_real("t", -(10**400), 0.0, 1.0), "t must be a number of at least 0 and at most 1, not -1000"),
        (lambda: check_real("t", 0.0, 0.0, above=True), "t must be a number above 0, not 0.0"),
        (lambda: check_one_of("alg", ["origin"], ("origin",)), "alg must be one of origin, not ['origin']"),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_refused_whatever_its_size(check, says):
    with pytest.raises(InputError) as refused:
        check()
    assert str(refused.value).startswith(says)


def test_what_kept_pairs_may_be_stored_in():
    assert check_kv_dtype("int8") == "int8"
    with pytest.raises(InputError, match="kv_dtype 'int4': expected one of auto, int8, fp8"):
        check_kv_dtype("int4")


def test_what_rope_may_be_stretched_by():
    assert check_rope_scale(1.5) == 1.5
    for wrong in (0.5, float("nan"), float("inf")):
        with pytest.raises(InputError, match=f"rope_scale {wrong}: expected a factor of at least 1"):
            check_rope_scale(wrong)
