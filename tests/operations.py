"""Every function of rows of classes, under one signature, for the laws that all of them obey.

An `Inputs` holds a batch: logits (rows, classes), and per row or class what the losses take.
`OPERATIONS[name](inputs, axis=...)` gives a tuple of results. `Inputs.relaid` lays the batched
arguments out otherwise, with the classes on another axis for example.
The inputs come from an integer generator, so that they are the same bits on every system.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

import softlane as sl

Array = npt.NDArray[Any]
Results = tuple[Array, ...]


def integers(count: int, seed: int) -> npt.NDArray[np.uint64]:
    """splitmix64 of seed, seed + 1, …: Steele, Lea, Flood (OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        z = (np.arange(count, dtype=np.uint64) + np.uint64(seed << 32)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(shape: tuple[int, ...], seed: int) -> npt.NDArray[np.float64]:
    """Multiples of 2**-23 in [-1, 1), exact in float32."""
    values = integers(int(np.prod(shape)), seed) >> np.uint64(40)
    return (values.astype(np.float64) * 2.0**-23 - 1.0).reshape(shape)


@dataclass(frozen=True)
class Inputs:
    logits: Array
    finite: Array  # logits without -inf, for the options under which it makes a result infinite
    labels: Array
    probabilities: Array
    vector: Array
    damping: Array
    weight: Array
    sample_weight: Array

    BATCHED = ("logits", "finite", "probabilities", "vector")
    PER_ROW = ("labels", "damping", "sample_weight")

    def rows(self, which: slice | int) -> Inputs:
        index = slice(which, which + 1) if isinstance(which, int) else which
        return replace(self, **{n: getattr(self, n)[index] for n in self.BATCHED + self.PER_ROW})

    def relaid(self, layout: Callable[[Array], Array]) -> Inputs:
        """The same values, each batched array passed through `layout`."""
        return replace(self, **{n: layout(getattr(self, n)) for n in self.BATCHED})

    def per_row(self, change: Callable[[Array], Array]) -> Inputs:
        return replace(self, **{n: change(getattr(self, n)) for n in self.PER_ROW})


def make_inputs(rows: int, classes: int, dtype: npt.DTypeLike, seed: int = 1) -> Inputs:
    """Rows of several scales and offsets, some saturated, some with ties, some with -inf."""
    row = np.arange(rows)[:, None]
    logits = uniform((rows, classes), seed) * np.array([1.0, 8.0, 64.0, 0.03125])[row % 4]
    logits += np.array([0.0, 0.0, 300.0, -70000.0, 0.25])[row % 5]
    logits[row[:, 0] % 7 == 3] = np.round(logits[row[:, 0] % 7 == 3])  # ties
    if classes > 2:
        logits[row[:, 0] % 6 == 5, 1] += 40.0  # saturated
        logits[row[:, 0] % 11 == 4, 2] = -np.inf
    probabilities = np.abs(uniform((rows, classes), seed + 1))
    return Inputs(
        logits=logits.astype(dtype),
        finite=np.maximum(logits, -80000.0).astype(dtype),
        labels=(integers(rows, seed + 2) % np.uint64(classes)).astype(np.int64),
        probabilities=probabilities.astype(dtype),
        vector=uniform((rows, classes), seed + 3).astype(dtype),
        damping=1.0625 + uniform((rows,), seed + 4),
        weight=1.5 + uniform((classes,), seed + 5),
        sample_weight=1.5 + uniform((rows,), seed + 6),
    )


@dataclass(frozen=True)
class Operation:
    """One way to call one function."""

    compute: Callable[..., Any]
    kind: str  # of its first result: "map", "row" or "matrix"

    def __call__(self, inputs: Inputs, axis: int = -1, **options: Any) -> Results:
        result = self.compute(inputs, axis=axis, **options)
        return result if isinstance(result, tuple) else (result,)


def _unary(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return lambda a, **more: function(a.logits, **options, **more)


def _hard(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, **more: function(a.logits, a.labels, **more)


def _weighted(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(a: Inputs, **more: Any) -> Any:
        options = {"weight": a.weight, "sample_weight": a.sample_weight, "label_smoothing": 0.125}
        return function(a.finite, a.labels, **options, **more)

    return call


def _soft(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, **more: function(a.finite, a.probabilities, **more)


def _smoothed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Without class weights, which make another number of every share."""
    return lambda a, **more: function(a.finite, a.labels, label_smoothing=0.125, **more)


def _keep(a: Inputs) -> npt.NDArray[np.bool_]:
    return np.greater(a.probabilities, 0.5)  # laid out like them


OPERATIONS: dict[str, Operation] = {
    "softmax": Operation(_unary(sl.softmax), "map"),
    "softmax_warm": Operation(_unary(sl.softmax, temperature=0.7), "map"),
    "log_softmax": Operation(_unary(sl.log_softmax), "map"),
    "log_softmax_warm": Operation(_unary(sl.log_softmax, temperature=3.0), "map"),
    "softmin": Operation(lambda a, **more: sl.softmin(a.finite, **more), "map"),
    "logsumexp": Operation(_unary(sl.logsumexp), "row"),
    "smooth_max": Operation(_unary(sl.smooth_max, temperature=0.7), "row"),
    "smooth_min": Operation(
        lambda a, **more: sl.smooth_min(a.finite, temperature=3.0, **more), "row"
    ),
    "entropy": Operation(_unary(sl.entropy), "row"),
    "entropy_bits": Operation(_unary(sl.entropy, temperature=3.0, base=2), "row"),
    "softmax_where": Operation(lambda a, **m: sl.softmax(a.finite, where=_keep(a), **m), "map"),
    "log_softmax_where": Operation(
        lambda a, **m: sl.log_softmax(a.finite, where=_keep(a), **m), "map"
    ),
    "logsumexp_where": Operation(lambda a, **m: sl.logsumexp(a.finite, where=_keep(a), **m), "row"),
    "entropy_where": Operation(lambda a, **m: sl.entropy(a.finite, where=_keep(a), **m), "row"),
    "logsumexp_signed": Operation(
        lambda a, **m: sl.logsumexp(a.logits, b=a.vector, return_sign=True, **m), "row"
    ),
    "hvp": Operation(lambda a, **m: sl.cross_entropy_hvp(a.logits, a.vector, **m), "map"),
    "hessian_solve": Operation(
        lambda a, **m: sl.cross_entropy_hessian_solve(a.logits, a.vector, a.damping, **m), "map"
    ),
}
for _name, _function, _kind in (
    ("loss", sl.cross_entropy, "row"),
    ("gradient", sl.cross_entropy_grad, "map"),
    ("value_and_grad", sl.cross_entropy_value_and_grad, "row"),
    ("grad_and_hess_diag", sl.cross_entropy_grad_and_hess_diag, "map"),
    ("hessian_diag", sl.cross_entropy_hessian_diag, "map"),
    ("hessian", sl.cross_entropy_hessian, "matrix"),
):
    for _suffix, _how in (
        ("", _hard), ("_weighted", _weighted), ("_smooth", _smoothed), ("_soft", _soft),
    ):  # fmt: skip
        OPERATIONS[_name + _suffix] = Operation(_how(_function), _kind)


def names_for(classes: int) -> list[str]:
    """The operations worth running at so many classes: no matrices of a million entries."""
    return [n for n, o in OPERATIONS.items() if o.kind != "matrix" or classes <= 100]
