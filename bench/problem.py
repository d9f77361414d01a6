"""A cell's data, and softlane's calls on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import softlane as sl
from bench.cells import Cell

AnyArray: TypeAlias = NDArray[Any]
Call: TypeAlias = Callable[[], Any]  # the operation, once

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "softmax": sl.softmax,
    "log_softmax": sl.log_softmax,
    "logsumexp": sl.logsumexp,
    "cross_entropy": sl.cross_entropy,
    "value_and_grad": sl.cross_entropy_value_and_grad,
    "grad_and_hess_diag": sl.cross_entropy_grad_and_hess_diag,
    "hvp": sl.cross_entropy_hvp,
    "hessian": sl.cross_entropy_hessian,
    "masked_softmax": sl.softmax,
    "smoothed_value_and_grad": sl.cross_entropy_value_and_grad,
    "soft_value_and_grad": sl.cross_entropy_value_and_grad,
    "weighted_logsumexp": sl.logsumexp,
}
SMOOTHING = 0.1


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Look a dtype up, in ml_dtypes where NumPy does not have it."""
    if name != "bfloat16":
        return np.dtype(name)
    import ml_dtypes

    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def supported(name: str) -> bool:
    """Whether this version of softlane takes the dtype: found out by trying."""
    try:
        return sl.softmax(np.zeros((1, 2), numpy_dtype(name))).dtype == numpy_dtype(name)
    except (TypeError, ImportError):
        return False


@dataclass
class Problem:
    """Logits x, labels of x's shape without its class axis, and of x's shape a vector v and a mask.

    Where probabilities are the target, or terms have factors, they are v.
    """

    cell: Cell
    x: AnyArray
    labels: NDArray[np.int64]
    v: AnyArray
    mask: NDArray[np.bool_]

    @classmethod
    def of(cls, cell: Cell) -> Problem:
        rng = np.random.default_rng(2026)
        dtype, array = numpy_dtype(cell.dtype), cell.array
        step = 2 if array.layout == "strided" else 1

        def normal(scale: float) -> AnyArray:
            shape = (*array.shape[:-1], step * array.shape[-1])
            draws = rng.standard_normal(shape, np.float32)
            draws *= scale
            return draws.astype(dtype)[..., ::step]

        rows = array.shape[: array.axis] + array.shape[array.axis :][1:]
        labels = np.asarray(rng.integers(array.classes, size=rows))
        # Only what the operation reads gets memory.
        x, v, mask = normal(3), None, np.ones((), bool)
        if cell.op == "hvp":
            v = normal(1)
        elif cell.op == "soft_value_and_grad":
            shares = np.exp(normal(1).astype(np.float32))
            v = normal(0)
            v[...] = shares / shares.sum(array.axis, keepdims=True)
        elif cell.op == "weighted_logsumexp":
            v = normal(1)
            np.abs(v, out=v)
        elif cell.op == "masked_softmax":
            mask = rng.random(array.shape) < 0.8
        return cls(cell, x, labels, x if v is None else v, mask)

    @property
    def axis(self) -> int:
        return self.cell.array.axis

    @property
    def fresh(self) -> bool:
        return self.cell.array.layout == "fresh"

    def outputs(self) -> tuple[AnyArray, ...]:
        """Warm arrays for the results: written once, so that every page is there."""
        array, dtype = self.cell.array, self.x.dtype
        loss = np.dtype(np.float32) if dtype.itemsize < 4 else dtype
        rows, full = self.labels.shape, array.shape
        without = full[: array.axis] + full[array.axis :][1:]
        specs: dict[str, tuple[tuple[tuple[int, ...], np.dtype[Any]], ...]] = {
            "softmax": ((full, dtype),),
            "log_softmax": ((full, dtype),),
            "logsumexp": ((rows, dtype),),
            "cross_entropy": ((rows, loss),),
            "value_and_grad": ((rows, loss), (full, dtype)),
            "grad_and_hess_diag": ((full, dtype), (full, dtype)),
            "hvp": ((full, dtype),),
            "hessian": (((*without, array.classes, array.classes), dtype),),
            "masked_softmax": ((full, dtype),),
            "smoothed_value_and_grad": ((rows, loss), (full, dtype)),
            "soft_value_and_grad": ((rows, loss), (full, dtype)),
            "weighted_logsumexp": ((rows, dtype), (rows, dtype)),
        }
        return tuple(np.full(shape, 7, kind) for shape, kind in specs[self.cell.op])


def softlane_call(problem: Problem) -> Call:
    """Return softlane's call as a caller writes it, in a lambda as the peers' are.

    (`functools.partial` costs 145 ns where it holds keywords, for it passes them in a dictionary.)
    """
    x, y, v, axis = problem.x, problem.labels, problem.v, problem.axis
    out: Any = None
    if not problem.fresh:
        outs = problem.outputs()
        out = outs if len(outs) > 1 else outs[0]
    function = FUNCTIONS[problem.cell.op]
    match problem.cell.op:
        case "softmax" | "log_softmax" | "logsumexp":
            return lambda: function(x, axis, out=out)
        case "hvp":
            return lambda: function(x, v, axis=axis, out=out)
        case "hessian":
            return lambda: function(x, axis=axis, out=out)
        case "masked_softmax":
            mask = problem.mask
            return lambda: function(x, axis, where=mask, out=out)
        case "smoothed_value_and_grad":
            return lambda: function(x, y, axis, label_smoothing=SMOOTHING, out=out)
        case "soft_value_and_grad":
            return lambda: function(x, v, axis, out=out)
        case "weighted_logsumexp":
            return lambda: function(x, axis, b=v, return_sign=True, out=out)
    return lambda: function(x, y, axis, out=out)
