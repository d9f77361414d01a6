"""The whole space of valid calls: any dtype, byte order, shape, strides, axis, out and option.

One call is drawn at a time and held to the long double oracle, within the bounds that the kernels
declare. The other files look closely at one law each; here their combinations meet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import LD, Rows
from rows import LARGEST_GAP, LEAST_EXPONENT

import softlane as sl

Array = npt.NDArray[Any]

# What the library under test can do; a feature that is not listed is not drawn.
FEATURES = frozenset({"byte order", "strides", "out", "halves", "where", "dtype", "b"})

EXAMPLES = 1500

MAPS = ("softmax", "log_softmax", "softmin")
REDUCTIONS = ("logsumexp", "smooth_max", "smooth_min", "entropy")
LOSSES = ("cross_entropy", "cross_entropy_grad", "cross_entropy_hessian_diag")
BOUND = {
    "softmax": "softmax", "softmin": "softmax", "log_softmax": "log_softmax",
    "logsumexp": "logsumexp", "smooth_max": "logsumexp", "smooth_min": "logsumexp",
    "entropy": "entropy", "cross_entropy": "loss", "cross_entropy_grad": "gradient",
    "cross_entropy_hessian_diag": "hess_diag",
}  # fmt: skip
MIRRORED = ("softmin", "smooth_min")

# Stored bits of the significand, and the exponent of the least normal number.
FORMATS = {"float16": (10, -14), "bfloat16": (7, -126), "float32": (23, -126),
           "float64": (52, -1022)}  # fmt: skip
INTEGERS = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
WIDE = ("float32", "float64")


def _dtype(name: str) -> np.dtype[Any]:
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def _floats() -> tuple[str, ...]:
    return tuple(FORMATS) if "halves" in FEATURES else WIDE


# --- a call ---------------------------------------------------------------------------------------


@dataclass
class Call:
    function: str
    x: Array
    axis: Any
    options: dict[str, Any] = field(default_factory=dict)
    target: Array | None = None

    def __call__(self) -> Any:
        function = getattr(sl, self.function)
        if self.target is not None:
            return function(self.x, self.target, axis=self.axis, **self.options)
        return function(self.x, axis=self.axis, **self.options)

    def __repr__(self) -> str:  # what hypothesis shows of a failure
        shown = {
            k: f"<{v.dtype.str} {v.shape} {v.strides}>" if isinstance(v, np.ndarray) else v
            for k, v in {**self.options, "target": self.target}.items()
        }
        x = self.x
        return (
            f"{self.function}(axis={self.axis}, {shown}, x={x.dtype.str}{x.shape} strides "
            f"{x.strides}:\n{x!r})"
        )


def _values(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any], largest: float
) -> Array:
    """Of several scales and offsets, with ties."""
    if dtype.kind == "b":
        return np.asarray(rng.integers(0, 2, shape), dtype)
    if dtype.kind in "iu":
        low = 0 if dtype.kind == "u" else -40
        return np.asarray(rng.integers(low, 41, shape), dtype)
    scale = rng.choice([0.03125, 1.0, 8.0, largest])
    values = rng.standard_normal(shape) * scale + rng.choice([0.0, 0.0, 30.0, -300.0])
    if rng.random() < 0.3:
        values = np.round(values)
    return np.asarray(values, dtype)


def _sprinkle(rng: np.random.Generator, x: Array, kinds: tuple[float, ...]) -> None:
    for special in kinds:
        if rng.random() < 0.25:
            x[rng.random(x.shape) < 0.15] = special


@st.composite
def laid_out(draw: st.DrawFn, values: Array) -> Array:
    """The same values in memory of another order, step, direction, alignment and byte order."""
    dtype = values.dtype
    if "byte order" in FEATURES and dtype.itemsize > 1 and dtype.kind != "V" and draw(
            st.booleans()):  # fmt: skip
        dtype = dtype if dtype.name == "bfloat16" else dtype.newbyteorder()
    if "strides" not in FEATURES or draw(st.booleans()):
        return values.astype(dtype, order=draw(st.sampled_from("CF")))
    n = values.ndim
    order = draw(st.permutations(range(n)))
    steps = [draw(st.integers(1, 3)) for _ in range(n)]
    big = [values.shape[d] * steps[d] for d in order]
    count = int(np.prod(big, dtype=int))
    offset = draw(st.integers(0, dtype.itemsize - 1))
    memory = np.zeros(count * dtype.itemsize + offset, np.uint8)
    view = np.ndarray(tuple(big), dtype, memory, offset).transpose(np.argsort(order))
    view = view[(..., *(slice(None, None, s * draw(st.sampled_from((1, -1)))) for s in steps))]
    view[...] = values
    return view


@st.composite
def axes(draw: st.DrawFn, ndim: int) -> Any:
    if ndim == 0:
        return draw(st.sampled_from((None, -1, 0, ())))
    single = st.integers(-ndim, ndim - 1)
    several = st.lists(st.integers(0, ndim - 1), unique=True, max_size=ndim).map(
        lambda a: tuple(d - ndim if d % 2 else d for d in a)
    )
    return draw(st.one_of(st.none(), single, single, several))


shapes = st.lists(
    st.one_of(st.integers(1, 5), st.sampled_from((0, 1, 16, 17, 40))), min_size=0, max_size=4
).map(tuple)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def calls(draw: st.DrawFn) -> Call:
    rng = np.random.default_rng(draw(seeds))
    function = draw(st.sampled_from(MAPS + REDUCTIONS + LOSSES))
    dtype = _dtype(draw(st.sampled_from((*_floats(), *_floats(), *WIDE, *INTEGERS))))
    shape = draw(shapes.filter(lambda s: np.prod(s, dtype=int) <= 3000))
    # Derivatives stay clear of subnormal probabilities: test_derivatives.py.
    values = _values(rng, shape, dtype, 8.0 if function in LOSSES else 64.0)
    if function not in LOSSES and dtype.kind not in "biu":
        _sprinkle(rng, values, (-np.inf, np.inf, np.nan))
    if "strides" in FEATURES and values.ndim and draw(st.integers(0, 5)) == 0:
        d = draw(st.integers(0, values.ndim - 1))
        x = np.broadcast_to(values.take([0], d), shape) if shape[d] else values
    else:
        x = draw(laid_out(values))
    call = Call(function, x, draw(axes(len(shape))))
    if function in LOSSES:
        _draw_loss(draw, rng, call)
    else:
        _draw_options(draw, rng, call)
    if "out" in FEATURES:
        _draw_out(draw, call)
    return call


def _draw_options(draw: st.DrawFn, rng: np.random.Generator, call: Call) -> None:
    options = call.options
    if call.function != "logsumexp":
        options["temperature"] = draw(st.sampled_from((1.0, 1.0, 0.7, 3.0)))
    if call.function in REDUCTIONS:
        options["keepdims"] = draw(st.booleans())
    if call.function == "entropy":
        options["base"] = draw(st.sampled_from((None, 2.0)))
    shape = call.x.shape
    if call.function == "logsumexp" and "b" in FEATURES and draw(st.booleans()):
        of_b = tuple(n if draw(st.booleans()) else 1 for n in shape)
        kind = _dtype(draw(st.sampled_from((*_floats(), "int8", "int64"))))
        factors = np.asarray(rng.integers(-16, 17, of_b) / (1 if kind.kind == "i" else 8), kind)
        options["b"] = draw(laid_out(factors))
        options["return_sign"] = draw(st.booleans())
    if "where" in FEATURES and draw(st.booleans()):
        kept = tuple(n if draw(st.booleans()) else 1 for n in shape)
        kept = kept[draw(st.integers(0, len(kept))) :] if draw(st.booleans()) else kept
        options["where"] = draw(
            laid_out(np.asarray(rng.random(kept) < draw(st.sampled_from((0.2, 0.8)))))
        )
    if "dtype" in FEATURES and draw(st.booleans()):
        options["dtype"] = _dtype(draw(st.sampled_from(tuple(FORMATS))))


def _draw_loss(draw: st.DrawFn, rng: np.random.Generator, call: Call) -> None:
    classes, rows = _split(call)
    if rows and not classes:  # no class to be the label
        call.x = np.ones((*call.x.shape, 1), call.x.dtype)
        call.axis, (classes, rows) = -1, (1, call.x.size)
    shape = _row_shape(call)
    if draw(st.booleans()):
        labels = np.asarray(
            rng.integers(0, np.clip(classes, 1, 127), shape), draw(st.sampled_from(INTEGERS[1:]))
        )
        if draw(st.booleans()):
            call.options["ignore_index"] = 0
        call.target = draw(laid_out(labels))
    else:
        soft = rng.integers(0, 9, call.x.shape) / 8
        call.target = draw(laid_out(np.asarray(soft, draw(st.sampled_from(WIDE)))))
    if draw(st.booleans()):
        call.options["weight"] = rng.integers(1, 9, classes) / 4
    if draw(st.booleans()):
        call.options["sample_weight"] = draw(laid_out(np.asarray(rng.integers(0, 9, shape) / 4)))
    call.options["label_smoothing"] = draw(st.sampled_from((0.0, 0.0, 0.125, 1.0)))


def _draw_out(draw: st.DrawFn, call: Call) -> None:
    how = draw(st.sampled_from(("none", "fresh", "overlap")))
    results = call()
    results = results if isinstance(results, tuple) else (results,)
    if how == "none":
        return
    outs = tuple(draw(laid_out(np.full(r.shape, 3, r.dtype))) for r in results)
    x = call.x
    writeable = x.flags.writeable and 0 not in x.strides and results[0].shape == x.shape
    if how == "overlap" and len(outs) == 1 and writeable and results[0].dtype == x.dtype:
        outs = (x[(..., *(slice(None, None, -1) for _ in x.shape))] if draw(st.booleans()) else x,)
    call.options["out"] = outs if len(outs) == 2 else outs[0]


# --- what it should return ------------------------------------------------------------------------


def _class_axes(call: Call) -> tuple[int, ...]:
    if call.axis is None:
        return tuple(range(call.x.ndim))
    given_axes = call.axis if isinstance(call.axis, tuple) else (call.axis,)
    return tuple(sorted(a % call.x.ndim for a in given_axes)) if call.x.ndim else ()


def _row_shape(call: Call) -> tuple[int, ...]:
    return tuple(n for d, n in enumerate(call.x.shape) if d not in _class_axes(call))


def _split(call: Call) -> tuple[int, int]:
    classes = int(np.prod([call.x.shape[d] for d in _class_axes(call)], dtype=int))
    return classes, int(np.prod(_row_shape(call), dtype=int))


def _as_rows(call: Call, a: Array) -> Array:
    """(rows, classes) of an array of x's shape."""
    classes, rows = _split(call)
    first = [d for d in range(call.x.ndim) if d not in _class_axes(call)]
    return np.broadcast_to(a, call.x.shape).transpose([*first, *_class_axes(call)]).reshape(
        rows, classes)  # fmt: skip


Expected = tuple[Array, Array | None]  # values, and the size that an error counts by


def _expected_rows(call: Call, x: Array) -> Expected:
    """x (rows, classes) in float64 or wider; maps give (rows, classes), reductions (rows,)."""
    temperature = call.options.get("temperature", 1.0)
    keep = _as_rows(call, np.asarray(call.options.get("where", True)))
    z = -x if call.function in MIRRORED else x
    z = np.where(keep, z, -np.inf)
    sign = -1 if call.function in MIRRORED else 1
    nan, high = np.isnan(z).any(1), (z == np.inf).any(1)
    low, left = (z == -np.inf).all(1), keep.any(1)
    undefined = nan | high | (low & left)
    with np.errstate(all="ignore"):
        of = Rows(np.where((undefined | low)[:, None], 0.0, z), temperature)
    nothing = ~left
    if call.function in MAPS:
        value = of.log_softmax() if call.function == "log_softmax" else of.softmax()
        value = np.where(undefined[:, None], np.nan, value)
        absent = -np.inf if call.function == "log_softmax" else 0.0
        return np.where(keep, value, absent), None
    if call.function == "entropy":
        value = of.entropy(call.options.get("base"))
        value = np.where(undefined, np.nan, np.where(nothing, 0.0, value))
        # As in test_accuracy.py: beyond the gaps that are promised, p (max - x) is as good as a
        # subnormal p only.
        dtype = np.dtype(_computed_in(call))
        promised = LARGEST_GAP[dtype] * np.exp(-LD(LARGEST_GAP[dtype]))
        floor = LD(np.finfo(dtype).smallest_normal) * LEAST_EXPONENT[dtype]
        return value, np.where(value < promised, np.maximum(value, floor), value)
    value = of.smooth_max()
    size = np.maximum(np.abs(value), np.abs(of.maximum[:, 0]))
    value = np.where(nan, np.nan, np.where(high, np.inf, np.where(low, -np.inf, value)))
    return sign * value, size


def _expected_sum(call: Call, x: Array) -> tuple[Array, Array, Array]:
    """With b: log of the absolute sum, its sign, and the size of what may cancel over the sum."""
    b = _as_rows(call, call.options["b"].astype(np.float64)).astype(LD)
    keep = _as_rows(call, np.asarray(call.options.get("where", True))) & (b != 0)
    z = np.where(keep, x, -np.inf).astype(LD)
    top = np.where(np.isfinite(z), z, -np.inf).max(1, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0)
    with np.errstate(all="ignore"):
        terms = np.where(keep, b * np.exp(z - top), 0)
        total, sizes = terms.sum(1), np.abs(terms).sum(1)
        return np.log(np.abs(total)) + top[:, 0], np.sign(total), sizes / np.abs(total)


def _expected_loss(call: Call, x: Array) -> Expected:
    of = Rows(x)
    options, target = call.options, call.target
    assert target is not None
    soft = target.dtype.kind == "f"
    rounded = target.astype(_computed_in(call)) if soft else target
    labels = _as_rows(call, rounded) if soft else np.asarray(rounded).reshape(-1)
    wt = of.weighted_target(labels, options.get("weight"), options["label_smoothing"])
    s = np.ones(_row_shape(call), LD) * options.get("sample_weight", 1.0)
    if "ignore_index" in options:
        s = np.where(np.asarray(target) == options["ignore_index"], 0, s)
    scale = s.reshape(-1)
    if call.function == "cross_entropy":
        return of.loss(wt, scale), None
    if call.function == "cross_entropy_grad":
        return of.gradient(wt, scale)
    return of.hessian_diag(scale * wt.sum(1)), None


def _computed_in(call: Call) -> str:
    """The wider of the input and the result."""
    kinds = [
        call.x.dtype,
        *(np.asarray(call.options[k]).dtype for k in ("b",) if k in call.options),
    ]
    kinds += [np.dtype(call.options["dtype"])] if "dtype" in call.options else []
    narrow = all(k.name in ("float16", "bfloat16", "float32") for k in kinds)
    return "float32" if narrow else "float64"


def _result_dtype(call: Call) -> str:
    if "dtype" in call.options:
        return call.options["dtype"].name
    kinds = {call.x.dtype.name if call.x.dtype.name in FORMATS else "float64"}
    if "b" in call.options:
        name = call.options["b"].dtype.name
        kinds.add(name if name in FORMATS else "float64")
    if call.function == "cross_entropy" and kinds <= {"float16", "bfloat16"}:
        return "float32"
    if len(kinds) > 1 and kinds <= {"float16", "bfloat16"}:
        return "float32"
    return max(kinds, key=lambda k: (_dtype(k).itemsize, k))


def _spacing(at: Array, name: str) -> Array:
    bits, least = FORMATS[name]
    rounded = np.abs(np.asarray(at).astype(_dtype(name)).astype(LD))
    exponent = np.frexp(np.where(np.isfinite(rounded), rounded, 0))[1] - 1
    return np.ldexp(LD(1), np.maximum(exponent, least) - bits)


def _assert_close(
    got: Array, wanted: Array, size: Array | None, call: Call, slack: Any = 0
) -> None:
    result, compute = _result_dtype(call), _computed_in(call)
    bound = sl._core.max_ulp(BOUND[call.function], compute)
    at = wanted if size is None else size
    with np.errstate(all="ignore"):
        tolerance = bound * _spacing(at, compute) + slack
        if result != compute:
            tolerance = tolerance + _spacing(at, result) / 2  # rounded once more
        rounded = wanted.astype(_dtype(result))
        finite = np.isfinite(rounded) & np.isfinite(got)
        error = np.abs(got.astype(LD) - wanted)
        same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    wrong = np.where(finite, error > tolerance, ~same)
    assert not wrong.any(), (got[wrong], wanted[wrong], (error / _spacing(at, result))[wrong])


def _check(call: Call) -> None:
    x = call.x.astype(np.float64)  # exact: every integer drawn has fewer than 53 bits
    before = call.x.copy()
    got = call()
    out = call.options.get("out")
    if out is None:
        assert call.x.tobytes() == before.tobytes()
    else:
        assert got is out or (isinstance(out, tuple) and all(map(_identical, got, out)))
    results = got if isinstance(got, tuple) else (got,)
    for r in results:
        assert r.dtype.newbyteorder("=") == _dtype(_result_dtype(call)), r.dtype
        assert out is not None or r.dtype.isnative
        assert r.shape == _shape_of_result(call)
        assert out is not None or isinstance(r, np.generic if r.shape == () else np.ndarray)
    classes, rows = _split(call)
    mapped = call.function in MAPS or call.function in LOSSES[1:]
    flat = [_as_rows(call, np.asarray(r)) if mapped else np.asarray(r).reshape(-1) for r in results]
    if mapped and 0 in (classes, rows):
        return
    wide = _as_rows(call, x)
    if classes == 0 or rows == 0:
        empty = {"entropy": 0.0, "smooth_min": np.inf, "cross_entropy": 0.0}
        assert (flat[0] == empty.get(call.function, -np.inf)).all()
    elif "b" in call.options:
        value, sign, ratio = _expected_sum(call, wide)
        _check_signed(call, flat, value, sign, ratio)
    else:
        value, size = (_expected_loss if call.function in LOSSES else _expected_rows)(call, wide)
        _assert_close(flat[0], value, size, call)


def _check_signed(call: Call, flat: list[Array], value: Array, sign: Array, ratio: Array) -> None:
    # Where terms cancel to less than 2**-20 of themselves, long double cannot judge.
    clear = ~(ratio > 2.0**20)
    maximum = np.abs(np.where(np.isfinite(value), value, 0))
    x = _as_rows(call, call.x.astype(np.float64))
    size = np.maximum(maximum, np.abs(np.where(np.isfinite(x), x, 0)).max(1))
    slack = np.where(np.isfinite(ratio), ratio, 0)[clear] * 2.0**-52
    wanted = value if call.options["return_sign"] else np.where(sign < 0, np.nan, value)
    _assert_close(flat[0][clear], wanted[clear], size[clear], call, slack)
    if call.options["return_sign"]:
        assert ((flat[1] == sign) | (np.isnan(flat[1]) & np.isnan(sign)))[clear].all()


def _identical(a: Any, b: Any) -> bool:
    return a is b


def _shape_of_result(call: Call) -> tuple[int, ...]:
    if call.function in MAPS or call.function in LOSSES[1:]:
        return call.x.shape
    if call.options.get("keepdims"):
        return tuple(1 if d in _class_axes(call) else n for d, n in enumerate(call.x.shape))
    return _row_shape(call)


@pytest.mark.skipif(not oracle.wide_enough, reason="needs a long double of 64 bits")
@settings(max_examples=EXAMPLES)
@given(calls())
def test_any_valid_call_gives_what_the_oracle_says(call: Call) -> None:
    _check(call)


def test_every_feature_is_known() -> None:
    """A misspelt feature would be left out without a word."""
    known = {"byte order", "strides", "out", "halves", "where", "dtype", "b"}
    assert known >= FEATURES
