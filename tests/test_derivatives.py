"""Derivatives are derivatives: mpmath's own, and the laws that a Hessian obeys."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt
import oracle
import pytest
from operations import make_inputs
from oracle import ulp_error
from rows import hard_rows

import softlane as sl

Array = npt.NDArray[Any]

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "weight": {"weight": [0.5, 1.0, 0.25, 0.75]},
    "smoothing": {"label_smoothing": 0.2},
    "all": {"weight": [0.5, 1.0, 0.25, 0.75], "label_smoothing": 0.2, "sample_weight": 0.375},
}
SMALL_SHAPES = [(40, 1), (40, 2), (40, 3), (40, 16), (40, 17), (20, 100)]


def _bound(name: str, dtype: np.dtype) -> float:
    return float(sl._core.max_ulp(name, dtype.name))


def _assert_within(name: str, got: Any, exact: Any, dtype: np.dtype, size: Any = None) -> None:
    error = ulp_error(got, exact, dtype, size).max()
    assert error <= _bound(name, dtype), f"{name}: {error} ULP"


def _ordinary_rows(dtype: np.dtype) -> Array:
    x = np.random.default_rng(3).standard_normal((6, 4)) * [[0.1], [1], [4], [10], [1], [1]]
    x[4, 1] += 30
    x[5] = [2, 2, -1, 2]
    return x.astype(dtype)


# --- mpmath differentiates the loss itself ------------------------------------------------------


@oracle.mp.workprec(400)
def _differentiated(x: Array, y: int, orders: dict[int, int], options: dict[str, Any]) -> Any:
    """mpmath's numerical derivative of the loss, of the given orders in the given logits."""

    def loss(*logits: Any) -> Any:
        total = mpmath.log(mpmath.fsum(mpmath.exp(v) for v in logits))
        t = oracle.target_row(len(logits), y, options.get("label_smoothing", 0.0))
        w = options.get("weight", [1.0] * len(logits))
        s = options.get("sample_weight", 1.0)
        terms = (mpmath.mpf(a) * b * (total - v) for a, b, v in zip(w, t, logits, strict=True))
        return s * mpmath.fsum(terms)

    wanted = tuple(orders.get(k, 0) for k in range(len(x)))
    return mpmath.diff(loss, tuple(mpmath.mpf(float(v)) for v in x), wanted)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_gradient_is_the_derivative_of_the_loss(dtype: np.dtype, options: dict[str, Any]) -> None:
    for y, x in enumerate(_ordinary_rows(dtype)):
        label = y % 4
        exact = [_differentiated(x, label, {k: 1}, options) for k in range(4)]
        got = sl.cross_entropy_grad(x, label, **options)
        wt = oracle.Rows(x[None]).weighted_target(
            np.array([label]), np.array(options.get("weight", [1.0] * 4)),
            options.get("label_smoothing", 0.0),
        )  # fmt: skip
        size = oracle.Rows(x[None]).gradient(wt, options.get("sample_weight", 1.0))[1][0]
        _assert_within("gradient", got, exact, dtype, [float(v) for v in size])


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_hessian_is_the_second_derivative_of_the_loss(
    dtype: np.dtype, options: dict[str, Any]
) -> None:
    for y, x in enumerate(_ordinary_rows(dtype)):
        label = y % 4
        exact = [
            [_differentiated(x, label, {i: 1, j: 1} if i != j else {i: 2}, options)
             for j in range(4)] for i in range(4)
        ]  # fmt: skip
        got = sl.cross_entropy_hessian(x, label, **options)
        _assert_within("hessian", got, exact, dtype)
        diagonal = [exact[k][k] for k in range(4)]
        _assert_within(
            "hess_diag", sl.cross_entropy_hessian_diag(x, label, **options), diagonal, dtype
        )


@pytest.mark.usefixtures("isa")
def test_softmax_is_the_derivative_of_logsumexp(dtype: np.dtype) -> None:
    for x in _ordinary_rows(dtype):
        with oracle.mp.workprec(400):
            exact = [
                mpmath.diff(
                    lambda *v: mpmath.log(mpmath.fsum(mpmath.exp(u) for u in v)),
                    tuple(mpmath.mpf(float(v)) for v in x),
                    tuple(int(j == k) for j in range(4)),
                )
                for k in range(4)
            ]
        _assert_within("softmax", sl.softmax(x), exact, dtype)


# --- the closed forms at high precision, hard rows included --------------------------------------


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("classes", [1, 2, 3, 5])
def test_curvature_is_within_its_bound_of_mpmath(dtype: np.dtype, classes: int) -> None:
    for i, x in enumerate(hard_rows(120, classes, dtype, seed=9)):
        exact = oracle.hessian_row(x, i % classes)
        _assert_within("hessian", sl.cross_entropy_hessian(x), exact, dtype)
        diagonal = [exact[k][k] for k in range(classes)]
        _assert_within("hess_diag", sl.cross_entropy_hessian_diag(x), diagonal, dtype)


def _hvp_size(x: Array, v: Array) -> list[float]:
    return [float(s) for s in oracle.Rows(x[None]).hvp(v[None])[1][0]]


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("classes", [1, 2, 3, 5])
def test_products_and_solves_are_within_their_bound_of_mpmath(
    dtype: np.dtype, classes: int
) -> None:
    rng = np.random.default_rng(10)
    for x in hard_rows(60, classes, dtype, seed=10):
        v = rng.uniform(-1, 1, classes).astype(dtype)
        damping = 10 ** rng.uniform(-3, 1)
        hessian = oracle.hessian_row(x)
        exact = oracle.hvp_row(hessian, v)
        _assert_within("hvp", sl.cross_entropy_hvp(x, v), exact, dtype, _hvp_size(x, v))
        solution = oracle.solve_row(hessian, v, damping)
        size = oracle.Rows(x[None]).solve(v[None], damping)[1][0]
        got = sl.cross_entropy_hessian_solve(x, v, damping)
        _assert_within("solve", got, solution, dtype, [float(s) for s in size])


# --- laws ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", SMALL_SHAPES, ids=str)
def test_hessian_is_symmetric_to_the_bit(dtype: np.dtype, shape: tuple[int, int]) -> None:
    a = make_inputs(*shape, dtype)
    h = sl.cross_entropy_hessian(a.logits, a.labels, weight=a.weight)
    assert h.shape == (*shape, shape[1])
    assert h.tobytes() == np.ascontiguousarray(h.transpose(0, 2, 1)).tobytes()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", SMALL_SHAPES, ids=str)
def test_hessian_times_ones_is_zero(dtype: np.dtype, shape: tuple[int, int]) -> None:
    a = make_inputs(*shape, dtype)
    for constant in (1, -0.1, 3e30):
        vector = np.full_like(a.logits, constant)
        assert (sl.cross_entropy_hvp(a.logits, vector) == 0).all()
    h = sl.cross_entropy_hessian(a.logits).astype(np.float64)
    rows_of_h = np.abs(h).sum(-1)
    # every entry is within its bound, so the sum is within that of the sum of absolute values
    allowed = _bound("hessian", dtype) * (
        rows_of_h * np.finfo(dtype).eps + shape[1] * np.finfo(dtype).smallest_subnormal
    )
    assert (np.abs(h.sum(-1)) <= allowed + shape[1] * rows_of_h * 2.0**-53).all()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", SMALL_SHAPES, ids=str)
def test_hessian_is_positive_semidefinite(dtype: np.dtype, shape: tuple[int, int]) -> None:
    a = make_inputs(*shape, dtype)
    h = sl.cross_entropy_hessian(a.logits).astype(np.float64)
    trace = np.trace(h, axis1=1, axis2=2)
    least = np.linalg.eigvalsh(h).min(-1)
    allowed = _bound("hessian", dtype) * np.finfo(dtype).eps * np.abs(h).sum((1, 2))
    assert (least >= -allowed - shape[1] * np.finfo(np.float64).eps * trace).all()
    if shape[1] > 1:
        assert (trace[::4] > 0).all()  # the others may be saturated to the last bit


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", SMALL_SHAPES, ids=str)
def test_hvp_is_the_hessian_times_the_vector(dtype: np.dtype, shape: tuple[int, int]) -> None:
    a = make_inputs(*shape, dtype)
    wide = {"logits": a.logits.astype(np.float64), "target": a.labels, "weight": a.weight}
    h = sl.cross_entropy_hessian(**wide)
    wanted = np.einsum("nij,nj->ni", h, a.vector.astype(np.float64))
    size = np.einsum("nij,nj->ni", np.abs(h), np.abs(a.vector.astype(np.float64)))
    got = sl.cross_entropy_hvp(a.logits, a.vector, a.labels, weight=a.weight)
    eps = np.finfo(dtype).eps
    tolerance = 2 * _bound("hvp", dtype) * (eps * size + np.finfo(dtype).smallest_subnormal)
    assert (np.abs(got - wanted) <= tolerance + shape[1] * 2.0**-52 * size).all()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", SMALL_SHAPES, ids=str)
def test_solve_inverts_the_damped_hessian(dtype: np.dtype, shape: tuple[int, int]) -> None:
    a = make_inputs(*shape, dtype)
    z = sl.cross_entropy_hessian_solve(a.logits, a.vector, a.damping, a.labels, weight=a.weight)
    wide = a.logits.astype(np.float64)
    h = sl.cross_entropy_hessian(wide, a.labels, weight=a.weight)
    matrix = h + a.damping[:, None, None] * np.eye(shape[1])
    back = np.einsum("nij,nj->ni", matrix, z.astype(np.float64))
    norm = np.linalg.norm(matrix, axis=(1, 2)) * np.linalg.norm(z.astype(np.float64), axis=1)
    allowed = 4 * _bound("solve", dtype) * np.finfo(dtype).eps * norm
    assert (np.linalg.norm(back - a.vector, axis=1) <= allowed).all()
    if shape[1] == 1:  # the Hessian is 0
        np.testing.assert_allclose(
            z[:, 0], a.vector[:, 0] / a.damping, rtol=_bound("solve", dtype) * np.finfo(dtype).eps
        )


@pytest.mark.skipif(not oracle.wide_enough, reason="long double has no 64 bits of precision")
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("classes", [2, 7, 40, 300, 1500])
def test_hvp_is_within_its_bound_of_the_terms_whatever_the_maximums_entry(
    dtype: np.dtype, classes: int
) -> None:
    """The terms are H_kj v_j: one entry far from all others is no reason to lose theirs."""
    rng = np.random.default_rng(classes)
    x = rng.standard_normal((20, classes)) / 100
    x[::3] = 0
    v = rng.uniform(1, 2, x.shape) * np.where(np.arange(20) % 2, 1, -1)[:, None]
    v[np.arange(20), x.argmax(-1)] = 10 ** rng.uniform(-3, 7, 20)
    v[::5] = 5 + rng.standard_normal(classes) / 1000
    x, v = x.astype(dtype), v.astype(dtype)
    p, wide = oracle.Rows(x).softmax(), v.astype(oracle.LD)
    sizes = p * np.abs(wide)
    size = p * ((1 - 2 * p) * np.abs(wide) + sizes.sum(-1, keepdims=True))
    wanted = p * (wide - (p * wide).sum(-1, keepdims=True))
    for got in (
        sl.cross_entropy_hvp(x, v),
        sl.cross_entropy_hvp(np.asfortranarray(x), np.asfortranarray(v)),
        np.array([sl.cross_entropy_hvp(a, b) for a, b in zip(x, v, strict=True)]),
    ):
        assert oracle.ulp_error(got, wanted, dtype, size).max() <= _bound("hvp", dtype)


@pytest.mark.usefixtures("isa")
def test_entries_like_the_maximums_keep_what_the_others_leave_them(dtype: np.dtype) -> None:
    """Of a confident row they are -p_k times the mean, which is as small as the others' p."""
    for x0 in (14.0, 25.0, 30.0, 60.0):
        x = np.array([[x0, 0, 0]], dtype)
        for v in ([1, 1, 2], [1e6, 1e6, 1e6 + 1]):
            vector = np.array([v], dtype)
            exact = oracle.hvp_row(oracle.hessian_row(x[0]), vector[0])
            got = sl.cross_entropy_hvp(x, vector)[0]
            _assert_within("hvp", got, exact, dtype, _hvp_size(x[0], vector[0]))
            assert got[1] != 0 or abs(exact[1]) < np.finfo(dtype).smallest_subnormal
            for copies in (40, 4):
                many = sl.cross_entropy_hvp(np.tile(x, (copies, 1)), np.tile(vector, (copies, 1)))
                assert (many == got).all()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("classes", [3, 100, 1022, 1500, 5000])
def test_hessian_times_a_constant_is_zero_in_any_sum(dtype: np.dtype, classes: int) -> None:
    x = np.random.default_rng(classes).standard_normal((20, classes))
    x[::4, 2:] = 0.3  # equal terms beside larger ones, whose sums keep one rounding
    x[::4, :2] = 5
    for constant in (1, -0.1):
        vector = np.full(x.shape, constant, dtype)
        assert (sl.cross_entropy_hvp(x.astype(dtype), vector) == 0).all()
        columns = sl.cross_entropy_hvp(np.asfortranarray(x, dtype), np.asfortranarray(vector))
        assert (columns == 0).all()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("classes", [3, 17, 65, 300, 1500])
def test_one_entry_of_another_kind_counts_wherever_it_is(dtype: np.dtype, classes: int) -> None:
    """For the number that a vector is shifted by, which is looked for until it is known to be 0."""
    places = {p for p in (0, 1, 15, 63, 64, 299, 1030, classes - 1) if p < classes}
    kinds = (-1, 0.0, -0.0, 0.5, np.nan, np.inf)
    v = np.ones((len(places) * len(kinds), classes), dtype)
    for row, (k, value) in enumerate((k, value) for k in places for value in kinds):
        v[row, k] = value
    v[1::2] *= -1
    x = (np.random.default_rng(classes).standard_normal(v.shape) / 10).astype(dtype)
    alone = np.array([sl.cross_entropy_hvp(a, b) for a, b in zip(x, v, strict=True)])
    columns = sl.cross_entropy_hvp(np.asfortranarray(x), np.asfortranarray(v))
    for got in (sl.cross_entropy_hvp(x, v), columns):
        np.testing.assert_array_equal(got, alone)
        numbers = ~np.isnan(alone)
        np.testing.assert_array_equal(np.signbit(got[numbers]), np.signbit(alone[numbers]))


@pytest.mark.usefixtures("isa")
def test_hvp_of_entries_at_both_ends_of_the_range(dtype: np.dtype) -> None:
    large = float(np.finfo(dtype).max) / (1 if dtype == np.float32 else 2.0**60)
    v = np.array([large, -large], dtype)
    got = sl.cross_entropy_hvp(np.zeros(2, dtype), v)
    assert got.tobytes() == (v / 2).tobytes()


@pytest.mark.usefixtures("isa")
def test_hvp_takes_leading_dimensions(dtype: np.dtype) -> None:
    a = make_inputs(6, 5, dtype)
    x = a.logits.reshape(2, 3, 5)
    v = np.stack([np.roll(a.vector, k, 0) for k in range(8)]).reshape(4, 2, 2, 3, 5)
    y = a.labels.reshape(2, 3)
    got = sl.cross_entropy_hvp(x, v, y, weight=a.weight)
    assert got.shape == v.shape
    for i in np.ndindex(4, 2):
        one = sl.cross_entropy_hvp(x, v[i], y, weight=a.weight)
        assert got[i].tobytes() == one.tobytes()
    # the classes on another axis: counted in the logits
    moved = np.ascontiguousarray(np.moveaxis(v, -1, 2))
    by_column = sl.cross_entropy_hvp(np.moveaxis(x, -1, 0), moved, y, axis=0, weight=a.weight)
    assert np.ascontiguousarray(np.moveaxis(by_column, 2, -1)).tobytes() == got.tobytes()


@pytest.mark.usefixtures("isa")
def test_hvp_of_unit_vectors_is_the_hessian(dtype: np.dtype) -> None:
    x = _ordinary_rows(dtype)
    units = np.broadcast_to(np.eye(4, dtype=dtype)[:, None, :], (4, 6, 4))
    columns = sl.cross_entropy_hvp(x, units)
    h = sl.cross_entropy_hessian(x)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(columns.transpose(1, 0, 2), h, rtol=8 * eps, atol=4 * eps)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("shape", [(50, 3), (30, 17), (20, 300), (4, 2100)], ids=str)
def test_fused_results_are_the_separate_ones_to_the_bit(
    dtype: np.dtype, shape: tuple[int, int], reduction: str
) -> None:
    a = make_inputs(*shape, dtype)
    weighted = {"weight": a.weight, "sample_weight": a.sample_weight, "label_smoothing": 0.25}
    for target in (a.labels, a.probabilities):
        for options in ({}, weighted):
            arguments = {"logits": a.finite, "target": target, "reduction": reduction, **options}
            loss, gradient = sl.cross_entropy_value_and_grad(**arguments)
            assert loss.tobytes() == sl.cross_entropy(**arguments).tobytes()
            assert gradient.tobytes() == sl.cross_entropy_grad(**arguments).tobytes()
            gradient, diagonal = sl.cross_entropy_grad_and_hess_diag(**arguments)
            assert gradient.tobytes() == sl.cross_entropy_grad(**arguments).tobytes()
            assert diagonal.tobytes() == sl.cross_entropy_hessian_diag(**arguments).tobytes()


@pytest.mark.usefixtures("isa")
def test_diagonal_is_that_of_the_hessian(dtype: np.dtype) -> None:
    for x in hard_rows(60, 5, dtype, seed=12):
        h = sl.cross_entropy_hessian(x)
        exact = [float(v) for v in np.diagonal(h)]
        diagonal = sl.cross_entropy_hessian_diag(x)
        error = ulp_error(diagonal, np.array(exact, oracle.LD), dtype).max()
        assert error <= _bound("hess_diag", dtype) + _bound("hessian", dtype)


@pytest.mark.usefixtures("isa")
def test_target_none_is_any_label(dtype: np.dtype) -> None:
    a = make_inputs(20, 7, dtype)
    s = {"sample_weight": a.sample_weight}
    none, label = {"target": None, **s}, {"target": a.labels, **s}
    for x_and in (
        lambda o: sl.cross_entropy_hessian(a.logits, **o),
        lambda o: sl.cross_entropy_hessian_diag(a.logits, **o),
        lambda o: sl.cross_entropy_hvp(a.logits, a.vector, **o),
        lambda o: sl.cross_entropy_hessian_solve(a.logits, a.vector, a.damping, **o),
    ):
        assert x_and(none).tobytes() == x_and(label).tobytes()
