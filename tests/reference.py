"""The NumPy formulas people write. Right to a few digits on ordinary inputs; see oracle.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def softmax(x: Array, temperature: float = 1.0) -> Array:
    e = np.exp((x - x.max(-1, keepdims=True)) / temperature)
    return e / e.sum(-1, keepdims=True)


def logsumexp(x: Array) -> Array:
    m = x.max(-1, keepdims=True)
    return (m + np.log(np.exp(x - m).sum(-1, keepdims=True)))[..., 0]


def log_softmax(x: Array, temperature: float = 1.0) -> Array:
    z = x / temperature
    return z - logsumexp(z)[..., None]


def smooth_max(x: Array, temperature: float) -> Array:
    return temperature * logsumexp(x / temperature)


def entropy(x: Array) -> Array:
    return -(softmax(x) * log_softmax(x)).sum(-1)


def cross_entropy(x: Array, labels: Array) -> Array:
    return -np.take_along_axis(log_softmax(x), labels[:, None], 1)[:, 0]


def cross_entropy_grad(x: Array, labels: Array) -> Array:
    p = softmax(x)
    p[np.arange(len(x)), labels] -= 1
    return p


def cross_entropy_hessian(x: Array) -> Array:
    p = softmax(x)
    return p[:, :, None] * np.eye(x.shape[-1]) - p[:, :, None] * p[:, None, :]


def cross_entropy_hvp(x: Array, vector: Array) -> Array:
    return np.einsum("nij,nj->ni", cross_entropy_hessian(x), vector)


def cross_entropy_hessian_solve(x: Array, rhs: Array, damping: float) -> Array:
    matrix = cross_entropy_hessian(x) + damping * np.eye(x.shape[-1])
    return np.linalg.solve(matrix, rhs[..., None])[..., 0]
