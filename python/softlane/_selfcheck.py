"""The self-check behind ``python -m softlane``: accuracy, same bits and speed on this CPU.

The reference is the definition in the next wider format: float64 for float32, long double for
float64. It must not make the errors it looks for, so max - x is carried in two parts (700 * 2**-64
is a third of a float64 ULP by itself), the sum leaves the maximum's own term out, and 1 - p is
never a difference where p is near 1.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import softlane as sl
from softlane import _core

Array: TypeAlias = NDArray[Any]

DTYPES = ("float32", "float64")
CLASSES = (2, 3, 10, 37, 257, 1000, 2500)
SCALES = (1, 10, 30, 200)  # float32 underflows at the last; float64 takes four times as much
ROWS = 24  # for each of them

SHAPES = ((1, 10), (1, 1000), (4096, 10), (100_000, 3), (512, 512), (32, 32_000))
ROUNDS = 9


class Reference:
    """What the functions should return for the rows of `x`, in the wider format `wide`."""

    def __init__(self, x: Array, labels: Array, wide: type[np.floating[Any]]) -> None:
        first = np.argmax(x, axis=1)[:, None]
        z = x.astype(wide)
        top = np.take_along_axis(z, first, 1)
        high = top - z
        # Knuth's two-sum: what the subtraction rounded away.
        back = high - top
        low = (top - (high - back)) - (z + back)
        e = np.exp(-high) * (1 - low)
        is_top = np.arange(x.shape[1]) == first
        tail = np.where(is_top, 0, e).sum(1, keepdims=True)
        total = 1 + tail
        log_total = np.log1p(tail)
        p = e / total
        rest = np.where(is_top, tail, total - e) / total  # 1 - p
        surprise = high + (low + log_total)  # -log p
        label = labels[:, None]
        self.softmax = p
        self.log_softmax = -surprise
        self.logsumexp = (top + log_total)[:, 0]
        self.logsumexp_size = np.maximum(np.abs(top[:, 0]), np.abs(self.logsumexp))
        self.entropy = log_total[:, 0] + np.where(is_top, 0, p * (high + low)).sum(1)
        self.loss = np.take_along_axis(surprise, label, 1)[:, 0]
        self.gradient = np.where(np.arange(x.shape[1]) == label, -rest, p)
        self.hess_diag = p * rest


@dataclass(frozen=True)
class Function:
    """One function under check: how to call it, and what it should return."""

    compute: Callable[[Array, Array], Any]
    exact: Callable[[Reference], Array]
    size: Callable[[Reference], Array] | None = None  # whose ULP counts, if not the result's


# Looked up in the package at each call: what is checked is what a caller gets.
def _with_labels(name: str) -> Callable[[Array, Array], Any]:
    def compute(x: Array, y: Array) -> Any:  # noqa: ANN401 (an array or a scalar)
        return getattr(sl, name)(x, y)

    return compute


def _without_labels(name: str) -> Callable[[Array, Array], Any]:
    return lambda x, _: getattr(sl, name)(x, axis=-1)


FUNCTIONS = {
    "softmax": Function(_without_labels("softmax"), lambda r: r.softmax),
    "log_softmax": Function(_without_labels("log_softmax"), lambda r: r.log_softmax),
    "logsumexp": Function(
        _without_labels("logsumexp"), lambda r: r.logsumexp, lambda r: r.logsumexp_size
    ),
    "entropy": Function(_without_labels("entropy"), lambda r: r.entropy),
    "loss": Function(_with_labels("cross_entropy"), lambda r: r.loss),
    "gradient": Function(_with_labels("cross_entropy_grad"), lambda r: r.gradient),
    "hess_diag": Function(_with_labels("cross_entropy_hessian_diag"), lambda r: r.hess_diag),
}


def wider(dtype: str) -> type[np.floating[Any]] | None:
    """Return the format of the reference for `dtype`.

    Parameters
    ----------
    dtype : {"float32", "float64"}
        The dtype under check.

    Returns
    -------
    type or None
        None where the platform has no wider format.
    """
    wide: type[np.floating[Any]] = np.float64 if dtype == "float32" else np.longdouble
    enough = np.finfo(wide).nmant >= np.finfo(dtype).nmant + 11
    return wide if enough else None


def ulp_error(got: Array, exact: Array, size: Array | None = None) -> float:
    """Return the largest error of `got`, in units in the last place of its dtype.

    Parameters
    ----------
    got : ndarray of float32 or float64
        The results.
    exact : ndarray
        The reference, in a wider format; finite.
    size : ndarray, optional
        The numbers whose unit in the last place counts; `exact` by default.

    Returns
    -------
    float
        inf where a result is NaN, infinite or of another shape.
    """
    if got.shape != exact.shape or not np.isfinite(got).all():
        return float("inf")
    info = np.finfo(got.dtype)
    # The spacing at the value as the dtype holds it; among subnormals, their own.
    held = np.abs(exact if size is None else size).astype(got.dtype).astype(exact.dtype)
    exponent = np.frexp(np.maximum(held, exact.dtype.type(info.smallest_normal)))[1]
    unit = np.ldexp(exact.dtype.type(1), exponent - info.nmant - 1)
    return float(np.max(np.abs(got.astype(exact.dtype) - exact) / unit))


def samples(dtype: str) -> Iterator[tuple[Array, Array]]:
    """Yield the rows of logits that the check runs on, and a label for each.

    Parameters
    ----------
    dtype : {"float32", "float64"}
        Of the logits.

    Yields
    ------
    logits : ndarray, shape (rows, classes)
        Normally distributed. A third of the rows have one logit so far above the others that
        its probability rounds to 1, or nearly; another third lie far from 0.
    labels : ndarray of int64, shape (rows,)
        In every other row the largest logit's, otherwise any.
    """
    random = np.random.default_rng(2026)
    widen = 4 if dtype == "float64" else 1
    for classes in CLASSES:
        for scale in SCALES:
            x = random.standard_normal((ROWS, classes)) * (scale * (widen if scale > 100 else 1))
            sure = slice(None, None, 3)
            winner = random.integers(classes, size=ROWS)
            lead = random.uniform(3, 40, ROWS) * widen
            x[np.arange(ROWS)[sure], winner[sure]] = (x.max(1) + lead)[sure]
            x[1::3] += 3000
            logits = x.astype(dtype)
            labels = random.integers(classes, size=ROWS)
            labels[::2] = logits.argmax(1)[::2]
            yield logits, labels


@dataclass
class Accuracy:
    """The largest errors by (dtype, function, instruction set), and what is wrong."""

    errors: dict[tuple[str, str, str], float]
    failures: list[str]
    same_bits: bool

    @property
    def passed(self) -> bool:
        """Whether every error is within its bound, and every bit the same."""
        return self.same_bits and not self.failures


def check_accuracy() -> Accuracy:
    """Compare every function with its reference, on every available instruction set.

    Returns
    -------
    Accuracy
        Without an entry for a dtype that has no wider format here.
    """
    isas = sl.available_isas()
    before = sl.active_isa()
    result = Accuracy({}, [], True)
    different: set[str] = set()
    try:
        for dtype in DTYPES:
            wide = wider(dtype)
            for x, y in samples(dtype):
                reference = None if wide is None else Reference(x, y, wide)
                for name, function in FUNCTIONS.items():
                    first = b""
                    for isa in isas:
                        _core.select_isa(isa)
                        got = np.asarray(function.compute(x, y))
                        if isa == isas[0]:
                            first = got.tobytes()
                        elif got.tobytes() != first:
                            different.add(f"{name} of {dtype} has other bits on {isa}")
                        if reference is not None:
                            size = None if function.size is None else function.size(reference)
                            error = ulp_error(got, function.exact(reference), size)
                            key = dtype, name, isa
                            result.errors[key] = max(error, result.errors.get(key, 0.0))
    finally:
        _core.select_isa(before)
    for (dtype, name, isa), error in result.errors.items():
        bound = _core.max_ulp(name, dtype)
        if not error <= bound:
            result.failures.append(
                f"{name} of {dtype} on {isa} is off by {error:.3g} ULP, more than {bound:g}"
            )
    result.same_bits = not different
    result.failures += sorted(different)
    return result


def softmax_formula(x: Array) -> Array:
    """Return softmax over the last axis as one writes it in NumPy.

    Parameters
    ----------
    x : ndarray
        Logits.

    Returns
    -------
    ndarray
        Probabilities, of `x`'s shape.
    """
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    probabilities: Array = e / e.sum(axis=-1, keepdims=True)
    return probabilities


def speed_up(shape: tuple[int, int]) -> tuple[float, float]:
    """Time softmax of float32 against NumPy's formula, the two taking turns.

    Parameters
    ----------
    shape : tuple of int
        Rows and classes.

    Returns
    -------
    ratio : float
        How many times as long NumPy takes: the median over the rounds.
    ns : float
        What softlane takes per element, in nanoseconds: likewise.
    """
    x = np.random.default_rng(2026).standard_normal(shape, np.float32)
    calls = max(1, 100_000 // (x.size + 5_000))  # a round lasts long beside the clock's grain

    def seconds(function: Callable[[Array], Any]) -> float:
        start = perf_counter()
        for _ in range(calls):
            function(x)
        return (perf_counter() - start) / calls

    # The first round warms up.
    rounds = [(seconds(sl.softmax), seconds(softmax_formula)) for _ in range(1 + ROUNDS)][1:]
    ratio = median(theirs / ours for ours, theirs in rounds)
    return ratio, median(ours for ours, _ in rounds) / x.size * 1e9


def _print_accuracy(result: Accuracy) -> None:
    isas = sl.available_isas()
    print("\nLargest error in units in the last place (ULP) of the result's dtype")
    print(f"  {'':21} {'bound':>7}" + "".join(f"{isa:>9}" for isa in isas))
    for dtype in DTYPES:
        if wider(dtype) is None:
            print(f"  {dtype} could not be checked: np.longdouble is no wider here")
            continue
        for name in FUNCTIONS:
            bound = _core.max_ulp(name, dtype)
            cells = "".join(f"{result.errors[dtype, name, isa]:9.2f}" for isa in isas)
            print(f"  {dtype:8} {name:12} {bound:7g}{cells}")
    answer = "yes" if result.same_bits else "NO"
    print(f"  The same bits on every instruction set: {answer}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the self-check and print its report.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line after the program's name; ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        The exit status: 0, or 1 where an error exceeds its bound or instruction sets differ.
    """
    parser = argparse.ArgumentParser(
        prog="python -m softlane",
        description="Print what is installed, check its accuracy on this CPU on every instruction "
        "set there is, and compare its speed with NumPy's. Takes a few seconds.",
        epilog="The exit status is 1 if the check fails. SOFTLANE_ISA and SOFTLANE_NUM_THREADS "
        "choose the instruction set and the number of threads that the speed is measured with.",
    )
    parser.parse_args(arguments)
    isa, threads = sl.active_isa(), sl.get_num_threads()
    print(f"softlane {sl.__version__}")
    print(f"  instruction set  {isa} (available: {', '.join(sl.available_isas())})")
    print(f"  threads          {threads}")
    print(f"  compiler         {_core.compiler()}")
    print(f"  Python, NumPy    {platform.python_version()}, {np.__version__}")

    result = check_accuracy()
    _print_accuracy(result)

    print(f"\nsoftmax of float32 against NumPy's formula ({isa}, threads: {threads})")
    print(f"  {'rows x classes':16} {'speed-up':>8} {'ns per element':>16}")
    for rows, classes in SHAPES:
        ratio, ns = speed_up((rows, classes))
        print(f"  {f'{rows} x {classes}':16} {f'{ratio:.1f}x':>8} {ns:16.2f}")

    print(f"\nself-check {'passed' if result.passed else 'FAILED'}")
    for failure in result.failures:
        print(f"  {failure}")
    return 0 if result.passed else 1
