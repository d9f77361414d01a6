"""Multinomial logistic regression by Newton's method, blind to whose derivatives it runs on.

    f(W) = 1/n sum_i loss(W^T x_i, y_i) + penalty/2 |W|^2

Both solvers, the line search and the stopping rule see a `Formulas` object and nothing else, so two
runs differ only in how loss, gradient and Hessian are computed from the logits. Products with X
and X^T run in the data's own dtype for every run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import softlane as sl

Array = NDArray[Any]  # float32 or float64, one and the same through a run


class Formulas(Protocol):
    """Mean cross-entropy of logits (n, K) and its derivatives with respect to them."""

    def value_and_grad(self, logits: Array, labels: Array) -> tuple[float, Array]: ...
    def hessian(self, logits: Array) -> Array: ...
    def hvp(self, logits: Array) -> Callable[[Array], Array]: ...


class Softlane:
    def value_and_grad(self, logits: Array, labels: Array) -> tuple[float, Array]:
        loss, grad = sl.cross_entropy_value_and_grad(logits, labels, reduction="mean")
        return float(loss), grad

    def hessian(self, logits: Array) -> Array:
        return sl.cross_entropy_hessian(logits, None, reduction="mean")

    def hvp(self, logits: Array) -> Callable[[Array], Array]:
        return lambda vector: sl.cross_entropy_hvp(logits, vector, reduction="mean")


class NumPy:
    """What users write: subtract the maximum, exp, divide by the sum, subtract 1 at the label."""

    def value_and_grad(self, logits: Array, labels: Array) -> tuple[float, Array]:
        z = logits - logits.max(axis=1, keepdims=True)
        e = np.exp(z)
        total = e.sum(axis=1, keepdims=True)
        rows = np.arange(len(labels))
        loss = np.log(total[:, 0]) - z[rows, labels]
        grad = e / total
        grad[rows, labels] -= 1
        return float(loss.mean()), grad / len(labels)

    def hessian(self, logits: Array) -> Array:
        p = self._softmax(logits)
        hessian = -p[:, :, None] * p[:, None, :]
        k = np.arange(p.shape[1])
        hessian[:, k, k] += p
        return hessian / len(p)

    def hvp(self, logits: Array) -> Callable[[Array], Array]:
        p = self._softmax(logits)  # once for all products at these logits
        return lambda vector: p * (vector - (p * vector).sum(axis=1, keepdims=True)) / len(p)

    @staticmethod
    def _softmax(logits: Array) -> Array:
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        p: Array = e / e.sum(axis=1, keepdims=True)
        return p


@dataclass
class Problem:
    """The penalised objective over W (d, K), in the dtype of x (n, d)."""

    x: Array
    y: Array
    classes: int
    penalty: float
    formulas: Formulas
    _pixel_pairs: Array = field(init=False)

    def __post_init__(self) -> None:
        self._pixel_pairs = (self.x[:, :, None] * self.x[:, None, :]).reshape(len(self.x), -1)

    def value_and_grad(self, w: Array) -> tuple[float, Array]:
        loss, grad = self.formulas.value_and_grad(self.x @ w, self.y)
        return loss + 0.5 * self.penalty * float((w * w).sum()), self.x.T @ grad + self.penalty * w

    def hessian(self, w: Array) -> Array:
        """penalty I + sum_i (x_i x_i^T) kron H_i, as one matrix product over class pairs."""
        d, classes = w.shape
        first, second = np.triu_indices(classes)
        blocks = self.formulas.hessian(self.x @ w)[:, first, second].T @ self._pixel_pairs
        hessian = np.empty((d, classes, d, classes), w.dtype)
        for block, a, b in zip(blocks.reshape(-1, d, d), first, second, strict=True):
            hessian[:, a, :, b] = hessian[:, b, :, a] = block
        matrix = hessian.reshape(w.size, w.size)
        matrix.flat[:: w.size + 1] += self.penalty
        return matrix

    def newton_step(self, w: Array, grad: Array) -> Array:
        return -np.linalg.solve(self.hessian(w), grad.ravel()).reshape(w.shape)

    def newton_cg_step(self, w: Array, grad: Array) -> Array:
        """Conjugate gradients on H s = -g: Nocedal & Wright, Numerical Optimization, alg. 7.1."""
        hvp = self.formulas.hvp(self.x @ w)
        step, residual = np.zeros_like(w), -grad
        direction, rr = residual, float((residual * residual).sum())
        enough = min(0.5, rr**0.25) ** 2 * rr
        for _ in range(w.size):
            hd = self.x.T @ hvp(self.x @ direction) + self.penalty * direction
            curvature = float((direction * hd).sum())
            if curvature <= 0:
                break
            step = step + rr / curvature * direction
            residual = residual - rr / curvature * hd
            rr, before = float((residual * residual).sum()), rr
            if rr <= enough:
                break
            direction = residual + rr / before * direction
        return step


SOLVERS: dict[str, Callable[[Problem, Array, Array], Array]] = {
    "Newton": Problem.newton_step,
    "Newton-CG": Problem.newton_cg_step,
}


@dataclass
class Run:
    path: list[Array]  # the iterates, W = 0 first
    norms: list[float]  # the gradient's norm at each, as the run itself computed it
    seconds: float

    @property
    def solution(self) -> Array:
        return self.path[int(np.argmin(self.norms))]


def minimise(problem: Problem, solver: str, *, max_iterations: int = 50, patience: int = 4) -> Run:
    """Newton's method, until `patience` iterations together have not halved the gradient."""
    started = time.perf_counter()
    w = np.zeros((problem.x.shape[1], problem.classes), problem.x.dtype)
    value, grad = problem.value_and_grad(w)
    path, norms = [w], [float(np.linalg.norm(grad))]
    rounding = float(np.finfo(w.dtype).eps)
    while len(path) <= max_iterations:
        if len(norms) > patience and min(norms[-patience:]) > 0.5 * min(norms[:-patience]):
            break
        step = SOLVERS[solver](problem, w, grad)
        slope = float((step * grad).sum())
        for halvings in range(20):
            size = 0.5**halvings
            new_w = w + size * step
            new_value, new_grad = problem.value_and_grad(new_w)
            new_norm = float(np.linalg.norm(new_grad))
            # Armijo's rule. Near the end the rounding of log(1 + ...) hides the decrease; among
            # values that it cannot tell apart the gradient decides.
            armijo = new_value <= value + 1e-4 * size * slope
            if armijo or (new_value <= value + rounding and new_norm < norms[-1]):
                break
        else:
            break
        w, value, grad = new_w, new_value, new_grad
        path.append(w)
        norms.append(new_norm)
    return Run(path, norms, time.perf_counter() - started)
