"""Fixtures: every instruction set this CPU has, and the dtypes."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import settings

import softlane

# Files whose libraries are missing are left out of a plain run. Named on the command line they are
# collected all the same, and fail: that is how .ci/run makes sure of them.
NEEDS = {"test_interplay_peers.py": ("torch", "jax"), "test_torch_oracle.py": ("torch",)}
collect_ignore = [file for file, modules in NEEDS.items() if not all(map(find_spec, modules))]

settings.register_profile("softlane", deadline=None, derandomize=True, database=None)
settings.load_profile("softlane")


@pytest.fixture(params=softlane.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the instruction set that is live during the test."""
    before = softlane.active_isa()
    softlane._core.select_isa(request.param)
    assert softlane.active_isa() == request.param
    yield request.param
    softlane._core.select_isa(before)


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> np.dtype:
    return np.dtype(request.param)


@pytest.fixture(autouse=True, scope="session")
def share_small_calls() -> Iterator[None]:
    """Else a small call would be shared only where a thread happens to be awake."""
    before = softlane._core.choose_bytes_to_wake(0)
    yield
    softlane._core.choose_bytes_to_wake(before)


@pytest.fixture(autouse=True)
def keep_threads() -> Iterator[None]:
    """A test may change the number of threads; the next one starts from where this one did."""
    before = softlane.get_num_threads()
    yield
    softlane.set_num_threads(before)
