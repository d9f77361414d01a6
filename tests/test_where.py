"""where=: an excluded entry is an absent one, whatever it holds and wherever the mask lies."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import oracle
import pytest
import scipy.special
from oracle import Rows, ulp_error
from test_formats import FLOATS, HALVES, computed_in, rounded

import softlane as sl

Array = npt.NDArray[Any]

CLASSES = (1, 5, 17, 100, 300, 1000, 1024, 1025, 3000)
ROWS = 40  # whole groups of 16, and then some
NOTHING, ONE, ALL = 0, 1, 2  # rows of which no, one, every entry is kept; half of the others'


MAPS: dict[str, Callable[..., Any]] = {
    "softmax": sl.softmax,
    "softmax_warm": lambda x, **o: sl.softmax(x, temperature=0.7, **o),
    "log_softmax": sl.log_softmax,
    "log_softmax_warm": lambda x, **o: sl.log_softmax(x, temperature=3.0, **o),
    "softmin": sl.softmin,
}
REDUCTIONS: dict[str, Callable[..., Any]] = {
    "logsumexp": sl.logsumexp,
    "smooth_max": lambda x, **o: sl.smooth_max(x, temperature=0.7, **o),
    "smooth_min": sl.smooth_min,
    "entropy": sl.entropy,
    "entropy_bits": lambda x, **o: sl.entropy(x, temperature=3.0, base=2, **o),
    "logsumexp_b": lambda x, **o: sl.logsumexp(x, b=np.ones((), x.dtype), **o),
}
FUNCTIONS = {**MAPS, **REDUCTIONS}
# the entry whose exponential is 0, what an excluded entry becomes, and what a row of them gives
ABSENT = {n: np.inf if n in ("softmin", "smooth_min") else -np.inf for n in FUNCTIONS}
EXCLUDED = {n: -np.inf if n.startswith("log_softmax") else 0.0 for n in MAPS}
EMPTY = {n: 0.0 if n.startswith("entropy") else ABSENT[n] for n in REDUCTIONS} | EXCLUDED
PUBLIC = [sl.softmax, sl.log_softmax, sl.softmin, sl.logsumexp, sl.smooth_max, sl.smooth_min,
          sl.entropy]  # fmt: skip


@pytest.fixture(autouse=True)
def no_floating_point_warnings() -> Iterator[None]:
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(params=CLASSES)
def classes(request: pytest.FixtureRequest) -> int:
    return request.param


def _rows(classes: int, dtype: np.dtype) -> Array:
    rng = np.random.default_rng(classes)
    x = rng.standard_normal((ROWS, classes)) * 5
    x[-1] += 70_000  # beyond the kernels' reach without a shift
    return x.astype(dtype)


def _mask(classes: int) -> npt.NDArray[np.bool_]:
    keep = np.random.default_rng(classes + 1).uniform(size=(ROWS, classes)) < 0.5
    keep[:, classes // 2] = True
    keep[NOTHING], keep[ALL] = False, True
    keep[ONE] = np.arange(classes) == classes // 2
    return keep


def _removed(x: Array, keep: Array, name: str) -> Array:
    return np.where(keep, x, x.dtype.type(ABSENT[name]))


def _spoiled(x: Array, keep: Array) -> Array:
    """The same kept entries, and the worst in the others."""
    worst = np.resize(np.array([np.nan, np.inf, -np.nan, -np.inf, 3e38], x.dtype), x.shape)
    return np.where(keep, x, worst)


def _assert_same_bits(got: Any, wanted: Any) -> None:
    a, b = np.asarray(got), np.asarray(wanted)
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    np.testing.assert_array_equal(a, b)
    assert a.tobytes() == b.tobytes()


# --- what it means ------------------------------------------------------------------------------


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_excluded_is_minus_infinity_bit_for_bit(dtype: np.dtype, classes: int, name: str) -> None:
    x, keep = _rows(classes, dtype), _mask(classes)
    some = np.arange(ROWS) != NOTHING
    wanted = FUNCTIONS[name](_removed(x, keep, name)[some], axis=-1)
    for values in (x, _spoiled(x, keep)):
        got = FUNCTIONS[name](values, axis=-1, where=keep)
        _assert_same_bits(got[some], wanted)
        _assert_same_bits(got[NOTHING], np.full_like(got[NOTHING], EMPTY[name]))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_mask_that_keeps_all_changes_no_bit(dtype: np.dtype, classes: int, name: str) -> None:
    x = _rows(classes, dtype)
    wanted = FUNCTIONS[name](x, axis=-1)
    for where in (True, np.True_, np.ones_like(x, bool), [True], np.ones((1, classes), bool)):
        _assert_same_bits(FUNCTIONS[name](x, axis=-1, where=where), wanted)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_kept_is_an_empty_sum(dtype: np.dtype, classes: int, name: str) -> None:
    x = _spoiled(_rows(classes, dtype), np.zeros((ROWS, classes), bool))
    for where in (False, np.zeros_like(x, bool)):
        got = FUNCTIONS[name](x, axis=-1, where=where)
        _assert_same_bits(got, np.full_like(got, EMPTY[name]))


def test_smooth_min_of_nothing_is_infinite(dtype: np.dtype) -> None:
    x = np.ones((2, 3), dtype)
    assert sl.smooth_min(x, -1, where=False).tolist() == [np.inf, np.inf]
    assert sl.smooth_max(x, -1, where=False).tolist() == [-np.inf, -np.inf]


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("row", [20, ROWS - 2])  # in a group, and beside the row that needs a shift
@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_spoiled_row_leaves_its_excluded_entries(
    dtype: np.dtype, classes: int, name: str, layout: str, row: int
) -> None:
    keep = LAYOUTS[layout](_mask(classes))
    others = np.arange(ROWS) != row
    plain = FUNCTIONS[name](_rows(classes, dtype), axis=-1, where=keep)
    for bad in (np.nan, -ABSENT[name], ABSENT[name]):
        x = _rows(classes, dtype)
        # one NaN or infinity spoils a row; of the infinity that counts as absent, it takes all
        x[row, keep[row] if bad == ABSENT[name] else classes // 2] = bad
        x = LAYOUTS[layout](x)
        got = FUNCTIONS[name](x, axis=-1, where=keep)
        _assert_same_bits(got[others], plain[others])
        if name in MAPS:
            _assert_same_bits(FUNCTIONS[name](x, axis=-1, where=keep, out=x), got)
            assert np.isnan(got[row, keep[row]]).all()
            assert (got[row, ~keep[row]] == EXCLUDED[name]).all()
        else:
            wanted = np.nan if name.startswith("entropy") else bad
            np.testing.assert_array_equal(got[row], wanted)


@pytest.mark.skipif(not oracle.wide_enough, reason="long double has no 64 bits of precision")
@pytest.mark.usefixtures("isa")
def test_masked_rows_are_within_the_bounds_of_their_kept_entries(
    dtype: np.dtype, classes: int
) -> None:
    x, keep = _rows(classes, dtype), _mask(classes)
    p, log_p = sl.softmax(x, where=keep), sl.log_softmax(x, where=keep)
    lse, h = sl.logsumexp(x, -1, where=keep), sl.entropy(x, where=keep)
    for i in range(1, ROWS):
        exact = Rows(x[i, keep[i]][None])
        size = np.maximum(np.abs(exact.smooth_max()), np.abs(exact.maximum[:, 0]))
        for name, got, value, at in (
            ("softmax", p[i, keep[i]][None], exact.softmax(), None),
            ("log_softmax", log_p[i, keep[i]][None], exact.log_softmax(), None),
            ("logsumexp", lse[i : i + 1], exact.smooth_max(), size),
            ("entropy", h[i : i + 1], exact.entropy(), None),
        ):
            assert ulp_error(got, value, dtype, at).max() <= sl._core.max_ulp(name, dtype.name)


def test_scipy_agrees_where_its_weights_are_a_mask(dtype: np.dtype) -> None:
    x, keep = _rows(50, dtype), _mask(50)
    wanted = scipy.special.logsumexp(x, axis=-1, b=keep)
    np.testing.assert_allclose(sl.logsumexp(x, -1, where=keep), wanted,
                               rtol=20 * np.finfo(dtype).eps)  # fmt: skip


# --- where it lies ------------------------------------------------------------------------------


def _strided(a: Array) -> Array:
    wide = np.zeros(tuple(2 * n for n in a.shape), a.dtype)
    at = tuple(slice(1, None, 2) for _ in a.shape)
    wide[at] = a
    return wide[at]


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": _strided,
    "negative": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
}


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("of_mask", LAYOUTS)
@pytest.mark.parametrize("of_x", LAYOUTS)
def test_the_layout_changes_no_bit(dtype: np.dtype, classes: int, of_x: str, of_mask: str) -> None:
    x, keep = _rows(classes, dtype), _mask(classes)
    for name in ("softmax", "log_softmax_warm", "softmin", "logsumexp", "entropy", "logsumexp_b"):
        wanted = FUNCTIONS[name](x, axis=-1, where=keep)
        got = FUNCTIONS[name](LAYOUTS[of_x](x), axis=-1, where=LAYOUTS[of_mask](keep))
        _assert_same_bits(got, wanted)
        columns = FUNCTIONS[name](LAYOUTS[of_x](x).T, axis=0, where=LAYOUTS[of_mask](keep).T)
        _assert_same_bits(columns.T, wanted)


SHAPE = (3, 4, 5, 6)
MASK_SHAPES = [(), (1,), (6,), (5, 1), (5, 6), (4, 1, 1), (4, 1, 6), (3, 1, 1, 1), (1, 4, 5, 6),
               (3, 4, 5, 6), (3, 1, 5, 1)]  # fmt: skip
AXES = [None, 0, 1, -1, (0, 1), (1, 2), (2, 3), (0, 2), (3, 1), (0, 1, 3), ()]


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("shape", MASK_SHAPES, ids=str)
def test_masks_broadcast(axis: Any, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(len(shape))
    x = rng.standard_normal(SHAPE)
    keep = rng.uniform(size=shape) < 0.7
    full = np.array(np.broadcast_to(keep, SHAPE))
    for name, function in FUNCTIONS.items():
        wanted = function(x, axis=axis, where=full)
        _assert_same_bits(function(x, axis=axis, where=keep), wanted)
        removed = function(_removed(x, full, name), axis=axis)
        # rows with nothing kept are apart
        some = np.broadcast_to(full.any(axis=axis, keepdims=name in MAPS), np.shape(removed))
        np.testing.assert_array_equal(np.asarray(wanted)[some], np.asarray(removed)[some])


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("threads", [1, 3])
def test_threads_and_batches_change_no_bit(dtype: np.dtype, threads: int) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((70, 1500)).astype(dtype)
    for keep in (rng.uniform(size=x.shape) < 0.5, rng.uniform(size=1500) < 0.5):
        of_row = np.broadcast_to(keep, x.shape)
        with sl.num_threads(threads):
            for function in FUNCTIONS.values():
                got = function(x, axis=-1, where=keep)
                rows = [function(x[i], axis=-1, where=of_row[i]) for i in range(len(x))]
                _assert_same_bits(got, np.array(rows, dtype))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("threads", [1, 3])
def test_columns_of_many_classes_share_groups_among_threads(dtype: np.dtype, threads: int) -> None:
    rng = np.random.default_rng(6)
    for rows in (523, 576):
        x = rng.standard_normal((rows, 300)).astype(dtype)
        keep = rng.uniform(size=x.shape) < 0.5
        x[100, 7], keep[100, 7], keep[200] = np.nan, True, False
        for name in ("softmax", "log_softmax"):
            wanted = FUNCTIONS[name](x, axis=-1, where=keep)
            with sl.num_threads(threads):
                columns = np.ascontiguousarray(x.T)
                marks = np.ascontiguousarray(keep.T)
                got = FUNCTIONS[name](columns, axis=0, where=marks)
                _assert_same_bits(got.T, wanted)
                FUNCTIONS[name](columns, axis=0, where=marks, out=columns)
                _assert_same_bits(columns.T, wanted)


def test_other_kinds_of_input(dtype: np.dtype) -> None:
    wanted = sl.softmax(np.array([1, -np.inf, 3]))
    for where in ([True, False, True], (True, False, True), np.array([1, 0, 1], bool)):
        _assert_same_bits(sl.softmax([1, 2, 3], where=where), wanted)
    frozen = np.array([True, False, True])
    frozen.flags.writeable = False
    _assert_same_bits(sl.softmax(np.array([1, 2, 3], np.uint8), where=frozen), wanted)
    # a byte other than 0 and 1, as only views make them
    _assert_same_bits(sl.softmax([1, 2, 3], where=np.array([2, 0, 128], "u1").view(bool)), wanted)
    assert sl.softmax(3.0, where=False) == 0
    assert sl.log_softmax(np.array(3, dtype), where=np.False_) == -np.inf
    assert sl.logsumexp(np.nan, where=False) == -np.inf
    for function in (sl.softmax, sl.log_softmax):
        assert function(np.empty((2, 0), dtype), where=np.empty((2, 0), bool)).shape == (2, 0)
        assert function(np.empty((0, 2), dtype), where=[True, False]).shape == (0, 2)
    assert sl.logsumexp(np.empty((2, 0), dtype), 1, where=True).tolist() == [-np.inf] * 2


# --- storage formats ----------------------------------------------------------------------------

STORED = (*HALVES, np.dtype(">f2"), np.dtype(">f4"), np.dtype("f8"), np.dtype("i1"))


def _stored(classes: int, keep: Array, stored: np.dtype) -> Array:
    x = _rows(classes, np.dtype("f4"))
    if stored.kind == "i":
        return np.clip(np.rint(x), -128, 127).astype(stored)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # the excluded 3e38, too
        return _spoiled(np.clip(x, -6e4, 6e4), keep).astype(stored)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("classes", [5, 17, 300, 1025])
@pytest.mark.parametrize("stored", STORED, ids=str)
def test_a_format_is_masked_as_the_numbers_it_holds(stored: np.dtype, classes: int) -> None:
    keep = _mask(classes)
    x = _stored(classes, keep, stored)
    own = np.dtype("f8") if stored.kind == "i" else stored.newbyteorder("=")
    for result in (None, *FLOATS):
        dtype = result or own
        wide = x.astype(computed_in(own, dtype))
        for function in FUNCTIONS.values():
            wanted = rounded(function(wide, axis=-1, where=keep), dtype)
            _assert_same_bits(function(x, axis=-1, where=keep, dtype=result), wanted)
            columns = function(x.T, axis=0, where=keep.T, dtype=result)
            _assert_same_bits(np.ascontiguousarray(columns.T), wanted)
            out = _strided(np.zeros_like(wanted))
            assert function(x, axis=-1, where=keep, dtype=result, out=out) is out
            _assert_same_bits(np.ascontiguousarray(out), wanted)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("half", [*HALVES, np.dtype(">f2")], ids=str)
@pytest.mark.parametrize("name", MAPS)
def test_halves_are_masked_in_place(half: np.dtype, classes: int, name: str) -> None:
    keep = _mask(classes)
    x = _stored(classes, keep, half)
    wanted = FUNCTIONS[name](x, axis=-1, where=keep)
    assert (wanted[~keep] == EXCLUDED[name]).all()
    for layout in LAYOUTS.values():
        out = layout(x.copy())
        assert FUNCTIONS[name](out, axis=-1, where=keep, out=out) is out
        np.testing.assert_array_equal(out, wanted)


# --- out ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", MAPS)
def test_in_place_is_as_if_it_were_not(
    dtype: np.dtype, classes: int, name: str, layout: str
) -> None:
    keep = _mask(classes)
    x = _spoiled(_rows(classes, dtype), keep)
    wanted = FUNCTIONS[name](x, axis=-1, where=keep)
    out = LAYOUTS[layout](x.copy())
    assert FUNCTIONS[name](out, axis=-1, where=keep, out=out) is out
    _assert_same_bits(np.ascontiguousarray(out), wanted)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_mask_may_lie_in_out(dtype: np.dtype, name: str) -> None:
    x = _rows(17, dtype)
    shape = np.shape(FUNCTIONS[name](x, axis=-1))
    memory = np.zeros(x.size, dtype)
    out = memory[: int(np.prod(shape))].reshape(shape)
    for mask in (
        memory.view(bool)[: x.size].reshape(x.shape),
        memory.view(bool)[:17],
        memory.view(bool)[: 3 * ROWS : 3, None],
    ):
        mask[...] = np.random.default_rng(1).uniform(size=mask.shape) < 0.5
        assert np.shares_memory(mask, out)
        wanted = FUNCTIONS[name](x, axis=-1, where=mask.copy())
        assert FUNCTIONS[name](x, axis=-1, where=mask, out=out) is out
        _assert_same_bits(out, wanted)


def test_inputs_are_not_changed(dtype: np.dtype) -> None:
    x, keep = _spoiled(_rows(1025, dtype), _mask(1025)), _mask(1025)
    before = x.tobytes(), keep.tobytes()
    for function in FUNCTIONS.values():
        function(x, axis=-1, where=keep)
        assert (x.tobytes(), keep.tobytes()) == before


# --- errors -------------------------------------------------------------------------------------

BAD: list[tuple[type[Exception], Any, str]] = [
    (TypeError, np.ones((3, 4), np.int8), "where has dtype int8; an array of bool is accepted"),
    (TypeError, np.ones((3, 4)), "where has dtype float64; an array of bool is accepted"),
    (TypeError, 1, "where has dtype int64; an array of bool is accepted"),
    (TypeError, [1, 0, 1, 1], "where has dtype int64; an array of bool is accepted"),
    (TypeError, "x", "where has dtype <U1; an array of bool is accepted"),
    (TypeError, np.ones(4, object), "where has dtype object; an array of bool is accepted"),
    (TypeError, np.ma.masked_array(np.ones(4, bool)), "where is a MaskedArray"),
    (ValueError, np.ones(3, bool), "where has shape (3,), which does not broadcast to the shape "),
    (ValueError, np.ones((2, 4), bool), "where has shape (2, 4), which does not broadcast to "),
    # where does not enlarge the input
    (ValueError, np.ones((1, 3, 4), bool), "where has shape (1, 3, 4), which does not broadcast"),
    (ValueError, np.ones((0,), bool), "where has shape (0,), which does not broadcast to the "),
    (ValueError, [[True], [True, False]], "where is not an array: "),
]


@pytest.mark.parametrize(("error", "where", "message"), BAD, ids=[b[2] for b in BAD])
@pytest.mark.parametrize("function", PUBLIC, ids=lambda f: f.__name__)
def test_a_bad_mask_is_an_error_and_out_unchanged(
    function: Callable[..., Any], error: type[Exception], where: Any, message: str
) -> None:
    x = np.arange(12.0).reshape(3, 4)
    out = np.full(np.shape(function(x, axis=-1)), -7.0)
    with pytest.raises(error) as caught:
        function(x, axis=-1, where=where, out=out)
    assert type(caught.value) is error
    assert str(caught.value).startswith(f"{function.__name__}: {message}")
    assert (out == -7).all()


def test_the_error_names_the_input() -> None:
    with pytest.raises(ValueError, match=r"of x, \(3, 4\)$"):
        sl.softmax(np.zeros((3, 4)), where=np.ones(3, bool))
    with pytest.raises(ValueError, match=r"of logits, \(3, 4\)$"):
        sl.entropy(np.zeros((3, 4)), where=np.ones(3, bool))
    with pytest.raises(ValueError, match=r"of x and b together, \(3, 4\)$"):
        sl.logsumexp(np.zeros((3, 1)), b=np.ones(4), where=np.ones(3, bool))


MEMORY = """
import resource
import numpy as np
import softlane as sl

keep = np.ones((64, 1), bool)  # over two axes of classes no run of equal strides: it is copied
keep[3] = False
x = np.broadcast_to(np.float32(1), (20_000, 64, 64))
sl.logsumexp(x[:100], axis=(1, 2), where=keep)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
got = sl.logsumexp(x, axis=(1, 2), where=keep)
assert (got == got[0]).all()
assert abs(got[0] - 1 - np.log(63 * 64)) < 1e-5
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux alone")
def test_a_mask_of_one_row_is_not_spread_over_the_rows() -> None:
    child = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, timeout=60, check=False
    )
    assert child.returncode == 0, child.stderr
    assert int(child.stdout) < 10_000  # KiB; a byte an element would be 80 000
