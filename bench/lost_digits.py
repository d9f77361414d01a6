"""The README's table of lost digits: softlane beside the formulas people use, against mpmath.

Run from a clone after ``pip install ".[bench]"``; torch takes part where it is installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import scipy.special
from numpy.typing import NDArray

import softlane as sl

Array = NDArray[Any]


def numpy_softmax(x: Array) -> Array:
    e: Array = np.exp(x - x.max(-1, keepdims=True))
    p: Array = e / e.sum(-1, keepdims=True)
    return p


def numpy_loss_and_grad(x: Array, label: int) -> tuple[float, float]:
    p = numpy_softmax(x)
    log_p = x - x.max() - np.log(np.exp(x - x.max()).sum())
    return float(-log_p[label]), float(p[label] - 1)


def worst_ulp(got: Array, exact: Array) -> float:
    unit = np.spacing(np.abs(exact).astype(got.dtype)).astype(np.longdouble)
    return float((np.abs(got - exact) / unit).max())


def exact_softmax(x: Array) -> Array:
    e: Array = np.exp(x.astype(np.longdouble) - x.max(-1, keepdims=True))
    p: Array = e / e.sum(-1, keepdims=True)
    return p


def softmaxes() -> dict[str, Callable[[Array], Array]]:
    found: dict[str, Callable[[Array], Array]] = {
        "softlane": sl.softmax,
        "NumPy": numpy_softmax,
        "SciPy": lambda x: scipy.special.softmax(x, axis=-1),
    }
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return found
    found["torch"] = lambda x: torch.softmax(torch.from_numpy(x), -1).numpy()
    return found


def main() -> None:
    rng = np.random.default_rng(2026)
    cases = {
        f"scale {scale}": (rng.standard_normal((1000, 100)) * scale).astype(np.float32)
        for scale in (1, 10, 30)
    }
    cases["1 000 000 classes"] = rng.standard_normal((1, 1_000_000)).astype(np.float32)
    print("softmax, float32: largest error in ULP")
    for case, x in cases.items():
        exact = exact_softmax(x)
        errors = ", ".join(f"{who} {worst_ulp(f(x), exact):.1f}" for who, f in softmaxes().items())
        print(f"  {case}: {errors}")

    x32, x64 = np.array([17, 0], np.float32), np.array([40.0, 0.0])
    loss = mpmath.log1p(mpmath.exp(-17))
    rest = mpmath.exp(-40) / (1 + mpmath.exp(-40))
    diagonal = sl.cross_entropy_hessian_diag(x64, 0)
    p = float(numpy_softmax(x64)[0])
    print("confident rows: softlane, NumPy, the true value")
    print(f"  loss of [17, 0], float32: {sl.cross_entropy(x32, 0)!s}, ", end="")
    print(f"{numpy_loss_and_grad(x32, 0)[0]}, {mpmath.nstr(loss, 6)}")
    print(f"  gradient of [40, 0], float64: {sl.cross_entropy_grad(x64, 0)[0]!s}, ", end="")
    print(f"{numpy_loss_and_grad(x64, 0)[1]}, {mpmath.nstr(-rest, 6)}")
    print(f"  Hessian diagonal there: {diagonal[0]!s}, {p * (1 - p)}, ", end="")
    print(mpmath.nstr(rest * (1 - rest), 6))

    zeros = np.zeros((20_000_000, 2), np.float32)
    by_scipy = scipy.special.softmax(zeros, axis=0).sum(0, dtype=np.float64)[0]
    by_softlane = sl.softmax(zeros, axis=0).sum(0, dtype=np.float64)[0]
    print(f"columns of 20 000 000 zeros sum to: softlane {by_softlane:.7f}, SciPy {by_scipy:.3f}")


if __name__ == "__main__":
    main()
