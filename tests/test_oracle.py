"""The two references, of different make, hold each other to a twentieth of a ULP."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from oracle import LD, Rows, ulp_error

pytestmark = pytest.mark.skipif(
    not oracle.wide_enough, reason="long double has no 64 bits of precision on this platform"
)


def _rows(dtype: np.dtype) -> np.ndarray:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((160, 4)) * np.repeat([1e-3, 1.0, 30.0, 300.0], 40)[:, None]
    x[::5] += 1e6
    x[1::5, 2] += 90
    x[2::5] = np.round(x[2::5])
    return x.astype(dtype)


def _assert_same(wide: np.ndarray, exact: list, size: np.ndarray | None = None) -> None:
    """Relative to `size`, or to the value itself, within 2**-58."""
    exact_array = np.array(exact, dtype=object)
    sizes = np.abs(wide if size is None else size)
    with oracle.mp.workprec(oracle.PRECISION):
        for got, wanted, scale in zip(wide.flat, exact_array.flat, sizes.flat, strict=True):
            high = float(got)
            value = oracle.mp.mpf(high) + oracle.mp.mpf(float(got - LD(high)))
            # far below the least double, where long double reaches further, `got` cannot be told
            assert abs(value - wanted) <= float(scale) * 2.0**-58 + 2.0**-1074, (got, wanted)


@pytest.mark.parametrize("temperature", [1.0, 0.1, 3.0])
def test_references_agree_on_maps_and_reductions(dtype: np.dtype, temperature: float) -> None:
    x = _rows(dtype)
    rows = Rows(x, temperature)
    _assert_same(rows.softmax(), [oracle.softmax_row(r, temperature) for r in x])
    _assert_same(rows.log_softmax(), [oracle.log_softmax_row(r, temperature) for r in x])
    _assert_same(rows.entropy(2), [oracle.entropy_row(r, temperature, 2) for r in x])
    lse = rows.smooth_max()
    size = np.maximum(np.abs(lse), np.abs(rows.maximum[:, 0]))
    _assert_same(lse, [oracle.smooth_max_row(r, temperature) for r in x], size)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_references_agree_on_losses(dtype: np.dtype, smoothing: float) -> None:
    x = _rows(dtype)[::4]
    rows, labels = Rows(x), np.arange(len(x)) % 4
    weight, s = np.array([0.5, 2.0, 1.0, 0.25]), 0.75
    options = {"weight": weight, "sample_weight": s, "label_smoothing": smoothing}
    wt = rows.weighted_target(labels, weight, smoothing)
    pairs = list(zip(x, labels, strict=True))
    _assert_same(rows.loss(wt, s), [oracle.loss_row(r, y, **options) for r, y in pairs])
    gradient, size = rows.gradient(wt, s)
    _assert_same(gradient, [oracle.gradient_row(r, y, **options) for r, y in pairs], size)
    scale = s * wt.sum(1)
    hessians = [oracle.hessian_row(r, y, **options) for r, y in pairs]
    _assert_same(rows.hessian(scale), hessians)
    _assert_same(rows.hessian_diag(scale), [[h[k][k] for k in range(4)] for h in hessians])
    vector = np.random.default_rng(8).standard_normal(x.shape)
    product, size = rows.hvp(vector, scale)
    _assert_same(
        product, [oracle.hvp_row(h, v) for h, v in zip(hessians, vector, strict=True)], size
    )
    solution, size = rows.solve(vector, 0.01, scale)
    _assert_same(
        solution,
        [oracle.solve_row(h, v, 0.01) for h, v in zip(hessians, vector, strict=True)],
        size,
    )


def test_soft_targets_agree_and_zero_times_infinity_is_zero(dtype: np.dtype) -> None:
    x = np.array([[0.0, 1.0, -np.inf], [5.0, 0.0, 2.0]], dtype)
    t = np.array([[0.25, 0.75, 0.0], [0.5, 0.25, 0.0]], dtype)
    rows = Rows(x)
    wt = rows.weighted_target(t)
    exact = [oracle.loss_row(r, u) for r, u in zip(x, t, strict=True)]
    assert all(oracle.mp.isfinite(v) for v in exact)
    _assert_same(rows.loss(wt), exact)


def test_ulp_error_counts_units_in_the_last_place(dtype: np.dtype) -> None:
    one, least = dtype.type(1), np.finfo(dtype).smallest_subnormal
    eps = np.finfo(dtype).eps
    got = np.array([one, one + eps, one - eps / 2, least, 0, np.inf, np.nan, np.inf], dtype)
    exact = np.array([1, 1, 1, 0, least / LD(4), np.inf, np.nan, 1], LD)
    wanted = [0, 1, 0.5, 1, 0.25, 0, 0, np.inf]
    assert ulp_error(got, exact, dtype).tolist() == wanted
    as_mp = [oracle.mp.mpf(float(v)) for v in exact]
    as_mp[4] = oracle.mp.mpf(float(least)) / 4
    assert ulp_error(got, as_mp, dtype).tolist() == wanted
