"""What the tests of the demo share: one shop, read once."""

from __future__ import annotations

import pytest
from tailrace.demos import catalog, steps, traffic


@pytest.fixture(scope="session")
def recommender() -> steps.Recommender:
    return steps.Recommender(catalog.load(seed=0))


@pytest.fixture(scope="session")
def lines(recommender: steps.Recommender) -> list[str]:
    return traffic.requests(recommender.shop, 200, seed=0)
