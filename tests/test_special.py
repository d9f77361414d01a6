"""softlane.special is scipy.special under another name: signatures, shapes, values."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.special

import softlane as sl
from softlane import special

Array = npt.NDArray[Any]

SHAPES = [(5,), (3, 4), (2, 3, 4), (1, 7), (4, 1), ()]
AXES = [None, 0, 1, 2, -1, -2, (0,), (0, 1), (-1, 0), (1, 2), (0, 2), (0, 1, 2)]
MAPS = ("softmax", "log_softmax")
# What SciPy itself keeps of the inputs used here: of scale 3, x - max(x) up to some 20 nats is
# rounded by half an ULP of 16, and exp passes that on.
RELATIVE = {np.dtype(np.float32): 3e-6, np.dtype(np.float64): 6e-15}


def _values(shape: tuple[int, ...], dtype: npt.DTypeLike, seed: int = 1) -> Array:
    return (np.random.default_rng(seed).standard_normal(shape) * 3).astype(dtype)


def _fits(axis: Any, ndim: int) -> bool:
    axes = axis if isinstance(axis, tuple) else () if axis is None else (axis,)
    dims = max(ndim, 1)  # both count a 0-d input as one element
    return all(-dims <= a < dims for a in axes) and len({a % dims for a in axes}) == len(axes)


SHAPES_AND_AXES = [(s, a) for s in SHAPES for a in AXES if _fits(a, len(s))]


def _assert_like(got: Any, wanted: Any, size: float = 1.0) -> None:
    """The same type, shape and dtype, and the same values up to SciPy's own error."""
    assert type(got) is type(wanted)
    if isinstance(wanted, tuple):
        assert len(got) == len(wanted)
        for mine, theirs in zip(got, wanted, strict=True):
            _assert_like(mine, theirs, size)
        return
    assert got.dtype == wanted.dtype
    assert got.shape == wanted.shape
    tolerance = RELATIVE[np.dtype(got.dtype)]
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance * size)


@pytest.mark.parametrize("name", special.__all__)
def test_signatures_are_scipys(name: str) -> None:
    def shape(module: Any) -> list[tuple[str, Any, Any]]:
        parameters = inspect.signature(getattr(module, name)).parameters.values()
        return [(p.name, p.kind, p.default) for p in parameters]

    assert shape(special) == shape(scipy.special)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize(
    ("shape", "axis"),
    # SciPy's maps take no tuple for a 0-d input, though its logsumexp does
    [(s, a) for s, a in SHAPES_AND_AXES if s or not isinstance(a, tuple)],
    ids=str,
)
def test_maps_are_scipys(name: str, shape: tuple[int, ...], axis: Any, dtype: np.dtype) -> None:
    x = _values(shape, dtype)
    _assert_like(getattr(special, name)(x, axis), getattr(scipy.special, name)(x, axis))
    _assert_like(getattr(special, name)(x, axis=axis), getattr(scipy.special, name)(x, axis=axis))


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("return_sign", [False, True])
@pytest.mark.parametrize(("shape", "axis"), SHAPES_AND_AXES, ids=str)
def test_logsumexp_is_scipys(
    shape: tuple[int, ...], axis: Any, return_sign: bool, keepdims: bool, dtype: np.dtype
) -> None:
    a = _values(shape, dtype)
    for b in (None, np.abs(_values(shape, dtype, 2)), 2, 0.25):
        _assert_like(
            special.logsumexp(a, axis, b, keepdims, return_sign),
            scipy.special.logsumexp(a, axis, b, keepdims, return_sign),
        )


@pytest.mark.parametrize(("shape", "axis"), SHAPES_AND_AXES, ids=str)
def test_factors_of_both_signs_are_scipys(
    shape: tuple[int, ...], axis: Any, dtype: np.dtype
) -> None:
    a, b = _values(shape, dtype), _values(shape, dtype, 2)
    got, sign = special.logsumexp(a, axis, b=b, return_sign=True)
    wanted, wanted_sign = scipy.special.logsumexp(a, axis, b=b, return_sign=True)
    _assert_like(sign, wanted_sign)
    # Terms of both signs cancel, in SciPy too: an error of the result counts by the sum of sizes.
    size = np.exp(scipy.special.logsumexp(a, axis, b=np.abs(b)) - wanted).max()
    _assert_like(got, wanted, size=float(size))
    negative = np.asarray(special.logsumexp(a, axis, b=b))
    assert (np.isnan(negative) == (np.asarray(sign) < 0)).all()


BROADCASTS = [((3, 4), (4,)), ((3, 4), (3, 1)), ((3, 4), ()), ((4,), (3, 4)), ((3, 1), (1, 4)),
              ((), (5,)), ((2, 1, 4), (3, 1))]  # fmt: skip


@pytest.mark.parametrize(("shape", "of_b"), BROADCASTS, ids=str)
@pytest.mark.parametrize("axis", [None, -1, 0])
@pytest.mark.parametrize("keepdims", [False, True])
def test_a_and_b_broadcast_both_ways(
    shape: tuple[int, ...], of_b: tuple[int, ...], axis: Any, keepdims: bool
) -> None:
    a, b = _values(shape, np.float64), np.abs(_values(of_b, np.float64, 2))
    for factor in (b, b.tolist()):
        _assert_like(
            special.logsumexp(a, axis, factor, keepdims),
            scipy.special.logsumexp(a, axis, factor, keepdims),
        )


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.float32, np.float64), (np.float64, np.float32), (np.float32, np.float32),
        (np.float32, np.int64), (np.int64, np.float32), (np.int64, np.int64), (bool, np.float64),
    ],
)  # fmt: skip
def test_the_dtype_of_a_and_b_together_is_scipys(a: npt.DTypeLike, b: npt.DTypeLike) -> None:
    values, factors = np.ones(3, a), np.ones(3, b)
    got = special.logsumexp(values, b=factors, return_sign=True)
    wanted = scipy.special.logsumexp(values, b=factors, return_sign=True)
    assert [(type(r), r.dtype) for r in got] == [(type(r), r.dtype) for r in wanted]
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


INF = np.inf
SPECIAL_ROWS: list[tuple[Any, Any]] = [
    ([INF, 1.0], None), ([-INF, 1.0], None), ([-INF, -INF], None), ([np.nan, 1.0], None),
    ([INF, -INF], None), ([1.0, 2.0], [0, 0]), ([INF, 1.0], [0, 1]), ([np.nan, 1.0], [0, 1]),
    ([INF, 1.0], [-1, 1]), ([INF, INF], [1, -1]), ([1.0, 1.0], [np.nan, 1]), ([1.0, 1.0], [1, -1]),
    ([-INF, 1.0], [-1, -1]),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), SPECIAL_ROWS, ids=str)
@pytest.mark.parametrize("return_sign", [False, True])
def test_special_values_of_logsumexp_are_scipys(a: Any, b: Any, return_sign: bool) -> None:
    got = special.logsumexp(a, b=b, return_sign=return_sign)
    wanted = scipy.special.logsumexp(a, b=b, return_sign=return_sign)
    np.testing.assert_allclose(got, wanted, rtol=1e-14)


@pytest.mark.parametrize("value", [3, 2.5, np.float32(1), np.array(2.0), [1.0, 2.0], [[1, 2]]])
@pytest.mark.parametrize("name", special.__all__)
def test_scalars_and_lists_are_scipys(name: str, value: Any) -> None:
    _assert_like(getattr(special, name)(value), getattr(scipy.special, name)(value))


@pytest.mark.parametrize("name", special.__all__)
def test_errors_about_the_axis_are_scipys(name: str) -> None:
    x = _values((3, 4), np.float64)
    for axis in (2, -3, (0, 0), (0, 5), 1.5):
        raised = []
        for module in (special, scipy.special):
            with pytest.raises((ValueError, TypeError)) as caught:
                getattr(module, name)(x, axis)
            raised.append(type(caught.value))
        assert raised[0] is raised[1], (axis, raised)


def test_shapes_that_do_not_broadcast_are_an_error_as_in_scipy() -> None:
    for function in (special.logsumexp, scipy.special.logsumexp):
        with pytest.raises(ValueError, match=r"broadcast|shape"):
            function(np.ones(3), b=np.ones(4))
    with pytest.raises(ValueError, match=r"^logsumexp: .*b has shape \(4,\)"):
        special.logsumexp(np.ones(3), b=np.ones(4))


@pytest.mark.parametrize("flag", ["keepdims", "return_sign"])
@pytest.mark.parametrize("bad", [np.array([0, 1]), np.zeros(0)], ids=str)
def test_a_flag_without_a_truth_value_is_a_type_error(flag: str, bad: Array) -> None:
    with pytest.raises(TypeError) as caught:
        special.logsumexp([1.0, 2.0], **{flag: bad})
    assert str(caught.value) == f"logsumexp: {flag} must be True or False, got {bad!r}"


def test_messages_call_the_argument_a() -> None:
    """As the signature does: SciPy's logsumexp has no x."""
    masked = np.ma.masked_array([1.0, 2.0], [False, True])
    for bad in (np.ones(2, complex), masked, "text", [[1.0], [1.0, 2.0]]):
        with pytest.raises((TypeError, ValueError), match="^logsumexp: a (has|is) "):
            special.logsumexp(bad)
        with pytest.raises((TypeError, ValueError), match="^logsumexp: x (has|is) "):
            sl.logsumexp(bad)
    with pytest.raises(ValueError, match=r"^logsumexp: a has shape \(3,\) and b has shape \(4,\)"):
        special.logsumexp(np.ones(3), b=np.ones(4))


# --- departures, each on purpose and stated in the module's docstring -----------------------------


@pytest.mark.parametrize("dtype_", ["uint8", "int8", "bool", "uint64"])
@pytest.mark.parametrize("name", special.__all__)
def test_integers_are_float64_before_any_arithmetic(name: str, dtype_: str) -> None:
    x = np.array([1, 0, 1, 1]).astype(dtype_)
    got = getattr(special, name)(x)
    _assert_like(got, getattr(scipy.special, name)(x.astype(np.float64)))


@pytest.mark.parametrize("narrow", [np.int8, np.uint16, bool])
def test_integers_beside_float32_make_float64(narrow: npt.DTypeLike) -> None:
    """NumPy's promotion would give float32 for integers of 16 bits and less."""
    value = special.logsumexp(np.ones(3, np.float32), b=np.ones(3, narrow))
    assert value.dtype == np.float64
    assert special.logsumexp(np.ones(3, narrow), b=np.ones(3, np.float32)).dtype == np.float64


@pytest.mark.parametrize("name", special.__all__)
def test_masked_arrays_are_refused(name: str) -> None:
    masked = np.ma.masked_array([1.0, 2.0, 3.0], [False, True, False])
    with pytest.raises(TypeError, match=f"^{name}: .*where="):
        getattr(special, name)(masked)


def test_masked_arrays_are_refused_beside_b_and_keepdims() -> None:
    masked = np.ma.masked_array([1.0, 2.0, 3.0], [False, True, False])
    for a, b, keepdims in ((masked, 2.0, False), (masked, np.ones((2, 3)), True),
                           (masked, None, True), ([1.0, 2.0, 3.0], masked, False)):  # fmt: skip
        with pytest.raises(TypeError, match=r"^logsumexp: .*Masked"):
            special.logsumexp(a, None, b, keepdims)


@pytest.mark.parametrize("name", special.__all__)
@pytest.mark.parametrize("dtype_", [complex, np.longdouble, object, str])
def test_other_dtypes_are_refused(name: str, dtype_: Any) -> None:
    with pytest.raises(TypeError, match=f"^{name}: .*float32.*float64"):
        getattr(special, name)(np.ones(3).astype(dtype_))


def test_an_empty_row_is_no_error() -> None:
    for function in (special.softmax, special.log_softmax):
        for x, axis in ((np.zeros((2, 0)), 1), (np.zeros(0), None)):
            assert function(x, axis).shape == x.shape
    assert special.logsumexp([]) == -INF == scipy.special.logsumexp([])
    value, sign = special.logsumexp([], return_sign=True)
    assert (value, sign) == (-INF, 0.0)  # SciPy: -1, a sign that no sum of nothing has


def test_a_confident_maximum_keeps_its_digits() -> None:
    """SciPy's log_softmax keeps none of the first entry's: it returns -0."""
    got = special.log_softmax([40.0, 0.0])
    wanted = -np.log1p(np.exp(np.float64(-40.0)))
    assert abs(got[0] / wanted - 1) < 4e-16
    assert got[1] == -40.0


def test_the_departures_are_documented() -> None:
    text = re.sub(r"\s+", " ", special.__doc__ or "")
    for word in ("float16", "longdouble", "masked", "empty row", "warning", "Integers and bool"):
        assert word in text
    assert sl.special is special
