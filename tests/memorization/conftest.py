"""Fixtures that the tests of causes share."""

from collections.abc import Iterator

import pytest
import torch
from tests.memorization.planted import World


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world() -> World:
    return World()
