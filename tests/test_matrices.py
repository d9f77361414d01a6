"""The Hessian's matrices are the same bits wherever and however they are written.

A matrix whose lines follow each other is stored by vectors that know no lines, results larger than
the caches past them, others line by line; few classes go with a row in each lane. All of them are
held to a row by itself in an array with gaps, which is written line by line.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import softlane as sl

Array = npt.NDArray[Any]

ROWS = 19  # a group of every instruction set, and part of one
CLASSES = (1, 2, 3, 4, 5, 7, 8, 9, 13, 15, 16, 17, 18, 24, 31, 32, 33, 37, 64, 70, 257, 300)
STREAMED = 1 << 25  # bytes, kernels/matrix.hpp
MARK = 7.0  # what lies between the results


def _with_gaps(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    whole: Array = np.full((*shape[:-1], 2 * shape[-1]), MARK, dtype)
    return whole[..., ::2]


def _misaligned(shape: tuple[int, ...], dtype: np.dtype[Any], elements: int) -> Array:
    whole: Array = np.full(int(np.prod(shape)) + elements, MARK, dtype)
    return whole[elements:].reshape(shape)


def _transposed(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    whole: Array = np.full(shape, MARK, dtype)
    turned: Array = whole.transpose(0, 2, 1)
    return turned


def _fortran(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    return np.full(shape, MARK, dtype, order="F")


def _long_lines(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    return np.full((shape[0], shape[1], shape[2] + 3), MARK, dtype)[..., : shape[2]]


def _far_rows(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    return np.full((2 * shape[0], *shape[1:]), MARK, dtype)[::-2]


def _backwards(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    return np.full(shape, MARK, dtype)[:, ::-1, ::-1]


def _swapped(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    return np.full(shape, MARK, dtype.newbyteorder())


LAYOUTS: dict[str, Callable[[tuple[int, ...], np.dtype[Any]], Array]] = {
    "plain": partial(_misaligned, elements=0),
    **{f"{n} elements on": partial(_misaligned, elements=n) for n in (1, 6, 15)},
    "gaps": _with_gaps,
    "transposed": _transposed,
    "fortran": _fortran,
    "long lines": _long_lines,
    "far rows": _far_rows,
    "backwards": _backwards,
    "swapped": _swapped,
}


def _inputs(rows: int, classes: int, dtype: np.dtype[Any]) -> tuple[Array, Array, dict[str, Any]]:
    """Rows that are saturated, tied, partly -inf, NaN, without a result, and left out."""
    rng = np.random.default_rng([rows, classes, dtype.itemsize])
    x = (3 * rng.standard_normal((rows, classes))).astype(dtype)
    y = rng.integers(0, classes, rows)
    x[1, y[1]] += 60
    x[3] = 0.5
    x[5, : classes // 2] = -np.inf
    x[8, y[8]] = np.nan
    x[10] = -np.inf
    x[11] += 5000
    y[13] = -1
    options = {
        "weight": rng.choice([0.5, 1.0, 3.0, 2.0**40], classes),
        "sample_weight": rng.choice([0.0, 1.0, 2.5], rows),
        "ignore_index": -1,
    }
    return x, y, options


def _alone(x: Array, y: Array | None, options: dict[str, Any]) -> Array:
    """Each row by itself, with gaps between the entries."""
    rows, classes = x.shape
    wanted = _with_gaps((rows, classes, classes), x.dtype)
    for i in range(rows):
        own = dict(options)
        if "sample_weight" in own:
            own["sample_weight"] = own["sample_weight"][i : i + 1]
        labels = None if y is None else y[i : i + 1]
        sl.cross_entropy_hessian(x[i : i + 1], labels, out=wanted[i : i + 1], **own)
    return wanted


def _assert_same_bits(got: Array, wanted: Array) -> None:
    kind = f"u{wanted.dtype.itemsize}"
    a, b = (np.where(np.isnan(h), np.nan, h).astype(wanted.dtype).view(kind) for h in (got, wanted))
    differ = np.argwhere(a != b)
    assert not differ.size, f"{len(differ)} of {a.size} differ, first at {differ[0]}"


@pytest.mark.parametrize("weighted", [False, True], ids=["free", "weighted"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_matrices_have_the_same_bits_in_any_layout(
    isa: str, dtype: np.dtype[Any], layout: str, weighted: bool
) -> None:
    for classes in CLASSES:
        x, y, options = _inputs(ROWS, classes, dtype)
        labels = y if weighted else None
        own = options if weighted else {}
        out = LAYOUTS[layout]((ROWS, classes, classes), dtype)
        frame = out if out.base is None else out.base
        before = np.count_nonzero(frame == MARK) - out.size
        got = sl.cross_entropy_hessian(x, labels, out=out, **own)
        assert got is out
        _assert_same_bits(out, _alone(x, labels, own))
        assert np.count_nonzero(frame == MARK) == before, "something beside the result is written"


@pytest.mark.parametrize("threads", [2, 7])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_few_large_matrices_are_shared_line_by_line(
    isa: str, dtype: np.dtype[Any], layout: str, threads: int
) -> None:
    # 250 000 entries and more for each of seven threads: fewer would get fewer of them.
    for some, classes in ((slice(1, 2), 1325), (slice(8, 13), 601)):
        x, y, options = _inputs(ROWS, classes, dtype)
        x, y, options["sample_weight"] = x[some], y[some], options["sample_weight"][some]
        rows = len(x)
        out = LAYOUTS[layout]((rows, classes, classes), dtype)
        frame = out if out.base is None else out.base
        before = np.count_nonzero(frame == MARK) - out.size
        with sl.num_threads(threads):
            sl.cross_entropy_hessian(x, y, out=out, **options)
        assert np.count_nonzero(frame == MARK) == before, "something beside the result is written"
        with sl.num_threads(1):
            _assert_same_bits(out, _alone(x, y, options))


@pytest.mark.parametrize("elements", [0, 3])
def test_a_matrix_beyond_the_caches_is_shared_line_by_line(
    isa: str, dtype: np.dtype[Any], elements: int
) -> None:
    classes = 1 + int((STREAMED // dtype.itemsize) ** 0.5)
    x = _inputs(ROWS, classes, dtype)[0][:1]
    out = _misaligned((1, classes, classes), dtype, elements)
    for threads in (2, 3):
        out[...] = MARK
        with sl.num_threads(threads):
            sl.cross_entropy_hessian(x, out=out)
        with sl.num_threads(1):
            _assert_same_bits(out, sl.cross_entropy_hessian(x))


@pytest.mark.parametrize("elements", [0, 3])
def test_matrices_beyond_the_caches_have_the_bits_of_one(
    isa: str, dtype: np.dtype[Any], elements: int
) -> None:
    classes = 259
    rows = STREAMED // (classes**2 * dtype.itemsize) + 2
    x, y, options = _inputs(rows, classes, dtype)
    out = _misaligned((rows, classes, classes), dtype, elements)
    for threads in (1, 2):
        out[...] = MARK
        with sl.num_threads(threads):
            sl.cross_entropy_hessian(x, y, out=out, **options)
        some = slice(0, 16)
        _assert_same_bits(
            out[some],
            _alone(x[some], y[some], {**options, "sample_weight": options["sample_weight"][some]}),
        )
        last = slice(rows - 2, rows)
        _assert_same_bits(
            out[last],
            _alone(x[last], y[last], {**options, "sample_weight": options["sample_weight"][last]}),
        )


def test_matrices_of_few_classes_beyond_the_caches_have_the_bits_of_one(
    isa: str, dtype: np.dtype[Any]
) -> None:
    classes = 33
    rows = STREAMED // (classes**2 * dtype.itemsize) + 5
    x, _, _ = _inputs(rows, classes, dtype)
    got = sl.cross_entropy_hessian(x, out=np.empty((rows, classes, classes), dtype))
    assert np.array_equal(got, sl.cross_entropy_hessian(x), equal_nan=True)
    some = np.r_[0:40, rows - 20 : rows]
    _assert_same_bits(got[some], _alone(x[some], None, {}))
    assert np.array_equal(got[20:], got[20:].transpose(0, 2, 1), equal_nan=True)
