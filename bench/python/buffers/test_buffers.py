"""M5 and M6: NumPy arrays made and filled while eight others live, and what it costs to make one."""

import pytest


@pytest.mark.benchmark(group="M5.16k")
def test_eight_live_arrays_of_16_kib(measure, engine, turn):
    measure(engine)


@pytest.mark.benchmark(group="M5.64k")
def test_eight_live_arrays_of_64_kib(measure, engine, turn):
    measure(engine)


@pytest.mark.benchmark(group="M5.256k")
def test_eight_live_arrays_of_256_kib(measure, engine, turn):
    measure(engine)


@pytest.mark.benchmark(group="M5.1m")
def test_eight_live_arrays_of_1_mib(measure, engine, turn):
    measure(engine)


@pytest.mark.benchmark(group="M5.4m")
def test_eight_live_arrays_of_4_mib(measure, engine, turn):
    measure(engine)


@pytest.mark.benchmark(group="M5.16m")
def test_eight_live_arrays_of_16_mib(measure, engine, turn):
    measure(engine)


@pytest.mark.benchmark(group="M6.64k")
def test_making_an_array_of_64_kib(measure, engine, turn):
    measure(engine)


@pytest.mark.benchmark(group="M6.1m")
def test_making_an_array_of_1_mib(measure, engine, turn):
    measure(engine)
