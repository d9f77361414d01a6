"""Every traversal of the kernels gives the bits of a row by itself.

Few classes go with a row in each lane, middling ones abreast, the rest row by row; which one a
call takes depends on the number of classes and of rows, on the layout and on what rows hold. A row
alone is always done by itself, so it is what all of them are held to: layouts, parts of a group,
rows that a group has to hand back, and every operation are drawn at random and meet here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from operations import OPERATIONS, Inputs, Operation, Results, _keep, names_for

import softlane as sl

Array = npt.NDArray[Any]

CLASSES = (
    *range(1, 21), 31, 32, 33, 63, 64, 65, 66, 79, 80, 81, 127, 128, 129, 255, 256, 257, 321, 1000,
    1024,
)  # fmt: skip
DTYPES = ("float32", "float64", "float16")
ROWS, UNFIT, DRAWS = 40, 32, 4  # rows from UNFIT on may need what a group does not have


def _options(a: Inputs) -> dict[str, Any]:
    """Labels of 0 are left out, as are rows of weight 0."""
    return {"weight": a.weight, "sample_weight": a.sample_weight, "ignore_index": 0}


def _with_rows_left_out(name: str) -> Callable[..., Any]:
    function = getattr(sl, name)
    return lambda a, **m: function(a.logits, a.labels, **_options(a), **m)


def _smoothed(name: str) -> Callable[..., Any]:
    """Without class weights, with which smoothed labels go row by row."""
    function, options = getattr(sl, name), {"label_smoothing": 0.125}
    return lambda a, **m: function(
        a.logits, a.labels, sample_weight=a.sample_weight, ignore_index=0, **options, **m
    )


def _soft_scaled(name: str) -> Callable[..., Any]:
    """Weights of rows make the shares of a class other numbers than the probabilities."""
    function = getattr(sl, name)
    return lambda a, **m: function(a.finite, a.probabilities, sample_weight=a.sample_weight, **m)


def _laid(mask: Array) -> Array:
    """As it is, every other one of twice as many, or backwards."""
    match mask.size % 3:
        case 0:
            return np.repeat(mask, 2, axis=-1)[..., ::2]
        case 1:
            return mask[..., ::-1].copy()[..., ::-1]
    return mask


def _some_classes(a: Inputs, axis: int, **_: Any) -> Array:
    shape = [1] * a.logits.ndim
    shape[axis] = -1
    return (a.weight > 0.5).reshape(shape)


def _some_rows(a: Inputs, axis: int, **_: Any) -> Array:
    return np.expand_dims(_keep(a).take(0, axis), axis)


LOSSES = (
    ("", "row"), ("_grad", "map"), ("_value_and_grad", "row"), ("_hessian_diag", "map"),
    ("_grad_and_hess_diag", "map"), ("_hessian", "matrix"),
)  # fmt: skip
CHOSEN: dict[str, Operation] = {
    **OPERATIONS,
    **{
        f"{name}_{kind}": Operation(how(f"cross_entropy{name}"), result)
        for name, result in LOSSES
        for kind, how in (
            ("left_out", _with_rows_left_out), ("smoothed", _smoothed),
            ("soft_scaled", _soft_scaled),
        )
    },
    "softmax_some_are_nan": Operation(
        lambda a, **m: sl.softmax(a.logits, where=_laid(_keep(a)), **m), "map"
    ),
    "logsumexp_some_are_nan": Operation(
        lambda a, **m: sl.logsumexp(a.logits, where=_laid(_keep(a)), **m), "row"
    ),
    "smooth_min_some_are_nan": Operation(
        lambda a, **m: sl.smooth_min(a.logits, temperature=0.7, where=_laid(_keep(a)), **m), "row"
    ),
    "log_softmax_of_some_classes": Operation(
        lambda a, **m: sl.log_softmax(a.logits, where=_some_classes(a, **m), **m), "map"
    ),
    "logsumexp_of_some_rows": Operation(
        lambda a, **m: sl.logsumexp(a.logits, where=_some_rows(a, **m), **m), "row"
    ),
    "value_and_grad_soft_anything": Operation(
        lambda a, **m: sl.cross_entropy_value_and_grad(a.logits, a.probabilities, **m), "row"
    ),
    "hessian_free": Operation(lambda a, **m: sl.cross_entropy_hessian(a.logits, **m), "matrix"),
    "hessian_diag_free": Operation(
        lambda a, **m: sl.cross_entropy_hessian_diag(a.logits, **m), "map"
    ),
    "hvp_left_out": Operation(
        lambda a, **m: sl.cross_entropy_hvp(a.logits, a.vector, a.labels, **_options(a), **m), "map"
    ),
    "hvp_smoothed": Operation(
        lambda a, **m: sl.cross_entropy_hvp(
            a.logits, a.vector, a.labels, label_smoothing=0.125, **m
        ),
        "map",
    ),
    "hessian_solve_left_out": Operation(
        lambda a, **m: sl.cross_entropy_hessian_solve(
            a.logits, a.vector, a.damping, a.labels, **_options(a), **m
        ),
        "map",
    ),
}  # fmt: skip


def _names(classes: int) -> list[str]:
    few = set(names_for(classes))
    return [n for n, o in CHOSEN.items() if n in few or (o.kind != "matrix" or classes <= 33)]


# --- rows -----------------------------------------------------------------------------------------


# A row of kind k, of logits x whose label is `top`; `gap` underflows. Kinds that are not here stay.
Kind = Callable[[Array, int, np.random.Generator, float], Any]


def _fill(x: Array, values: Any) -> None:
    x[...] = values


def _ties(x: Array, _: int, rng: np.random.Generator, gap: float) -> None:
    x[...] = -gap
    x[rng.integers(0, x.size, 3)] = 3.0


def _subnormal(x: Array, top: int, _: np.random.Generator, gap: float) -> None:
    x -= gap * 0.95
    x[top] = 0.0


def _some_absent(x: Array, top: int, rng: np.random.Generator, _: float) -> None:
    x[rng.random(x.size) < 0.4] = -np.inf
    x[top] = 1.0


def _nan_beside_the_maximum(x: Array, *_: Any) -> None:
    x[0], x[-1] = 90.0, np.nan


def _halves_apart(x: Array, _: int, rng: np.random.Generator, gap: float) -> None:
    """Lanes 8 to 15 as far below the others as running sums allow, or a little more or less."""
    limit = 5.0 if gap < 500 else 24.0
    far = np.arange(x.size) % 16 >= 8
    x[...] = -np.where(far, limit, 0) - rng.uniform(0, 3, x.size)
    x[0] = 0
    x[8:9] = -limit + rng.choice([-(2.0**-10), 0, 2.0**-10])


REGULAR: tuple[Kind, ...] = (
    lambda x, top, *_: x.__setitem__(top, np.nan),
    _nan_beside_the_maximum,
    _some_absent,
    _ties,  # and nothing else counts
    _subnormal,
    lambda x, *_: _fill(x, x[0]),
    lambda x, top, *_: x.__setitem__(top, x[top] + 60.0),  # saturated
    lambda x, _, rng, __: _fill(x, np.where(rng.random(x.size) < 0.5, 0.0, -0.0)),
    lambda x, *_: _fill(x, np.round(x)),
    # logsumexp near 0, where the sum's own error shows
    lambda x, _, rng, __: _fill(x, 1e-3 * rng.standard_normal(x.size) - np.log(x.size)),
    lambda x, *_: _fill(x[:-1], -np.inf),
    _halves_apart,
)
# What a group of rows hands back: no regular result, or logits that need a shift.
UNSUITABLE: tuple[Kind, ...] = (
    lambda x, top, *_: x.__setitem__(top, np.inf),
    lambda x, *_: _fill(x, -np.inf),
    lambda x, *_: _fill(x, x + 6e4),  # float16 has no 1e6
    lambda x, *_: _fill(x, x - 6e4),
    lambda x, *_: _fill(x, -65504.0),
    lambda x, *_: (_fill(x, np.nan), x.__setitem__(0, np.inf)),
)


def _logits(rng: np.random.Generator, classes: int, dtype: np.dtype[Any]) -> Array:
    x = rng.standard_normal((ROWS, classes)) * rng.choice([0.03, 1.0, 8.0, 30.0], (ROWS, 1))
    gap = 100.0 if dtype.itemsize < 8 else 760.0
    kinds = [*rng.permutation(np.arange(UNFIT) % 16), *(16 + rng.integers(0, 8, ROWS - UNFIT))]
    for row, kind in zip(x, kinds, strict=True):
        known = REGULAR if kind < 16 else UNSUITABLE
        if kind % 16 < len(known):
            known[kind % 16](row, int(rng.integers(0, classes)), rng, gap)
    if dtype.itemsize > 2:
        x[UNFIT::3] *= 20.0  # beyond 1e6
    return x.astype(dtype)


@cache
def _inputs(classes: int, dtype: np.dtype[Any]) -> Inputs:
    rng = np.random.default_rng(classes)
    logits = _logits(rng, classes, dtype)
    labels = rng.integers(0, classes, ROWS)
    labels[::3] = np.argmax(logits[::3], axis=1)
    probabilities = rng.random((ROWS, classes))
    probabilities[rng.random((ROWS, classes)) < 0.2] = 0
    probabilities[5::8] = np.arange(classes) == labels[5::8, None]
    probabilities[7, labels[7]] = np.inf
    return Inputs(
        logits=logits,
        finite=np.nan_to_num(logits, nan=0.5, posinf=9.0, neginf=-40.0),
        labels=labels,
        probabilities=probabilities.astype(dtype),
        vector=rng.standard_normal((ROWS, classes)).astype(dtype),
        damping=rng.random(ROWS) + 0.125,
        weight=rng.choice([0.0, 0.5, 1.0, 3.0, 2.0**40, 2.0**-40], classes),
        sample_weight=rng.choice([0.0, 1.0, 1.0, 2.5], ROWS),
    )


@cache
def _alone(name: str, classes: int, dtype: np.dtype[Any]) -> Results:
    """Each row by itself, contiguous, on the instruction set that is the widest."""
    before = sl.active_isa()
    sl._core.select_isa("")
    try:
        inputs = _inputs(classes, dtype)
        rows = [CHOSEN[name](inputs.rows(i)) for i in range(ROWS)]
        return tuple(np.concatenate(parts) for parts in zip(*rows, strict=True))
    finally:
        sl._core.select_isa(before)


# --- memory ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """Where the elements of an array lie."""

    order: tuple[int, ...]  # of the dimensions in memory, from the outermost
    steps: tuple[int, ...]
    offset: int  # in bytes
    swapped: bool

    @staticmethod
    def draw(rng: np.random.Generator, ndim: int, item: int) -> Layout:
        if rng.random() < 0.4:  # as NumPy puts it, or a row or column further on
            return Layout(tuple(range(ndim)), (1,) * ndim, int(rng.choice([0, item])), False)
        order = tuple(rng.permutation(ndim).tolist())
        plain = rng.random() < 0.5
        steps = tuple(1 if plain else int(rng.choice([1, 1, 2, 3, -1, -2])) for _ in range(ndim))
        offset = int(rng.choice([0, 0, item, 1]))
        return Layout(order, steps, offset, bool(rng.random() < 0.1))

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        big = [shape[d] * abs(self.steps[d]) for d in self.order]
        size = int(np.prod(big)) * dtype.itemsize
        memory = np.full(size + self.offset, 0xFF, np.uint8)  # NaN, for every float
        kind = dtype.newbyteorder() if self.swapped else dtype
        view = np.ndarray(tuple(big), kind, memory, self.offset)
        view = view.transpose(np.argsort(self.order))
        return view[tuple(slice(None, None, s) for s in self.steps)]

    def hold(self, a: Array) -> Array:
        view = self.empty(a.shape, a.dtype)
        view[...] = a
        return view


@dataclass(frozen=True)
class Draw:
    """Some of the rows, on a grid of two dimensions, classes on any axis."""

    rows: slice
    grid: tuple[int, int]
    axis: int
    layouts: tuple[Layout, Layout, Layout]  # of the inputs, and of either result
    out: str

    @staticmethod
    def of(rng: np.random.Generator, item: int) -> Draw:
        count = int(rng.integers(4, ROWS + 1))
        start = int(rng.integers(0, ROWS - count + 1))
        divisors = [d for d in range(1, count + 1) if count % d == 0]
        first = int(rng.choice(divisors)) if rng.random() < 0.5 else 1
        one = Layout.draw(rng, 3, item)
        others = [one if rng.random() < 0.6 else Layout.draw(rng, 3, item) for _ in range(2)]
        return Draw(
            slice(start, start + count), (first, count // first), int(rng.choice([0, 1, 2, 2])),
            (one, *others), str(rng.choice(["none", "given", "input"])),
        )  # fmt: skip

    def lay(self, inputs: Inputs) -> Inputs:
        def place(a: Array) -> Array:
            solid = a.reshape(*self.grid, -1)
            return self.layouts[0].hold(np.moveaxis(solid, -1, self.axis))

        chosen = inputs.rows(self.rows).relaid(place)
        return chosen.per_row(lambda a: a.reshape(self.grid))

    def out_for(self, wanted: Results, inputs: Inputs) -> Any:
        """The caller's arrays for results of this kind; the first may be the logits themselves."""
        outs = []
        for result, layout in zip(wanted, self.layouts[1:], strict=False):
            if result.ndim == 3:
                plain = replace(layout, order=(*layout.order, 3), steps=(*layout.steps, 1))
                outs.append(plain.empty((*self.grid, *result.shape[1:]), result.dtype))
            elif result.ndim == 2:
                shape = np.moveaxis(np.empty((*self.grid, result.shape[1])), -1, self.axis).shape
                outs.append(layout.empty(shape, result.dtype))
            else:
                order = tuple(d for d in layout.order if d < 2)
                flat = replace(layout, order=order, steps=layout.steps[:2])
                outs.append(flat.empty(self.grid, result.dtype))
        logits = inputs.logits
        alike = len(outs) == 1 and wanted[0].ndim == 2 and logits.dtype == outs[0].dtype
        if self.out == "input" and alike:
            return logits
        return outs[0] if len(outs) == 1 else tuple(outs)

    def rows_of(self, result: Array) -> Array:
        if result.ndim == 3:
            result = np.moveaxis(result, self.axis, -1)
        return result.reshape(-1, *result.shape[2:])


def _bytes(a: Array) -> Array:
    """Bits, one pattern for every NaN: NumPy's own casts do not keep its sign."""
    plain = np.where(np.isnan(a), np.nan, a).astype(a.dtype.newbyteorder("="))
    return plain.view(f"u{a.dtype.itemsize}")


def _check(name: str, classes: int, dtype: np.dtype[Any], draw: Draw) -> None:
    wanted = _alone(name, classes, dtype)
    inputs = draw.lay(_inputs(classes, dtype))
    options: dict[str, Any] = {"axis": draw.axis}
    if draw.out != "none":
        if draw.out == "input":  # `finite` and `logits` are one input to an operation
            same = inputs.finite if _reads_finite(name) else inputs.logits
            options["out"] = draw.out_for(wanted, replace(inputs, logits=same))
        else:
            options["out"] = draw.out_for(wanted, inputs)
    got = CHOSEN[name](inputs, **options)
    for a, b in zip(got, wanted, strict=True):
        mine, alone = draw.rows_of(a), b[draw.rows]
        assert mine.dtype.newbyteorder("=") == alone.dtype
        differ = np.argwhere(_bytes(mine) != _bytes(alone))
        assert not differ.size, (
            f"{name}, {classes} classes, {draw}: {len(differ)} of {mine.size} differ, first at "
            f"{differ[0]}: {mine[tuple(differ[0])]!r}, alone {alone[tuple(differ[0])]!r}"
        )


def _reads_finite(name: str) -> bool:
    return name.endswith(("_weighted", "_smooth", "_soft", "_soft_scaled", "_where")) or name in (
        "softmin",
        "smooth_min",
    )


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("classes", CLASSES)
def test_a_row_among_others_has_the_bits_of_a_row_alone(isa: str, classes: int, kind: str) -> None:
    dtype = np.dtype(kind)
    # the same draws for every instruction set
    rng = np.random.default_rng([classes, dtype.itemsize])
    for name in _names(classes):
        for _ in range(DRAWS):
            _check(name, classes, dtype, Draw.of(rng, dtype.itemsize))


# Classes on the first axis: rows lie side by side, and are done where they lie (float16 apart).
SIDE_BY_SIDE = Layout((0, 1, 2), (1, 1, 1), 0, False)
ROW_BY_ROW = Layout((1, 2, 0), (1, 1, 1), 0, False)


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("classes", [3, 7, 16, 17, 256, 257, 1000])
def test_rows_side_by_side_have_the_bits_of_rows_alone(isa: str, classes: int, kind: str) -> None:
    dtype = np.dtype(kind)
    for name in _names(classes):
        for out in (SIDE_BY_SIDE, ROW_BY_ROW):
            layouts = (SIDE_BY_SIDE, out, SIDE_BY_SIDE)
            _check(name, classes, dtype, Draw(slice(0, ROWS), (1, ROWS), 0, layouts, "given"))


MANY = 523  # some rows over in groups of 4, 8 and 16, and enough to begin at a line of memory


# Elements from class to class, whole lines: a power of two crowds them into few sets of a cache.
@pytest.mark.parametrize("pitch", [1024, 1040])
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("classes", [3, 10, 37, 100, 257])
def test_groups_that_share_rows_have_the_bits_of_rows_alone(
    isa: str, classes: int, kind: str, pitch: int
) -> None:
    dtype = np.dtype(kind)
    rng = np.random.default_rng(classes)
    chosen = rng.integers(0, UNFIT, MANY)
    chosen[::100] = UNFIT + 1
    solid = _inputs(classes, dtype).relaid(lambda a: a[chosen]).per_row(lambda a: a[chosen])

    def side_by_side(rows: Array, offset: int, pitch: int = pitch) -> Array:
        """Classes a whole number of lines apart, the first one `offset` bytes into a line."""
        memory = np.full(64 + (classes + 1) * pitch * dtype.itemsize, 0xFF, np.uint8)
        begin = -memory.ctypes.data % 64 + offset
        strides = (pitch * dtype.itemsize, dtype.itemsize)
        view = np.ndarray(rows.T.shape, dtype, memory, begin, strides)
        view[...] = rows.T
        return view

    def matrices(rows: Array, offset: int) -> Array:
        """Matrices whose entries lie like classes."""
        memory = np.full(64 + classes**2 * pitch * dtype.itemsize, 0xFF, np.uint8)
        begin = -memory.ctypes.data % 64 + offset
        entry = pitch * dtype.itemsize
        strides = (dtype.itemsize, classes * entry, entry)
        return np.ndarray(rows.shape, dtype, memory, begin, strides)

    for name in _names(classes):
        wanted = tuple(result[chosen] for result in _alone(name, classes, dtype))
        for offset, in_place, other in (
            (0, False, 0), (dtype.itemsize, False, 1), (16, False, 0), (16, True, 0),
        ):  # fmt: skip
            inputs = solid.relaid(lambda a, by=offset: side_by_side(a, by))  # type: ignore[misc]
            # Of two results one is crowded, one is not; or the logits are, and the first is not.
            outs = tuple(
                side_by_side(np.zeros_like(r), offset, (pitch, 2064 - pitch)[(i + other) % 2])
                if r.ndim == 2
                else matrices(r, offset)
                if r.ndim == 3
                else np.zeros_like(r)
                for i, r in enumerate(wanted)
            )
            if in_place:
                if len(outs) > 1 or outs[0].ndim != 2:
                    continue
                outs = (inputs.finite if _reads_finite(name) else inputs.logits,)
            got = CHOSEN[name](inputs, axis=0, out=outs if len(outs) > 1 else outs[0])
            for result, alone in zip(got, wanted, strict=True):
                rows = result.T if result.ndim == 2 else result
                np.testing.assert_array_equal(_bytes(rows), _bytes(alone), f"{name} {offset}")


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("classes", [3, 10, 37, 100, 257])
def test_groups_of_some_rows_share_batches_with_whole_ones(
    isa: str, classes: int, kind: str, axis: int
) -> None:
    dtype = np.dtype(kind)
    grid = (3, 21)  # the last rows of each run are less than a group, of 4, 8 and 16
    chosen = np.random.default_rng(classes).integers(0, UNFIT, grid[0] * grid[1])
    chosen[[2, 17, 20, 40, 45]] = UNFIT + 1  # rows that are no work for groups

    def lay(rows: Array) -> Array:
        """Side by side, or one behind the other with a gap after each run."""
        runs = rows[chosen].reshape(*grid, -1)
        if axis == 1:
            return np.ascontiguousarray(np.moveaxis(runs, -1, 1))
        wide = np.zeros((grid[0], grid[1] + 5, runs.shape[-1]), runs.dtype)
        wide[:, : grid[1]] = runs
        return wide[:, : grid[1]]

    for name in _names(classes):
        wanted = tuple(result[chosen] for result in _alone(name, classes, dtype))
        for in_place in (False, True):
            solid = _inputs(classes, dtype).relaid(lay)
            inputs = solid.per_row(lambda a: a[chosen].reshape(grid))
            out = None
            if in_place:
                if len(wanted) > 1 or wanted[0].ndim != 2:
                    continue
                out = inputs.finite if _reads_finite(name) else inputs.logits
            got = CHOSEN[name](inputs, axis=axis, out=out)
            for result, alone in zip(got, wanted, strict=True):
                rows = np.moveaxis(result, axis, -1) if alone.ndim == 2 else result
                np.testing.assert_array_equal(
                    _bytes(rows.reshape(alone.shape)), _bytes(alone), name
                )


@pytest.mark.parametrize("classes", [16, 100, 257, 1000])
def test_a_vector_may_lie_otherwise_than_the_logits(isa: str, classes: int) -> None:
    dtype = np.dtype("float32")
    inputs = _inputs(classes, dtype)
    (wanted,) = _alone("hvp", classes, dtype)
    logits, vector = np.ascontiguousarray(inputs.logits.T), inputs.vector.T
    for v in (vector, np.repeat(vector, 2, axis=1)[:, ::2], vector.astype(">f4")):
        got = sl.cross_entropy_hvp(logits, v, axis=0)
        np.testing.assert_array_equal(_bytes(got.T), _bytes(wanted))
