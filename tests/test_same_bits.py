"""One bit pattern: a row's result depends on the row's values alone.

Not on the instruction set, the threads, the batch, the layout, the alignment or the axis. The
hashes in hashes.json, by make_hashes.py, hold it across versions, compilers and machines.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from make_hashes import result_hash
from operations import OPERATIONS, Inputs, Results, make_inputs, names_for

import softlane as sl

Array = npt.NDArray[Any]

HASHES = json.loads((Path(__file__).parent / "hashes.json").read_text())
# rows x classes: few and many classes, odd numbers, several blocks
SHAPES = ((9, 1), (300, 3), (64, 10), (40, 37), (23, 1000), (11, 3001))
# a thread gets 16 000 elements at the least: enough for 16, for 7, for 2 and for 1; the last four
# have rows that threads share, in parts
PARALLEL_SHAPES = (
    (90_000, 3), (1_050, 257), (17, 7_001), (2, 40_001), (1, 40_001), (3, 70_001), (1, 260_003),
)  # fmt: skip
PARALLEL_NAMES = (
    "softmax", "log_softmax_warm", "logsumexp", "entropy", "value_and_grad_weighted",
    "grad_and_hess_diag_soft", "hessian", "hvp", "hessian_solve", "value_and_grad",
    "grad_and_hess_diag", "softmax_where",
)  # fmt: skip


@cache
def _inputs(shape: tuple[int, int], dtype: np.dtype) -> Inputs:
    return make_inputs(*shape, dtype, seed=shape[0])


@cache
def _alone(shape: tuple[int, int], dtype: np.dtype, name: str) -> Results:
    """Every row on its own, contiguous, on one thread and the plainest instruction set."""
    before = sl.active_isa()
    sl._core.select_isa("scalar")
    try:
        with sl.num_threads(1):
            inputs = _inputs(shape, dtype)
            rows = [OPERATIONS[name](inputs.rows(i)) for i in range(shape[0])]
            return tuple(np.concatenate(parts) for parts in zip(*rows, strict=True))
    finally:
        sl._core.select_isa(before)


def _assert_same_bits(got: Results, wanted: Results, what: str) -> None:
    for a, b in zip(got, wanted, strict=True):
        assert a.shape == b.shape, what
        if a.tobytes() != b.tobytes():
            width = f"u{a.dtype.itemsize}"
            differ = np.ascontiguousarray(a).view(width) != np.ascontiguousarray(b).view(width)
            where = tuple(np.argwhere(differ)[0].tolist())
            pytest.fail(
                f"{what}: {int(differ.sum())} of {a.size} entries differ, "
                f"the first at {where}: {a[where]!r} != {b[where]!r}"
            )


# --- layouts: the same values elsewhere in memory -----------------------------------------------


def _fortran(a: Array) -> Array:
    return np.asfortranarray(a)


def _strided(a: Array) -> Array:
    wide = np.full((a.shape[0] * 2, a.shape[1] * 3), np.nan, a.dtype)
    wide[::2, 1::3] = a
    return wide[::2, 1::3]


def _negative(a: Array) -> Array:
    return np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1]


def _rows_negative(a: Array) -> Array:
    return np.ascontiguousarray(a[::-1])[::-1]


def _offset(a: Array) -> Array:
    wide = np.full(a.size + 3, np.nan, a.dtype)
    wide[3:] = a.ravel()
    return wide[3:].reshape(a.shape)


def _padded(a: Array) -> Array:
    wide = np.full((a.shape[0], a.shape[1] + 5), np.nan, a.dtype)
    wide[:, 2:-3] = a
    return wide[:, 2:-3]


def _misaligned(a: Array) -> Array:
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype)
    raw[:] = a.ravel()
    assert not raw.flags.aligned
    return raw.reshape(a.shape)


def _swapped(a: Array) -> Array:
    return a.astype(a.dtype.newbyteorder())


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    function.__name__.lstrip("_"): function
    for function in (
        _fortran, _strided, _negative, _rows_negative, _offset, _padded, _misaligned, _swapped,
    )
}  # fmt: skip


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_changes_no_bit(dtype: np.dtype, shape: tuple[int, int], layout: str) -> None:
    inputs = _inputs(shape, dtype).relaid(LAYOUTS[layout])
    for name in names_for(shape[1]):
        _assert_same_bits(OPERATIONS[name](inputs), _alone(shape, dtype, name), name)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("batch", [1, 2, 7, None])
def test_batch_changes_no_bit(dtype: np.dtype, shape: tuple[int, int], batch: int | None) -> None:
    inputs, step = _inputs(shape, dtype), batch or shape[0]
    starts = range(0, shape[0], step)
    for name in names_for(shape[1]):
        parts = [OPERATIONS[name](inputs.rows(slice(i, i + step))) for i in starts]
        got = tuple(np.concatenate(p) for p in zip(*parts, strict=True))
        _assert_same_bits(got, _alone(shape, dtype, name), name)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_place_in_the_batch_changes_no_bit(dtype: np.dtype, shape: tuple[int, int]) -> None:
    inputs = _inputs(shape, dtype)
    order = slice(None, None, -1)
    for name in names_for(shape[1]):
        got = tuple(r[order] for r in OPERATIONS[name](inputs.rows(order)))
        _assert_same_bits(got, _alone(shape, dtype, name), name)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_axis_changes_no_bit(dtype: np.dtype, shape: tuple[int, int]) -> None:
    inputs = _inputs(shape, dtype)
    for contiguous in (True, False):
        columns = inputs.relaid(lambda a, c=contiguous: np.ascontiguousarray(a.T) if c else a.T)
        for name in names_for(shape[1]):
            operation = OPERATIONS[name]
            got = tuple(_rows_first(r, shape) for r in operation(columns, axis=0))
            _assert_same_bits(got, _alone(shape, dtype, name), f"{name}, axis 0")


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_axis_of_three_dimensions_changes_no_bit(
    dtype: np.dtype, shape: tuple[int, int], axis: int
) -> None:
    rows = shape[0] - shape[0] % 3
    inputs = _inputs(shape, dtype).rows(slice(0, rows))
    grid = (rows // 3, 3)
    solid = inputs.per_row(lambda a: a.reshape(grid)).relaid(
        lambda a: np.ascontiguousarray(np.moveaxis(a.reshape(*grid, -1), -1, axis))
    )
    for name in names_for(shape[1]):
        results = OPERATIONS[name](solid, axis=axis)
        got = []
        for result in results:
            per_row = result.ndim == 2 or OPERATIONS[name].kind == "matrix"
            moved = result if per_row else np.moveaxis(result, axis, -1)
            got.append(moved.reshape(rows, *moved.shape[2:]))
        wanted = tuple(r[:rows] for r in _alone(shape, dtype, name))
        _assert_same_bits(tuple(got), wanted, f"{name}, axis {axis}")


def _rows_first(result: Array, shape: tuple[int, int]) -> Array:
    return result.T if result.shape == shape[::-1] and result.ndim == 2 else result


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("threads", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("shape", PARALLEL_SHAPES, ids=str)
def test_threads_change_no_bit(dtype: np.dtype, shape: tuple[int, int], threads: int) -> None:
    inputs = _inputs(shape, dtype)
    with sl.num_threads(threads):
        for name in set(PARALLEL_NAMES) & set(names_for(shape[1])):
            got = OPERATIONS[name](inputs)
            _assert_same_bits(got, _in_one_thread(shape, dtype, name), name)


def _rows_in_parts(classes: int, dtype: np.dtype) -> dict[str, Array]:
    """One row of each kind that a thread, which sees a part of it, cannot settle by itself."""
    x = (np.random.default_rng(9).standard_normal((1, classes)) * 4).astype(dtype)
    rows = {name: x.copy() for name in ("plain", "ties", "NaN", "+inf", "-inf", "one finite",
                                        "far up", "far down", "one far up", "half far down",
                                        "saturated", "-inf beside")}  # fmt: skip
    rows["ties"][:, ::777] = 30  # the maximum in every part
    rows["NaN"][:, -1] = np.nan
    rows["+inf"][:, classes // 2] = np.inf
    rows["-inf"][:] = -np.inf
    rows["one finite"][:, :-1] = -np.inf
    rows["far up"] += 4000
    rows["far down"] -= 4000
    rows["one far up"][:, -2] = 3000
    rows["half far down"][:, : classes // 2] = -5000
    rows["saturated"][:, classes // 2 + 1] = 100
    rows["-inf beside"][:, ::3] = -np.inf
    return rows


def _of_a_row(x: Array) -> dict[str, bytes]:
    """Results on a row, in place too, with options that part it otherwise."""
    label, near = np.array([x.shape[1] - 1]), np.arange(x.shape[1]) % 3 > 0
    spread = np.repeat(x, 2, axis=1)[:, ::2]
    half = x.astype(np.float16)
    results = {
        "softmax": sl.softmax(x),
        "softmin": sl.softmin(x, temperature=0.7),
        "log_softmax": sl.log_softmax(x, temperature=3.0),
        "smooth_max": sl.smooth_max(x, axis=-1, temperature=0.7),
        "entropy": sl.entropy(x, where=near),
        "where": sl.log_softmax(x, where=near),
        "strided": sl.cross_entropy_grad(spread, label, out=np.empty_like(spread)),
        "half": sl.softmax(half),
        "half loss": sl.cross_entropy(half, label),
        "diagonal": sl.cross_entropy_hessian_diag(x, label, weight=near + 0.5),
        "left out": sl.cross_entropy_grad(x, label, ignore_index=int(label[0])),
        "mean": sl.cross_entropy(x, label, reduction="mean"),
    }
    for i, result in enumerate(sl.cross_entropy_value_and_grad(x, label, sample_weight=[1.5])):
        results[f"value_and_grad {i}"] = result
    for i, result in enumerate(sl.cross_entropy_grad_and_hess_diag(x, label - 1)):
        results[f"grad_and_hess_diag {i}"] = result
    for name, compute in (
        ("softmax", sl.softmax),
        ("log_softmax", sl.log_softmax),
        ("gradient", lambda a, out: sl.cross_entropy_grad(a, label, out=out)),
    ):
        for y in (x.copy(), half.copy()):
            compute(y, out=y)
            results[f"{name} in place {y.dtype}"] = y
    return {name: np.asarray(result).tobytes() for name, result in results.items()}


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("classes", [65_536, 100_003])
def test_parts_of_a_row_change_no_bit(dtype: np.dtype, classes: int) -> None:
    """Where threads share a row: special values, ties across the cuts, in place, masked."""
    with np.errstate(over="ignore"):  # float16
        for kind, x in _rows_in_parts(classes, dtype).items():
            with sl.num_threads(1):
                wanted = _of_a_row(x)
            for threads in (2, 3, 7):
                with sl.num_threads(threads):
                    got = _of_a_row(x)
                assert [n for n in wanted if got[n] != wanted[n]] == [], (kind, threads)


@cache
def _in_one_thread(shape: tuple[int, int], dtype: np.dtype, name: str) -> Results:
    before = sl.active_isa()
    sl._core.select_isa("scalar")
    try:
        with sl.num_threads(1):
            return OPERATIONS[name](_inputs(shape, dtype))
    finally:
        sl._core.select_isa(before)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("threads", [1, 2, 3, 7, 16])
def test_threads_change_no_bit_along_columns(dtype: np.dtype, threads: int) -> None:
    shape = PARALLEL_SHAPES[1]
    columns = _inputs(shape, dtype).relaid(lambda a: np.ascontiguousarray(a.T))
    with sl.num_threads(threads):
        for name in set(PARALLEL_NAMES) & set(names_for(shape[1])):
            results = OPERATIONS[name](columns, axis=0)
            got = tuple(_rows_first(r, shape) for r in results)
            _assert_same_bits(got, _in_one_thread(shape, dtype, name), name)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_reduced_losses_are_the_same_bits(dtype: np.dtype, reduction: str) -> None:
    inputs = _inputs(PARALLEL_SHAPES[0], dtype)

    def compute() -> bytes:
        loss, gradient = sl.cross_entropy_value_and_grad(
            inputs.finite, inputs.labels, weight=inputs.weight,
            sample_weight=inputs.sample_weight, reduction=reduction,
        )  # fmt: skip
        return loss.tobytes() + gradient.tobytes()

    with sl.num_threads(1):
        wanted = compute()
    for threads in (2, 3, 7, 16):
        with sl.num_threads(threads):
            assert compute() == wanted


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("name", OPERATIONS)
def test_results_have_the_committed_bits(dtype: np.dtype, name: str) -> None:
    """A change here is a change of the promise: say why, then run tests/make_hashes.py."""
    assert result_hash(name, dtype) == HASHES[f"{name}/{dtype}"]


def test_every_committed_hash_is_of_an_operation() -> None:
    assert set(HASHES) == {f"{n}/{d}" for n in OPERATIONS for d in ("float32", "float64")}
