"""Every function is within its bound: the largest error in ULP over more than 1e5 hard rows.

The bounds are the kernels' own, read from the module; test_bounds.py holds them to the promise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import oracle
import pytest
import reference
import scipy.special
from oracle import Rows, ulp_error
from rows import (
    LARGEST_GAP,
    LEAST_EXPONENT,
    ROWS,
    Batch,
    batch_of,
    hard_batch,
    underflowing_rows,
)

import softlane as sl

Array = npt.NDArray[Any]

needs_long_double = pytest.mark.skipif(
    not oracle.wide_enough, reason="long double has no 64 bits of precision on this platform"
)
BEST = sl.available_isas()[0]
MOST_HESSIAN_CLASSES = 17


@dataclass(frozen=True)
class Law:
    """What is computed, what it should be, and the size in whose ULP the error counts."""

    bound: str
    compute: Callable[[Batch], Any]
    exact: Callable[[Batch], tuple[Array, Array | None]]


def _map(function: Callable[..., Any], exact: Callable[[Rows], Array]) -> Law:
    return Law(
        function.__name__,
        lambda b: function(b.x, axis=-1, temperature=b.temperature),
        lambda b: (exact(b.exact), None),
    )


def _entropy(b: Batch) -> tuple[Array, Array]:
    """Beyond the gaps that are promised, p (max - x) is as good as a subnormal p only."""
    value, dtype = b.exact.entropy(), b.x.dtype
    promised = LARGEST_GAP[dtype] * np.exp(-oracle.LD(LARGEST_GAP[dtype]))
    floor = oracle.LD(np.finfo(dtype).smallest_normal) * LEAST_EXPONENT[dtype]
    return value, np.where(value < promised, np.maximum(value, floor), value)


def _smooth_max(b: Batch) -> tuple[Array, Array]:
    value = b.exact.smooth_max()
    return value, np.maximum(np.abs(value), np.abs(b.exact.maximum[:, 0]))


OF_TEMPERATURE = {
    "softmax": _map(sl.softmax, Rows.softmax),
    "log_softmax": _map(sl.log_softmax, Rows.log_softmax),
    "entropy": Law("entropy", lambda b: sl.entropy(b.x, temperature=b.temperature), _entropy),
    "smooth_max": Law(
        "logsumexp", lambda b: sl.smooth_max(b.x, -1, temperature=b.temperature), _smooth_max
    ),
    "smooth_min": Law(
        "logsumexp",
        lambda b: -sl.smooth_min(-b.x, -1, temperature=b.temperature),
        _smooth_max,
    ),
    "softmin": Law(
        "softmax",
        lambda b: sl.softmin(-b.x, temperature=b.temperature),
        lambda b: (b.exact.softmax(), None),
    ),
}

# How the target is given: what the function takes, w * t, and s.
Target = tuple[Callable[[Batch], dict[str, Any]], Callable[[Batch], Array], Callable[[Batch], Any]]
TARGETS: dict[str, Target] = {
    "hard": (
        lambda b: {"target": b.labels},
        lambda b: b.exact.weighted_target(b.labels),
        lambda _: 1.0,
    ),
    "smoothed": (
        lambda b: {"target": b.labels, "label_smoothing": 0.1},
        lambda b: b.exact.weighted_target(b.labels, None, 0.1),
        lambda _: 1.0,
    ),
    "weighted": (
        lambda b: {"target": b.labels, "weight": b.weight, "sample_weight": b.sample_weight},
        lambda b: b.exact.weighted_target(b.labels, b.weight),
        lambda b: b.sample_weight,
    ),
    "soft": (
        lambda b: {"target": b.probabilities},
        lambda b: b.exact.weighted_target(b.probabilities),
        lambda _: 1.0,
    ),
    "soft_with_all_options": (
        lambda b: {
            "target": b.probabilities,
            "weight": b.weight,
            "sample_weight": b.sample_weight,
            "label_smoothing": 0.3,
        },
        lambda b: b.exact.weighted_target(b.probabilities, b.weight, 0.3),
        lambda b: b.sample_weight,
    ),
}


def _losses(kind: str) -> dict[str, Law]:
    options, target, scale = TARGETS[kind]

    def curvature(b: Batch) -> Array:
        return target(b).sum(1) * np.asarray(scale(b), oracle.LD)

    return {
        f"loss_{kind}": Law(
            "loss",
            lambda b: sl.cross_entropy(b.x, **options(b)),
            lambda b: (b.exact.loss(target(b), scale(b)), None),
        ),
        f"gradient_{kind}": Law(
            "gradient",
            lambda b: sl.cross_entropy_grad(b.x, **options(b)),
            lambda b: b.exact.gradient(target(b), scale(b)),
        ),
        f"hess_diag_{kind}": Law(
            "hess_diag",
            lambda b: sl.cross_entropy_hessian_diag(b.x, **options(b)),
            lambda b: (b.exact.hessian_diag(curvature(b)), None),
        ),
        f"hessian_{kind}": Law(
            "hessian",
            lambda b: sl.cross_entropy_hessian(b.x, **options(b)),
            lambda b: (b.exact.hessian(curvature(b)), None),
        ),
        f"hvp_{kind}": Law(
            "hvp",
            lambda b: sl.cross_entropy_hvp(b.x, b.vector, **options(b)),
            lambda b: b.exact.hvp(b.vector, curvature(b)),
        ),
        f"solve_{kind}": Law(
            "solve",
            lambda b: sl.cross_entropy_hessian_solve(b.x, b.vector, b.damping, **options(b)),
            lambda b: b.exact.solve(b.vector, b.damping, curvature(b)),
        ),
    }


PLAIN = {
    "logsumexp": Law("logsumexp", lambda b: sl.logsumexp(b.x, -1), _smooth_max),
    "entropy_bits": Law(
        "entropy",
        lambda b: sl.entropy(b.x, base=2),
        lambda b: (b.exact.entropy(2.0), None),
    ),
    **_losses("hard"),
}
WITH_OPTIONS = {name: law for kind in list(TARGETS)[1:] for name, law in _losses(kind).items()}
LAWS = {**OF_TEMPERATURE, **PLAIN, **WITH_OPTIONS}


@cache
def _batches(dtype: np.dtype, temperature: float, step: int) -> list[Batch]:
    return [hard_batch(-(-n // step), k, dtype, temperature) for k, n in ROWS.items()]


@cache
def _exact(name: str, dtype: np.dtype, temperature: float, step: int) -> list[Any]:
    return [LAWS[name].exact(b) for b in _applicable(name, _batches(dtype, temperature, step))]


def _applicable(name: str, batches: list[Batch]) -> list[Batch]:
    matrix = LAWS[name].bound == "hessian"
    return [b for b in batches if not matrix or b.x.shape[1] <= MOST_HESSIAN_CLASSES]


def _assert_within_bound(name: str, got: Array, value: Any, size: Any, batch: Batch) -> None:
    law = LAWS[name]
    error = ulp_error(got, value, batch.x.dtype, size)
    bound = sl._core.max_ulp(law.bound, batch.x.dtype.name)
    if error.max(initial=0) > bound:
        worst = np.unravel_index(int(error.argmax()), error.shape)
        pytest.fail(
            f"{name}: {error.max()} ULP, {bound} allowed; entry {worst} is {got[worst]!r}, should "
            f"be {value[worst]!r}; label {batch.labels[worst[0]]}, "
            f"row {batch.x[worst[0]][:20].tolist()} of {batch.x.shape[1]} classes; "
            f"{(error > bound).sum()} of {error.size} entries"
        )


def _check(name: str, isa: str, dtype: np.dtype, temperature: float, step: int) -> int:
    """All rows on the best instruction set, one of 20 on the others; how many rows those were."""
    skip, rows = 1 if isa == BEST else 20, 0
    batches = _applicable(name, _batches(dtype, temperature, step))
    for batch, (value, size) in zip(batches, _exact(name, dtype, temperature, step), strict=True):
        some = batch if skip == 1 else batch.every(skip)
        got = LAWS[name].compute(some)
        of_some = None if size is None else size[::skip]
        _assert_within_bound(name, got, value[::skip], of_some, some)
        rows += len(some.x)
    return rows


@needs_long_double
@pytest.mark.parametrize("name", [*OF_TEMPERATURE, *PLAIN])
def test_every_function_is_within_its_bound(isa: str, dtype: np.dtype, name: str) -> None:
    rows = _check(name, isa, dtype, 1.0, 1)
    assert rows >= (100_000 if isa == BEST else 5_000)


@needs_long_double
@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_options_keep_the_bound(isa: str, dtype: np.dtype, name: str) -> None:
    assert _check(name, isa, dtype, 1.0, 10) > 500


@needs_long_double
@pytest.mark.parametrize("temperature", [1e-3, 0.1, 0.5, 3.0, 100.0])
@pytest.mark.parametrize("name", OF_TEMPERATURE)
def test_temperature_keeps_the_bound(
    isa: str, dtype: np.dtype, name: str, temperature: float
) -> None:
    assert _check(name, isa, dtype, temperature, 20) > 250


@needs_long_double
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp", "entropy", "loss_hard"])
def test_a_million_classes_keep_the_bound(dtype: np.dtype, name: str) -> None:
    batch = hard_batch(1, 1_000_000, dtype, seed=3)
    value, size = LAWS[name].exact(batch)
    _assert_within_bound(name, LAWS[name].compute(batch), value, size, batch)


# entry by entry for many classes; a sum of many subnormals is as good as its terms only
UNDERFLOWING = [(n, 17) for n in ("softmax", "hess_diag_hard")] + [
    (n, k) for n in ("softmax", "log_softmax", "loss_hard", "gradient_hard") for k in (2, 3)
]


@needs_long_double
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(("name", "classes"), UNDERFLOWING)
def test_underflow_is_gradual(dtype: np.dtype, name: str, classes: int) -> None:
    """Down to the least subnormal, whose unit is the unit there."""
    batch = batch_of(underflowing_rows(400, classes, dtype))
    value, size = LAWS[name].exact(batch)
    least = np.abs(value[value != 0]).min()
    assert least < np.finfo(dtype).smallest_normal
    _assert_within_bound(name, LAWS[name].compute(batch), value, size, batch)


# --- against mpmath, row by row -----------------------------------------------------------------

MP_ROWS = {1: 100, 2: 2400, 3: 1500, 4: 600, 5: 400}  # per dtype; 1e4 in all


def _mp_rows(dtype: np.dtype, stride: int = 1) -> list[tuple[Batch, int]]:
    batches = [hard_batch(n, k, dtype, seed=5) for k, n in MP_ROWS.items()]
    return [(b, i) for b in batches for i in range(0, len(b.x), stride)]


def _assert_row_within(
    bound: str, got: Any, exact: Any, batch: Batch, row: int, size: Any = None
) -> None:
    error = ulp_error(got, exact, batch.x.dtype, size).max()
    assert error <= sl._core.max_ulp(bound, batch.x.dtype.name), (
        f"{bound}: {error} ULP for {batch.x[row].tolist()}, label {batch.labels[row]}"
    )


def test_maps_and_reductions_are_within_their_bound_of_mpmath(dtype: np.dtype) -> None:
    for b, i in _mp_rows(dtype):
        x = b.x[i]
        _assert_row_within("softmax", sl.softmax(x), oracle.softmax_row(x), b, i)
        _assert_row_within("log_softmax", sl.log_softmax(x), oracle.log_softmax_row(x), b, i)
        exact = oracle.logsumexp_row(x)
        size = max(abs(exact), float(abs(x.max())))
        _assert_row_within("logsumexp", sl.logsumexp(x), exact, b, i, size)


def test_losses_and_gradients_are_within_their_bound_of_mpmath(dtype: np.dtype) -> None:
    for b, i in _mp_rows(dtype):
        x, y = b.x[i], b.labels[i]
        loss, gradient = sl.cross_entropy_value_and_grad(x, y)
        _assert_row_within("loss", loss, oracle.loss_row(x, y), b, i)
        _assert_row_within("gradient", gradient, oracle.gradient_row(x, y), b, i)


def test_entropies_are_within_their_bound_of_mpmath(dtype: np.dtype) -> None:
    for b, i in _mp_rows(dtype, 5):
        x = b.x[i]
        _assert_row_within("entropy", sl.entropy(x), oracle.entropy_row(x), b, i)


# --- the plain formulas -------------------------------------------------------------------------


@pytest.mark.usefixtures("isa")
def test_plain_numpy_formulas_agree_on_ordinary_inputs(dtype: np.dtype) -> None:
    rng = np.random.default_rng(11)
    x, v = rng.standard_normal((2, 50, 7)).astype(dtype)
    y = rng.integers(0, 7, 50)
    pairs = {
        "softmax": (sl.softmax(x), reference.softmax(x)),
        "softmax, T": (sl.softmax(x, temperature=0.5), reference.softmax(x, 0.5)),
        "log_softmax": (sl.log_softmax(x), reference.log_softmax(x)),
        "logsumexp": (sl.logsumexp(x, -1), reference.logsumexp(x)),
        "smooth_max": (sl.smooth_max(x, -1, temperature=2.0), reference.smooth_max(x, 2.0)),
        "entropy": (sl.entropy(x), reference.entropy(x)),
        "loss": (sl.cross_entropy(x, y), reference.cross_entropy(x, y)),
        "gradient": (sl.cross_entropy_grad(x, y), reference.cross_entropy_grad(x, y)),
        "hessian": (sl.cross_entropy_hessian(x), reference.cross_entropy_hessian(x)),
        "hvp": (sl.cross_entropy_hvp(x, v), reference.cross_entropy_hvp(x, v)),
        "solve": (
            sl.cross_entropy_hessian_solve(x, v, 0.5),
            reference.cross_entropy_hessian_solve(x, v, 0.5),
        ),
        "scipy softmax": (sl.softmax(x, None), scipy.special.softmax(x)),
        "scipy log_softmax": (sl.log_softmax(x, 0), scipy.special.log_softmax(x, 0)),
        "scipy logsumexp": (sl.logsumexp(x), scipy.special.logsumexp(x)),
    }
    for name, (got, wanted) in pairs.items():
        np.testing.assert_allclose(got, wanted, rtol=50 * np.finfo(dtype).eps,
                                   atol=50 * np.finfo(dtype).eps, err_msg=name)  # fmt: skip
