"""The bounds that the kernels export are those that were promised: nobody widens them."""

from __future__ import annotations

import pytest

import softlane as sl

PROMISED = {  # largest error in ULP of the result's dtype: float32, float64
    "softmax": (2, 2),
    "log_softmax": (2, 2),
    "logsumexp": (1, 1.5),  # of max(|max|, |result|)
    "signed_sum": (1, 1),  # of max(|log of the largest term|, |result|), beside the condition
    "entropy": (2, 2),
    "loss": (2, 2),
    "gradient": (2, 2),
    "hess_diag": (4, 4),  # products of two probabilities
    "hessian": (4, 4),
    "hvp": (4, 4),  # relative to the sum of the terms' absolute values
    "solve": (4, 4),
}


@pytest.mark.parametrize("name", PROMISED)
def test_bounds_are_the_promised_ones(name: str) -> None:
    exported = tuple(sl._core.max_ulp(name, dtype) for dtype in ("float32", "float64"))
    assert exported == PROMISED[name]
