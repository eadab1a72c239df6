"""Values from faker: of the kinds that hand-made values have, decided by the random numbers alone."""

from random import Random

from maskkv.training.record_lines import lines
from maskkv.training.records import Records


def drawn(seed: int) -> list[str]:
    values = Records(Random(seed))
    draws = (values.person, values.place, values.company, values.product, values.address, values.email, values.url)
    return [draw() for draw in draws for _ in range(20)]


def test_the_random_numbers_decide() -> None:
    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert list(lines(Random(1), 200)) == list(lines(Random(1), 200))


def test_sources_of_values_do_not_disturb_each_other() -> None:
    one, other = Records(Random(1)), Records(Random(2))
    mixed = [(one.person(), other.person()) for _ in range(20)]
    alone = Records(Random(1))
    assert [person for person, _ in mixed] == [alone.person() for _ in range(20)]
