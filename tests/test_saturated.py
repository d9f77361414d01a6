"""The cases in which the usual formulas are wrong, one by one, to the last digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
from oracle import Rows, ulp_error

import softlane as sl


def _assert_exact(bound: str, got: Any, exact: Any, dtype: np.dtype, size: Any = None) -> None:
    error = ulp_error(got, exact, dtype, size).max()
    assert error <= sl._core.max_ulp(bound, dtype.name), f"{error} ULP"


def _digits(value: float) -> str:
    return f"{float(value):.3e}"


@pytest.mark.usefixtures("isa")
@pytest.mark.skipif(not oracle.wide_enough, reason="needs a long double of 64 bits")
@pytest.mark.parametrize("scale", [1, 10, 30])
def test_softmax_of_wide_inputs_keeps_its_digits(dtype: np.dtype, scale: int) -> None:
    x = (np.random.default_rng(1).standard_normal((500, 100)) * scale).astype(dtype)
    _assert_exact("softmax", sl.softmax(x), Rows(x).softmax(), dtype)


@pytest.mark.usefixtures("isa")
@pytest.mark.skipif(not oracle.wide_enough, reason="needs a long double of 64 bits")
def test_softmax_of_a_million_classes_keeps_its_digits(dtype: np.dtype) -> None:
    x = np.random.default_rng(2).standard_normal((1, 1_000_000)).astype(dtype)
    _assert_exact("softmax", sl.softmax(x), Rows(x).softmax(), dtype)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("gap", [10, 17, 20, 40, 80])
def test_log_softmax_at_a_confident_maximum_is_not_zero(dtype: np.dtype, gap: int) -> None:
    x = np.array([gap, 0, -3], dtype)
    got = sl.log_softmax(x)
    assert got[0] < 0
    _assert_exact("log_softmax", got, oracle.log_softmax_row(x), dtype)


@pytest.mark.usefixtures("isa")
@pytest.mark.skipif(not oracle.wide_enough, reason="needs a long double of 64 bits")
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize("classes", [2, 3, 7, 16, 17, 100, 300, 1030])
def test_a_tail_that_is_faint_beside_the_maximum_keeps_its_digits(
    dtype: np.dtype, classes: int, rows: int, axis: int
) -> None:
    """From tails that the sum of all terms still holds to those of which it has no digit."""
    rng = np.random.default_rng(classes)
    x = rng.standard_normal((rows, classes))
    top = rng.integers(0, classes, rows)
    gap = np.linspace(8, 60, rows) if rows > 1 else np.array([45.0])
    x[np.arange(rows), top] = x.max(axis=1) + gap
    x = x.astype(dtype)
    exact = Rows(x)
    given = x if axis == 1 else np.asfortranarray(x).T
    _assert_exact(
        "softmax",
        sl.softmax(given, axis=axis),
        exact.softmax() if axis else exact.softmax().T,
        dtype,
    )
    wanted = exact.log_softmax()
    _assert_exact(
        "log_softmax", sl.log_softmax(given, axis=axis), wanted if axis else wanted.T, dtype
    )
    loss, gradient = sl.cross_entropy_value_and_grad(given, top, axis=axis, reduction="none")
    wanted = -wanted[np.arange(rows), top]
    _assert_exact("loss", loss, wanted, dtype)
    _assert_exact("loss", sl.cross_entropy(given, top, axis=axis, reduction="none"), wanted, dtype)
    at_label = np.moveaxis(gradient, axis, 1)[np.arange(rows), top]
    _assert_exact("gradient", at_label, np.expm1(-wanted.astype(oracle.LD)), dtype)


# Binades of the tail, in shares of the maximum's term: those around the one below which it is
# summed without that term, and some above them.
FAINT = {np.dtype(np.float32): [*range(-23, -17), *range(-12, -4)],
         np.dtype(np.float64): [*range(-47, -41), *range(-40, -32)]}  # fmt: skip


def _tails(rows: int, dtype: np.dtype) -> Any:
    """Return log(tail / term), from below the faintest binade to above the others."""
    binade = np.repeat(FAINT[dtype], -(-rows // len(FAINT[dtype])))[:rows]
    return (binade + np.random.default_rng(rows).uniform(0, 1, rows)) * np.log(2)


@pytest.mark.usefixtures("isa")
@pytest.mark.skipif(not oracle.wide_enough, reason="needs a long double of 64 bits")
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("classes", [60, 300, 700, 1024])
def test_equal_logits_below_a_maximum_keep_their_digits(
    dtype: np.dtype, classes: int, axis: int
) -> None:
    """The additions of equal terms may all round the same way."""
    rows = 1400
    x = np.repeat((_tails(rows, dtype) - np.log(classes - 1))[:, None], classes, axis=1)
    top = np.random.default_rng(3).integers(0, classes, rows)
    x[np.arange(rows), top] = 0
    x = x.astype(dtype)
    below = x.min(axis=1).astype(oracle.LD)
    wanted = -np.log1p((classes - 1) * np.exp(below))
    given = x if axis == 1 else np.asfortranarray(x).T
    got = np.moveaxis(sl.log_softmax(given, axis=axis), axis, 1)[np.arange(rows), top]
    _assert_exact("log_softmax", got, wanted, dtype)


@pytest.mark.usefixtures("isa")
@pytest.mark.skipif(not oracle.wide_enough, reason="needs a long double of 64 bits")
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("classes", [100, 700, 1024])
@pytest.mark.parametrize("limit", [4.9, 5.1, 23.9, 24.1])
def test_equal_logits_below_two_others_keep_their_digits(
    dtype: np.dtype, limit: float, classes: int, axis: int
) -> None:
    """Running sums, which take rows with a second class no further off than 5 (float64: 24)."""
    rows = 3000
    rng = np.random.default_rng(classes)
    x = np.repeat(-rng.uniform(9, 50 if limit > 9 else 20, (rows, 1)), classes, axis=1)
    x[:, 0], x[:, 8] = 0, -limit
    x = x.astype(dtype)
    equal, second = (x[:, k].astype(oracle.LD) for k in (1, 8))
    wanted = -np.log1p((classes - 2) * np.exp(equal) + np.exp(second))
    given = x if axis == 1 else np.asfortranarray(x).T
    got = np.moveaxis(sl.log_softmax(given, axis=axis), axis, 1)[:, 0]
    _assert_exact("log_softmax", got, wanted, dtype)


@pytest.mark.usefixtures("isa")
@pytest.mark.skipif(not oracle.wide_enough, reason="needs a long double of 64 bits")
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("classes", [10, 64, 100, 1024, 3000])
def test_logsumexp_of_equal_logits_keeps_its_digits_where_it_cancels(
    dtype: np.dtype, classes: int, axis: int
) -> None:
    """Equal terms share one rounding, which their sum keeps: it shows in a result near 0."""
    rows = 3000 if classes <= 100 else 900
    rng = np.random.default_rng(classes)
    x = np.repeat(rng.uniform(-14, -9, (rows, 1)), classes, axis=1)
    x[:, 0] = 0
    tail = (classes - 1) * np.exp(x[:, 1])
    x -= (np.log1p(tail) * rng.choice([0.5, 0.9, 1, 1.1, 2], rows))[:, None]
    x = x.astype(dtype)
    top, equal = (x[:, k].astype(oracle.LD) for k in (0, 1))
    wanted = top + np.log1p((classes - 1) * np.exp(equal - top))
    given = x if axis == 1 else np.asfortranarray(x).T
    got = sl.logsumexp(given, axis=axis)
    _assert_exact("logsumexp", got, wanted, dtype, np.maximum(np.abs(top), np.abs(wanted)))


@pytest.mark.usefixtures("isa")
@pytest.mark.skipif(not oracle.wide_enough, reason="needs a long double of 64 bits")
def test_terms_far_below_the_maximum_count_in_a_maximum_near_zero() -> None:
    """Terms of e^-180 in a block of their own, times a temperature of 2^120."""
    temperature = 2.0**120
    x = np.full((1, 2048), -180 * temperature, np.float32)
    x[0, :1024] = -np.inf
    x[0, 3] = -(2.0**-130)
    top, below = x[:, 3].astype(oracle.LD), x[:, 2000].astype(oracle.LD)
    wanted = top + temperature * np.log1p(1024 * np.exp(below / temperature))
    got = sl.smooth_max(x, -1, temperature=temperature)
    size = np.maximum(abs(top), abs(wanted))
    _assert_exact("logsumexp", got, wanted, x.dtype, size)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("rows", [1, 140])
@pytest.mark.parametrize("classes", [3, 10, 64, 100, 1000])
def test_absent_classes_change_no_bit_of_a_faint_tail(
    dtype: np.dtype, classes: int, rows: int, axis: int
) -> None:
    """In which order terms are summed, and whether twice, must not depend on who is absent."""
    rng = np.random.default_rng(classes)
    for tail in _tails(140, dtype)[:, None] if rows == 1 else [_tails(rows, dtype)]:
        x = rng.uniform(-3, 0, (rows, classes))
        x += (tail - np.log(np.exp(x).sum(axis=1)))[:, None]
        x[np.arange(rows), rng.integers(0, classes, rows)] = 0
        for more in (1, 62, 90, 1100):
            absent = np.full((rows, more), -np.inf)
            alone, padded = (
                np.ascontiguousarray(a.astype(dtype).T) if axis == 0 else a.astype(dtype)
                for a in (x, np.concatenate([x, absent], axis=1))
            )
            for function in (sl.softmax, sl.log_softmax):
                got = np.moveaxis(function(padded, axis=axis), axis, 1)[:, :classes]
                wanted = np.moveaxis(function(alone, axis=axis), axis, 1)
                assert np.array_equal(got, wanted), (function, more)


@pytest.mark.usefixtures("isa")
def test_loss_of_logits_17_0_at_label_0_is_not_zero(dtype: np.dtype) -> None:
    x = np.array([17, 0], dtype)
    got = sl.cross_entropy(x, 0)
    assert _digits(got) == "4.140e-08"
    _assert_exact("loss", got, oracle.loss_row(x, 0), dtype)


@pytest.mark.usefixtures("isa")
def test_gradient_at_the_label_of_logits_40_0_is_not_zero(dtype: np.dtype) -> None:
    x = np.array([40, 0], dtype)
    got = sl.cross_entropy_grad(x, 0)
    assert [_digits(v) for v in got] == ["-4.248e-18", "4.248e-18"]
    _assert_exact("gradient", got, oracle.gradient_row(x, 0), dtype)


@pytest.mark.usefixtures("isa")
def test_hessian_diagonal_of_logits_40_0_is_not_zero(dtype: np.dtype) -> None:
    x = np.array([40, 0], dtype)
    exact = oracle.hessian_row(x)
    got = sl.cross_entropy_hessian_diag(x)
    assert [_digits(v) for v in got] == ["4.248e-18", "4.248e-18"]
    _assert_exact("hess_diag", got, [exact[0][0], exact[1][1]], dtype)
    _assert_exact("hess_diag", sl.cross_entropy_grad_and_hess_diag(x, 0)[1], got * 1.0, dtype)
    _assert_exact("hessian", sl.cross_entropy_hessian(x), exact, dtype)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize(
    ("dtype", "logits", "weight"),
    [
        (np.float32, [0.95718527, 7.1917768], 1.0),
        (np.float32, [-0.36854744, 5.1602268], 3.90177435),
        (np.float32, [-40.0, 0.0], 1e39),  # beyond float32
        (np.float32, [-1.0, 0.0], 1e39),
        (np.float64, [-2.06252322846103, 1.9350424635470769], 0.8820829294324418),
        (np.float64, [-3.0178960665363475, 4.605200505258388], 3.8616277121082985),
    ],
)
def test_curvature_of_a_confident_maximum_is_rounded_once(
    dtype: type, logits: list[float], weight: float, rows: int
) -> None:
    x = np.array([logits] * rows, dtype)
    diagonal = sl.cross_entropy_hessian_diag(x, None, sample_weight=weight)
    hessian = sl.cross_entropy_hessian(x, None, sample_weight=weight)
    p, rest = oracle.softmax_row(x[0])[1], oracle.softmax_row(x[0])[0]
    for got in (diagonal[:, 1], hessian[:, 1, 1]):
        _assert_exact("softmax", got, [weight * p * rest] * rows, np.dtype(dtype))


@pytest.mark.usefixtures("isa")
def test_curvature_of_a_class_by_itself_is_zero(dtype: np.dtype) -> None:
    x = np.array([[3.0], [4.0]], dtype)
    for weight in (1.0, 1e39):
        gradient, diagonal = sl.cross_entropy_grad_and_hess_diag(x, [0, 0], sample_weight=weight)
        for got in (gradient, diagonal):
            assert got.tobytes() == np.zeros((2, 1), dtype).tobytes()


@pytest.mark.usefixtures("isa")
def test_solve_with_a_damping_that_is_next_to_nothing() -> None:
    x, rhs, damping = np.array([0.0, 1, 2]), np.array([1, -2, 3]) * 1e-305, 1e-309
    # Constants are the kernel of H: z is the mean of rhs over the damping, and hardly more. The
    # bound is relative to the terms' sizes, which are 6 thirds to its 2.
    mean = rhs.sum() / 3 / damping
    bound = 3 * sl._core.max_ulp("solve", "float64") * np.finfo(np.float64).eps
    z = sl.cross_entropy_hessian_solve(x, rhs, damping)
    np.testing.assert_allclose(z, [mean] * 3, rtol=bound)


@pytest.mark.usefixtures("isa")
def test_hvp_and_solve_of_logits_40_0_keep_their_digits(dtype: np.dtype) -> None:
    x, v = np.array([40, 0], dtype), np.array([1, 3], dtype)
    exact = oracle.hessian_row(x)
    _assert_exact("hvp", sl.cross_entropy_hvp(x, v), oracle.hvp_row(exact, v), dtype)
    got = sl.cross_entropy_hessian_solve(x, v, 2.0**-60)
    _assert_exact("solve", got, oracle.solve_row(exact, v, 2.0**-60), dtype)


@pytest.mark.usefixtures("isa")
def test_entropy_of_a_confident_row_keeps_its_digits(dtype: np.dtype) -> None:
    x = np.array([60, 0, 20], dtype)
    _assert_exact("entropy", sl.entropy(x), oracle.entropy_row(x), dtype)


@pytest.mark.usefixtures("isa")
def test_softmax_over_a_long_axis_0_sums_to_one() -> None:
    rows = 20_000_000
    p = sl.softmax(np.zeros((rows, 2), np.float32), axis=0)
    assert p.dtype == np.float32
    # all entries are 1 / rows: their sum is off by what one of them is off, relatively
    allowed = sl._core.max_ulp("softmax", "float32") * 2.0**-23
    np.testing.assert_allclose(p.sum(0, dtype=np.float64), 1, rtol=allowed)
    assert (p == p[0, 0]).all()


@pytest.mark.usefixtures("isa")
def test_unsigned_bytes_are_computed_as_float64() -> None:
    x = np.array([1, 2, 3], np.uint8)
    got = sl.softmax(x)
    assert got.dtype == np.float64
    assert got.tobytes() == sl.softmax([1.0, 2.0, 3.0]).tobytes()
    _assert_exact("softmax", got, oracle.softmax_row([1, 2, 3]), np.dtype(np.float64))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("integer", ["int8", "uint8", "int16", "int32", "uint64", "bool"])
def test_integers_do_not_wrap_around(integer: str) -> None:
    info = (0, 1) if integer == "bool" else (np.iinfo(integer).min, min(127, np.iinfo(integer).max))
    x = np.array(info, integer)
    as_float = x.astype(np.float64)
    for function in (sl.softmax, sl.log_softmax, sl.logsumexp, sl.softmin, sl.smooth_min):
        assert function(x).tobytes() == function(as_float).tobytes()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("classes", [2, 9, 100, 300, 1030])
@pytest.mark.parametrize("weight", [1.0, 2.5, 4096.0, 2.0**40])
def test_what_is_lost_of_a_subnormal_probability_shows_in_no_curvature(
    dtype: np.dtype, classes: int, rows: int, weight: float
) -> None:
    """c p (1 - p) is rounded once after p, even where p by itself has few digits left."""
    gap = np.array([100.0, 95.0, 88.0] if dtype.itemsize == 4 else [740.0, 725.0, 709.0])
    x = np.zeros((rows, classes), dtype)
    x[:, 1:] = -gap[np.arange(classes - 1) % 3]
    scale = np.full(rows, weight)
    p = np.exp(x[0].astype(oracle.LD))
    p /= p.sum()
    wanted = weight * p[1:] * (1 - p[1:])
    labels = np.zeros(rows, int)
    found = [
        sl.cross_entropy_hessian_diag(x, sample_weight=scale),
        sl.cross_entropy_grad_and_hess_diag(x, labels, sample_weight=scale)[1],
        sl.cross_entropy_hessian_diag(x, labels, weight=np.full(classes, weight)),
    ]
    if classes <= 16:
        h = sl.cross_entropy_hessian(x, sample_weight=scale)
        found += [np.diagonal(h, axis1=1, axis2=2), -h[:, 0]]
    for h in found:
        for row in h:
            assert ulp_error(row[1:], wanted, dtype).max() <= sl._core.max_ulp(
                "hess_diag", dtype.name
            )
