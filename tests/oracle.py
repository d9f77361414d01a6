"""The reference: what every function should return, from definitions and wide arithmetic.

Two references of different make. The first is mpmath at 1300 bits, one row at a time, straight from
the definitions: exp of the logits, their sum, their quotient. At that precision nothing cancels
(the smallest double is 2**-1074), so no rearrangement is needed and none is used. Its names end in
`_row`. The second, class `Rows`, is vectorised in np.longdouble for the many rows; differences and
quotients are kept in two parts, as 700 * 2**-64 would already be a third of a float64 ULP.
test_oracle.py holds the one against the other.

Errors are measured in ULP by `ulp_error`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt
from mpmath import mp

Array = npt.NDArray[Any]
Row = Sequence[float] | Array
Exact = list[Any]  # of mpf

LD = np.longdouble
PRECISION = 1300  # bits: 1074 down to the least double, 53 of its own, 34 of the offset, some spare

# --- mpmath: one row, from the definitions ------------------------------------------------------


def _exact(values: Row) -> Exact:
    return [mp.mpf(float(v)) for v in values]


def _dot(a: Exact, b: Exact) -> Any:
    """Sum of products in which 0 times an infinity is 0."""
    return mp.fsum(u * v for u, v in zip(a, b, strict=True) if u != 0 and v != 0)


@lru_cache(maxsize=1)
def _softmax_and_log_total(x: tuple[float, ...], temperature: float) -> tuple[Exact, Any]:
    with mp.workprec(PRECISION):
        powers = [mp.exp(mp.mpf(v) / mp.mpf(temperature)) for v in x]
        total = mp.fsum(powers)
        return [e / total for e in powers], mp.log(total)


def softmax_row(x: Row, temperature: float = 1.0) -> Exact:
    return _softmax_and_log_total(tuple(float(v) for v in x), temperature)[0]


@mp.workprec(PRECISION)
def smooth_max_row(x: Row, temperature: float = 1.0) -> Any:
    return mp.mpf(temperature) * _softmax_and_log_total(tuple(float(v) for v in x), temperature)[1]


def logsumexp_row(x: Row) -> Any:
    return smooth_max_row(x)


@mp.workprec(PRECISION)
def smooth_min_row(x: Row, temperature: float = 1.0) -> Any:
    return -smooth_max_row([-float(v) for v in x], temperature)


@mp.workprec(PRECISION)
def log_softmax_row(x: Row, temperature: float = 1.0) -> Exact:
    t = mp.mpf(temperature)
    total = smooth_max_row(x, temperature)
    return [(v - total) / t for v in _exact(x)]


@mp.workprec(PRECISION)
def entropy_row(x: Row, temperature: float = 1.0, base: float | None = None) -> Any:
    p = softmax_row(x, temperature)
    nats = -mp.fsum(q * mp.log(q) for q in p if q != 0)
    return nats if base is None else nats / mp.log(mp.mpf(base))


@mp.workprec(PRECISION)
def target_row(classes: int, target: int | Row, label_smoothing: float = 0.0) -> Exact:
    """The row's target distribution: one-hot or as given, then smoothed."""
    if isinstance(target, int | np.integer):
        t = [mp.mpf(int(k == target)) for k in range(classes)]
    else:
        t = _exact(target)
    eps = mp.mpf(label_smoothing)
    return [v * (1 - eps) + eps / classes for v in t]


def _weighted_target(
    classes: int, target: int | Row, weight: Row | None, label_smoothing: float
) -> Exact:
    t = target_row(classes, target, label_smoothing)
    w = [mp.mpf(1)] * classes if weight is None else _exact(weight)
    return [a * b for a, b in zip(w, t, strict=True)]


@mp.workprec(PRECISION)
def loss_row(
    x: Row,
    target: int | Row,
    *,
    weight: Row | None = None,
    sample_weight: float = 1.0,
    label_smoothing: float = 0.0,
) -> Any:
    wt = _weighted_target(len(x), target, weight, label_smoothing)
    total = logsumexp_row(x)
    return mp.mpf(sample_weight) * _dot(wt, [total - v for v in _exact(x)])


@mp.workprec(PRECISION)
def gradient_row(
    x: Row,
    target: int | Row,
    *,
    weight: Row | None = None,
    sample_weight: float = 1.0,
    label_smoothing: float = 0.0,
) -> Exact:
    wt = _weighted_target(len(x), target, weight, label_smoothing)
    s, total = mp.mpf(sample_weight), mp.fsum(wt)
    return [s * (total * p - t) for p, t in zip(softmax_row(x), wt, strict=True)]


@mp.workprec(PRECISION)
def hessian_row(
    x: Row,
    target: int | Row | None = None,
    *,
    weight: Row | None = None,
    sample_weight: float = 1.0,
    label_smoothing: float = 0.0,
) -> list[Exact]:
    scale = mp.mpf(sample_weight)
    if target is not None:
        scale *= mp.fsum(_weighted_target(len(x), target, weight, label_smoothing))
    p = softmax_row(x)
    return [[scale * ((a if i == j else 0) - a * b) for j, b in enumerate(p)]
            for i, a in enumerate(p)]  # fmt: skip


@mp.workprec(PRECISION)
def hvp_row(hessian: list[Exact], vector: Row) -> Exact:
    v = _exact(vector)
    return [_dot(line, v) for line in hessian]


@mp.workprec(PRECISION)
def solve_row(hessian: list[Exact], rhs: Row, damping: float) -> Exact:
    """The dense linear system, by LU decomposition."""
    matrix = mpmath.matrix(hessian) + mp.mpf(damping) * mpmath.eye(len(hessian))
    return list(mp.lu_solve(matrix, mpmath.matrix(_exact(rhs))))


# --- long double: many rows at once -------------------------------------------------------------

wide_enough = np.finfo(LD).nmant >= 63
_SPLIT = LD(2) ** ((np.finfo(LD).nmant + 2) // 2) + 1


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


def _two_product(a: Array, b: Array) -> tuple[Array, Array]:
    def halves(c: Array) -> tuple[Array, Array]:
        high = c * _SPLIT - (c * _SPLIT - c)
        return high, c - high

    (ah, al), (bh, bl) = halves(a), halves(b)
    p = a * b
    return p, ((ah * bh - p) + ah * bl + al * bh) + al * bl


def _product(a: Array, b: Array) -> Array:
    """A product in which 0 times an infinity is 0."""
    return np.where((a == 0) | (b == 0), LD(0), a * b)


class Rows:
    """Softmax quantities of the rows of a 2-D array; every result is long double."""

    def __init__(self, x: Array, temperature: float = 1.0) -> None:
        assert wide_enough and x.ndim == 2
        with np.errstate(all="ignore"):
            wide, t = x.astype(LD), LD(temperature)
            self.first = np.argmax(x, axis=1)[:, None]
            self.maximum = np.take_along_axis(wide, self.first, 1)
            # (max - x) / T as high + low
            difference, error = _two_sum(self.maximum, -wide)
            high = difference / t
            back, back_error = _two_product(high, np.broadcast_to(t, high.shape))
            low = (((difference - back) - back_error) + error) / t
            self.high, self.low = high, np.where(np.isfinite(low), low, LD(0))
            self.temperature = t
            powers = np.exp(-self.high) * (1 - self.low)  # 1 at the maximum
            self.powers = np.where(self.high < 11_000, powers, LD(0))
            self.is_first = np.zeros(x.shape, bool)
            np.put_along_axis(self.is_first, self.first, True, 1)
            self.tail = np.where(self.is_first, LD(0), self.powers).sum(1, keepdims=True)
            self.total = 1 + self.tail

    @cached_property
    def log_total(self) -> Array:
        return np.log1p(self.tail)

    @cached_property
    def gap(self) -> Array:
        """log of the total over the power: -log p, each term at least 0."""
        return self.high + (self.low + self.log_total)

    def softmax(self) -> Array:
        return self.powers / self.total

    def rest(self) -> Array:
        """1 - p."""
        return np.where(self.is_first, self.tail, self.total - self.powers) / self.total

    def log_softmax(self) -> Array:
        return -self.gap

    def smooth_max(self) -> Array:
        return (self.maximum + self.temperature * self.log_total)[:, 0]

    def entropy(self, base: float | None = None) -> Array:
        with np.errstate(invalid="ignore"):
            tail = _product(np.where(self.is_first, LD(0), self.softmax()), self.high + self.low)
        nats = self.log_total[:, 0] + tail.sum(1)
        return nats if base is None else nats / np.log(LD(base))

    def weighted_target(
        self, target: Array, weight: Array | None = None, label_smoothing: float = 0.0
    ) -> Array:
        """w * t, for labels (rows,) or probabilities (rows, classes)."""
        classes = self.powers.shape[1]
        if target.ndim == 1:
            t = np.zeros(self.powers.shape, LD)
            np.put_along_axis(t, target[:, None].astype(np.intp), LD(1), 1)
        else:
            t = target.astype(LD)
        if label_smoothing:
            eps = LD(label_smoothing)
            t = t * (1 - eps) + eps / classes
        return t if weight is None else t * weight.astype(LD)

    def loss(self, wt: Array, scale: Array | float = 1.0) -> Array:
        with np.errstate(invalid="ignore"):
            return _product(wt, self.gap).sum(1) * np.asarray(scale, LD)

    def gradient(self, wt: Array, scale: Array | float = 1.0) -> tuple[Array, Array]:
        """The gradient, and the size of the larger of its two terms."""
        s, w = _column(scale), wt.sum(1, keepdims=True)
        plain = w * self.softmax() - wt
        # W p - w t = -W (1 - p) + (W - w t): the better form where the target is all on one class
        single = wt == w
        value = np.where(single, -w * self.rest(), plain)
        size = np.where(single, np.abs(value), np.maximum(w * self.softmax(), wt))
        return s * value, s * size

    def hessian_diag(self, scale: Array | float = 1.0) -> Array:
        return _column(scale) * self.softmax() * self.rest()

    def hessian(self, scale: Array | float = 1.0) -> Array:
        p = self.softmax()
        matrix = -p[:, :, None] * p[:, None, :]
        k = np.arange(p.shape[1])
        matrix[:, k, k] = p * self.rest()
        return _column(scale)[..., None] * matrix

    def hvp(self, vector: Array, scale: Array | float = 1.0) -> tuple[Array, Array]:
        """Hessian times vector, and the sum of the absolute values of the terms of each entry.

        A constant added to the vector changes nothing. Terms are counted of what is left when the
        maximum's entry is taken away or, where that has less than half of the probability, the
        number nearest to 0 that lies between the entries: then none is larger than p_k p_j v_j.
        """
        p, v = self.softmax(), vector.astype(LD)
        first = np.broadcast_to(self.first, (*v.shape[:-1], 1))
        own = np.take_along_axis(np.broadcast_to(p, v.shape), first, -1)
        nearest = np.clip(0, v.min(-1, keepdims=True), v.max(-1, keepdims=True))
        w = v - np.where(own > 1 / 1.99, np.take_along_axis(v, first, -1), nearest)
        mean = (p * w).sum(-1, keepdims=True)
        size = (p * np.abs(w)).sum(-1, keepdims=True)
        s = _column(scale)
        return s * p * (w - mean), s * p * (np.abs(w) + size)

    def solve(
        self, rhs: Array, damping: Array | float, scale: Array | float = 1.0
    ) -> tuple[Array, Array]:
        """z with (Hessian + damping) z = rhs, and the sum of its terms' absolute values."""
        p, r = self.softmax(), rhs.astype(LD)
        c, lam = _column(scale), _column(damping)
        d = c * p + lam
        left = (p * lam / d).sum(1, keepdims=True)

        def apply(b: Array) -> Array:
            return b / d + c * p / d * ((p * b / d).sum(1, keepdims=True) / left)

        return apply(r), apply(np.abs(r))


def _column(values: Array | float) -> Array:
    a = np.asarray(values, LD)
    return a[:, None] if a.ndim else a


# --- ULP ----------------------------------------------------------------------------------------


def _ulp(size: Array, dtype: npt.DTypeLike) -> Array:
    """The spacing of dtype at |size| rounded to dtype, as long double."""
    info = np.finfo(dtype)
    with np.errstate(all="ignore"):
        rounded = np.abs(size.astype(dtype)).astype(LD)
    floor = LD(info.smallest_normal)
    exponent = np.frexp(np.clip(rounded, floor, LD(info.max)))[1]
    return np.ldexp(LD(1), exponent - info.nmant - 1)


def _mp_ulp(size: Any, dtype: npt.DTypeLike) -> Any:
    rounded = np.dtype(dtype).type(float(size))
    return mp.mpf(float(_ulp(np.array([rounded], LD), dtype)[0]))


@mp.workprec(PRECISION)
def _mp_error(got: float, exact: Any, dtype: npt.DTypeLike, size: Any) -> float:
    with np.errstate(over="ignore"):
        rounded = float(np.dtype(dtype).type(float(exact)))
    if not np.isfinite(rounded) or not np.isfinite(got):
        same = got == rounded or (np.isnan(got) and np.isnan(rounded))
        return 0.0 if same else float("inf")
    return float(abs(mp.mpf(got) - exact) / _mp_ulp(exact if size is None else size, dtype))


def ulp_error(got: Any, exact: Any, dtype: npt.DTypeLike, size: Any = None) -> Array:
    """|got - exact| in ULP of dtype at exact (or at `size`), an array of float64.

    The ULP is the spacing at the value rounded to dtype, the least subnormal at the least.
    Where the rounded value or `got` is infinite or NaN the two must be the same: 0, else inf.
    `exact` is a long double array, or a (nested) list of mpf; `size` is of the same kind.
    """
    values = np.asarray(got)
    assert values.dtype == np.dtype(dtype), f"result is {values.dtype}, expected {dtype}"
    if isinstance(exact, np.ndarray | np.longdouble):
        wanted = np.asarray(exact, LD)
        assert values.shape == wanted.shape, (values.shape, wanted.shape)
        unit = _ulp(wanted if size is None else np.asarray(size, LD), dtype)
        with np.errstate(all="ignore"):
            rounded = wanted.astype(dtype)
            error = np.abs(values.astype(LD) - wanted) / unit
        special = ~(np.isfinite(rounded) & np.isfinite(values))
        same = (values == rounded) | (np.isnan(values) & np.isnan(rounded))
        return np.where(special, np.where(same, 0.0, np.inf), error).astype(np.float64)
    wanted = np.array(exact, dtype=object)
    assert values.shape == wanted.shape, (values.shape, wanted.shape)
    sizes = np.full(wanted.shape, None) if size is None else np.array(size, dtype=object)
    errors = [
        _mp_error(float(g), e, dtype, s)
        for g, e, s in zip(values.ravel(), wanted.ravel(), sizes.ravel(), strict=True)
    ]
    return np.array(errors).reshape(values.shape)
