"""Arrays of every kind go in and come out: axes, strides, byte order, overlap, scalars."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from operations import OPERATIONS, make_inputs

import softlane as sl

Array = npt.NDArray[Any]

MAPS = (sl.softmax, sl.log_softmax, sl.softmin)
REDUCTIONS = (sl.logsumexp, sl.smooth_max, sl.smooth_min, sl.entropy)
AXES = [0, 1, 2, -1, -2, -3, (0,), (0, 1), (1, 2), (0, 2), (-1, 0), (2, 0, 1), (0, 1, 2), None, ()]


def _solid(dtype: npt.DTypeLike, shape: tuple[int, ...] = (3, 4, 5)) -> Array:
    return (np.random.default_rng(1).standard_normal(shape) * 4).astype(dtype)


def _by_rows(x: Array, axis: Any) -> Array:
    """x as (rows, classes), with the axes in order."""
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(sorted(a % x.ndim for a in axes))
    rest = [a for a in range(x.ndim) if a not in axes]
    classes = int(np.prod([x.shape[a] for a in axes], dtype=int))
    return np.ascontiguousarray(x.transpose(rest + list(axes))).reshape(-1, classes)


# --- axes ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("axis", AXES, ids=str)
def test_maps_take_every_axis(dtype: np.dtype, axis: Any) -> None:
    x = _solid(dtype)
    rows = _by_rows(x, axis)
    for function in MAPS:
        got = function(x, axis)
        assert got.shape == x.shape
        assert got.dtype == dtype
        got_rows = _by_rows(got, axis)
        assert got_rows.tobytes() == function(rows).tobytes()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES, ids=str)
def test_reductions_take_every_axis(dtype: np.dtype, axis: Any, keepdims: bool) -> None:
    x = _solid(dtype)
    rows = _by_rows(x, axis)
    for function in REDUCTIONS:
        got = function(x, axis, keepdims=keepdims)
        assert got.shape == x.sum(axis, keepdims=keepdims).shape
        assert got.dtype == dtype
        assert got.tobytes() == function(rows, -1).tobytes()


@pytest.mark.usefixtures("isa")
def test_axes_of_a_tuple_come_in_any_order(dtype: np.dtype) -> None:
    x = _solid(dtype)
    for order in itertools.permutations((0, 2)):
        assert sl.softmax(x, order).tobytes() == sl.softmax(x, (0, 2)).tobytes()


@pytest.mark.usefixtures("isa")
def test_default_axes(dtype: np.dtype) -> None:
    x = _solid(dtype)
    for function in (*MAPS, sl.entropy):
        assert function(x).tobytes() == function(x, -1).tobytes()
    for function in (sl.logsumexp, sl.smooth_max, sl.smooth_min):
        assert function(x).tobytes() == function(x, None).tobytes()
    assert sl.cross_entropy(x, np.zeros((3, 4), int)).shape == (3, 4)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_losses_take_every_axis(dtype: np.dtype, axis: int) -> None:
    rng = np.random.default_rng(2)
    x, v = _solid(dtype), _solid(dtype)[::-1].copy()
    rest = np.delete(x.shape, axis)
    y = rng.integers(0, 3, rest)
    damping = rng.uniform(0.5, 1, rest)
    t = np.abs(v)
    last = lambda a: np.ascontiguousarray(np.moveaxis(a, axis, -1))  # noqa: E731
    assert_same = lambda a, b: np.testing.assert_array_equal(a, b)  # noqa: E731
    for target, target_last in ((y, y), (t, last(t))):
        loss, gradient = sl.cross_entropy_value_and_grad(x, target, axis)
        wanted = sl.cross_entropy_value_and_grad(last(x), target_last)
        assert_same(loss, wanted[0])
        assert_same(last(gradient), wanted[1])
    assert_same(sl.cross_entropy_hessian(x, y, axis), sl.cross_entropy_hessian(last(x), y))
    assert_same(last(sl.cross_entropy_hessian_diag(x, y, axis)),
                sl.cross_entropy_hessian_diag(last(x), y))  # fmt: skip
    assert_same(last(sl.cross_entropy_hvp(x, v, y, axis)),
                sl.cross_entropy_hvp(last(x), last(v), y))  # fmt: skip
    assert_same(last(sl.cross_entropy_hessian_solve(x, v, damping, y, axis)),
                sl.cross_entropy_hessian_solve(last(x), last(v), damping, y))  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_one_hot_puts_the_classes_on_the_axis(axis: int) -> None:
    labels = np.array([[0, 2, 1], [1, 1, 0]])
    got = sl.one_hot(labels, 4, axis=axis)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, np.moveaxis(np.eye(4)[labels], -1, axis))


@pytest.mark.parametrize("code", ["f2", "f4", "f8", "i2", "i4", "u8"])
@pytest.mark.parametrize("order", "<>")
def test_one_hot_gives_any_byte_order(order: str, code: str) -> None:
    got = sl.one_hot([2, 0], 3, dtype=order + code)
    assert got.dtype == np.dtype(order + code)
    assert got.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_one_hot_without_a_dtype_has_its_default() -> None:
    assert sl.one_hot([1], 3, dtype=None).dtype == sl.one_hot([1], 3).dtype == np.float32


# --- memory -------------------------------------------------------------------------------------

VIEWS = {
    "strided": lambda x: np.repeat(np.repeat(x, 2, 0), 3, 1)[::2, ::3],
    "negative": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "fortran": np.asfortranarray,
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "swapped bytes": lambda x: x.astype(x.dtype.newbyteorder()),
    "misaligned": lambda x: _misaligned(x),
    "record field": lambda x: _record_field(x),
    "list": lambda x: x.tolist(),
}


def _misaligned(x: Array) -> Array:
    raw = np.zeros(x.nbytes + 3, np.uint8)[3:].view(x.dtype).reshape(x.shape)
    raw[:] = x
    return raw


def _record_field(x: Array) -> Array:
    record = np.zeros(x.shape, np.dtype([("tag", "u1"), ("value", x.dtype), ("more", "u2")]))
    record["value"] = x
    return record["value"]


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("view", VIEWS)
def test_memory_layout_of_an_input_is_free(dtype: np.dtype, view: str) -> None:
    x = _solid(dtype, (6, 7))
    if view == "list":
        x = x.astype(np.float64)
    seen = VIEWS[view](x)
    for name, operation in OPERATIONS.items():
        a = make_inputs(6, 7, x.dtype)
        plain = operation(a)
        for got, wanted in zip(operation(a.relaid(VIEWS[view])), plain, strict=True):
            assert got.dtype == wanted.dtype
            assert got.dtype.isnative
            assert got.tobytes() == wanted.tobytes(), name
    assert sl.softmax(seen).tobytes() == sl.softmax(x).tobytes()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("tag", ["u1", "u2"])
def test_rows_of_packed_records_begin_anywhere(dtype: np.dtype, tag: str) -> None:
    """The first row is aligned, others are not."""
    for rows, classes in ((3, 3), (3, 100), (5, 300), (5, 1024), (5, 1025)):
        record = np.zeros(rows, np.dtype([("row", dtype, (classes,)), ("tag", tag)]))
        x, seen = _solid(dtype, (rows, classes)), record["row"]
        for function in (sl.softmax, sl.log_softmax, sl.softmin):
            wanted = function(x)
            seen[:] = x
            assert function(seen).tobytes() == wanted.tobytes()
            function(seen, out=seen)
            assert seen.tobytes() == wanted.tobytes()
            seen[:] = 0
            function(x, out=seen)
            assert seen.tobytes() == wanted.tobytes()
            assert (record["tag"] == 0).all()


@pytest.mark.usefixtures("isa")
def test_zero_strides(dtype: np.dtype) -> None:
    row, column = _solid(dtype, (5,)), _solid(dtype, (4, 1))
    for x in (np.broadcast_to(row, (4, 5)), np.broadcast_to(column, (4, 5)),
              np.broadcast_to(dtype.type(3), (4, 5))):  # fmt: skip
        for axis in (0, 1, None):
            for function in (*MAPS, *REDUCTIONS):
                assert function(x, axis).tobytes() == function(x.copy(), axis).tobytes()
    x = np.broadcast_to(row, (4, 5))
    y = np.broadcast_to(np.int64(2), (4,))
    plain = sl.cross_entropy_value_and_grad(x.copy(), y.copy())
    for got, wanted in zip(sl.cross_entropy_value_and_grad(x, y), plain, strict=True):
        assert got.tobytes() == wanted.tobytes()
        assert got.flags.writeable


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("name", OPERATIONS)
def test_inputs_are_never_modified_and_may_be_read_only(dtype: np.dtype, name: str) -> None:
    a = make_inputs(8, 9, dtype)
    before = {n: getattr(a, n).copy() for n in a.__dataclass_fields__}
    for field in before:
        getattr(a, field).flags.writeable = False
    for columns in (False, True):
        operand = a.relaid(lambda b, c=columns: b.T.copy() if c else b)
        for field in a.BATCHED:
            getattr(operand, field).flags.writeable = False
        results = OPERATIONS[name](operand, axis=0 if columns else -1)
        for result in results:
            assert result.flags.writeable
            assert not any(np.shares_memory(result, getattr(operand, f)) for f in before)
    for field, value in before.items():
        np.testing.assert_array_equal(getattr(a, field), value)


class _HasArray:
    """As pandas objects and torch tensors are: they only know how to become an array."""

    def __init__(self, values: Array) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.values if dtype is None else self.values.astype(dtype)


@pytest.mark.usefixtures("isa")
def test_anything_that_becomes_an_array_is_taken(dtype: np.dtype) -> None:
    x = _solid(dtype, (3, 5))
    y = np.array([0, 4, 1])
    assert sl.softmax(_HasArray(x)).tobytes() == sl.softmax(x).tobytes()
    got = sl.cross_entropy(_HasArray(x), _HasArray(y), weight=_HasArray(np.ones(5)))
    assert got.tobytes() == sl.cross_entropy(x, y).tobytes()
    nested = ((1.0, 2), [3, 4])
    assert sl.logsumexp(nested, 0).tobytes() == sl.logsumexp(np.array(nested), 0).tobytes()
    assert type(sl.softmax(memoryview(x))) is np.ndarray


class _Sub(np.ndarray):
    pass


@pytest.mark.usefixtures("isa")
def test_subclasses_are_taken_as_arrays(dtype: np.dtype) -> None:
    x = _solid(dtype, (3, 5))
    assert sl.softmax(x.view(_Sub)).tobytes() == sl.softmax(x).tobytes()


# --- dtypes -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("integer", ["bool", "int8", "uint8", "int16", "uint16", "int32",
                                     "uint32", "int64", "uint64"])  # fmt: skip
def test_integers_become_float64(integer: str) -> None:
    x = np.array([[0, 1, 1], [1, 0, 1]]).astype(integer)
    wide = x.astype(np.float64)
    for function in (*MAPS, *REDUCTIONS):
        got = function(x)
        assert got.dtype == np.float64
        assert got.tobytes() == function(wide).tobytes()
    got = sl.cross_entropy_value_and_grad(x, [0, 2])
    for a, b in zip(got, sl.cross_entropy_value_and_grad(wide, [0, 2]), strict=True):
        assert a.dtype == np.float64
        assert a.tobytes() == b.tobytes()


@pytest.mark.usefixtures("isa")
def test_results_have_the_dtype_of_the_logits(dtype: np.dtype) -> None:
    a = make_inputs(6, 4, dtype)
    for name, operation in OPERATIONS.items():
        for result in operation(a):
            assert result.dtype == dtype, name
    for other in (np.float32, np.float64):  # of the other arguments does not matter
        options = {"weight": a.weight.astype(other), "sample_weight": a.sample_weight.astype(other)}
        assert sl.cross_entropy(a.logits, a.labels, **options).dtype == dtype
        assert sl.cross_entropy(a.logits, a.probabilities.astype(other)).dtype == dtype
        assert sl.cross_entropy_hvp(a.logits, a.vector.astype(other)).dtype == dtype


# --- scalars and 0-d ----------------------------------------------------------------------------


@pytest.mark.usefixtures("isa")
def test_zero_dimensional_results_are_scalars(dtype: np.dtype) -> None:
    x = _solid(dtype, (5,))
    scalar = dtype.type
    assert type(sl.logsumexp(x)) is scalar
    assert type(sl.logsumexp(_solid(dtype))) is scalar
    assert type(sl.smooth_max(x, 0)) is scalar
    assert type(sl.smooth_min(x, -1)) is scalar
    assert type(sl.entropy(x)) is scalar
    assert type(sl.cross_entropy(x, 1)) is scalar
    assert type(sl.cross_entropy(x[None], [1], reduction="mean")) is scalar
    loss, gradient = sl.cross_entropy_value_and_grad(x, 1)
    assert type(loss) is scalar
    assert gradient.shape == (5,)
    assert sl.logsumexp(x, keepdims=True).shape == (1,)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("axis", [-1, 0, None, ()])
def test_a_zero_dimensional_input_is_one_element(dtype: np.dtype, axis: Any) -> None:
    wanted_of = {
        sl.softmax: 1,
        sl.log_softmax: 0,
        sl.softmin: 1,
        sl.logsumexp: 3.5,
        sl.smooth_min: 3.5,
        sl.entropy: 0,
    }
    for value in (dtype.type(3.5), np.array(3.5, dtype)):
        for function, wanted in wanted_of.items():
            got = function(value, axis)
            assert type(got) is dtype.type
            assert got == wanted
    assert type(sl.softmax(2)) is np.float64
    assert type(sl.softmax(True)) is np.float64


# --- empty --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", [(0, 5), (0, 0), (3, 0, 4), (0, 1), (2, 3, 0)])
def test_empty_inputs_give_empty_results(dtype: np.dtype, shape: tuple[int, ...]) -> None:
    x = np.empty(shape, dtype)
    for axis in (*range(-x.ndim, x.ndim), None):
        for function in MAPS:
            got = function(x, axis)
            assert got.shape == shape
            assert got.dtype == dtype
        got = sl.logsumexp(x, axis)
        wanted_shape = x.sum(axis).shape
        assert got.shape == wanted_shape
        assert got.dtype == dtype
        assert (got == -np.inf).all()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("rows", [(0,), (2, 0), (0, 3)])
def test_no_rows_have_no_losses(dtype: np.dtype, rows: tuple[int, ...]) -> None:
    x = np.empty((*rows, 4), dtype)
    for target in (np.empty(rows, int), x.copy()):
        loss, gradient = sl.cross_entropy_value_and_grad(x, target)
        assert (loss.shape, loss.dtype) == (rows, dtype)
        assert (gradient.shape, gradient.dtype) == (x.shape, dtype)
        assert sl.cross_entropy_hessian(x, target).shape == (*rows, 4, 4)
        assert sl.cross_entropy_hvp(x, x, target).shape == x.shape
        assert sl.cross_entropy_hessian_solve(x, x, 1.0, target).shape == x.shape
    assert sl.cross_entropy_hvp(np.ones((3, 4), dtype), np.empty((0, 3, 4), dtype)).shape == (
        0,
        3,
        4,
    )
    assert sl.one_hot(np.empty(rows, int), 4).shape == (*rows, 4)


# --- out ----------------------------------------------------------------------------------------


def _outs(wanted: Array) -> list[tuple[str, Array]]:
    shape, dtype = wanted.shape, wanted.dtype
    wide = np.full([3 * n for n in shape], -7, dtype)
    field = np.zeros(shape, np.dtype([("tag", "u1"), ("value", dtype)]))["value"]
    return [
        ("plain", np.full(shape, -7, dtype)),
        ("fortran", np.full(shape, -7, dtype, order="F")),
        ("strided", wide[tuple(slice(1, None, 3) for _ in shape)]),
        ("negative", wide[tuple(slice(None, None, -3) for _ in shape)]),
        ("misaligned", field),
    ]


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("name", OPERATIONS)
def test_out_is_filled_and_returned(dtype: np.dtype, name: str) -> None:
    a = make_inputs(7, 9, dtype)
    wanted = OPERATIONS[name](a)
    pair = len(wanted) == 2
    for kind, first in _outs(wanted[0]):
        outs = (first, dict(_outs(wanted[1]))[kind]) if pair else (first,)
        got = OPERATIONS[name](a, out=outs if pair else first)
        for result, out, value in zip(got, outs, wanted, strict=True):
            assert result is out, kind
            assert out.tobytes() == value.tobytes(), kind


@pytest.mark.usefixtures("isa")
def test_out_strided_leaves_what_lies_between(dtype: np.dtype) -> None:
    a = make_inputs(7, 40, dtype)
    for name in ("softmax", "logsumexp", "loss", "gradient", "hvp", "hessian_solve"):
        wanted = OPERATIONS[name](a)[0]
        wide = np.full([3 * n + 2 for n in wanted.shape], -7, dtype)
        inside = tuple(slice(1, -1, 3) for _ in wanted.shape)
        OPERATIONS[name](a, out=wide[inside])
        expected = np.full_like(wide, -7)
        expected[inside] = wanted
        np.testing.assert_array_equal(wide, expected)


@pytest.mark.usefixtures("isa")
def test_out_of_a_zero_dimensional_result_is_returned_itself(dtype: np.dtype) -> None:
    x = _solid(dtype, (5,))
    out = np.zeros((), dtype)
    assert sl.logsumexp(x, out=out) is out
    assert out == sl.logsumexp(x)
    assert sl.cross_entropy(x, 1, out=out) is out
    assert out == sl.cross_entropy(x, 1)
    assert sl.softmax(dtype.type(1), out=out) is out
    assert out == 1


class Pair(NamedTuple):
    first: Array
    second: Array


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("function", [sl.cross_entropy_value_and_grad,
                                      sl.cross_entropy_grad_and_hess_diag])  # fmt: skip
def test_either_out_of_two_may_be_none(dtype: np.dtype, function: Any) -> None:
    a = make_inputs(7, 9, dtype)
    wanted = function(a.logits, a.labels)
    for given_first, given_second in itertools.product([False, True], repeat=2):
        outs = tuple(
            np.zeros_like(w) if is_given else None
            for w, is_given in zip(wanted, (given_first, given_second), strict=True)
        )
        got = function(a.logits, a.labels, out=outs)
        for result, out, value in zip(got, outs, wanted, strict=True):
            assert out is None or result is out
            assert result.tobytes() == value.tobytes()
        assert type(got) is tuple
        assert (got is outs) == (given_first and given_second)
    pair = Pair(*map(np.zeros_like, wanted))
    got = function(a.logits, a.labels, out=pair)
    assert type(got) is tuple
    assert got[0] is pair.first
    assert got[1] is pair.second
    assert function(a.logits, a.labels, out=None)[0].tobytes() == wanted[0].tobytes()


IN_PLACE = [n for n, o in OPERATIONS.items() if o.kind == "map" and "hess_diag" not in n]


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", [(7, 9), (5, 1), (3, 1500), (40, 3)], ids=str)
@pytest.mark.parametrize("name", IN_PLACE)
def test_out_may_be_the_input_itself(dtype: np.dtype, name: str, shape: tuple[int, int]) -> None:
    for axis in (-1, 0):
        a = make_inputs(*shape, dtype)
        if axis == 0:
            a = a.relaid(lambda b: b.T.copy())
        wanted = OPERATIONS[name](a, axis=axis)[0]
        for field in ("logits", "finite", "vector", "probabilities"):
            fresh = a.relaid(np.copy)
            out = getattr(fresh, field)
            assert OPERATIONS[name](fresh, axis=axis, out=out)[0] is out
            assert out.tobytes() == wanted.tobytes(), (field, axis)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("function", [sl.softmax, sl.log_softmax])
@pytest.mark.parametrize("axis", [0, 1])
def test_out_may_overlap_the_input_in_any_way(dtype: np.dtype, function: Any, axis: int) -> None:
    rows, classes = 6, 37
    size = rows * classes
    values = _solid(dtype, (rows, classes))
    wanted = function(values, axis)
    for shift in (-classes - 1, -classes, -8, -1, 1, 3, 16, classes, 2 * classes + 5):
        buffer = np.zeros(size + 2 * 100, dtype)
        x = buffer[100 : 100 + size].reshape(rows, classes)
        out = buffer[100 + shift : 100 + shift + size].reshape(rows, classes)
        x[:] = values
        assert function(x, axis, out=out) is out
        assert out.tobytes() == wanted.tobytes(), f"shifted by {shift}"
    square = _solid(dtype, (37, 37))
    wanted = function(square, axis)
    for view in (lambda b: b.T, lambda b: b[::-1], lambda b: b[:, ::-1], lambda b: b[::-1, ::-1].T):
        x = square.copy()
        function(x, axis, out=view(x))
        np.testing.assert_array_equal(view(x), wanted)
    tall = np.zeros((2 * rows, classes), dtype)
    tall[::2] = values
    function(tall[::2], axis, out=tall[rows:])
    np.testing.assert_array_equal(tall[rows:], function(values, axis))


@pytest.mark.usefixtures("isa")
def test_out_may_overlap_at_a_byte_offset(dtype: np.dtype) -> None:
    values = _solid(dtype, (6, 37))
    wanted = sl.softmax(values)
    for shift in (1, 3, dtype.itemsize + 2, 100):
        raw = np.zeros(values.nbytes + shift, np.uint8)
        x = raw[: values.nbytes].view(dtype).reshape(values.shape)
        out = raw[shift:].view(dtype).reshape(values.shape)
        x[:] = values
        sl.softmax(x, out=out)
        assert out.tobytes() == wanted.tobytes()


@pytest.mark.usefixtures("isa")
def test_out_may_overlap_every_other_input(dtype: np.dtype) -> None:
    a = make_inputs(9, 9, dtype)
    damping = np.ascontiguousarray(np.abs(a.vector[0])) + dtype.type(1)
    wanted = sl.cross_entropy_hvp(a.logits, a.vector)
    both = np.concatenate(
        [a.logits, a.vector]
    )  # out covers the end of one and the start of the other
    sl.cross_entropy_hvp(both[:9], both[9:], out=both[4:13])
    assert both[4:13].tobytes() == wanted.tobytes()
    vector = a.vector.copy()
    sl.cross_entropy_hvp(a.logits, vector, out=vector.T)
    np.testing.assert_array_equal(vector.T, wanted)
    wanted = sl.cross_entropy_hessian_solve(a.logits, a.vector, damping)
    out = a.vector.copy()
    out[3] = damping
    shared = sl.cross_entropy_hessian_solve(a.logits, a.vector, out[3], out=out)
    assert shared.tobytes() == wanted.tobytes()
    # weights and sample weights that lie in the output
    weights = np.abs(a.vector.astype(np.float64)) + 0.5
    logits = a.finite.astype(np.float64)
    options = {"weight": weights[2], "sample_weight": weights[3]}
    wanted = sl.cross_entropy_grad(logits, a.labels, **options)
    got = sl.cross_entropy_grad(logits, a.labels, **options, out=weights)
    assert got.tobytes() == wanted.tobytes()
    # labels that lie in the output
    out = np.zeros((9, 9))
    labels = out[4].view(np.int64)
    labels[:] = a.labels
    wanted = sl.cross_entropy_grad(logits, a.labels)
    assert sl.cross_entropy_grad(logits, labels, out=out).tobytes() == wanted.tobytes()
    # soft targets that are the output
    t = a.probabilities.astype(np.float64)
    loss_and_gradient = sl.cross_entropy_value_and_grad(logits, t)
    losses = np.zeros(9)
    sl.cross_entropy_value_and_grad(logits, t, out=(losses, t))
    assert losses.tobytes() == loss_and_gradient[0].tobytes()
    assert t.tobytes() == loss_and_gradient[1].tobytes()


@pytest.mark.usefixtures("isa")
def test_loss_may_be_written_into_the_logits(dtype: np.dtype) -> None:
    a = make_inputs(9, 9, dtype)
    wanted = sl.cross_entropy(a.logits, a.labels)
    for place in (np.s_[0], np.s_[8], np.s_[:, 3], np.s_[::-1, 8]):
        x = a.logits.copy()
        sl.cross_entropy(x, a.labels, out=x[place])
        assert x[place].tobytes() == wanted.tobytes()
    wanted = sl.logsumexp(a.logits, 1)
    for place in (np.s_[0], np.s_[:, 0]):
        x = a.logits.copy()
        sl.logsumexp(x, 1, out=x[place])
        assert x[place].tobytes() == wanted.tobytes()


# --- anything at all ----------------------------------------------------------------------------


@st.composite
def _strided_arrays(draw: st.DrawFn) -> Array:
    """An array of up to 4 dimensions, any strides, dtype, byte order and alignment."""
    shape = draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    dtype = np.dtype(draw(st.sampled_from(["f2", "f4", "f8", "i4", "u1", "?"])))
    dtype = draw(st.sampled_from([dtype, dtype.newbyteorder()]))
    seed = draw(st.integers(0, 2**16))
    steps = [draw(st.sampled_from([-3, -2, -1, 1, 2])) for _ in shape]
    order = draw(st.permutations(range(len(shape))))
    full = [abs(s) * n for s, n in zip(steps, shape, strict=True)]
    bytes_before = draw(st.integers(0, 3))
    raw = np.zeros(int(np.prod(full)) * dtype.itemsize + bytes_before, np.uint8)
    x = raw[bytes_before:].view(dtype).reshape(full)
    x[...] = np.random.default_rng(seed).integers(-20, 20, full).astype(dtype)
    x = x[tuple(slice(None, None, s) for s in steps)].transpose(order)
    if draw(st.booleans()):
        x.flags.writeable = False
    return x


@given(x=_strided_arrays(), data=st.data())
def test_any_array_gives_what_its_plain_copy_gives(x: Array, data: st.DataObject) -> None:
    wide = x.dtype if x.dtype.kind == "f" else np.dtype(np.float64)
    plain = np.ascontiguousarray(x, wide.newbyteorder("="))
    axes = data.draw(st.sets(st.integers(0, x.ndim - 1)))
    axis = data.draw(st.sampled_from([None, tuple(axes), x.ndim - 1, -x.ndim]))
    temperature = data.draw(st.sampled_from([1.0, 0.5, 3.0]))
    out = data.draw(st.sampled_from(["none", "new", "view"]))
    for function in (sl.softmax, sl.log_softmax):
        wanted = function(plain, axis, temperature=temperature)
        target = None if out == "none" else np.zeros(x.shape, plain.dtype)
        if out == "view":
            target = np.zeros((*x.shape, 2), plain.dtype)[..., 1]
        got = function(x, axis, temperature=temperature, out=target)
        assert target is None or got is target
        assert (got.shape, got.dtype) == (wanted.shape, plain.dtype)
        assert got.tobytes() == wanted.tobytes()
    wanted = sl.smooth_max(plain, axis, temperature=temperature)
    assert sl.smooth_max(x, axis, temperature=temperature).tobytes() == wanted.tobytes()
