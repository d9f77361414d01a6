"""NaN, infinities and empty rows: the table of the contract, at every position and length."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from oracle import entropy_row, log_softmax_row, ulp_error

import softlane as sl

Array = npt.NDArray[Any]

CLASSES = (1, 2, 5, 16, 17, 64, 100, 1024, 1025, 3000)
ROWS, SPECIAL = 5, 2  # how many rows, and which of them is special


@pytest.fixture(autouse=True)
def no_floating_point_warnings() -> Iterator[None]:
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(params=CLASSES)
def classes(request: pytest.FixtureRequest) -> int:
    return request.param


def _rows(classes: int, dtype: np.dtype) -> Array:
    return (np.random.default_rng(classes).standard_normal((ROWS, classes)) * 3).astype(dtype)


def _positions(classes: int) -> list[int]:
    return sorted({0, 1, classes // 2, classes - 2, classes - 1} & set(range(classes)))


def _compute(x: Array, function: Callable[..., Any]) -> Array:
    """By rows, and the same by columns, one row a column."""
    result = function(x, axis=-1)
    columns = function(np.ascontiguousarray(x.T), axis=0)
    by_column = np.ascontiguousarray(columns.T)
    np.testing.assert_array_equal(result, by_column)
    return result


def _assert_only_special_row(
    got: Array, plain: Array, wanted: float | Array, row: int = SPECIAL
) -> None:
    """The special row is as wanted, the others have the bits they had without it."""
    np.testing.assert_array_equal(got[row], np.full_like(got[row], wanted))
    others = np.arange(len(got)) != row
    assert got[others].tobytes() == plain[others].tobytes()


@pytest.mark.usefixtures("isa")
def test_nan_spoils_its_row_only(dtype: np.dtype, classes: int) -> None:
    for function in (sl.softmax, sl.log_softmax, sl.softmin, sl.logsumexp, sl.smooth_min):
        plain = _compute(_rows(classes, dtype), function)
        for position in _positions(classes):
            for nan in (np.nan, -np.nan):
                x = _rows(classes, dtype)
                x[SPECIAL, position] = nan
                _assert_only_special_row(_compute(x, function), plain, np.nan)


@pytest.mark.usefixtures("isa")
def test_nan_beside_infinities_is_nan(dtype: np.dtype) -> None:
    for other in (np.inf, -np.inf):
        for row in ([np.nan, other], [other, np.nan], [other, np.nan, 1.0], [1.0, other, np.nan]):
            x = np.array(row, dtype)
            assert np.isnan(sl.softmax(x)).all()
            assert np.isnan(sl.log_softmax(x)).all()
            assert np.isnan(sl.logsumexp(x))
            assert np.isnan(sl.entropy(x))


@pytest.mark.usefixtures("isa")
def test_minus_infinity_has_no_probability(dtype: np.dtype, classes: int) -> None:
    if classes == 1:
        return
    for position in _positions(classes):
        x = _rows(classes, dtype)
        x[SPECIAL, position] = -np.inf
        rest = np.delete(x[SPECIAL], position)
        p, log_p = _compute(x, sl.softmax)[SPECIAL], _compute(x, sl.log_softmax)[SPECIAL]
        assert p[position] == 0
        assert log_p[position] == -np.inf
        # where it stands, the others are summed in another order than without it
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(np.delete(p, position), sl.softmax(rest), rtol=4 * eps)
        np.testing.assert_allclose(np.delete(log_p, position), sl.log_softmax(rest), rtol=4 * eps)
        lse = _compute(x, sl.logsumexp)[SPECIAL]
        np.testing.assert_allclose(lse, sl.logsumexp(rest), rtol=3 * eps, atol=3 * eps)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("padding", [1, 2, 13, 1024])
def test_appended_minus_infinity_changes_no_bit(
    dtype: np.dtype, classes: int, padding: int
) -> None:
    x = _rows(classes, dtype)
    padded = np.concatenate([x, np.full((ROWS, padding), -np.inf, dtype)], axis=1)
    for function in (sl.logsumexp, sl.smooth_max, sl.entropy):
        assert _compute(padded, function).tobytes() == _compute(x, function).tobytes()
    p, log_p = _compute(padded, sl.softmax), _compute(padded, sl.log_softmax)
    assert p[:, :classes].tobytes() == _compute(x, sl.softmax).tobytes()
    assert log_p[:, :classes].tobytes() == _compute(x, sl.log_softmax).tobytes()
    assert (p[:, classes:] == 0).all()
    assert (log_p[:, classes:] == -np.inf).all()
    labels = np.arange(ROWS) % classes
    loss, gradient = sl.cross_entropy_value_and_grad(x, labels)
    padded_loss, padded_gradient = sl.cross_entropy_value_and_grad(padded, labels)
    assert padded_loss.tobytes() == loss.tobytes()
    assert padded_gradient[:, :classes].tobytes() == gradient.tobytes()
    assert (padded_gradient[:, classes:] == 0).all()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("mask", ["lowest", -1e30, -1e9])
def test_mask_values_act_as_minus_infinity(dtype: np.dtype, mask: Any) -> None:
    low = np.finfo(dtype).min if mask == "lowest" else mask
    x = np.array([[3, 0, low], [low, low, 1], [low, 2, 2]], dtype)
    infinite = np.where(x == dtype.type(low), dtype.type(-np.inf), x)
    assert sl.softmax(x).tobytes() == sl.softmax(infinite).tobytes()
    assert sl.logsumexp(x, -1).tobytes() == sl.logsumexp(infinite, -1).tobytes()
    assert np.isfinite(sl.log_softmax(x)[:, :2][x[:, :2] != dtype.type(low)]).all()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("mask", ["lowest", -1e30, -1e9])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_mask_values_count_nothing_where_the_logarithm_cancels(
    dtype: np.dtype, mask: Any, temperature: float
) -> None:
    """Rows with a result near 0, whose sums are refined: many, and by themselves."""
    low = np.finfo(dtype).min if mask == "lowest" else dtype.type(mask)
    for classes in (3, 4, 10, 17, 40):
        x = np.random.default_rng(classes).uniform(-0.7, 0.7, (256, classes)) - np.log(classes - 1)
        x = (x * temperature).astype(dtype)
        x[:, 1] = low
        infinite = x.copy()
        infinite[:, 1] = -np.inf
        for rows in (slice(None), slice(1)):
            for sign, function in ((1, sl.smooth_max), (-1, sl.smooth_min)):
                got = function(sign * x[rows], -1, temperature=temperature)
                wanted = function(sign * infinite[rows], -1, temperature=temperature)
                assert got.tobytes() == wanted.tobytes()


@pytest.mark.usefixtures("isa")
def test_rows_of_equal_masks_are_uniform(dtype: np.dtype) -> None:
    for value in (np.finfo(dtype).min, np.finfo(dtype).max, -1e30, 1e30):
        x = np.full((2, 4), value, dtype)
        np.testing.assert_array_equal(sl.softmax(x), 0.25)
        np.testing.assert_array_equal(sl.logsumexp(x, -1), dtype.type(value))


@pytest.mark.usefixtures("isa")
def test_only_minus_infinity_has_no_softmax(dtype: np.dtype, classes: int) -> None:
    wanted = {sl.softmax: np.nan, sl.log_softmax: np.nan, sl.logsumexp: -np.inf}
    for function, value in wanted.items():
        plain = _compute(_rows(classes, dtype), function)
        x = _rows(classes, dtype)
        x[SPECIAL] = -np.inf
        _assert_only_special_row(_compute(x, function), plain, value)


@pytest.mark.usefixtures("isa")
def test_plus_infinity_spoils_its_row_only(dtype: np.dtype, classes: int) -> None:
    wanted = {sl.softmax: np.nan, sl.log_softmax: np.nan, sl.logsumexp: np.inf}
    for function, value in wanted.items():
        plain = _compute(_rows(classes, dtype), function)
        for position in _positions(classes):
            for rest in (None, np.inf, -np.inf):
                x = _rows(classes, dtype)
                if rest is not None:
                    x[SPECIAL] = rest
                x[SPECIAL, position] = np.inf
                _assert_only_special_row(_compute(x, function), plain, value)


@pytest.mark.usefixtures("isa")
def test_no_element_gives_minus_infinity(dtype: np.dtype) -> None:
    x = np.empty((3, 0), dtype)
    for function in (sl.softmax, sl.log_softmax, sl.softmin):
        got = function(x)
        assert got.shape == (3, 0)
        assert got.dtype == dtype
    for function, value in ((sl.logsumexp, -np.inf), (sl.smooth_max, -np.inf),
                            (sl.smooth_min, np.inf)):  # fmt: skip
        got = function(x, axis=-1)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, [value] * 3)
        scalar = function(x)
        assert isinstance(scalar, dtype.type)
        assert scalar == value


@pytest.mark.usefixtures("isa")
def test_softmin_mirrors_the_infinities(dtype: np.dtype) -> None:
    np.testing.assert_array_equal(sl.softmin(np.array([0, np.inf, 0], dtype)), [0.5, 0, 0.5])
    assert np.isnan(sl.softmin(np.array([0, -np.inf], dtype))).all()
    assert sl.smooth_min(np.array([1, np.inf], dtype)) == 1
    assert sl.smooth_min(np.array([1, -np.inf], dtype)) == -np.inf
    assert sl.smooth_min(np.array([np.inf, np.inf], dtype)) == np.inf


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-39, 1e39, 1e300, 1.7e308])
def test_extreme_temperatures_give_the_limits(dtype: np.dtype, temperature: float) -> None:
    x = np.array([[1, 2, 2, -np.inf], [3, 1, 3, 0]], dtype)
    hot = temperature > 1
    wanted = [[1 / 3, 1 / 3, 1 / 3, 0], [0.25] * 4] if hot else [[0, 0.5, 0.5, 0], [0.5, 0, 0.5, 0]]
    got = sl.softmax(x, temperature=temperature)
    np.testing.assert_allclose(got, wanted, rtol=4 * np.finfo(dtype).eps, atol=0)
    if not hot:
        np.testing.assert_array_equal(sl.smooth_max(x, -1, temperature=temperature), [2, 3])


@pytest.mark.usefixtures("isa")
def test_entropy_of_infinities(dtype: np.dtype, classes: int) -> None:
    plain = _compute(_rows(classes, dtype), sl.entropy)
    for value in (np.nan, np.inf):
        x = _rows(classes, dtype)
        x[SPECIAL, classes - 1] = value
        _assert_only_special_row(_compute(x, sl.entropy), plain, np.nan)
    x = _rows(classes, dtype)
    x[SPECIAL] = -np.inf
    _assert_only_special_row(_compute(x, sl.entropy), plain, np.nan)
    x[SPECIAL, classes // 2] = 7  # certain
    _assert_only_special_row(_compute(x, sl.entropy), plain, 0)


@pytest.mark.usefixtures("isa")
def test_losses_count_zero_times_infinity_as_zero(dtype: np.dtype) -> None:
    x = np.array([[1, -np.inf, 2]], dtype)
    without = np.array([[1, 2]], dtype)
    t = np.array([[0.25, 0, 0.75]], dtype)
    loss, gradient = sl.cross_entropy_value_and_grad(x, t)
    np.testing.assert_allclose(loss, sl.cross_entropy(without, t[:, [0, 2]]), rtol=1e-6)
    assert np.isfinite(loss).all()
    assert gradient[0, 1] == 0
    weight = np.array([1.0, 0.0, 1.0])
    full = np.full_like(t, 1 / 3)
    assert np.isfinite(sl.cross_entropy(x, full, weight=weight)).all()
    assert sl.cross_entropy(x, [1], weight=weight).tolist() == [0]


@pytest.mark.usefixtures("isa")
def test_minus_infinity_at_the_label_is_an_infinite_loss(dtype: np.dtype) -> None:
    x = np.array([[1, -np.inf, 2]], dtype)
    loss, gradient = sl.cross_entropy_value_and_grad(x, [1])
    assert loss.tolist() == [np.inf]
    assert gradient[0, 1] == -1
    share = 1 / (1 + np.exp(np.longdouble(1)))
    expected = np.array([share, 1 - share]).astype(dtype)
    np.testing.assert_array_max_ulp(gradient[0, [0, 2]], expected, 2)
    assert sl.cross_entropy(x, [0], label_smoothing=0.1).tolist() == [np.inf]


@pytest.mark.usefixtures("isa")
def test_spoiled_rows_have_nan_losses_and_derivatives(dtype: np.dtype) -> None:
    clean = _rows(5, dtype)
    y = np.arange(5)
    for bad in (np.nan, np.inf):
        x = clean.copy()
        x[SPECIAL, 3] = bad
        for function in (
            sl.cross_entropy,
            sl.cross_entropy_grad,
            sl.cross_entropy_hessian,
            sl.cross_entropy_hessian_diag,
        ):
            _assert_only_special_row(function(x, y), function(clean, y), np.nan)
        _assert_only_special_row(
            sl.cross_entropy_hvp(x, clean), sl.cross_entropy_hvp(clean, clean), np.nan
        )


@pytest.mark.usefixtures("isa")
def test_minus_infinity_has_no_curvature(dtype: np.dtype, classes: int) -> None:
    x = _rows(classes + 1, dtype)
    x[:, -1] = -np.inf
    v = np.ones_like(x)
    v[:, ::2] = -2
    v[:, -1] = 9
    assert (sl.cross_entropy_hessian_diag(x)[:, -1] == 0).all()
    product = sl.cross_entropy_hvp(x, v)
    assert (product[:, -1] == 0).all()
    without = sl.cross_entropy_hvp(x[:, :-1], v[:, :-1])
    assert product[:, :-1].tobytes() == without.tobytes()
    solution = sl.cross_entropy_hessian_solve(x, v, 0.5)
    np.testing.assert_array_equal(solution[:, -1], 18)


# Each twice: a row by itself, and among as many as go together.
@pytest.mark.parametrize("rows", [1, 40])
def test_weights_at_the_end_of_the_range_give_no_nan(dtype: np.dtype, rows: int) -> None:
    p = np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])
    x, labels = np.log(np.tile(p, (rows, 1))).astype(dtype), [0, 1] * rows
    infinite = dtype == np.float32

    # A weight that does not count does not matter, nor that the sum of all is infinite.
    one = sl.cross_entropy(x, labels, weight=[1.0, 1.0, 1.0])
    assert (sl.cross_entropy(x, labels, weight=[1.0, 1.0, 1.7e308]) == one).all()
    gradient = sl.cross_entropy_grad(x, [0, 0] * rows, weight=[1.0, 1.7e308, 1.7e308])
    assert np.array_equal(gradient, sl.cross_entropy_grad(x, [0, 0] * rows))

    loss = sl.cross_entropy(x, labels, sample_weight=1e308)
    with np.errstate(over="ignore"):
        exact = 1e308 * -np.log(p[[0, 1], [0, 1]])
    assert exact[1] == np.inf
    np.testing.assert_allclose(loss[:2], np.inf if infinite else exact, rtol=1e-7)
    gradient = sl.cross_entropy_grad(x, labels, weight=[1e308] * 3)[:2]
    exact = (p - np.eye(3)[:2]) * 1e308
    np.testing.assert_allclose(gradient, np.sign(exact) * np.inf if infinite else exact, rtol=1e-7)
    diagonal = sl.cross_entropy_hessian_diag(x, labels, sample_weight=1e308)[:2]
    exact = p * (1 - p) * 1e308
    np.testing.assert_allclose(diagonal, np.inf if infinite else exact, rtol=1e-7)


@pytest.mark.parametrize(("weight", "sample_weight"), [(1e308, 1e-300), (1e-300, 1e308)])
def test_a_loss_may_leave_the_range_on_the_way(
    dtype: np.dtype, weight: float, sample_weight: float
) -> None:
    x = np.log(np.array([[0.1, 0.1, 0.8]])).astype(dtype)
    options: dict[str, Any] = {"weight": [weight] * 3, "sample_weight": sample_weight}
    alone = sl.cross_entropy(x, [1], **options)
    np.testing.assert_allclose(alone, weight * sample_weight * -np.log(0.1), rtol=1e-6)
    together = sl.cross_entropy(np.repeat(x, 40, axis=0), [1] * 40, **options)
    assert (together == alone).all()
    x[0, 1] = -np.inf
    options = {"weight": [1e-300] * 3, "sample_weight": 1e-300}
    for rows in (1, 40):
        loss = sl.cross_entropy(np.repeat(x, rows, axis=0), [1] * rows, **options)
        assert (loss == np.inf).all()


@pytest.mark.parametrize("rows", [1, 40])
def test_an_infinite_share_of_the_target_is_an_infinite_loss(dtype: np.dtype, rows: int) -> None:
    x = np.tile(np.log([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]), (rows, 1)).astype(dtype)
    loss = sl.cross_entropy(x, np.tile([[1, 0, 0], [0, 0, np.inf]], (rows, 1)))
    assert np.isfinite(loss[::2]).all()
    assert (loss[1::2] == np.inf).all()


def test_shares_whose_plain_sum_overflows_do_so_in_a_group_too(isa: str) -> None:
    """Compensated, they add up to the largest float64."""
    rest = 2.0**969 + 2.0**917
    target = [2.0**1022 + 2.0**970, (2 - 2.0**-1 - 2.0**-51) * 2.0**1023, rest, 0.0, rest]
    x, targets = np.zeros((16, 5)), np.tile(target, (16, 1))
    alone = sl.cross_entropy_grad(x[:1], targets[:1])
    np.testing.assert_array_equal(sl.cross_entropy_grad(x, targets), np.tile(alone, (16, 1)))


@pytest.mark.parametrize("base", [5e-324, 1e-310, 1e-302, 2.0**-500, 2.0**500, 1e307, 1.7e308])
def test_entropy_to_any_base(dtype: np.dtype, base: float) -> None:
    got = sl.entropy(np.array([0, 1], dtype), base=base)
    assert ulp_error(got, entropy_row([0, 1], base=base), dtype) <= 2


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize("steps", [(0, 1, 0), (0, 20, -20), (3, -3, 7)])
def test_subnormal_logits_over_a_subnormal_temperature(
    dtype: np.dtype, steps: tuple[int, ...], rows: int
) -> None:
    step = float(np.finfo(dtype).smallest_subnormal)
    x = np.tile(np.array(steps) * step, (rows, 1)).astype(dtype)
    got = sl.log_softmax(x, temperature=step)[-1]
    assert (ulp_error(got, log_softmax_row(x[0], step), dtype) <= 2).all()
