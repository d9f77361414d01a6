"""Every option of the losses, each alone and together, and the same in every derivative."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import oracle
import pytest
from operations import make_inputs
from oracle import ulp_error

import softlane as sl

Array = npt.NDArray[Any]
ROWS, CLASSES = 24, 5


@pytest.fixture
def x(dtype: np.dtype) -> Array:
    return make_inputs(ROWS, CLASSES, dtype, seed=4).finite


@pytest.fixture
def labels() -> Array:
    return np.arange(ROWS) * 7 % CLASSES


@pytest.fixture
def probabilities(dtype: np.dtype) -> Array:
    t = make_inputs(ROWS, CLASSES, dtype, seed=5).probabilities
    t[::3, 1] = 0
    return t


WEIGHT = np.array([0.5, 1.0, 0.25, 0.0, 0.75])
SAMPLE_WEIGHT = 0.25 + np.arange(ROWS) % 4 * 0.25


def _assert_within(bound: str, got: Any, exact: Any, dtype: np.dtype, size: Any = None) -> None:
    error = ulp_error(got, exact, dtype, size).max()
    assert error <= sl._core.max_ulp(bound, dtype.name), f"{bound}: {error} ULP"


def _assert_row_is_exact(x: Array, target: Any, dtype: np.dtype, **options: Any) -> None:
    """Loss and gradient of one row, against mpmath."""
    loss, gradient = sl.cross_entropy_value_and_grad(x, target, **options)
    _assert_within("loss", loss, oracle.loss_row(x, target, **options), dtype)
    wt = oracle._weighted_target(
        len(x), target, options.get("weight"), options.get("label_smoothing", 0.0)
    )
    total = oracle.mp.fsum(wt)
    exact = oracle.gradient_row(x, target, **options)
    if sum(t != 0 for t in wt) == 1:  # all on one class
        size = None
    else:
        s = options.get("sample_weight", 1.0)
        p = oracle.softmax_row(x)
        size = [s * max(total * a, b) for a, b in zip(p, wt, strict=True)]
    _assert_within("gradient", gradient, exact, dtype, size)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("kind", ["labels", "probabilities"])
def test_losses_and_gradients_are_as_defined(
    dtype: np.dtype,
    x: Array,
    labels: Array,
    probabilities: Array,
    smoothing: float,
    weight: Array | None,
    kind: str,
) -> None:
    for i in range(ROWS):
        target = int(labels[i]) if kind == "labels" else probabilities[i]
        options: dict[str, Any] = {"sample_weight": float(SAMPLE_WEIGHT[i])}
        if smoothing:
            options["label_smoothing"] = smoothing
        if weight is not None:
            options["weight"] = weight
        _assert_row_is_exact(x[i], target, dtype, **options)


@pytest.mark.usefixtures("isa")
def test_weight_scales_the_loss_of_its_class(x: Array, labels: Array) -> None:
    loss = sl.cross_entropy(x, labels, weight=WEIGHT)
    plain = sl.cross_entropy(x, labels)
    np.testing.assert_allclose(loss, plain * WEIGHT[labels], rtol=5 * np.finfo(x.dtype).eps)
    assert (loss[labels == 3] == 0).all()  # weight 0


@pytest.mark.usefixtures("isa")
def test_sample_weight_scales_its_row(x: Array, labels: Array) -> None:
    for scale in (SAMPLE_WEIGHT, 0.25, SAMPLE_WEIGHT[:1]):  # broadcast to the rows
        by_row = np.broadcast_to(scale, ROWS)
        loss, gradient = sl.cross_entropy_value_and_grad(x, labels, sample_weight=scale)
        plain_loss, plain_gradient = sl.cross_entropy_value_and_grad(x, labels)
        # powers of two and 3/4: at most one rounding more
        rtol = 5 * np.finfo(x.dtype).eps
        np.testing.assert_allclose(loss, plain_loss * by_row, rtol=rtol)
        least = float(np.finfo(x.dtype).smallest_subnormal)
        scaled = plain_gradient * by_row[:, None]
        np.testing.assert_allclose(gradient, scaled, rtol=rtol, atol=4 * least)


@pytest.mark.usefixtures("isa")
def test_sample_weight_broadcasts_over_all_row_dimensions(x: Array, labels: Array) -> None:
    solid, y = x.reshape(2, 3, 4, CLASSES), labels.reshape(2, 3, 4)
    for shape in ((), (4,), (3, 1), (2, 1, 1), (1, 3, 4), (2, 3, 4)):
        s = 1 + np.arange(math.prod(shape)).reshape(shape) * 0.5
        got = sl.cross_entropy(solid, y, sample_weight=s)
        full = np.broadcast_to(s, y.shape)
        assert got.tobytes() == sl.cross_entropy(solid, y, sample_weight=full.copy()).tobytes()
        assert got.shape == y.shape


@pytest.mark.usefixtures("isa")
def test_one_hot_probabilities_are_labels(x: Array, labels: Array) -> None:
    t = sl.one_hot(labels, CLASSES, dtype=x.dtype)
    for options in ({}, {"weight": WEIGHT}, {"label_smoothing": 0.2}):
        hard = sl.cross_entropy_value_and_grad(x, labels, **options)
        soft = sl.cross_entropy_value_and_grad(x, t, **options)
        eps = np.finfo(x.dtype).eps
        np.testing.assert_allclose(soft[0], hard[0], rtol=4 * eps)
        np.testing.assert_allclose(soft[1], hard[1], rtol=4 * eps, atol=2 * eps)


@pytest.mark.usefixtures("isa")
def test_label_smoothing_mixes_in_the_uniform_target(x: Array, labels: Array) -> None:
    eps = np.finfo(x.dtype).eps
    uniform = np.full_like(x, 1 / CLASSES)
    mixed = 0.75 * sl.cross_entropy(x, labels) + 0.25 * sl.cross_entropy(x, uniform)
    got = sl.cross_entropy(x, labels, label_smoothing=0.25)
    np.testing.assert_allclose(got, mixed, rtol=8 * eps)
    whole = sl.cross_entropy(x, labels, label_smoothing=1)
    np.testing.assert_allclose(whole, sl.cross_entropy(x, uniform), rtol=5 * eps)
    none = sl.cross_entropy(x, labels, label_smoothing=0.0)
    assert none.tobytes() == sl.cross_entropy(x, labels).tobytes()


@pytest.mark.usefixtures("isa")
def test_probabilities_need_not_sum_to_one(x: Array, probabilities: Array) -> None:
    twice = sl.cross_entropy(x, probabilities * 2)
    assert twice.tobytes() == (sl.cross_entropy(x, probabilities) * 2).tobytes()
    zero = sl.cross_entropy_value_and_grad(x, np.zeros_like(x))
    assert (zero[0] == 0).all()
    assert (zero[1] == 0).all()


# --- ignore_index -------------------------------------------------------------------------------


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("ignored", [-100, -1, 0, 3, CLASSES, 2**40])
def test_ignored_rows_are_zero_whatever_they_hold(x: Array, labels: Array, ignored: int) -> None:
    labels = labels.copy()
    labels[::5] = ignored
    gone = labels == ignored
    spoiled = x.copy()
    spoiled[gone] = np.resize([np.nan, np.inf, -np.inf, 1, 3e38], (gone.sum(), CLASSES))
    v, damping = np.ones_like(x), 0.5
    v[:, ::2] = -2
    arguments = {"target": labels, "ignore_index": ignored}
    results = {
        "loss": sl.cross_entropy(spoiled, **arguments),
        "gradient": sl.cross_entropy_grad(spoiled, **arguments),
        "hessian": sl.cross_entropy_hessian(spoiled, **arguments),
        "diagonal": sl.cross_entropy_hessian_diag(spoiled, **arguments),
        "hvp": sl.cross_entropy_hvp(spoiled, v, **arguments),
        "smoothed": sl.cross_entropy(spoiled, **arguments, label_smoothing=0.1, weight=WEIGHT),
        "soft gradient": sl.cross_entropy_grad(spoiled, **arguments, label_smoothing=0.1),
    }
    for name, result in results.items():
        assert (result[gone] == 0).all(), name
        assert np.isfinite(result[~gone]).all(), name
    fused = sl.cross_entropy_value_and_grad(spoiled, **arguments)
    assert fused[0].tobytes() == results["loss"].tobytes()
    assert fused[1].tobytes() == results["gradient"].tobytes()
    # the Hessian is 0 there: the solve divides by the damping
    z = sl.cross_entropy_hessian_solve(spoiled, v, damping, **arguments)
    np.testing.assert_array_equal(z[gone], v[gone] / damping)
    kept = ~gone
    if kept.any():
        alone = sl.cross_entropy_value_and_grad(x[kept], labels[kept])
        assert results["loss"][kept].tobytes() == alone[0].tobytes()
        assert results["gradient"][kept].tobytes() == alone[1].tobytes()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("label", ["uint8", "int8", "int16", "uint16", "int32", "int64", "uint64"])
def test_labels_of_any_integer_dtype(x: Array, labels: Array, label: str) -> None:
    wanted = sl.cross_entropy(x, labels)
    plain = labels.astype(label)
    swapped, strided = plain.astype(plain.dtype.newbyteorder()), np.repeat(plain, 2)[::2]
    for typed in (plain, swapped, strided, plain.tolist()):
        assert sl.cross_entropy(x, typed).tobytes() == wanted.tobytes()


@pytest.mark.usefixtures("isa")
def test_unsigned_labels_do_not_become_negative(x: Array, labels: Array) -> None:
    huge = labels.astype(np.uint64)
    huge[3] = 2**64 - 1
    with pytest.raises(IndexError, match=r"^cross_entropy: target\[3\] is 18446744073709551615"):
        sl.cross_entropy(x, huge, ignore_index=-1)


MANY = 3000  # labels that are read where they lie


def _misaligned(labels: Array) -> Array:
    raw = np.zeros(labels.nbytes + 1, np.uint8)[1:]
    raw[:] = np.frombuffer(labels.tobytes(), np.uint8)
    return raw.view(labels.dtype)


@pytest.mark.parametrize("classes", [3, 20, 100, 1100])
def test_many_labels_wherever_they_lie(dtype: np.dtype, classes: int) -> None:
    x = make_inputs(MANY, classes, dtype, seed=6).finite
    labels = np.random.default_rng(7).integers(0, classes, MANY)
    weight = np.linspace(0.25, 1.0, classes)

    def results(target: Array, **options: Any) -> list[bytes]:
        loss, gradient = sl.cross_entropy_value_and_grad(x, target, **options)
        return [loss.tobytes(), gradient.tobytes()]

    everywhere = [labels, labels.astype(np.int32), labels.astype(">i8"), labels.astype(np.uint64)]
    everywhere += [np.repeat(labels, 2)[::2], labels[::-1].copy()[::-1], _misaligned(labels)]
    for options in ({}, {"weight": weight, "reduction": "mean"}, {"ignore_index": -100}):
        parts = [
            sl.cross_entropy_value_and_grad(x[i : i + 100], labels[i : i + 100])
            for i in range(0, MANY, 100)
        ]
        wanted = results(everywhere[1], **options)
        if "weight" not in options:
            assert wanted == [b"".join(part[i].tobytes() for part in parts) for i in (0, 1)]
        for target in everywhere:
            assert results(target, **options) == wanted
    ignored = labels.copy()
    ignored[2500::100] = -100
    wanted = results(ignored.astype(np.int32), ignore_index=-100)
    assert results(ignored, ignore_index=-100) == wanted != results(labels)
    for target in (labels.copy(), labels.astype(np.int32)):
        target[2999] = classes
        with pytest.raises(IndexError, match=rf"target\[2999\] is {classes}, but there are"):
            results(target)
        target[2500] = -100
        with pytest.raises(IndexError, match=r"target\[2500\] is -100, but there are"):
            results(target, ignore_index=-1)
        with pytest.raises(IndexError, match=rf"target\[2999\] is {classes}, but there are"):
            results(target, ignore_index=-100)


def test_many_labels_where_the_result_goes() -> None:
    x = make_inputs(MANY, 10, np.dtype(np.float64), seed=6).finite
    labels = np.arange(MANY) % 10
    wanted = sl.cross_entropy(x, labels)
    memory = np.append(labels, [0, 0])
    for shift in (0, 1, 2):
        memory[:MANY] = labels
        out = memory[shift : shift + MANY].view(np.float64)
        assert sl.cross_entropy(x, memory[:MANY], out=out) is out
        assert out.tobytes() == wanted.tobytes()


# --- reductions ---------------------------------------------------------------------------------


def _exact_sum(values: Array) -> Any:
    return math.fsum(values.astype(np.float64).tolist())


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("use_weight", [False, True])
@pytest.mark.parametrize("use_sample_weight", [False, True])
@pytest.mark.parametrize("kind", ["labels", "ignored", "probabilities"])
def test_reductions_sum_and_divide_as_defined(
    x: Array,
    labels: Array,
    probabilities: Array,
    smoothing: float,
    use_weight: bool,
    use_sample_weight: bool,
    kind: str,
) -> None:
    options: dict[str, Any] = {"label_smoothing": smoothing}
    weight = WEIGHT if use_weight else np.ones(CLASSES)
    s = SAMPLE_WEIGHT if use_sample_weight else np.ones(ROWS)
    if use_weight:
        options["weight"] = weight
    if use_sample_weight:
        options["sample_weight"] = s
    kept = np.ones(ROWS, bool)
    if kind == "probabilities":
        options["target"], divisor = probabilities, s.sum()
    else:
        options["target"] = labels
        if kind == "ignored":
            options["ignore_index"] = 2
            kept = labels != 2
        divisor = (s * weight[labels])[kept].sum()
    eps = np.finfo(x.dtype).eps
    losses, gradient = sl.cross_entropy_value_and_grad(x, **options)
    hessian = sl.cross_entropy_hessian(x, **options)
    for reduction, scale in (("sum", 1.0), ("mean", 1 / divisor)):
        total = sl.cross_entropy(x, reduction=reduction, **options)
        assert isinstance(total, x.dtype.type)
        assert total == pytest.approx(_exact_sum(losses) * scale, rel=8 * float(eps))
        least = float(np.finfo(x.dtype).smallest_subnormal)
        reduced = sl.cross_entropy_grad(x, reduction=reduction, **options)
        # a target on all classes is subtracted: its rounding counts, at most that of W = 3
        size = 3 * s[:, None] * scale if smoothing or kind == "probabilities" else gradient * scale
        allowed = 6 * eps * np.abs(size) + 4 * least
        assert (np.abs(reduced - gradient * scale) <= allowed).all()
        curved = sl.cross_entropy_hessian(x, reduction=reduction, **options)
        np.testing.assert_allclose(curved, hessian * scale, rtol=10 * eps, atol=8 * least)


@pytest.mark.usefixtures("isa")
def test_sums_run_in_float64() -> None:
    """Float32 losses of 0.25 and one of 2**23: a float32 sum would lose all the small ones."""
    x = np.zeros((40_001, 2), np.float32)
    x[0, 1] = 2.0**23
    labels = np.zeros(len(x), np.int64)
    got = sl.cross_entropy(x, labels, reduction="sum")
    assert got == np.float32(2.0**23 + 40_000 * math.log(2))
    mean = sl.cross_entropy(x, labels, reduction="mean")
    assert mean == np.float32((2.0**23 + 40_000 * math.log(2)) / 40_001)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("kind", ["ignored", "empty"])
def test_mean_of_nothing_is_nan_and_sum_is_zero(dtype: np.dtype, x: Array, kind: str) -> None:
    logits = x if kind == "ignored" else x[:0]
    labels = np.full(len(logits), -1)
    for function in (sl.cross_entropy, lambda *a, **k: sl.cross_entropy_value_and_grad(*a, **k)[0]):
        mean = function(logits, labels, ignore_index=-1, reduction="mean")
        total = function(logits, labels, ignore_index=-1, reduction="sum")
        assert isinstance(mean, dtype.type)
        assert np.isnan(mean)
        assert total == 0
    gradient = sl.cross_entropy_grad(logits, labels, ignore_index=-1, reduction="mean")
    assert gradient.shape == logits.shape
    assert (gradient == 0).all()
    hessian = sl.cross_entropy_hessian(logits, labels, ignore_index=-1, reduction="mean")
    assert (hessian == 0).all()


@pytest.mark.usefixtures("isa")
def test_mean_is_the_average_of_equal_rows(dtype: np.dtype) -> None:
    x = np.tile(np.array([0.5, -1.0, 1.0], dtype), (10, 1))
    labels = np.ones(10, np.int64)
    one = sl.cross_entropy(x[0], 1)
    mean = sl.cross_entropy(x, labels, reduction="mean")
    assert mean == pytest.approx(float(one), rel=4 * float(np.finfo(dtype).eps))
    # every weight the same: nothing changes
    weighted = sl.cross_entropy(x, labels, weight=[3.0] * 3, sample_weight=2.0, reduction="mean")
    assert weighted == pytest.approx(float(one), rel=5 * float(np.finfo(dtype).eps))


# --- every derivative uses the same options -------------------------------------------------------


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("power", [-1074, -1030, -1000, 1000, 1021])
def test_a_mean_is_the_same_whatever_the_unit_of_its_weights(power: int) -> None:
    """Weights whose sum, or its reciprocal, is no number of float64."""
    scale = 2.0**power
    x, y = np.random.default_rng(4).standard_normal((5, 3)), [0, 1, 2, 1, 0]
    weights = np.array([1, 2, 4, 0, 1.0])
    functions = (sl.cross_entropy, sl.cross_entropy_grad, sl.cross_entropy_hessian)
    for function in functions:
        plain = function(x, y, sample_weight=weights, reduction="mean")
        got = function(x, y, sample_weight=weights * scale, reduction="mean")
        assert got.tobytes() == plain.tobytes()
        classes = np.array([1, 0.5 if scale > 1 else 2, 4])
        plain = function(x, y, weight=classes, reduction="mean")
        got = function(x, y, weight=classes * scale, reduction="mean")
        assert got.tobytes() == plain.tobytes()


def test_weights_that_do_not_count_are_not_what_a_mean_is_scaled_by() -> None:
    x, mean = np.zeros((2, 2)), {"reduction": "mean"}
    for options in (
        {"weight": [1e200, 1e-200]},
        {"weight": [1e300, 1e-310]},
        {"weight": [1e300, 1e-310], "sample_weight": [1e-200, 1e-200]},
        {"weight": [1.0, 1e-310], "sample_weight": [0, 1e-310]},
    ):
        assert sl.cross_entropy(x, [1, 1], **options, **mean) == pytest.approx(np.log(2), rel=1e-15)
        gradient = sl.cross_entropy_grad(x, [1, 1], **options, **mean)
        np.testing.assert_allclose(gradient.sum(0), [0.5, -0.5], rtol=1e-15)
    ignoring: dict[str, Any] = {"ignore_index": -100, **mean}
    for weights in ([1e300, 1e-300], [1e300, 1e-310]):
        got = sl.cross_entropy(x, [-100, 0], sample_weight=weights, **ignoring)
        assert got == pytest.approx(np.log(2), rel=1e-15)
    # a row that counts for next to nothing is not left out
    x[1, 0] = np.nan
    for weights in ([1e300, 1e-30], [1e308, 1e-300], [1e-310, 5e-324]):
        assert np.isnan(sl.cross_entropy(x, [0, 0], sample_weight=weights, **mean))
    # losses far from 1
    for logits, label, scale in (([60.0, 0.0], 0, 1e-300), ([0.0, 1e9], 0, 1e300)):
        wanted = sl.cross_entropy([logits], [label])[0]
        assert sl.cross_entropy([logits], [label], sample_weight=[scale], **mean) == wanted


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("kind", ["labels", "probabilities"])
def test_gradient_is_the_difference_quotient_of_the_loss(kind: str, reduction: str) -> None:
    """In float64, central differences: the error is of the order of h^2 and of eps / h."""
    a = make_inputs(6, 4, np.float64)
    x = a.vector * 2
    options: dict[str, Any] = {
        "target": a.labels if kind == "labels" else a.probabilities,
        "weight": a.weight,
        "sample_weight": a.sample_weight,
        "label_smoothing": 0.125,
    }
    h = 2.0**-16
    gradient = sl.cross_entropy_grad(x, reduction=reduction, **options)
    hessian = sl.cross_entropy_hessian(x, reduction=reduction, **options)
    scaled = "sum" if reduction == "none" else reduction
    for i, k in itertools.product(range(6), range(4)):
        step = np.zeros_like(x)
        step[i, k] = h
        up, down = (sl.cross_entropy(x + d, reduction=scaled, **options) for d in (step, -step))
        assert gradient[i, k] == pytest.approx((up - down) / (2 * h), abs=1e-8)
        up, down = (
            sl.cross_entropy_grad(x + d, reduction=reduction, **options)[i] for d in (step, -step)
        )
        np.testing.assert_allclose(hessian[i, k], (up - down) / (2 * h), atol=1e-8)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_curvature_functions_share_the_scale(dtype: np.dtype, reduction: str) -> None:
    a = make_inputs(12, 5, dtype)
    options: dict[str, Any] = {
        "target": a.labels,
        "weight": a.weight,
        "sample_weight": a.sample_weight,
        "label_smoothing": 0.125,
        "ignore_index": int(a.labels[0]),
        "reduction": reduction,
    }
    eps, least = float(np.finfo(dtype).eps), float(np.finfo(dtype).smallest_subnormal)
    h = sl.cross_entropy_hessian(a.finite, **options)
    diagonal = np.diagonal(h, axis1=1, axis2=2)
    got = sl.cross_entropy_hessian_diag(a.finite, **options)
    np.testing.assert_allclose(got, diagonal, rtol=8 * eps, atol=8 * least)
    got = sl.cross_entropy_grad_and_hess_diag(a.finite, **options)[1]
    np.testing.assert_allclose(got, diagonal, rtol=8 * eps, atol=8 * least)
    wide = h.astype(np.float64)
    size = np.einsum("nij,nj->ni", np.abs(wide), np.abs(a.vector.astype(np.float64)))
    got = sl.cross_entropy_hvp(a.finite, a.vector, **options)
    wanted = np.einsum("nij,nj->ni", wide, a.vector.astype(np.float64))
    assert (np.abs(got - wanted) <= 10 * (eps * size + least)).all()
    got = sl.cross_entropy_hessian_solve(a.finite, a.vector, a.damping, **options)
    matrix = wide + a.damping[:, None, None] * np.eye(5)
    wanted = np.linalg.solve(matrix, a.vector.astype(np.float64)[..., None])[..., 0]
    size = np.linalg.norm(wanted, axis=-1, keepdims=True)
    condition = np.linalg.cond(matrix)[:, None]
    assert (np.abs(got - wanted) <= 10 * eps * condition * size).all()


@pytest.mark.parametrize("kind", ["labels", "probabilities"])
def test_a_target_counts_as_it_was_when_the_call_began(x: Array, labels: Array, kind: str) -> None:
    """Whatever another argument's __array__ does to it. As int8 it would be eight times longer."""
    target = labels.copy() if kind == "labels" else sl.one_hot(labels, CLASSES, dtype=np.float64)
    expected = sl.cross_entropy(x, target, sample_weight=np.ones(len(x)))

    class Weight:
        def __array__(self, *_: Any, **__: Any) -> Array:
            target.dtype = np.int8 if kind == "labels" else np.int64
            return np.ones(len(x))

    assert (sl.cross_entropy(x, target, sample_weight=Weight()) == expected).all()
    assert target.dtype != expected.dtype
