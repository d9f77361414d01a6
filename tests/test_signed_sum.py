"""logsumexp with b and return_sign: log |Σ b·exp(x)| and the sign of the sum."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.special
from mpmath import mp
from oracle import PRECISION
from test_formats import BFLOAT16, FLOAT32, FLOATS, HALVES, computed_in, rounded

import softlane as sl

Array = npt.NDArray[Any]

CLASSES = (1, 5, 17, 1000, 1024, 1025, 3000)
INF, NAN = np.inf, np.nan


@pytest.fixture(autouse=True)
def no_floating_point_warnings() -> Iterator[None]:
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def signed(x: Any, b: Any, axis: Any = -1, **options: Any) -> tuple[Any, Any]:
    return sl.logsumexp(x, axis, b=b, return_sign=True, **options)


def _assert_same(got: tuple[Any, Any], wanted: tuple[Any, Any]) -> None:
    for a, b in zip(got, wanted, strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(a, b)


# --- accuracy -----------------------------------------------------------------------------------


class Exact:
    """The sum of a row, by definition, and the size of its terms."""

    @mp.workprec(PRECISION)
    def __init__(self, x: Array, b: Array) -> None:
        kept = [(u, v) for u, v in zip(x.tolist(), b.tolist(), strict=True) if v != 0]
        terms = [mp.mpf(v) * mp.exp(mp.mpf(u)) for u, v in kept]
        total, sizes = mp.fsum(terms), [abs(t) for t in terms]
        self.sign = int(mp.sign(total))
        self.log = mp.log(abs(total)) if total else mp.mpf("-inf")
        self.condition = mp.fsum(sizes) / abs(total) if total else mp.mpf("inf")
        self.largest = mp.log(max(sizes)) if sizes else mp.mpf("-inf")


def _draw(rng: np.random.Generator, classes: int, kind: int) -> tuple[Array, Array]:
    """Scales of x from 1e-4 to 1e3, and factors of several kinds."""
    x = rng.standard_normal(classes) * 10 ** rng.uniform(-4, 3)
    b = rng.standard_normal(classes)
    if kind == 1:  # only signs
        b = rng.choice([-1.0, 1.0], classes)
    elif kind == 2:  # two terms that nearly cancel, over terms far below
        b[1:] *= 1e-9
        x[1:2], b[:2] = x[0] + 10 ** rng.uniform(-12, 0), [1, -1][:classes]
    elif kind == 3:  # large factors of small exponentials, and the other way round
        b *= 10 ** rng.uniform(-30, 30, classes)
        x = x / 100 - np.log(np.abs(b))
    elif kind == 4:  # far from 0
        x += 10 ** rng.uniform(0, 7)
    elif kind == 5:  # factors of 0, and none below 0
        b = np.abs(b) * (rng.uniform(size=classes) < 0.7)
    return x, b


ROWS = 300  # a number of classes and dtype


@cache
def _cases(dtype: np.dtype) -> list[tuple[Array, Array, list[Exact]]]:
    rng = np.random.default_rng(3)
    cases = []
    for classes, rows in ((1, ROWS), (2, ROWS), (3, ROWS), (8, ROWS), (40, 60), (1100, 6)):
        drawn = [_draw(rng, classes, i % 6) for i in range(rows)]
        x, b = (np.array(part).astype(dtype) for part in zip(*drawn, strict=True))
        cases.append((x, b, [Exact(u, v) for u, v in zip(x, b, strict=True)]))
    return cases


@pytest.mark.usefixtures("isa")
def test_sums_are_within_the_bound_and_their_condition(dtype: np.dtype) -> None:
    bound, one = sl._core.max_ulp("signed_sum", dtype.name), float(np.finfo(dtype).eps)
    cancelled = 0
    for x, b, exact in _cases(dtype):
        logs, signs = signed(x, b)
        assert signs.tolist() == [e.sign for e in exact]
        for got, e, u, v in zip(logs, exact, x, b, strict=True):
            if e.sign == 0:
                assert got == -INF
                continue
            size = float(max(abs(e.largest), abs(e.log), np.finfo(dtype).smallest_normal))
            unit = float(np.spacing(dtype.type(size)))
            error = abs(mp.mpf(float(got)) - e.log)
            assert error <= bound * unit + e.condition * one, (u.tolist(), v.tolist())
            cancelled += e.condition > 1e3
    assert cancelled > 100


@pytest.mark.usefixtures("isa")
def test_sums_without_cancellation_are_rounded_once(dtype: np.dtype) -> None:
    """The bound above is of the larger of two sizes: this is of the result itself."""
    for x, b, _ in _cases(dtype):
        logs = signed(x, np.abs(b))[0]
        for got, u, v in zip(logs[:20], x, np.abs(b), strict=False):
            e = Exact(u, v)
            if e.sign == 0 or abs(e.log) < 0.1:
                continue
            unit = float(np.spacing(dtype.type(float(abs(e.log)))))
            assert abs(mp.mpf(float(got)) - e.log) <= 0.51 * unit


def test_scipy_agrees(dtype: np.dtype) -> None:
    rng = np.random.default_rng(0)
    x, b = rng.standard_normal((2, 100, 7)).astype(dtype)
    got, wanted = signed(x, b), scipy.special.logsumexp(x, axis=-1, b=b, return_sign=True)
    tolerance = 1000 * np.finfo(dtype).eps  # for SciPy's error where the terms cancel
    np.testing.assert_allclose(got[0], wanted[0], rtol=tolerance, atol=tolerance)
    _assert_same((got[1],), (wanted[1],))
    np.testing.assert_array_equal(sl.logsumexp(x, -1, b=b), np.where(got[1] < 0, NAN, got[0]))


@pytest.mark.usefixtures("isa")
def test_close_terms_cancel_without_loss() -> None:
    """log(exp(x) - exp(y)) keeps its digits down to neighbouring numbers."""
    for x in (0.0, 1.0, -300.0, 5e4):
        for gap in (1e-3, 1e-9, float(np.spacing(abs(x))), 1.0):
            y = x - gap
            got, sign = signed([x, y], [1, -1])
            exact = Exact(np.array([x, y]), np.array([1.0, -1.0]))
            assert sign == 1
            np.testing.assert_allclose(float(got), float(exact.log), rtol=4e-16)


@pytest.mark.usefixtures("isa")
def test_factors_of_any_size(dtype: np.dtype) -> None:
    info = np.finfo(dtype)
    least, most = float(info.smallest_subnormal), float(info.max)
    cases = [([0, 0], [most, most]), ([0, 0], [least, least]), ([0, 0], [most, -least]),
             ([-700, 700], [most, least]), ([700, -700], [most, least]),
             ([3000, 1500], [least, most]), ([-1e30, -1e30], [2, most]), ([1e30, 0], [least, 1]),
             ([info.max, info.max], [1, 1]), ([info.min, info.min], [1, -3]),
             ([info.max, info.min], [least, most])]  # fmt: skip
    for x, b in cases:
        u, v = np.array(x, dtype), np.array(b, dtype)
        exact_x = u.astype(np.float64)
        # the largest x is taken out, for exp of 1e30 is too much for mpmath too
        top = float(exact_x.max())
        with mp.workprec(PRECISION):
            wanted = mp.fsum(
                mp.mpf(float(f)) * mp.exp(max(mp.mpf(float(a)) - top, -(10**6)))
                for a, f in zip(exact_x, v, strict=True)
            )
            log = float(mp.log(abs(wanted)) + top)
        got, sign = signed(u, v)
        assert sign == (1 if wanted > 0 else -1)
        np.testing.assert_allclose(got, dtype.type(log), rtol=info.eps)


# --- special values -----------------------------------------------------------------------------

SPECIAL: list[tuple[list[float], list[float], float, float]] = [  # x, b, log, sign
    ([], [], -INF, 0),
    ([0, 0], [1, -1], -INF, 0),
    ([1, 2], [0, 0], -INF, 0),
    ([-INF, -INF], [1, -1], -INF, 0),
    ([-INF, 3], [-5, 1], 3, 1),
    # a factor of 0 leaves out what x is
    ([INF, 1], [0, 1], 1, 1),
    ([NAN, 1], [0, -1], 1, -1),
    ([NAN, INF], [0, -0.0], -INF, 0),
    # infinities as IEEE 754 adds them
    ([INF, 1], [1, 1], INF, 1),
    ([INF, 1], [-1, 1], INF, -1),
    ([INF, INF], [1, -1], NAN, NAN),
    ([INF, INF], [-1, -1], INF, -1),
    ([1, 2], [INF, 1], INF, 1),
    ([1, 2], [-INF, 1], INF, -1),
    ([1, 2], [-INF, INF], NAN, NAN),
    ([-INF, 1], [INF, 1], NAN, NAN),
    ([INF, 0], [INF, 0], INF, 1),
    # NaN
    ([NAN, 1], [1, 1], NAN, NAN),
    ([1, 2], [NAN, 1], NAN, NAN),
    ([-INF, 1], [NAN, 1], NAN, NAN),
    ([INF, 1], [NAN, 0], NAN, NAN),
    ([NAN, INF], [1, 1], NAN, NAN),
]
# SciPy 1.17 gives NaN where all factors are 0 beside a NaN or infinity, and the sign -1 of no term
UNLIKE_SCIPY = [([NAN, INF], [0, -0.0]), ([], [])]


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(("x", "b", "log", "sign"), SPECIAL, ids=str)
def test_special_values(
    dtype: np.dtype, x: list[float], b: list[float], log: float, sign: float
) -> None:
    u, v = np.array(x, dtype), np.array(b, dtype)
    _assert_same(signed(u, v), (dtype.type(log), dtype.type(sign)))
    plain = sl.logsumexp(u, b=v)
    np.testing.assert_array_equal(plain, NAN if sign < 0 else log)
    if (x, b) not in UNLIKE_SCIPY:
        with np.errstate(all="ignore"):
            wanted = scipy.special.logsumexp(u, b=v, return_sign=True)
        np.testing.assert_array_equal((log, sign), wanted)


@pytest.mark.usefixtures("isa")
def test_the_sign_of_a_sum_without_factors(dtype: np.dtype) -> None:
    x = np.array([[1, 2], [-INF, -INF], [INF, 1], [NAN, 1], [-INF, -3]], dtype)
    log, sign = sl.logsumexp(x, -1, return_sign=True)
    assert log.tobytes() == sl.logsumexp(x, -1).tobytes()
    np.testing.assert_array_equal(sign, np.array([1, 0, 1, NAN, 1], dtype))
    log, sign = sl.logsumexp(x, -1, return_sign=True, where=False)
    assert (log == -INF).all()
    assert (sign == 0).all()
    for empty in (np.empty((2, 0), dtype), np.empty((0, 2), dtype)):
        log, sign = sl.logsumexp(empty, -1, return_sign=True)
        assert log.shape == sign.shape == empty.shape[:1]
        assert (log == -INF).all()
        assert (sign == 0).all()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("classes", [3, 10, 40, 300])
def test_the_signs_of_many_rows(dtype: np.dtype, classes: int) -> None:
    x = np.random.default_rng(2).standard_normal((70, classes)).astype(dtype)
    x[3, 0], x[20], x[21, -1], x[40, 1] = NAN, -INF, INF, -INF
    wanted = np.ones(70, dtype)
    wanted[3], wanted[20] = NAN, 0
    for result in (None, *FLOATS):
        options: dict[str, Any] = {"return_sign": True, "dtype": result}
        for log, sign in (sl.logsumexp(x, -1, **options), sl.logsumexp(x.T, 0, **options)):
            assert log.tobytes() == sl.logsumexp(x, -1, dtype=result).tobytes()
            assert sign.dtype == log.dtype
            np.testing.assert_array_equal(sign.astype(dtype), wanted)


# --- shapes, dtypes, layouts --------------------------------------------------------------------

SHAPES = [((3, 4), (4,)), ((4,), (3, 4)), ((3, 1), (1, 4)), ((1, 4), (3, 1)), ((), (3, 4)),
          ((3, 4), ()), ((), ()), ((1,), (1, 1, 1)), ((2, 3, 1, 5), (4, 1)),
          ((2, 1, 4, 1), (3, 1, 5)), ((0, 3), (1, 3)), ((3, 0), (1,))]  # fmt: skip


@pytest.mark.parametrize(("of_x", "of_b"), SHAPES, ids=str)
def test_either_may_be_the_smaller(of_x: tuple[int, ...], of_b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    x, b = rng.standard_normal(of_x), rng.standard_normal(of_b)
    full = [np.array(a) for a in np.broadcast_arrays(x, b)]
    ndim = full[0].ndim
    for axis in (None, *range(-ndim, ndim), tuple(range(ndim)), (), tuple(range(0, ndim, 2))):
        for keepdims in (False, True):
            got = signed(x, b, axis, keepdims=keepdims)
            _assert_same(got, signed(*full, axis, keepdims=keepdims))
            shape = np.sum(full[0], axis=axis, keepdims=keepdims).shape
            assert np.shape(got[0]) == np.shape(got[1]) == shape


DTYPES = [  # x, b, result
    (np.zeros(2, "f4"), np.ones(2, "f4"), "f4"),
    (np.zeros(2, "f4"), np.ones(2, "f8"), "f8"),
    (np.zeros(2, "f8"), np.ones(2, "f4"), "f8"),
    (np.zeros(2, "f4"), np.ones(2, "i1"), "f8"),
    (np.zeros(2, "i1"), np.ones(2, "f4"), "f8"),
    (np.zeros(2, "u1"), np.ones(2, bool), "f8"),
    (np.zeros(2, "f4"), [1.0, 1.0], "f8"),
    (np.zeros(2, "f4"), np.float64(1), "f8"),
    # Python's numbers are weak, as in NumPy
    (np.zeros(2, "f4"), 1.0, "f4"),
    (np.zeros(2, "f4"), 1, "f4"),
    (np.zeros(2, "f4"), True, "f4"),
    (0.0, np.ones(2, "f4"), "f4"),
    (0, 1.0, "f8"),
    (np.zeros(2, "i1"), 1, "f8"),
    (np.zeros(2, ">f4"), np.ones(2, ">f8"), "f8"),
    (np.zeros(2, "f2"), np.ones(2, ">f2"), "f2"),
    (np.zeros(2, "f2"), np.ones(2, BFLOAT16), "f4"),
    (np.zeros(2, BFLOAT16), np.ones(2, "f2"), "f4"),
    (np.zeros(2, BFLOAT16), np.ones(2, "f4"), "f4"),
    (np.zeros(2, "f8"), np.ones(2, "f2"), "f8"),
    (np.zeros(2, "f2"), np.ones(2, "i1"), "f8"),
    (np.zeros(2, BFLOAT16), 1.0, "bfloat16"),
    (0, np.ones(2, "f2"), "f2"),
]


@pytest.mark.parametrize(("x", "b", "result"), DTYPES)
def test_the_wider_dtype_is_the_results(x: Any, b: Any, result: str) -> None:
    log, sign = signed(x, b, None)
    assert log.dtype == sign.dtype == np.dtype(result)
    plain = sl.logsumexp(x, b=b)
    assert plain.dtype == np.dtype(result)
    assert plain == log == np.log(np.dtype(result).type(np.size(np.add(x, b))))


FORMATS = (*FLOATS, np.dtype(">f2"), np.dtype("i1"))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("of_b", FORMATS, ids=str)
@pytest.mark.parametrize("of_x", FORMATS, ids=str)
def test_formats_are_summed_as_the_numbers_they_hold(of_x: np.dtype, of_b: np.dtype) -> None:
    for classes in (5, 1030):
        rng = np.random.default_rng(classes)
        x, b = (
            (3 * rng.standard_normal((5, classes))).astype(of_x),
            (5 * rng.standard_normal((5, classes))).astype(of_b),
        )
        keep = rng.uniform(size=x.shape) < 0.6
        keep[0] = False
        own = [np.dtype("f8") if d.kind == "i" else d.newbyteorder("=") for d in (of_x, of_b)]
        for result in (None, *FLOATS):
            halves = set(own) == set(HALVES)  # which NumPy does not promote
            dtype = result or (FLOAT32 if halves else np.result_type(*own))
            wide = computed_in(*own, dtype)
            for where in (None, keep):
                log, sign = signed(x.astype(wide), b.astype(wide), where=where)
                wanted = rounded(log, dtype), sign.astype(dtype)
                _assert_same(signed(x, b, where=where, dtype=result), wanted)
                _assert_same(signed(x.T, b.T, 0, where=None if where is None else where.T,
                                    dtype=result), wanted)  # fmt: skip


def test_a_python_number_counts_in_the_dtype_of_the_others() -> None:
    for narrow in ("f2", BFLOAT16, "f4"):
        x = np.linspace(-1, 1, 5).astype(narrow)
        wanted = signed(x, np.float32(0.1), dtype=narrow)
        _assert_same(signed(x, 0.1), wanted)
        _assert_same(signed(0.1, x), signed(np.float32(0.1), x, dtype=narrow))


def _strided(a: Array) -> Array:
    wide = np.full((2 * a.shape[0], 3 * a.shape[1]), NAN, a.dtype)
    wide[::2, 1::3] = a
    return wide[::2, 1::3]


LAYOUTS: list[Callable[[Array], Array]] = [
    np.asfortranarray,
    _strided,
    lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
    lambda a: a.astype(a.dtype.newbyteorder()),
    lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
]


@cache
def _on_scalar(classes: int, dtype: np.dtype) -> tuple[Array, Array, tuple[Any, Any]]:
    x, b = np.random.default_rng(classes).standard_normal((2, 5, classes)).astype(dtype)
    before = sl.active_isa()
    sl._core.select_isa("scalar")
    try:
        rows = [signed(u, v) for u, v in zip(x, b, strict=True)]
    finally:
        sl._core.select_isa(before)
    return x, b, tuple(np.array(part) for part in zip(*rows, strict=True))  # type: ignore[return-value]


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("classes", CLASSES)
def test_bits_depend_on_the_row_alone(dtype: np.dtype, classes: int) -> None:
    x, b, wanted = _on_scalar(classes, dtype)
    for threads in (1, 3):
        with sl.num_threads(threads):
            _assert_same(signed(x, b), wanted)
            _assert_same(
                tuple(a[:5] for a in signed(*(np.tile(a, (40, 1)) for a in (x, b)))), wanted
            )
    for of_x in LAYOUTS:
        for of_b in LAYOUTS:
            _assert_same(signed(of_x(x), of_b(b)), wanted)
            _assert_same(signed(of_x(x).T, of_b(b).T, 0), wanted)
    # absent entries change nothing
    x2 = np.concatenate([x, np.full((5, 9), -INF, dtype)], axis=1)
    b2 = np.concatenate([b, np.ones((5, 9), dtype)], axis=1)
    _assert_same(signed(x2, b2), wanted)
    for absent in ((NAN, 0), (-INF, 5e-324), (-INF, np.finfo(dtype).max), (-INF, -1e30)):
        x2[:, classes:], b2[:, classes:] = absent
        _assert_same(signed(x2, b2), wanted)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("classes", [2, 9, 40, 300])
def test_rows_that_go_term_by_term_do_in_a_group_too(dtype: np.dtype, classes: int) -> None:
    rng = np.random.default_rng(classes)
    x, b = rng.standard_normal((2, 40, classes))
    x[3, 1], b[3, :2], b[3, 2:] = x[3, 0], [1, -1], 1e-30  # cancels down to far smaller terms
    x[7, 1], b[7, :2] = x[7, 0] + 1e-6, [1e9, -1e9]
    x[9, 0], b[9, 1] = -INF, 0
    b[11, 0], b[12, 0], b[13, 1], x[14, 1] = 1e-320, 1e38, INF, NAN
    with np.errstate(under="ignore"):
        x, b = x.astype(dtype), b.astype(dtype)
    got = signed(x, b)
    alone = [signed(u, v) for u, v in zip(x, b, strict=True)]
    _assert_same(got, tuple(np.array(part) for part in zip(*alone, strict=True)))
    _assert_same(signed(np.asfortranarray(x), np.asfortranarray(b)), got)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("classes", CLASSES)
def test_where_leaves_out_both_x_and_b(dtype: np.dtype, classes: int) -> None:
    x, b, _ = _on_scalar(classes, dtype)
    keep = np.random.default_rng(0).uniform(size=x.shape) < 0.5
    keep[0] = False
    zeroed = np.where(keep, b, 0)
    wanted = signed(x, zeroed)
    assert (wanted[0][0], wanted[1][0]) == (-INF, 0)
    _assert_same(signed(x, b, where=keep), wanted)
    spoiled = np.where(keep, x, dtype.type(INF)), np.where(keep, b, dtype.type(NAN))
    _assert_same(signed(*spoiled, where=keep), wanted)
    with_b_wider = signed(x[:1], b, where=keep)
    _assert_same(with_b_wider, signed(np.tile(x[:1], (5, 1)), zeroed))


# --- out ----------------------------------------------------------------------------------------


def test_out_is_a_pair_of_which_either_may_be_absent(dtype: np.dtype) -> None:
    x, b, wanted = _on_scalar(17, dtype)
    for given in ((True, True), (True, False), (False, True), (False, False)):
        outs = tuple(np.full(10, 9, dtype)[::2] if g else None for g in given)
        got = signed(x, b, out=outs)
        assert isinstance(got, tuple)
        for result, out in zip(got, outs, strict=True):
            assert out is None or result is out
        _assert_same(got, wanted)
    out = np.empty(5, dtype)
    assert sl.logsumexp(x, -1, b=b, out=out) is out
    np.testing.assert_array_equal(out, np.where(wanted[1] < 0, NAN, wanted[0]))


@pytest.mark.usefixtures("isa")
def test_out_may_overlap_any_input(dtype: np.dtype) -> None:
    x0, b0, wanted = _on_scalar(17, dtype)
    memory = np.concatenate([x0.ravel(), b0.ravel()])
    n = x0.size
    for first, second in ((slice(0, 5), slice(n, n + 5)), (slice(n - 2, n + 3), slice(7, 17, 2))):
        shared = memory.copy()
        x, b = shared[:n].reshape(x0.shape), shared[n:].reshape(x0.shape)
        _assert_same(signed(x, b, out=(shared[first], shared[second])), wanted)
    both = x0.copy()
    _assert_same(signed(both, both, out=(both[:, 0], both[:, 3])), signed(x0, x0))


X, B = np.arange(12.0).reshape(3, 4), np.ones((3, 4))
READ_ONLY = np.full(3, -7.0)
READ_ONLY.flags.writeable = False
BAD: list[tuple[type[Exception], dict[str, Any], str]] = [
    (ValueError, {"b": np.ones(3)}, "x has shape (3, 4) and b has shape (3,), which do not "),
    (ValueError, {"b": np.ones((2, 4))}, "x has shape (3, 4) and b has shape (2, 4), which "),
    (ValueError, {"b": np.ones(0)}, "x has shape (3, 4) and b has shape (0,), which do not "),
    (TypeError, {"b": B.astype(complex)}, "b has dtype complex128; float16, bfloat16, "),
    (TypeError, {"b": B.astype(np.longdouble)}, "b has dtype "),
    (TypeError, {"b": B.astype(object)}, "b has dtype object; float16, bfloat16, "),
    (TypeError, {"b": "text"}, "b has dtype <U4; float16, bfloat16, "),
    (TypeError, {"b": np.ma.masked_array(B)}, "b is a MaskedArray"),
    (np.exceptions.AxisError, {"b": B, "axis": 2}, "axis 2"),
    (np.exceptions.AxisError, {"b": np.ones(()), "axis": -3}, "axis -3"),
    (ValueError, {"b": B, "where": np.ones(3, bool)}, "where has shape (3,), which does not "),
    (TypeError, {"b": B, "where": np.ones(4)}, "where has dtype float64; an array of bool"),
]


@pytest.mark.parametrize(("error", "options", "message"), BAD, ids=[b[2] for b in BAD])
def test_bad_input_is_an_error_and_out_unchanged(
    error: type[Exception], options: dict[str, Any], message: str
) -> None:
    outs = np.full(3, -7.0), np.full(3, -7.0)
    for more in ({"out": outs, "return_sign": True}, {"out": outs[0]}):
        with pytest.raises(error) as caught:
            sl.logsumexp(X, **{"axis": -1, **options, **more})
        assert type(caught.value) is error
        assert str(caught.value).startswith(f"logsumexp: {message}")
        assert all((out == -7).all() for out in outs)


@pytest.mark.parametrize("b", [None, B])
def test_bad_out_is_an_error_and_unchanged(b: Array | None) -> None:
    good = np.full(3, -7.0)
    shared = np.full(6, -7.0)
    for error, out, message in [
        (TypeError, good, "out must be None or a pair"),
        (ValueError, (good,), "out must be None or a pair"),
        (ValueError, (good, None, None), "out must be None or a pair"),
        (ValueError, (good, np.full(4, -7.0)), "out[1] has shape (4,), but the result has shape "),
        (ValueError, (np.full((3, 1), -7.0), good), "out[0] has shape (3, 1), but the result has "),
        (TypeError, (good, good.astype("f4")), "out[1] has dtype float32, but the result has "),
        (ValueError, (READ_ONLY, good), "out[0] is read-only"),
        (ValueError, (shared[:3], shared[2:5]), "out[0] and out[1] share memory"),
    ]:
        with pytest.raises(error) as caught:
            sl.logsumexp(X, -1, b=b, return_sign=True, out=out)
        assert type(caught.value) is error
        assert str(caught.value).startswith(f"logsumexp: {message}")
        assert (good == -7).all()
        assert (shared == -7).all()
    with pytest.raises(
        TypeError, match=r"^logsumexp: out must be a NumPy array or None, got tuple"
    ):
        sl.logsumexp(X, -1, b=b, out=(good, good))


def test_shapes_that_cannot_be_addressed_are_an_error() -> None:
    one = np.float64(1)
    tall, wide = np.broadcast_to(one, (2**40, 1)), np.broadcast_to(one, (1, 2**40))
    with pytest.raises(ValueError, match=r"^logsumexp: .*larger than can be addressed"):
        sl.logsumexp(tall, b=wide)
