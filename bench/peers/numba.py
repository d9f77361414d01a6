"""numba: the loops a user would write over rows, one thread or `prange`, compiled with fastmath.

NaN and inf are kept out of fastmath: a loop without them would compute something else.
"""

from __future__ import annotations

from math import exp, log
from typing import Any

import numpy as np

from bench.peers.base import Foreign, Peer, UnavailableError, matrix
from bench.problem import SMOOTHING, AnyArray, Call, Problem

FASTMATH = {"nsz", "arcp", "contract", "afn", "reassoc"}

# Source for numba.njit: `prange` stands for the range over rows, which may be parallel.
prange = range


def _softmax(x, y, v, a, b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    for i in prange(x.shape[0]):
        top = x[i, 0]
        for k in range(x.shape[1]):
            top = max(top, x[i, k])
        total = top - top
        for k in range(x.shape[1]):
            e = exp(x[i, k] - top)
            a[i, k] = e
            total += e
        for k in range(x.shape[1]):
            a[i, k] /= total


def _log_softmax(x, y, v, a, b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    for i in prange(x.shape[0]):
        top = x[i, 0]
        for k in range(x.shape[1]):
            top = max(top, x[i, k])
        total = top - top
        for k in range(x.shape[1]):
            total += exp(x[i, k] - top)
        shift = top + log(total)
        for k in range(x.shape[1]):
            a[i, k] = x[i, k] - shift


def _logsumexp(x, y, v, a, b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    for i in prange(x.shape[0]):
        top = x[i, 0]
        for k in range(x.shape[1]):
            top = max(top, x[i, k])
        total = top - top
        for k in range(x.shape[1]):
            total += exp(x[i, k] - top)
        a[i, 0] = top + log(total)


def _cross_entropy(x, y, v, a, b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    for i in prange(x.shape[0]):
        top = x[i, 0]
        for k in range(x.shape[1]):
            top = max(top, x[i, k])
        total = top - top
        for k in range(x.shape[1]):
            total += exp(x[i, k] - top)
        a[i, 0] = log(total) - (x[i, y[i]] - top)


def _value_and_grad(x, y, v, a, b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    for i in prange(x.shape[0]):
        top = x[i, 0]
        for k in range(x.shape[1]):
            top = max(top, x[i, k])
        total = top - top
        for k in range(x.shape[1]):
            e = exp(x[i, k] - top)
            b[i, k] = e
            total += e
        for k in range(x.shape[1]):
            b[i, k] /= total
        b[i, y[i]] -= 1
        a[i, 0] = log(total) - (x[i, y[i]] - top)


def _smoothed_value_and_grad(x, y, v, a, b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    for i in prange(x.shape[0]):
        n = x.shape[1]
        top = x[i, 0]
        for k in range(n):
            top = max(top, x[i, k])
        total = top - top
        gaps = top - top
        for k in range(n):
            e = exp(x[i, k] - top)
            b[i, k] = e
            total += e
            gaps += top - x[i, k]
        a[i, 0] = SMOOTHING / n  # rounded to the dtype, for the loop below to stay in it
        share = a[i, 0]
        for k in range(n):
            b[i, k] = b[i, k] / total - share
        b[i, y[i]] -= 1 - SMOOTHING
        gaps = (1 - SMOOTHING) * (top - x[i, y[i]]) + share * gaps
        a[i, 0] = log(total) + gaps


def _soft_value_and_grad(x, y, v, a, b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    for i in prange(x.shape[0]):
        top = x[i, 0]
        for k in range(x.shape[1]):
            top = max(top, x[i, k])
        total = top - top
        gaps = top - top
        shares = top - top
        for k in range(x.shape[1]):
            e = exp(x[i, k] - top)
            b[i, k] = e
            total += e
            gaps += v[i, k] * (top - x[i, k])
            shares += v[i, k]
        for k in range(x.shape[1]):
            b[i, k] = b[i, k] * shares / total - v[i, k]
        a[i, 0] = shares * log(total) + gaps


def _grad_and_hess_diag(x, y, v, a, b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    for i in prange(x.shape[0]):
        top = x[i, 0]
        for k in range(x.shape[1]):
            top = max(top, x[i, k])
        total = top - top
        for k in range(x.shape[1]):
            e = exp(x[i, k] - top)
            a[i, k] = e
            total += e
        for k in range(x.shape[1]):
            p = a[i, k] / total
            a[i, k] = p
            b[i, k] = p * (1 - p)
        a[i, y[i]] -= 1


def _hvp(x, y, v, a, b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    for i in prange(x.shape[0]):
        top = x[i, 0]
        for k in range(x.shape[1]):
            top = max(top, x[i, k])
        total = top - top
        mean = top - top
        for k in range(x.shape[1]):
            e = exp(x[i, k] - top)
            a[i, k] = e
            total += e
            mean += e * v[i, k]
        mean /= total
        for k in range(x.shape[1]):
            a[i, k] = a[i, k] / total * (v[i, k] - mean)


def _hessian(x, y, v, a, b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    for i in prange(x.shape[0]):
        n = x.shape[1]
        p = np.empty(n, x.dtype)
        top = x[i, 0]
        for k in range(n):
            top = max(top, x[i, k])
        total = top - top
        for k in range(n):
            p[k] = exp(x[i, k] - top)
            total += p[k]
        for k in range(n):
            p[k] /= total
        for j in range(n):
            for k in range(n):
                a[i, j * n + k] = -p[j] * p[k]
            a[i, j * n + j] += p[j]


LOOPS = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "cross_entropy": _cross_entropy,
    "value_and_grad": _value_and_grad,
    "smoothed_value_and_grad": _smoothed_value_and_grad,
    "soft_value_and_grad": _soft_value_and_grad,
    "grad_and_hess_diag": _grad_and_hess_diag,
    "hvp": _hvp,
    "hessian": _hessian,
}


class Numba(Peer):
    name = "numba"

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import numba

        self.version = numba.__version__
        self._numba = numba
        self._compiled: dict[str, Any] = {}
        if threads > 1:
            numba.set_num_threads(threads)

    def _loop(self, op: str) -> Foreign:
        if op not in self._compiled:
            parallel = self.threads > 1
            if op not in LOOPS:
                raise UnavailableError("no such operation")
            loop = LOOPS[op]
            # numba sees prange by what the global of that name is when it compiles.
            loop.__globals__["prange"] = self._numba.prange
            self._compiled[op] = self._numba.njit(fastmath=FASTMATH, parallel=parallel)(loop)
        return self._compiled[op]

    def prepare(self, problem: Problem) -> Call:
        if problem.x.dtype.itemsize < 4:
            raise UnavailableError("no half precision on the CPU")
        x, v = matrix(problem, problem.x), matrix(problem, problem.v)
        y = problem.labels.ravel()
        loop = self._loop(problem.cell.op)

        def views(outs: tuple[AnyArray, ...]) -> list[AnyArray]:
            return [self._view(problem, out) for out in (outs[0], outs[-1])]

        if problem.fresh:
            shapes = [(out.shape, out.dtype) for out in problem.outputs()]

            def fresh() -> tuple[AnyArray, ...]:
                outs = tuple(np.empty(*each) for each in shapes)
                loop(x, y, v, *views(outs))
                return outs

            return fresh
        outs = problem.outputs()
        a, b = views(outs)

        def warm() -> tuple[AnyArray, ...]:
            loop(x, y, v, a, b)
            return outs

        return warm

    @staticmethod
    def _view(problem: Problem, out: AnyArray) -> AnyArray:
        """View a result as (rows, whatever a row has)."""
        if out.shape == problem.x.shape:
            return matrix(problem, out)
        return out.reshape(problem.cell.array.rows, -1)
