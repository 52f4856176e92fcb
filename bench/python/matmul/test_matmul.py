"""P7: the diamond with a 256 x 256 float32 product in every step, one request alone and eight at once."""

import pytest


@pytest.mark.benchmark(group="P7")
def test_the_diamond_of_products_alone(measure, engine, turn):
    measure(engine)


@pytest.mark.benchmark(group="P7.across")
def test_eight_diamonds_of_products_at_once(measure, engine, turn):
    measure(engine)
