"""Storage formats: half precision, integers, any byte order, and dtype=.

What a function gives for an operand is what it gives for the same numbers in the dtype it computes
in, rounded once to the dtype of its result.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from operations import OPERATIONS, Inputs, Results, make_inputs, names_for

import softlane as sl

Array = npt.NDArray[Any]

FLOAT16, BFLOAT16 = np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
HALVES = (FLOAT16, BFLOAT16)
FLOATS = (*HALVES, FLOAT32, FLOAT64)
BOOL = np.dtype(bool)
INTEGERS = tuple(np.dtype(c) for c in "?bBhHiIlLqQ")
CLASSES = (1, 5, 16, 17, 1000, 1024, 1025, 3000)
ROWS = 6
WITH_DTYPE: dict[str, Callable[..., Any]] = {
    "softmax": sl.softmax, "log_softmax": sl.log_softmax, "softmin": sl.softmin,
    "logsumexp": sl.logsumexp, "smooth_max": sl.smooth_max, "smooth_min": sl.smooth_min,
    "entropy": sl.entropy,
}  # fmt: skip
IN_PLACE = [n for n, o in OPERATIONS.items() if o.kind == "map" and "hess_diag" not in n]


@pytest.fixture(params=HALVES, ids=str)
def half(request: pytest.FixtureRequest) -> np.dtype:
    return request.param


def computed_in(*dtypes: np.dtype) -> np.dtype:
    narrow = all(d in (*HALVES, FLOAT32) for d in dtypes)
    return FLOAT32 if narrow else FLOAT64


def in_halves(x: Array, half: np.dtype) -> Array:
    """In the range of float16, except what is infinite already."""
    return np.where(np.isinf(x), x, np.clip(x, -6e4, 6e4)).astype(half)


def half_inputs(rows: int, classes: int, half: np.dtype) -> Inputs:
    a = make_inputs(rows, classes, np.float32, seed=classes)
    return a.relaid(lambda x: in_halves(x, half))


def widened(a: Inputs) -> Inputs:
    return a.relaid(lambda x: x.astype(np.float32))


def is_loss(name: str, position: int) -> bool:
    return name.startswith(("loss", "value_and_grad")) and position == 0


def rounded(values: Any, dtype: np.dtype) -> Array:
    """To nearest even and once, by arithmetic that is exact in float64."""
    values = np.asarray(values)
    if dtype not in HALVES:
        return values.astype(dtype)
    wide = values.astype(np.float64)
    digits, least = (11, -13) if dtype == FLOAT16 else (8, -125)
    exponent = np.maximum(np.frexp(wide)[1], least)
    unit = np.ldexp(1.0, exponent - digits)
    with np.errstate(all="ignore"):
        exact = np.where(np.isfinite(wide), np.rint(wide / unit) * unit, wide)
        return exact.astype(np.float32).astype(dtype)


def bits(a: Any) -> bytes:
    """With one NaN for all: which of them comes out is not promised."""
    a = np.asarray(a)
    plain = np.array(a, a.dtype.newbyteorder("="), order="C")
    plain[np.isnan(plain)] = np.nan
    return plain.tobytes()


def assert_same(got: Any, wanted: Any, what: object = "") -> None:
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.dtype == wanted.dtype, what
    assert got.shape == wanted.shape, what
    if bits(got) != bits(wanted):
        differ = ~((got == wanted) | (np.isnan(got) & np.isnan(wanted)))
        where = tuple(np.argwhere(differ)[0].tolist()) if differ.any() else "a sign of zero"
        pytest.fail(f"{what}: {differ.sum()} of {got.size} differ, the first at {where}")


@cache
def _wanted(name: str, classes: int, half: np.dtype) -> Results:
    before = sl.active_isa()
    sl._core.select_isa("scalar")
    try:
        single = OPERATIONS[name](widened(half_inputs(ROWS, classes, half)))
    finally:
        sl._core.select_isa(before)
    return tuple(r if is_loss(name, i) else rounded(r, half) for i, r in enumerate(single))


# --- half precision -----------------------------------------------------------------------------


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("classes", CLASSES)
def test_halves_give_the_rounded_float32_result(half: np.dtype, classes: int) -> None:
    a = half_inputs(ROWS, classes, half)
    for name in names_for(classes):
        for got, wanted in zip(OPERATIONS[name](a), _wanted(name, classes, half), strict=True):
            assert_same(got, wanted, name)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_packages_themselves_round_alike(half: np.dtype, name: str) -> None:
    """So that the test above does not rest on `rounded` alone."""
    a = half_inputs(ROWS, 37, half)
    single = OPERATIONS[name](widened(a))
    for i, (got, wide) in enumerate(zip(OPERATIONS[name](a), single, strict=True)):
        assert_same(got, wide if is_loss(name, i) else wide.astype(half), name)


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "misaligned": lambda a: _misaligned(a),
    "misaligned and swapped": lambda a: _misaligned(a.astype(a.dtype.newbyteorder())),
    "strided": lambda a: np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3],
    "negative": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
    "fortran": np.asfortranarray,
    "record field": lambda a: _record_field(a),
}


def _misaligned(a: Array) -> Array:
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    raw[...] = a
    return raw


def _record_field(a: Array) -> Array:
    record = np.zeros(a.shape, np.dtype([("tag", "u1"), ("value", a.dtype)]))
    record["value"] = a
    return record["value"]


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("classes", [5, 37, 1025])
def test_layout_of_halves_changes_no_bit(half: np.dtype, classes: int, layout: str) -> None:
    a = half_inputs(ROWS, classes, half)
    lay = LAYOUTS[layout]
    for name in names_for(classes):
        wanted = _wanted(name, classes, half)
        for got, value in zip(OPERATIONS[name](a.relaid(lay)), wanted, strict=True):
            assert_same(got, value, name)
        if max(w.ndim for w in wanted) > 2:
            continue
        outs = tuple(
            lay(np.full(np.atleast_2d(w).shape, 7, w.dtype)).reshape(w.shape, copy=False)
            if w.ndim == 2
            else np.zeros(w.shape, w.dtype.newbyteorder())
            for w in wanted
        )
        got = OPERATIONS[name](a, out=outs if len(outs) == 2 else outs[0])
        for result, out, value in zip(got, outs, wanted, strict=True):
            assert result is out
            assert bits(out) == bits(value), (name, "out")


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("classes", [1, 9, 1024, 2500])
@pytest.mark.parametrize("name", IN_PLACE)
def test_halves_in_place(half: np.dtype, name: str, classes: int) -> None:
    a = half_inputs(3, classes, half)
    for axis in (-1, 0):
        lay = (lambda b: b.T.copy()) if axis == 0 else np.copy
        (wanted,) = OPERATIONS[name](a)
        for field in ("logits", "finite", "vector", "probabilities"):
            fresh = a.relaid(lay)
            out = getattr(fresh, field)
            assert OPERATIONS[name](fresh, axis=axis, out=out)[0] is out
            assert_same(out.T if axis == 0 else out, wanted, (field, axis))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("threads", [2, 7])
def test_threads_change_no_bit_of_halves(half: np.dtype, threads: int) -> None:
    a = half_inputs(40, 3001, half)
    for name in ("softmax", "logsumexp", "value_and_grad_soft", "hvp", "hessian_solve"):
        with sl.num_threads(1):
            wanted = OPERATIONS[name](a)
        with sl.num_threads(threads):
            got = OPERATIONS[name](a)
        for one, many in zip(wanted, got, strict=True):
            assert_same(many, one, name)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("axis", [0, 1, (0, 2), (1, 0), None], ids=str)
def test_halves_take_every_axis(half: np.dtype, axis: Any) -> None:
    solid = half_inputs(20, 60, half).finite.reshape(5, 4, 60)
    for x in (solid, solid.astype(half.newbyteorder())):
        for name, function in WITH_DTYPE.items():
            wanted = rounded(function(solid.astype(np.float32), axis), half)
            assert_same(function(x, axis), wanted, name)
            out = np.zeros(wanted.shape, half.newbyteorder())
            assert function(x, axis, out=out) is out
            assert bits(out) == bits(wanted), name


@pytest.mark.usefixtures("isa")
def test_zero_strides_of_halves(half: np.dtype) -> None:
    row = half_inputs(1, 1500, half).logits[0]
    for x in (np.broadcast_to(row, (3, 1500)), np.broadcast_to(row[:3, None], (3, 1500))):
        for axis, function in itertools.product((0, 1, None), WITH_DTYPE.values()):
            assert_same(function(x, axis), function(x.copy(), axis))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("columns", [1, 64, 65])
def test_every_half_is_read_and_written_exactly(half: np.dtype, columns: int) -> None:
    """Alone in a row a number is its own log-sum-exp, through the elements' conversion; as the
    vector of a Hessian it passes through the registers'."""
    every = np.arange(2**16, dtype=np.uint16).view(half)
    every = every[np.isfinite(every.astype(np.float32))]
    got = sl.logsumexp(every[:, None], axis=1)
    assert got.dtype == half
    assert (got == every).all()
    assert got.view(np.uint16).tobytes() == (every + half.type(0)).view(np.uint16).tobytes()
    x = np.resize(every, (-(-every.size // columns), columns))
    assert_same(sl.log_softmax(x, dtype=np.float32), sl.log_softmax(x.astype(np.float32)))
    assert_same(sl.log_softmax(x), rounded(sl.log_softmax(x.astype(np.float32)), half))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("step", [1, 2])
def test_numbers_between_two_halves_go_to_the_nearer_or_even_one(half: np.dtype, step: int) -> None:
    """Where one class has everything, log_softmax is x - max, exactly: any number can be made."""
    every = np.arange(0x7C00 if half == FLOAT16 else 0x7F80, dtype=np.uint16).view(half)
    every = every[every.astype(np.float32) >= 256].astype(np.float64)
    middle = (every[1:] + every[:-1]) / 2
    ties = middle.astype(np.float32)
    values = np.concatenate([np.nextafter(ties, np.float32(v)) for v in (0, np.inf)] + [ties])
    x = np.zeros((step * values.size + 1,), np.float32)[::step]
    x[1:] = -values
    got = sl.log_softmax(x, dtype=half)
    assert_same(got, rounded(x, half))
    assert_same(got, x.astype(half))


@pytest.mark.usefixtures("isa")
def test_underflow_of_halves_is_gradual(half: np.dtype) -> None:
    x = -np.linspace(0, 105, 2000, dtype=np.float32)
    single = sl.softmax(x)
    got = sl.softmax(x, dtype=half)
    assert_same(got, rounded(single, half))
    assert_same(got, single.astype(half))
    smallest = np.float64(2.0**-24 if half == FLOAT16 else 2.0**-133)
    assert (got.astype(np.float64) == smallest).any()
    assert (got[single > 0] == 0).any()


@pytest.mark.usefixtures("isa")
def test_special_values_of_halves(half: np.dtype) -> None:
    inf, nan = np.inf, np.nan
    x = np.array([[0, nan, 1], [0, inf, 1], [-inf, 0, -inf], [-inf] * 3, [2, 1, 0]], half)
    quiet = int(x[0, 1:2].view(np.uint16)[0]) & 0x7FFF
    for pattern in (quiet, quiet | 0x8000, 0x7C01 if half == FLOAT16 else 0x7F81, 0xFFFF):
        x[0, 1:2].view(np.uint16)[0] = pattern
        for function in WITH_DTYPE.values():
            with np.errstate(all="raise"):
                got = function(x, 1)
                assert_same(got, rounded(function(x.astype(np.float32), 1), half))
            assert np.isnan(np.atleast_2d(got.T).T[0]).all()


@pytest.mark.usefixtures("isa")
def test_results_beyond_the_largest_half_are_infinite() -> None:
    x = np.full(4, 65504, np.float16)
    with np.errstate(all="raise"):
        assert sl.smooth_max(x, temperature=6e4) == np.inf
        assert sl.smooth_min(-x, temperature=6e4) == -np.inf
        assert sl.logsumexp(x) == np.float16(65504)
        gradient = sl.cross_entropy_grad(np.zeros(2, np.float16), 0, sample_weight=1e6)
        assert gradient.tolist() == [-np.inf, np.inf]
        assert sl.logsumexp(np.full(2, 1e300), dtype=np.float32) == np.inf


def test_a_long_sum_of_halves() -> None:
    got = sl.logsumexp(np.zeros(70_000, np.float16))
    assert type(got) is np.float16
    assert got == np.float16(11.16)


def test_scalars_of_halves(half: np.dtype) -> None:
    x = np.array([1, 2, 3], half)
    assert type(sl.logsumexp(x)) is half.type
    assert type(sl.entropy(x, dtype=np.float64)) is np.float64
    assert type(sl.softmax(half.type(3))) is half.type
    for reduction in ("none", "sum", "mean"):
        loss, gradient = sl.cross_entropy_value_and_grad(x, 1, reduction=reduction)
        assert type(loss) is np.float32
        assert gradient.dtype == half
    out = np.zeros((), ">f4")
    assert sl.cross_entropy(x, 1, reduction="mean", out=out) is out
    assert out == sl.cross_entropy(x, 1)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_empty_halves(half: np.dtype, shape: tuple[int, int]) -> None:
    x = np.empty(shape, half)
    assert (sl.softmax(x).shape, sl.softmax(x).dtype) == (shape, half)
    got = sl.logsumexp(x, 1)
    assert (got.shape, got.dtype) == (shape[:1], half)
    assert (got.astype(np.float32) == -np.inf).all()
    out = np.full(shape[0], 7, half.newbyteorder())
    assert (sl.entropy(x, 1, out=out) == 0).all()


# --- integers and byte orders -------------------------------------------------------------------


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("classes", [5, 1025])
def test_integers_are_read_as_float64(dtype: np.dtype, classes: int) -> None:
    rng = np.random.default_rng(classes)
    # all bits are used; 64-bit numbers round to float64 as NumPy rounds them
    x = rng.integers(0, 256, (3, classes * dtype.itemsize), np.uint8).view(dtype)
    x = (rng.integers(0, 2, x.shape) == 1) if dtype == BOOL else x
    x = np.concatenate([x, rng.integers(0, 2 if dtype == BOOL else 100, x.shape).astype(dtype)])
    wide = x.astype(np.float64)
    for layout in (np.copy, *LAYOUTS.values()):
        seen = layout(x)
        for name, function in WITH_DTYPE.items():
            assert_same(function(seen, 1), function(wide, 1), name)
        plain = sl.cross_entropy_value_and_grad(wide, [0] * 6)
        for got, wanted in zip(sl.cross_entropy_value_and_grad(seen, [0] * 6), plain, strict=True):
            assert_same(got, wanted)


def test_small_unsigned_integers_do_not_wrap_around() -> None:
    x = np.array([1, 2, 3], np.uint8)
    for function in WITH_DTYPE.values():
        assert_same(function(x), function(np.array([1.0, 2.0, 3.0])))
    assert sl.softmax(x).round(4).tolist() == [0.09, 0.2447, 0.6652]


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("classes", [9, 1500])
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=str)
def test_swapped_and_misaligned_outputs_are_written(dtype: np.dtype, classes: int) -> None:
    a = make_inputs(5, classes, dtype)
    for name in names_for(classes):
        wanted = OPERATIONS[name](a)
        outs = tuple(_misaligned(np.zeros(w.shape, dtype.newbyteorder())) for w in wanted)
        OPERATIONS[name](a, out=outs if len(outs) == 2 else outs[0])
        for out, value in zip(outs, wanted, strict=True):
            assert bits(out) == bits(value), name
    x = a.logits.astype(dtype.newbyteorder())
    wanted_map = sl.softmax(x)
    assert sl.softmax(x, out=x) is x
    assert bits(x) == bits(wanted_map)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("classes", [7, 1500])
def test_output_of_another_dtype_may_share_memory(classes: int) -> None:
    values = np.random.default_rng(1).integers(-9, 9, (4, classes))
    pairs = ((np.int64, np.float64), (np.float16, BFLOAT16), (BFLOAT16, np.float16),
             (">f4", np.float32), (np.float32, BFLOAT16), (BFLOAT16, np.float32),
             (np.int32, np.float32), (np.int16, np.float16), (">i8", np.float64))  # fmt: skip
    for dtype, view in pairs:
        x = values.astype(dtype)
        for function in (sl.softmax, sl.log_softmax):
            raw = np.zeros(values.size * 8, np.uint8)
            shared = raw[: x.nbytes].view(dtype).reshape(x.shape)
            shared[...] = x
            item = np.dtype(view).itemsize
            out = raw[: values.size * item].view(view).reshape(x.shape)
            wanted = function(x, dtype=view)
            assert function(shared, dtype=view, out=out) is out
            assert_same(out, wanted, (dtype, view))


# --- dtype= -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("asked", FLOATS, ids=str)
@pytest.mark.parametrize("given", [*FLOATS, np.dtype(np.int16), BOOL], ids=str)
@pytest.mark.parametrize("classes", [3, 17, 1100])
def test_the_wider_of_input_and_result_computes(
    given: np.dtype, asked: np.dtype, classes: int
) -> None:
    values = half_inputs(5, classes, BFLOAT16).finite.astype(np.float64)
    x = (values > 0) if given == BOOL else np.clip(values, -3e4, 3e4).astype(given)
    wide = computed_in(given, asked)
    for name, function in WITH_DTYPE.items():
        wanted = rounded(function(x.astype(wide), -1), asked)
        assert_same(function(x, -1, dtype=asked), wanted, name)
        assert_same(function(x, -1, dtype=asked.newbyteorder()), wanted, name)
        out = np.zeros(wanted.shape, asked.newbyteorder())
        assert function(x, -1, dtype=asked, out=out) is out
        assert bits(out) == bits(wanted), name


@pytest.mark.usefixtures("isa")
def test_float64_is_rounded_to_halves_once() -> None:
    """By way of float32 the first would be a tie, and go to the even neighbour."""
    for dtype, middle, above in ((np.float16, 1025 - 0.5, 1025), (BFLOAT16, 1028, 1032)):
        for beyond in (2.0**-30, 2.0**-40):
            got = sl.log_softmax([0.0, -(middle + beyond)], dtype=dtype)
            assert got.dtype == dtype
            assert float(got[1]) == -above


def test_dtype_may_be_anything_that_names_one() -> None:
    x = [1.0, 2.0]
    for dtype, wanted in (("float16", np.float16), (np.half, np.float16), ("<f4", np.float32),
                          (float, np.float64), (np.dtype("d"), np.float64), ("f", np.float32),
                          (ml_dtypes.bfloat16, BFLOAT16), (BFLOAT16, BFLOAT16),
                          ("bfloat16", BFLOAT16), (None, np.float64)):  # fmt: skip
        assert sl.softmax(x, dtype=dtype).dtype == wanted
    assert sl.softmax(np.ones(2, np.float16), dtype=None).dtype == np.float16


@pytest.mark.parametrize("name", WITH_DTYPE)
def test_other_dtypes_are_refused(name: str) -> None:
    for bad in (int, "i4", bool, complex, np.longdouble, object, str, "M8[s]", "nonsense", 3,
                ml_dtypes.float8_e4m3fn, [("a", "f4")], ""):  # fmt: skip
        out = np.full((2, 2), -7.0)
        with pytest.raises(TypeError) as caught:
            WITH_DTYPE[name](np.ones((2, 2)), dtype=bad, out=out)
        message = str(caught.value)
        assert message.startswith(f"{name}: dtype "), message
        for accepted in ("float16", "bfloat16", "float32", "float64"):
            assert accepted in message
        assert (out == -7).all()


@pytest.mark.parametrize("name", WITH_DTYPE)
def test_out_has_the_dtype_asked_for(name: str) -> None:
    x = np.ones((3, 2), np.float32)
    wanted = np.asarray(WITH_DTYPE[name](x, -1))
    for asked, given in itertools.permutations(FLOATS, 2):
        out = np.full(wanted.shape, 7, given)
        with pytest.raises(TypeError, match=f"^{name}: out has dtype {given}, .* {asked}$"):
            WITH_DTYPE[name](x, -1, dtype=asked, out=out)
        assert (out == 7).all()


# --- what is not accepted -----------------------------------------------------------------------


@pytest.mark.parametrize("name", OPERATIONS)
def test_other_inputs_are_refused(name: str) -> None:
    a = make_inputs(3, 4, np.float64)
    for dtype in (complex, np.longdouble, object, str, "M8[s]", ml_dtypes.float8_e4m3fn,
                  ml_dtypes.float8_e5m2, ml_dtypes.int4):  # fmt: skip
        x = np.zeros((3, 4)).astype(dtype)
        with pytest.raises(TypeError) as caught:
            OPERATIONS[name](replace(a, logits=x, finite=x))
        for accepted in ("float16", "bfloat16", "float32", "float64", "integers", "bool"):
            assert accepted in str(caught.value)


def test_a_type_that_only_calls_itself_bfloat16_is_refused() -> None:
    float8 = np.zeros(3, ml_dtypes.float8_e5m2)
    sl.softmax(np.zeros(3, BFLOAT16))  # once seen, its number is known
    with pytest.raises(TypeError, match="^softmax: x has dtype float8_e5m2"):
        sl.softmax(float8)


def test_ml_dtypes_is_not_imported_for_those_who_do_not_use_it() -> None:
    code = """
import sys
import numpy as np
import softlane as sl
sl.softmax(np.ones(3, np.float16), dtype="f4")
try:
    sl.softmax(np.ones(3), dtype="bfloat16")
except TypeError as error:
    assert "bfloat16 (of ml_dtypes)" in str(error)
else:
    raise AssertionError
assert "ml_dtypes" not in sys.modules
import ml_dtypes
assert sl.softmax(np.ones(2), dtype="bfloat16").dtype == ml_dtypes.bfloat16
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# --- losses of mixed dtypes ---------------------------------------------------------------------


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("other", [*FLOATS, np.dtype(np.int8)], ids=str)
@pytest.mark.parametrize("logits", [*FLOATS, np.dtype(np.int8)], ids=str)
@pytest.mark.parametrize("classes", [7, 1100])
def test_side_operands_are_read_in_the_dtype_that_computes(
    logits: np.dtype, other: np.dtype, classes: int
) -> None:
    a = half_inputs(4, classes, FLOAT16)
    x = np.clip(a.finite, -100, 100).astype(logits)
    v = (a.vector.astype(np.float32) * 8).astype(other)
    t = a.probabilities.astype(other)
    wide = computed_in(logits)
    result = logits if logits in FLOATS else FLOAT64
    wx, wv, wt = x.astype(wide), v.astype(wide), t.astype(wide)
    assert_same(sl.cross_entropy_hvp(x, v), rounded(sl.cross_entropy_hvp(wx, wv), result))
    assert_same(
        sl.cross_entropy_hessian_solve(x, v, 0.5),
        rounded(sl.cross_entropy_hessian_solve(wx, wv, 0.5), result),
    )
    if other not in FLOATS:
        return
    loss, gradient = sl.cross_entropy_value_and_grad(x, t, label_smoothing=0.1)
    wide_loss, wide_gradient = sl.cross_entropy_value_and_grad(wx, wt, label_smoothing=0.1)
    assert_same(loss, wide_loss)
    assert_same(gradient, rounded(wide_gradient, result))


def test_weights_may_be_halves(half: np.dtype) -> None:
    a = make_inputs(5, 6, np.float32)
    w, s = a.weight.astype(half), a.sample_weight.astype(half)
    got = sl.cross_entropy(a.finite, a.labels, weight=w, sample_weight=s)
    wide = {"weight": w.astype(np.float64), "sample_weight": s.astype(np.float64)}
    assert_same(got, sl.cross_entropy(a.finite, a.labels, **wide))


def test_bad_probabilities_in_halves_are_named(half: np.dtype) -> None:
    for lay in (np.copy, *LAYOUTS.values()):
        t = np.full((3, 2500), 0.5, half)
        t[1, 2200] = -0.25
        with pytest.raises(ValueError, match=r"^cross_entropy: target\[1, 2200\] is -0.25, "):
            sl.cross_entropy(np.zeros((3, 2500), half), lay(t))


# --- memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["contiguous", *LAYOUTS])
@pytest.mark.parametrize("dtype", [*FLOATS, np.dtype(np.uint8), np.dtype(np.int64)], ids=str)
def test_no_format_costs_a_temporary(dtype: np.dtype, layout: str) -> None:
    shape = (20, 20_000)
    lay = LAYOUTS.get(layout, np.copy)
    x = lay(np.random.default_rng(0).integers(0, 9, shape).astype(dtype))
    t = lay(np.ones(shape, dtype if dtype in FLOATS else np.float64))
    result = dtype if dtype in FLOATS else FLOAT64
    out = lay(np.zeros(shape, result))
    rows = np.zeros(shape[0], result)
    losses = np.zeros(shape[0], np.float32 if dtype in HALVES else result)
    sl.softmax(x[:1, :3])  # what the first call imports
    tracemalloc.start()
    try:
        sl.softmax(x, out=out)
        sl.logsumexp(x, 1, out=rows)
        sl.cross_entropy_value_and_grad(x, t, out=(losses, out))
        sl.cross_entropy_hvp(x, t, out=out)
        sl.cross_entropy_hessian_solve(x, t, 1.0, out=out)
        if dtype in HALVES and layout == "contiguous":
            sl.softmax(x, out=x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50_000, f"a temporary of {peak} bytes beside arrays of {out.nbytes}"


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=str)
def test_one_hot_gives_the_halves_that_losses_take(dtype: np.dtype[Any]) -> None:
    codes = sl.one_hot([2, 0], 3, dtype=dtype)
    assert codes.dtype == dtype
    assert codes.astype(np.float64).tolist() == [[0, 0, 1], [1, 0, 0]]
    logits = np.array([[1, 2, 3], [4, 5, 6]], dtype)
    assert sl.cross_entropy(logits, codes).tolist() == sl.cross_entropy(logits, [2, 0]).tolist()
