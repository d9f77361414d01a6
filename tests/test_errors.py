"""Bad input is the documented error, which names function and argument; nothing is written then."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

import softlane as sl

Array = npt.NDArray[Any]

X = np.arange(12.0).reshape(3, 4)
Y = np.array([0, 3, 1])
T = np.full((3, 4), 0.25)
NAN_T = np.where(np.arange(12).reshape(3, 4) == 6, np.nan, T)
NEGATIVE_T = np.where(np.arange(12).reshape(3, 4) == 6, -0.1, T)
MASKED = np.ma.masked_array(X, X > 5)


class Giving:
    """What becomes the given array."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.array


class Refusing:
    """What fails to become an array or a flag."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        raise self.error

    def __bool__(self) -> bool:
        raise self.error


class Shown:
    """Something with this repr, or that fails to have one."""

    def __init__(self, text: str | BaseException) -> None:
        self.text = text

    def __repr__(self) -> str:
        if isinstance(self.text, BaseException):
            raise self.text
        return self.text


# every function with its obligatory arguments, as f(logits, **options)
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "softmax": sl.softmax,
    "log_softmax": sl.log_softmax,
    "softmin": sl.softmin,
    "logsumexp": sl.logsumexp,
    "smooth_max": sl.smooth_max,
    "smooth_min": sl.smooth_min,
    "entropy": sl.entropy,
    "cross_entropy": lambda x, target=Y, **o: sl.cross_entropy(x, target, **o),
    "cross_entropy_grad": lambda x, target=Y, **o: sl.cross_entropy_grad(x, target, **o),
    "cross_entropy_value_and_grad": lambda x, target=Y, **o: sl.cross_entropy_value_and_grad(
        x, target, **o
    ),
    "cross_entropy_grad_and_hess_diag": lambda x, target=Y, **o: (
        sl.cross_entropy_grad_and_hess_diag(x, target, **o)
    ),
    "cross_entropy_hessian": lambda x, target=Y, **o: sl.cross_entropy_hessian(x, target, **o),
    "cross_entropy_hessian_diag": lambda x, target=Y, **o: sl.cross_entropy_hessian_diag(
        x, target, **o
    ),
    "cross_entropy_hvp": lambda x, target=Y, vector=X, **o: sl.cross_entropy_hvp(
        x, vector, target, **o
    ),
    "cross_entropy_hessian_solve": lambda x, target=Y, rhs=X, damping=1.0, **o: (
        sl.cross_entropy_hessian_solve(x, rhs, damping, target, **o)
    ),
}
LOSSES = [n for n in FUNCTIONS if n.startswith("cross_entropy")]
OTHERS = [n for n in FUNCTIONS if n not in LOSSES]
WITH_TEMPERATURE = [n for n in OTHERS if n != "logsumexp"]
PAIRS = ["cross_entropy_value_and_grad", "cross_entropy_grad_and_hess_diag"]


@dataclass(frozen=True)
class Case:
    """A call with one bad argument, and the error that it should be."""

    function: str
    argument: str  # that the message names
    error: type[Exception]
    options: dict[str, Any]
    x: Any = None
    match: str | None = None

    def __str__(self) -> str:
        shown = {k: getattr(v, "dtype", v) for k, v in self.options.items()}
        return f"{self.function}-{shown or getattr(self.x, 'dtype', type(self.x).__name__)}"

    def call(self, **more: Any) -> Any:
        return FUNCTIONS[self.function](X if self.x is None else self.x, **self.options, **more)


def _logits_name(function: str) -> str:
    return "logits" if function in (*LOSSES, "entropy") else "x"


def _cases() -> list[Case]:
    cases = []

    def add(names: list[str], argument: str, error: type[Exception], values: list[Any],
            match: str | None = None) -> None:  # fmt: skip
        for name in names:
            for value in values:
                options = {argument: value}
                cases.append(Case(name, argument, error, options, None, match))

    for name in FUNCTIONS:
        x_name = _logits_name(name)
        for bad in (
            X.astype(np.complex128), X.astype(np.longdouble), X.astype(object), X.astype(str),
            X.astype("datetime64[s]"), X.astype("timedelta64[s]"), X.astype("S8"),
            np.zeros((3, 4), [("a", "f4")]),
        ):  # fmt: skip
            cases.append(Case(name, x_name, TypeError, {}, bad, "float32.*float64"))
        cases.append(Case(name, x_name, TypeError, {}, MASKED, "where="))
        cases.append(Case(name, x_name, TypeError, {}, "text"))
        cases.append(Case(name, x_name, TypeError, {}, np.array(None)))
    add([*FUNCTIONS], "axis", np.exceptions.AxisError, [2, -3, 10, (0, 2), (-3,), 2**70], "axis")
    add([*FUNCTIONS], "axis", ValueError, [(0, 0), (0, -2), (1, -1)], "twice|repeat")
    add([*FUNCTIONS], "axis", TypeError, [1.0, "0", (0.5,), [[0]]])
    add(WITH_TEMPERATURE, "temperature", ValueError, [0, 0.0, -1.0, np.nan, np.inf, -np.inf])
    add(WITH_TEMPERATURE, "temperature", TypeError, ["1", None, 1j, [1.0, 2.0]])
    add(["entropy"], "base", ValueError, [0, -2, 1, np.nan, np.inf])
    add(["entropy"], "base", TypeError, ["2"])
    # targets
    add(LOSSES, "target", TypeError, [Y.astype(bool), Y.astype(str), Y.astype(complex),
                                      T.astype(bool), Y.astype("datetime64[s]")])  # fmt: skip
    add(LOSSES, "target", ValueError, [T.astype(int), np.zeros((3, 4), np.uint8)])
    add(
        LOSSES, "target", ValueError, [Y[:2], Y[:, None], np.zeros((3, 3)), T[:2], np.zeros(4, int)]
    )
    add(LOSSES, "target", ValueError, [NAN_T, NEGATIVE_T], r"target\[1, 2\]")
    add(LOSSES, "target", ValueError, [np.full((3, 4), -np.inf)])
    add(LOSSES, "target", IndexError, [np.array([0, 4, 1]), np.array([0, -1, 1])], r"target\[1\]")
    add(
        LOSSES,
        "target",
        IndexError,
        [np.array([0, 1, 2**64 - 1], np.uint64)],
        r"target\[2\] is 184",
    )
    add(LOSSES, "target", IndexError, [np.array([0, 1, -128], np.int8)], r"target\[2\] is -128")
    add(LOSSES, "target", TypeError, [Y.astype(object), MASKED, Y.astype("S2")])
    add(LOSSES, "target", ValueError, [Y.astype(float)], "integer dtype")
    add(LOSSES, "target", IndexError, [np.array([0, 1, 2**40])], r"target\[2\] is 1099511627776")
    # the other options
    add(LOSSES, "weight", ValueError, [np.ones(3), np.ones((3, 4)), 1.0, np.ones((1, 4))])
    add(LOSSES, "weight", TypeError, [np.ones(4, complex), ["a"] * 4, np.ones(4).astype(object)])
    add(LOSSES, "sample_weight", ValueError, [np.ones(4), np.ones((3, 4)), np.ones(2)])
    add(LOSSES, "sample_weight", TypeError, [np.ones(3, complex), "a"])
    add(LOSSES, "label_smoothing", ValueError, [-0.1, 1.1, np.nan, np.inf])
    add(LOSSES, "label_smoothing", TypeError, ["0.1", None])
    add(LOSSES, "weight", ValueError, [[1.0, -1.0, 1.0, 1.0], [1.0, np.nan, 1.0, 1.0],
                                       [1.0, np.inf, 1.0, 1.0]], r"weight\[1\]")  # fmt: skip
    add(LOSSES, "weight", TypeError, [np.ma.masked_array(np.ones(4), [0, 1, 0, 0])])
    add(LOSSES, "sample_weight", ValueError, [[1.0, -1.0, 1.0], [1.0, np.nan, 1.0]],
        r"sample_weight\[1\]")  # fmt: skip
    add(LOSSES, "sample_weight", TypeError, [np.ma.masked_array(np.ones(3), [0, 1, 0]),
                                             np.ones(3, object)])  # fmt: skip
    add(LOSSES, "ignore_index", TypeError, [1.5, "1", True])
    add(LOSSES, "ignore_index", ValueError, [2**64, -(2**63) - 1])
    add(LOSSES, "reduction", ValueError, ["average", "", "Mean"])
    add(LOSSES, "reduction", TypeError, [None, 1])
    add(["cross_entropy_hvp"], "vector", ValueError, [X[:2], X[0], np.ones((2, 4, 3)), 1.0])
    add(["cross_entropy_hvp"], "vector", TypeError, [X.astype(complex), MASKED, X.astype(str)])
    solve = ["cross_entropy_hessian_solve"]
    add(solve, "rhs", ValueError, [X[:2], X[0], 1.0])
    add(solve, "rhs", TypeError, [X.astype(complex), X.astype(object)])
    add(solve, "damping", ValueError, [0.0, -1.0, np.nan, np.inf, np.array([1.0, 0.0, 1.0]),
                                       np.ones(4), np.ones((3, 4))])  # fmt: skip
    add(solve, "damping", TypeError, ["1", 1j])
    for name in ("cross_entropy_hessian", "cross_entropy_hessian_diag", "cross_entropy_hvp",
                 "cross_entropy_hessian_solve"):  # fmt: skip
        options = {"target": None, "weight": np.ones(4)}
        cases.append(Case(name, "target", ValueError, options))
    for name in ("cross_entropy", "cross_entropy_grad", *PAIRS):
        cases.append(Case(name, "target", TypeError, {"target": None}))
    return cases


CASES = _cases()


def _assert_error(case: Case, **more: Any) -> None:
    with pytest.raises(case.error, match=case.match) as caught:
        case.call(**more)
    assert type(caught.value) is case.error
    message = str(caught.value)
    assert message.startswith(f"{case.function}: "), message
    assert case.argument in message.split(": ", 1)[1], message


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_input_is_the_documented_error(case: Case) -> None:
    _assert_error(case)


def _results(name: str) -> tuple[Array, ...]:
    result = FUNCTIONS[name](X)
    return tuple(np.asarray(r) for r in (result if isinstance(result, tuple) else (result,)))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_out_is_unchanged_after_an_error(case: Case) -> None:
    outs = tuple(np.full(r.shape, -7.0) for r in _results(case.function))
    with pytest.raises(case.error):
        case.call(out=outs if len(outs) == 2 else outs[0])
    assert all((out == -7).all() for out in outs)


@pytest.mark.parametrize("name", LOSSES)
def test_a_late_bad_label_leaves_out_unchanged(name: str) -> None:
    x = np.zeros((50_000, 4))
    labels = np.zeros(50_000, np.int64)
    labels[-1] = 4
    rows = {"vector": x} if name == "cross_entropy_hvp" else {}
    rows = {"rhs": x} if name == "cross_entropy_hessian_solve" else rows
    shapes = [r.shape for r in _results(name)]
    outs = tuple(np.full((50_000, *s[1:]), -7.0) for s in shapes)
    with pytest.raises(
        IndexError, match=rf"^{name}: target\[49999\] is 4, but there are 4 classes"
    ):
        FUNCTIONS[name](x, target=labels, out=outs if len(outs) == 2 else outs[0], **rows)
    assert all((out == -7).all() for out in outs)


def test_the_message_of_the_contract() -> None:
    with pytest.raises(IndexError) as caught:
        sl.cross_entropy(np.zeros((5, 10)), [0, 1, 2, 12, 4])
    assert str(caught.value).startswith("cross_entropy: target[3] is 12, but there are 10 classes")


# --- what was given is shown --------------------------------------------------------------------


FLAGS = [(n, "keepdims") for n in ("logsumexp", "smooth_max", "smooth_min", "entropy")]
FLAGS.append(("logsumexp", "return_sign"))


@pytest.mark.parametrize(("name", "flag"), FLAGS)
def test_a_flag_without_a_truth_value_is_a_type_error(name: str, flag: str) -> None:
    for bad in (np.array([0, 1]), np.array([True]), np.zeros(0), np.zeros((2, 0), bool),
                Refusing(ValueError("neither")), Refusing(TypeError("neither"))):  # fmt: skip
        with pytest.raises(TypeError) as caught:
            FUNCTIONS[name](X, **{flag: bad})
        assert str(caught.value) == f"{name}: {flag} must be True or False, got {bad!r}"


@pytest.mark.parametrize(("name", "flag"), FLAGS)
def test_an_exception_of_the_callers_own_passes_through_a_flag(name: str, flag: str) -> None:
    for error in (KeyError("mine"), KeyboardInterrupt(), RuntimeError("mine")):
        with pytest.raises(type(error)) as caught:
            FUNCTIONS[name](X, **{flag: Refusing(error)})
        assert caught.value is error


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_axis_out_of_range_is_shown_as_given(name: str) -> None:
    for axis in (2**30 + 1, 2**40, -(2**40), 2**70, -(2**70)):
        for given in (axis, np.int64(axis) if abs(axis) < 2**63 else axis, (0, axis), (axis, 9)):
            with pytest.raises(np.exceptions.AxisError) as caught:
                FUNCTIONS[name](X, axis=given)
            assert str(caught.value) == (
                f"{name}: axis {axis} is out of bounds for array of dimension 2"
            )
            assert (caught.value.axis, caught.value.ndim) == (axis, 2)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_advice_about_a_mask_is_possible(name: str) -> None:
    """where= is for the input of maps and reductions; nothing else has a use for it."""
    masked = {
        "target": np.ma.masked_array(Y, [0, 1, 0]),
        "weight": np.ma.masked_array(np.ones(4), [0, 1, 0, 0]),
        "sample_weight": np.ma.masked_array(np.ones(3), [0, 1, 0]),
        "vector": MASKED, "rhs": MASKED, "b": MASKED,
        "damping": np.ma.masked_array(1.0), "where": np.ma.masked_array(X > 5, X > 8),
    }  # fmt: skip
    options = {"target", "weight", "sample_weight"} if name in LOSSES else {"where"}
    extra = {"logsumexp": "b", "cross_entropy_hvp": "vector"}.get(name)
    options |= {extra} if extra else set()
    options |= {"rhs", "damping"} if name == "cross_entropy_hessian_solve" else set()
    for option in options:
        with pytest.raises(TypeError) as caught:
            FUNCTIONS[name](X, **{option: masked[option]})
        assert str(caught.value).startswith(f"{name}: {option} is a MaskedArray")
        assert "pass its data or filled()" in str(caught.value)
        assert "~mask" not in str(caught.value)
    with pytest.raises(TypeError) as caught:
        FUNCTIONS[name](MASKED)
    assert ("where=~mask" in str(caught.value)) == (name in OTHERS)
    assert ("pass its data or filled()" in str(caught.value)) == (name in LOSSES)


def test_text_that_is_not_unicode_is_shown_escaped() -> None:
    for bad, shown in ((Shown("\ud800"), r"\ud800"), (Shown("x" * 90 + "\udfff"), "x" * 77 + "..."),
                       (Shown("\udc80" * 90), r"\udc80" * 77 + "...")):  # fmt: skip
        with pytest.raises(TypeError) as caught:
            sl.softmax(X, temperature=bad)
        message = f"softmax: temperature must be a finite number > 0, got {shown}"
        assert str(caught.value) == message
    with pytest.raises(ValueError, match=r"^softmax: x is not an array: \\ud800$"):
        sl.softmax(Refusing(ValueError("\ud800")))


def test_a_repr_that_fails_leaves_the_type() -> None:
    with pytest.raises(TypeError, match=r"^softmax: temperature .* got a .*Shown object$"):
        sl.softmax(X, temperature=Shown(RuntimeError("no")))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_inside_a_repr_is_not_swallowed(error: type[BaseException]) -> None:
    with pytest.raises(error):
        sl.softmax(X, temperature=Shown(error()))


# --- out ----------------------------------------------------------------------------------------


def _bad_outs(good: Array) -> list[tuple[type[Exception], Any]]:
    read_only = good.copy()
    read_only.flags.writeable = False
    return [
        (TypeError, good.astype(np.float32)),
        (TypeError, good.astype(np.int64)),
        (TypeError, good.astype(object)),
        (TypeError, good.tolist()),
        (TypeError, np.ma.masked_array(good)),
        (ValueError, np.zeros((*good.shape, 1))),
        (ValueError, np.zeros((1, *good.shape))),
        (ValueError, np.zeros(tuple(n + 1 for n in good.shape) or (1,))),
        (ValueError, read_only),
    ]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bad_out_is_an_error_and_is_unchanged(name: str) -> None:
    goods = _results(name)
    for position, good in enumerate(goods):
        for error, bad in _bad_outs(np.full(good.shape, -7.0)):
            outs: list[Any] = [np.full(r.shape, -7.0) for r in goods]
            outs[position] = bad
            given = tuple(outs) if len(goods) == 2 else bad
            with pytest.raises(error) as caught:
                FUNCTIONS[name](X, out=given)
            assert type(caught.value) is error
            message = str(caught.value)
            assert message.startswith(f"{name}: "), message
            assert "out" in message.split(": ", 1)[1], message
            for out in outs:
                if isinstance(out, np.ndarray) and out.dtype != object:
                    assert (out.size == 0) or (out == -7).all() or (out == 0).all()


@pytest.mark.parametrize("name", PAIRS)
def test_out_of_two_results_is_a_pair(name: str) -> None:
    good = [np.full(r.shape, -7.0) for r in _results(name)]
    for error, bad in ((TypeError, good[1]), (ValueError, (good[0],)), (ValueError, (*good, None)),
                       (TypeError, 3)):  # fmt: skip
        with pytest.raises(error, match=f"^{name}: out") as caught:
            FUNCTIONS[name](X, out=bad)
        assert type(caught.value) is error
    assert all((g == -7).all() for g in good)


def test_two_outs_may_not_share_memory() -> None:
    shared = np.full((3, 4), -7.0)
    for second in (shared, shared[::-1]):
        with pytest.raises(ValueError, match="^cross_entropy_grad_and_hess_diag: out"):
            sl.cross_entropy_grad_and_hess_diag(X, Y, out=(shared, second))
    assert (shared == -7).all()


def _overlapping(good: Array) -> list[Array]:
    """Writeable arrays of its shape in which elements share memory."""
    stride_tricks = np.lib.stride_tricks.as_strided
    memory = np.full(2 * good.size + 64, -7.0)
    item = good.itemsize
    bad = []
    if good.size > 1:
        bad.append(stride_tricks(memory, good.shape, (0,) * good.ndim))
        bad.append(stride_tricks(memory, good.shape, (item,) * good.ndim) if good.ndim > 1 else
                   stride_tricks(memory, good.shape, (item // 2,)))  # fmt: skip
    if good.ndim == 2:  # interleaved, with room enough but not apart
        bad.append(stride_tricks(memory, good.shape, (3 * item, 2 * item)))
    return bad


@pytest.mark.parametrize("name", FUNCTIONS)
def test_out_whose_elements_share_memory_is_an_error(name: str) -> None:
    options = {} if name in LOSSES or _results(name)[0].ndim else {"axis": -1}
    result = FUNCTIONS[name](X, **options)
    goods = result if isinstance(result, tuple) else (result,)
    for position, good in enumerate(goods):
        for bad in _overlapping(np.asarray(good)):
            before = bad.tobytes()
            outs: list[Any] = [None] * len(goods)
            outs[position] = bad
            with pytest.raises(ValueError, match=rf"^{name}: out.* share memory with each other"):
                FUNCTIONS[name](X, out=tuple(outs) if len(goods) == 2 else bad, **options)
            assert bad.tobytes() == before


def test_interleaved_elements_that_do_not_meet_are_accepted() -> None:
    memory = np.full(64, -7.0)
    apart = np.lib.stride_tricks.as_strided(memory, (3, 4), (5 * 8, 8))
    woven = np.lib.stride_tricks.as_strided(memory[20:], (3, 4), (2 * 8, 7 * 8))
    for out in (apart, woven):
        assert sl.softmax(X, out=out) is out
        np.testing.assert_array_equal(out, sl.softmax(X))


def test_a_huge_out_that_overlaps_itself_is_an_error_at_once() -> None:
    memory = np.full(2**21, -7.0)
    window = np.lib.stride_tricks.as_strided(memory, (2**20, 2**20), (8, 8))
    with pytest.raises(ValueError, match="^softmax: out .*share memory with each other"):
        sl.softmax(np.broadcast_to(0.0, (2**20, 2**20)), out=window)
    assert (memory == -7).all()


# --- one_hot ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "argument", "call"),
    [
        (IndexError, "labels", lambda: sl.one_hot([0, 3], 3)),
        (IndexError, "labels", lambda: sl.one_hot([0, -1], 3)),
        (IndexError, "labels", lambda: sl.one_hot(np.array([2**64 - 1], np.uint64), 3)),
        (TypeError, "labels", lambda: sl.one_hot([0.0, 1.0], 3)),
        (TypeError, "labels", lambda: sl.one_hot([True], 3)),
        (TypeError, "labels", lambda: sl.one_hot(["a"], 3)),
        (TypeError, "labels", lambda: sl.one_hot(np.ma.masked_array([1]), 3)),
        (TypeError, "num_classes", lambda: sl.one_hot([0], 3.0)),
        (ValueError, "num_classes", lambda: sl.one_hot([0], -1)),
        (np.exceptions.AxisError, "axis", lambda: sl.one_hot([0], 3, axis=2)),
        (TypeError, "axis", lambda: sl.one_hot([0], 3, axis=True)),
        (TypeError, "axis", lambda: sl.one_hot([0], 3, axis=np.False_)),
        (TypeError, "labels", lambda: sl.one_hot(Refusing(TypeError("no array today")), 3)),
        (ValueError, "labels", lambda: sl.one_hot(Refusing(ValueError("no array today")), 3)),
        (TypeError, "labels", lambda: sl.one_hot(Giving(np.ma.masked_array([1, 9], [0, 1])), 3)),
        (TypeError, "dtype", lambda: sl.one_hot([0], 3, dtype="i,,")),
        (TypeError, "dtype", lambda: sl.one_hot([0], 3, dtype={"names": ["a"]})),
        (TypeError, "dtype", lambda: sl.one_hot([0], 3, dtype=np.complex64)),
        (TypeError, "dtype", lambda: sl.one_hot([0], 3, dtype="S1")),
        (TypeError, "dtype", lambda: sl.one_hot([0], 3, dtype=ml_dtypes.float8_e5m2)),
    ],
)
def test_one_hot_errors(error: type[Exception], argument: str, call: Callable[[], Any]) -> None:
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert str(caught.value).startswith("one_hot: ")
    assert argument in str(caught.value)


# --- sizes that cannot be -----------------------------------------------------------------------


def test_a_hessian_that_cannot_be_addressed_is_an_error() -> None:
    one = np.zeros(1)
    wide = np.lib.stride_tricks.as_strided(one, (1, 2**33), (0, 0))
    with pytest.raises((ValueError, MemoryError), match="^cross_entropy_hessian: "):
        sl.cross_entropy_hessian(wide)
    many = np.lib.stride_tricks.as_strided(one, (2**30, 2**20), (0, 0))
    with pytest.raises((ValueError, MemoryError), match="^cross_entropy_hessian: "):
        sl.cross_entropy_hessian(many)


def test_a_hessian_of_too_many_dimensions_says_so() -> None:
    most = 64 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else 32
    assert sl.cross_entropy_hessian(np.zeros((1,) * (most - 1))).ndim == most
    with pytest.raises(ValueError, match=f"^cross_entropy_hessian: .*dimension.* {most}") as caught:
        sl.cross_entropy_hessian(np.zeros((1,) * most))
    assert "addressed" not in str(caught.value)


HUGE = np.broadcast_to(np.float64(1), (2**48, 8))
HUGE_LABELS = np.broadcast_to(np.int64(1), 2**48)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_result_that_does_not_fit_in_memory_is_a_memory_error(name: str) -> None:
    """At once: nothing of the 2**51 elements has been looked at."""
    options: dict[str, Any] = {"axis": -1}
    if name == "cross_entropy_hvp":
        options["vector"] = HUGE
    if name == "cross_entropy_hessian_solve":
        options["rhs"] = HUGE
    targets = [HUGE_LABELS, HUGE_LABELS.view(np.uint64), HUGE]
    for target in targets if name in LOSSES else [None]:
        if target is not None:
            options["target"] = target
        with pytest.raises(MemoryError, match=f"^{name}: ") as caught:
            FUNCTIONS[name](HUGE, **options)
        assert type(caught.value) is MemoryError


@pytest.mark.parametrize("name", FUNCTIONS)
def test_huge_integers_are_a_memory_error(name: str) -> None:
    """Whether they are converted or read as they are."""
    options: dict[str, Any] = {"target": HUGE_LABELS} if name in LOSSES else {}
    for vector, function in (("vector", "cross_entropy_hvp"),
                             ("rhs", "cross_entropy_hessian_solve")):  # fmt: skip
        if name == function:
            options[vector] = HUGE
    with pytest.raises(MemoryError, match=f"^{name}: "):
        FUNCTIONS[name](np.broadcast_to(np.int8(1), (2**48, 8)), axis=-1, **options)


# Lengths and threads for which the bytes of all threads' scratch are a small number modulo 2**64.
@pytest.mark.parametrize(("length", "threads"), [(2**63 - 1, 11), (2**62, 501), (2**62, 1013)])
def test_a_row_too_long_to_count_its_scratch_is_a_memory_error(length: int, threads: int) -> None:
    row = "np.broadcast_to(np.int8(0), LENGTH)".replace("LENGTH", str(length))
    code = f"import numpy as np, softlane as sl; sl.set_num_threads({threads}); sl.logsumexp({row})"
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (child.returncode, "MemoryError: logsumexp: " in child.stderr) == (1, True)


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("weight", LOSSES),
        ("sample_weight", LOSSES),
        ("damping", ["cross_entropy_hessian_solve"]),
        ("vector", ["cross_entropy_hvp"]),
        ("rhs", ["cross_entropy_hessian_solve"]),
        ("target", LOSSES),
    ],
)
def test_a_huge_broadcast_of_a_wrong_shape_is_an_error_at_once(
    option: str, names: list[str]
) -> None:
    for name in names:
        for bad in (
            np.broadcast_to(1.0, 2**48),
            np.broadcast_to(1.0, (2**30, 2**20)),
            np.broadcast_to(np.float32(1), 2**48),
            np.broadcast_to(np.int32(1), 2**48),
        ):
            with pytest.raises(ValueError, match=rf"^{name}: {option} .*shape") as caught:
                FUNCTIONS[name](X, **{option: bad})
            assert type(caught.value) is ValueError


@pytest.mark.parametrize("shape", [(1, 2**33), (2**30, 2**20), (2**33,), (2**20, 2**20)])
def test_a_hessian_larger_than_can_be_addressed_leaves_out_alone(shape: tuple[int, ...]) -> None:
    wide, out = np.broadcast_to(np.float64(1), shape), np.full((2, 2), -7.0)
    with pytest.raises((ValueError, MemoryError), match="^cross_entropy_hessian: "):
        sl.cross_entropy_hessian(wide)
    with pytest.raises(ValueError, match=r"^cross_entropy_hessian: out has shape \(2, 2\)"):
        sl.cross_entropy_hessian(wide, out=out)
    assert (out == -7).all()


LITTLE_MEMORY = """
    import resource
    import numpy as np
    import softlane as sl

    sl.set_num_threads(2)
    small = np.linspace(0, 1, 40).reshape(4, 10)
    wanted = sl.softmax(small).tobytes()
    sl.softmax(np.zeros((2000, 1000)))  # the threads' stacks are there
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))

    wide = np.broadcast_to(np.float32(1), (2**20, 2**8))  # 1 GiB where it is copied
    tall = np.broadcast_to(np.float32(1), (2**27, 2))
    labels, long_labels = np.zeros(2**20, np.int64), np.broadcast_to(np.int64(1), 2**27)
    calls = {
        "softmax": lambda: sl.softmax(wide),
        "log_softmax": lambda: sl.log_softmax(wide),
        "softmin": lambda: sl.softmin(wide),
        "logsumexp": lambda: sl.logsumexp(tall, -1),
        "smooth_max": lambda: sl.smooth_max(tall, -1),
        "smooth_min": lambda: sl.smooth_min(tall, -1),
        "entropy": lambda: sl.entropy(tall),
        "one_hot": lambda: sl.one_hot(labels, 2**10),
        "cross_entropy": lambda: sl.cross_entropy(tall, long_labels),
        "cross_entropy_grad": lambda: sl.cross_entropy_grad(wide, labels),
        "cross_entropy_value_and_grad": lambda: sl.cross_entropy_value_and_grad(wide, labels),
        "cross_entropy_grad_and_hess_diag":
            lambda: sl.cross_entropy_grad_and_hess_diag(wide, labels),
        "cross_entropy_hessian": lambda: sl.cross_entropy_hessian(wide[:2**13]),
        "cross_entropy_hessian_diag": lambda: sl.cross_entropy_hessian_diag(wide),
        "cross_entropy_hvp": lambda: sl.cross_entropy_hvp(wide, wide),
        "cross_entropy_hessian_solve": lambda: sl.cross_entropy_hessian_solve(wide, wide, 1.0),
    }
    calls.update({  # the blank keeps the keys apart
        "cross_entropy ": lambda: sl.cross_entropy(tall, long_labels, reduction="mean"),
        "softmax ": lambda: sl.softmax(np.broadcast_to(np.int8(1), 2**28)),
    })
    for _ in range(3):
        for name, call in calls.items():
            try:
                call()
            except MemoryError as error:
                assert str(error).startswith(name.strip() + ": "), (name, error)
            else:
                raise SystemExit(f"{name} found the memory")
            assert sl.softmax(small).tobytes() == wanted
    print(len(calls))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_AS and /proc")
def test_without_memory_every_function_raises_and_the_process_lives() -> None:
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(LITTLE_MEMORY)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (child.returncode, child.stderr) == (0, "")
    assert int(child.stdout) >= len(FUNCTIONS) + 1


# --- calls --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_are_keywords_only(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        FUNCTIONS[name](X, unknown=1)
    if name in OTHERS:
        with pytest.raises(TypeError, match=name):
            FUNCTIONS[name](X, -1, 1.0)


def test_the_next_call_after_an_error_is_right() -> None:
    wanted = sl.softmax(X)
    for case in CASES[:40]:
        with pytest.raises(case.error):
            case.call()
        assert sl.softmax(X).tobytes() == wanted.tobytes()
