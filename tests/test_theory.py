"""What softmax, RealSoftMax, entropy and cross-entropy are: one test for each statement."""

from __future__ import annotations

import math

import numpy as np
import pytest
from operations import make_inputs

import softlane as sl


def _rows(dtype: np.dtype, classes: int = 6) -> np.ndarray:
    return make_inputs(60, classes, dtype, seed=classes).finite


def _eps(dtype: np.dtype) -> float:
    return float(np.finfo(dtype).eps)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 17, 1000, 5003])
def test_rows_sum_to_one(dtype: np.dtype, classes: int) -> None:
    p = sl.softmax(_rows(dtype, classes)).astype(np.longdouble)
    # each probability is within its bound, relative to itself: so is their sum
    allowed = sl._core.max_ulp("softmax", dtype.name) * _eps(dtype)
    subnormal = classes * float(np.finfo(dtype).smallest_subnormal)
    assert (np.abs(p.sum(-1) - 1) <= allowed + 2 * subnormal).all()


@pytest.mark.usefixtures("isa")
def test_probabilities_are_between_zero_and_one(dtype: np.dtype) -> None:
    for classes in (1, 2, 7, 100):
        p = sl.softmax(_rows(dtype, classes))
        assert (p >= 0).all()
        assert (p <= 1).all()


@pytest.mark.usefixtures("isa")
def test_larger_logits_have_larger_probabilities(dtype: np.dtype) -> None:
    x = np.round(_rows(dtype, 40))  # ties, or a whole unit apart
    order = np.argsort(x, axis=-1, kind="stable")
    sorted_p = np.take_along_axis(sl.softmax(x), order, -1)
    assert (np.diff(sorted_p) >= 0).all()
    sorted_log_p = np.take_along_axis(sl.log_softmax(x), order, -1)
    assert (np.diff(sorted_log_p) >= 0).all()


@pytest.mark.usefixtures("isa")
def test_softmax_is_invariant_to_shifts(dtype: np.dtype) -> None:
    x = np.round(_rows(dtype)[::2] * 8) / 8
    x = np.clip(x - x.max(-1, keepdims=True), -64, 0).astype(dtype)
    for shift in (-1024.0, -3.0, 0.5, 200.0, 4096.0):  # exact: multiples of 1/8 below 2**13
        shifted = (x + dtype.type(shift)).astype(dtype)
        assert (shifted - dtype.type(shift) == x).all()
        allowed = 2 * sl._core.max_ulp("softmax", dtype.name) * _eps(dtype)
        np.testing.assert_allclose(sl.softmax(shifted), sl.softmax(x), rtol=allowed)
        lse = sl.logsumexp(shifted, -1).astype(np.float64)
        wanted = sl.logsumexp(x, -1).astype(np.float64) + shift
        np.testing.assert_allclose(lse, wanted, rtol=0, atol=3 * np.spacing(dtype.type(8192)))


@pytest.mark.usefixtures("isa")
def test_log_softmax_is_the_logarithm_of_softmax(dtype: np.dtype) -> None:
    x = np.clip(_rows(dtype), -5, 5)
    eps = _eps(dtype)
    wanted = np.log(sl.softmax(x).astype(np.float64))
    np.testing.assert_allclose(sl.log_softmax(x), wanted, rtol=4 * eps, atol=4 * eps)


@pytest.mark.usefixtures("isa")
def test_loss_is_minus_the_log_probability_of_the_label(dtype: np.dtype) -> None:
    a = make_inputs(60, 9, dtype)
    log_p = sl.log_softmax(a.finite)[np.arange(60), a.labels]
    loss = sl.cross_entropy(a.finite, a.labels)
    eps = _eps(dtype)
    allowed = sl._core.max_ulp("loss", dtype.name) + sl._core.max_ulp("log_softmax", dtype.name)
    np.testing.assert_allclose(loss, -log_p, rtol=allowed * eps)


@pytest.mark.usefixtures("isa")
def test_gradient_is_probabilities_minus_target(dtype: np.dtype) -> None:
    a = make_inputs(60, 9, dtype)
    eps = _eps(dtype)
    p = sl.softmax(a.finite).astype(np.float64)
    hard = p - sl.one_hot(a.labels, 9, dtype=np.float64)
    np.testing.assert_allclose(
        sl.cross_entropy_grad(a.finite, a.labels), hard, rtol=0, atol=4 * eps
    )
    t = a.probabilities / a.probabilities.sum(-1, keepdims=True)
    soft = p * t.astype(np.float64).sum(-1, keepdims=True) - t
    np.testing.assert_allclose(sl.cross_entropy_grad(a.finite, t), soft, rtol=0, atol=4 * eps)


@pytest.mark.usefixtures("isa")
def test_gradient_of_a_row_sums_to_zero(dtype: np.dtype) -> None:
    a = make_inputs(60, 9, dtype)
    gradient = sl.cross_entropy_grad(a.finite, a.labels).astype(np.float64)
    allowed = sl._core.max_ulp("gradient", dtype.name) * _eps(dtype)
    assert (np.abs(gradient.sum(-1)) <= allowed * np.abs(gradient).sum(-1)).all()


@pytest.mark.usefixtures("isa")
def test_hessian_is_diag_p_minus_p_p_transposed(dtype: np.dtype) -> None:
    x = _rows(dtype)
    p = sl.softmax(x).astype(np.float64)
    wanted = p[:, :, None] * np.eye(6) - p[:, :, None] * p[:, None, :]
    atol = 8 * _eps(dtype)
    np.testing.assert_allclose(sl.cross_entropy_hessian(x), wanted, rtol=0, atol=atol)


@pytest.mark.usefixtures("isa")
def test_hessian_is_the_covariance_of_sampled_classes(dtype: np.dtype) -> None:
    """With n draws an entry's standard error is at most sqrt(1/4 / n); 5 of them are allowed."""
    x, n = np.array([0.5, -1.0, 1.0, 0.0], dtype), 400_000
    rng = np.random.default_rng(2024)
    p = sl.softmax(x).astype(np.float64)
    codes = sl.one_hot(rng.choice(4, n, p=p / p.sum()), 4, dtype=np.float64)
    covariance = np.cov(codes, rowvar=False)
    assert np.abs(covariance - sl.cross_entropy_hessian(x)).max() < 5 * math.sqrt(0.25 / n)
    # and the tolerance tells p p^T from 0 and the diagonal from p
    assert np.abs(covariance - np.diag(p)).max() > 5 * math.sqrt(0.25 / n)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0, 4.0])
def test_real_soft_max_is_above_the_maximum(dtype: np.dtype, temperature: float) -> None:
    x = np.clip(_rows(dtype), -1, 1)
    soft = sl.smooth_max(x, axis=-1, temperature=temperature)
    assert (soft >= x.max(-1)).all()
    assert (soft <= x.max(-1) + dtype.type(temperature * math.log(6)) * (1 + 4e-7)).all()
    tied = np.zeros((1, 6), dtype)
    assert sl.smooth_max(tied, temperature=temperature) > 0


@pytest.mark.usefixtures("isa")
def test_real_soft_max_tends_to_the_maximum(dtype: np.dtype) -> None:
    x = np.array([[1.0, 3.0, 2.5], [-4.0, -4.0, -4.25]], dtype)
    top = x.max(-1)
    excess = [sl.smooth_max(x, -1, temperature=t) - top for t in (2.0, 1.0, 0.5, 0.25, 0.125)]
    for warm, cool in zip(excess, excess[1:], strict=False):
        assert (cool < warm).all()
    for t in (1e-3, 1e-6, 1e-12):
        distance = np.abs(sl.smooth_max(x, -1, temperature=t) - top)
        # RealSoftMax - max <= T log K, rounded once in the result
        assert (distance <= t * math.log(3) + np.spacing(np.abs(top))).all()
    assert (sl.smooth_max(x, -1, temperature=1e-18) == top).all()


@pytest.mark.usefixtures("isa")
def test_smooth_min_mirrors_smooth_max_and_is_below_the_minimum(dtype: np.dtype) -> None:
    x = _rows(dtype)
    for t in (0.25, 1.0, 3.0):
        soft = sl.smooth_min(x, axis=-1, temperature=t)
        assert soft.tobytes() == (-sl.smooth_max(-x, axis=-1, temperature=t)).tobytes()
        assert (soft <= x.min(-1)).all()
    assert sl.smooth_min(np.zeros(3, dtype)) < 0


@pytest.mark.usefixtures("isa")
def test_smooth_max_at_temperature_one_is_logsumexp(dtype: np.dtype) -> None:
    x = _rows(dtype)
    assert sl.smooth_max(x, -1).tobytes() == sl.logsumexp(x, -1).tobytes()


@pytest.mark.usefixtures("isa")
def test_softmin_is_softmax_of_the_negative(dtype: np.dtype) -> None:
    x = _rows(dtype)
    for t in (1.0, 0.3):
        got = sl.softmin(x, temperature=t)
        assert got.tobytes() == sl.softmax(-x, temperature=t).tobytes()


@pytest.mark.usefixtures("isa")
def test_temperature_divides_the_logits(dtype: np.dtype) -> None:
    x = _rows(dtype)
    for t in (0.25, 2.0, 8.0):  # powers of two divide exactly
        z = (x / dtype.type(t)).astype(dtype)
        rtol = 4 * _eps(dtype)
        np.testing.assert_allclose(sl.softmax(x, temperature=t), sl.softmax(z), rtol=rtol,
                                   atol=float(np.finfo(dtype).smallest_normal))  # fmt: skip
        np.testing.assert_allclose(sl.log_softmax(x, temperature=t), sl.log_softmax(z), rtol=rtol)
        np.testing.assert_allclose(sl.entropy(x, temperature=t), sl.entropy(z), rtol=rtol)


@pytest.mark.usefixtures("isa")
def test_high_temperature_is_uniform_and_low_is_the_argmax(dtype: np.dtype) -> None:
    x = np.array([1.0, 4.0, 2.0, 3.0], dtype)
    np.testing.assert_array_equal(sl.softmax(x, temperature=1e30), 0.25)
    np.testing.assert_array_equal(sl.softmax(x, temperature=1e-3), [0, 1, 0, 0])


@pytest.mark.usefixtures("isa")
def test_two_classes_are_the_logistic_function(dtype: np.dtype) -> None:
    d = np.linspace(-30, 30, 61).astype(dtype)
    got = sl.softmax(np.stack([d, np.zeros_like(d)], -1))[:, 0]
    wanted = np.where(d < 0, np.exp(d.astype(np.longdouble)), 1)
    wanted = wanted / (1 + np.exp(-np.abs(d.astype(np.longdouble))))
    np.testing.assert_allclose(got, wanted.astype(np.float64), rtol=3 * _eps(dtype))


@pytest.mark.usefixtures("isa")
def test_entropy_of_three_equal_classes_is_log2_of_3_bits(dtype: np.dtype) -> None:
    h = sl.entropy(np.zeros(3, dtype), base=2)
    wanted = math.log2(3)
    assert abs(h - wanted) <= sl._core.max_ulp("entropy", dtype.name) * np.spacing(
        dtype.type(wanted)
    )


@pytest.mark.usefixtures("isa")
def test_whole_bits_for_n_outcomes_tend_to_the_entropy() -> None:
    """n outcomes of three equal classes need ceil(n H) bits together: 2, 4, 5, 7, 8, …"""
    h = float(sl.entropy([0.0, 0.0, 0.0], base=2))
    for n in (1, 2, 3, 4, 5, 10, 100, 1000):
        bits = (3**n - 1).bit_length()  # the exact number of bits that tell 3**n cases apart
        assert math.ceil(n * h) == bits
        assert 0 <= bits / n - h < 1 / n


@pytest.mark.usefixtures("isa")
def test_entropy_is_between_zero_and_log_k(dtype: np.dtype) -> None:
    for classes in (1, 2, 9, 300):
        h = sl.entropy(_rows(dtype, classes))
        assert (h >= 0).all()
        assert (h <= math.log(classes) * (1 + 2 * _eps(dtype))).all()
        uniform = sl.entropy(np.full(classes, 3.5, dtype))
        assert uniform == pytest.approx(math.log(classes), rel=2 * _eps(dtype))


@pytest.mark.usefixtures("isa")
def test_base_changes_the_unit_of_entropy(dtype: np.dtype) -> None:
    x = _rows(dtype)
    nats = sl.entropy(x)
    for base in (2, 10, math.e, 3.5):
        got = sl.entropy(x, base=base)
        np.testing.assert_allclose(got, nats / math.log(base), rtol=5 * _eps(dtype))


@pytest.mark.usefixtures("isa")
def test_cross_entropy_is_least_at_the_target_and_is_its_entropy(dtype: np.dtype) -> None:
    x = np.array([0.5, -1.0, 1.0, 0.0], dtype)
    p = sl.softmax(x)
    at_target = sl.cross_entropy(x, p)
    assert at_target == pytest.approx(float(sl.entropy(x)), rel=16 * _eps(dtype))
    for step in np.eye(4, dtype=dtype):
        assert sl.cross_entropy(x + step / 4, p) > at_target
        assert sl.cross_entropy(x - step / 4, p) > at_target
    assert np.abs(sl.cross_entropy_grad(x, p)).max() <= 4 * _eps(dtype)


def test_one_hot_codes_are_equidistant(dtype: np.dtype) -> None:
    codes = sl.one_hot(np.arange(5), 5, dtype=dtype)
    assert codes.dtype == dtype
    distance = np.linalg.norm(codes[:, None] - codes[None, :], axis=-1)
    np.testing.assert_allclose(distance, math.sqrt(2) * (1 - np.eye(5)), rtol=1e-6)
    np.testing.assert_array_equal(codes.argmax(-1), np.arange(5))
    np.testing.assert_array_equal(codes.sum(-1), 1)
