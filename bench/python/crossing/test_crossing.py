"""F47: an array is passed to another process, which reads it and answers."""

import pytest


@pytest.mark.benchmark(group="F47.1MiB")
def test_one_mebibyte_is_passed_to_another_process(measure, engine, turn):
    measure(engine)


@pytest.mark.benchmark(group="F47.16MiB")
def test_sixteen_mebibytes_are_passed_to_another_process(measure, engine, turn):
    measure(engine)
