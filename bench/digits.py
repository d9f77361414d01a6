"""Handwritten digits by Newton's method: softlane's derivatives beside the usual formulas.

Fits softmax regression to the 1797 images that scikit-learn ships, with each solver and dtype once
on softlane and once on NumPy, and compares with scikit-learn's own Newton solver on the same
objective. Prints tables and draws convergence and speed. Exits with 1 if a float32 run on softlane
does not end at a smaller gradient than its twin on NumPy, or if scikit-learn's optimum is another.

Run: pip install ".[bench]" && python bench/digits.py
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

import numpy as np
from softmax_regression import SOLVERS, Array, Formulas, NumPy, Problem, Run, Softlane, minimise

import softlane as sl

T = TypeVar("T")

SEED = 2026
CLASSES = 10
DTYPES = ("float64", "float32")
FORMULAS: dict[str, Formulas] = {"softlane": Softlane(), "NumPy": NumPy()}
COLORS = {"softlane": "tab:blue", "NumPy": "tab:orange"}

LEGEND = """\
iter.         until four of them together no longer halve the gradient the run itself computes
seconds       of the whole fit, median; softlane and NumPy take turns
objective     mean loss + |W|² / (2 C n), and
true |grad|   its gradient's norm: both evaluated afterwards at the solution, in long double, the
              same way for every method. A float32 solution is taken as it stands
own |grad|    the norm the run computed there in its own arithmetic. Near the end that is mostly
              rounding error, so it may well be smaller than the truth
held-out      accuracy on the images kept out of the fit
newton-cholesky resorts to L-BFGS where it finds the Hessian ill-conditioned, as in float32 here"""


@dataclass
class Digits:
    x: Array  # (n, 65): pixels / 16, and a 1 whose weights are the biases, penalised like the rest
    y: Array
    x_held_out: Array
    y_held_out: Array

    @classmethod
    def load(cls) -> Digits:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        pixels, labels = load_digits(return_X_y=True)
        x = np.hstack([pixels / 16, np.ones((len(pixels), 1))])  # exact in float32
        x, x_held_out, y, y_held_out = train_test_split(
            x, labels, test_size=0.2, stratify=labels, random_state=SEED
        )
        return cls(x, y, x_held_out, y_held_out)

    def fit(self, formulas: Formulas, solver: str, dtype: str, c: float) -> Run:
        penalty = 1 / (c * len(self.x))
        problem = Problem(self.x.astype(dtype), self.y, CLASSES, penalty, formulas)
        return minimise(problem, solver)

    def truth(self, w: Array, c: float) -> Truth:
        x, w = self.x.astype(np.longdouble), w.astype(np.longdouble)
        penalty, rows = 1 / (c * len(x)), np.arange(len(x))
        z = x @ w
        z -= z.max(axis=1, keepdims=True)
        e = np.exp(z)
        total = e.sum(axis=1, keepdims=True)
        p = e / total
        p[rows, self.y] = 0
        miss = p.sum(axis=1)
        p[rows, self.y] = -miss
        loss = np.log(total[:, 0]) - z[rows, self.y]
        grad = x.T @ p / len(x) + penalty * w
        return Truth(
            float(loss.mean() + penalty / 2 * (w * w).sum()),
            float(np.sqrt((grad * grad).sum())),
            float(np.median(miss)),
        )

    def accuracy(self, w: Array) -> float:
        return float(np.mean((self.x_held_out @ w).argmax(axis=1) == self.y_held_out))


class Truth(NamedTuple):
    objective: float
    norm: float  # of the gradient
    miss: float  # the median of 1 - p_label: how confident the fit is


class Result(NamedTuple):
    iterations: int
    seconds: float
    truth: Truth
    own_norm: float
    accuracy: float
    true_norms: list[float]  # after each iteration


Key = tuple[str, str, str]  # dtype, solver, whose formulas


def take_turns(
    tasks: Mapping[str, Callable[[], T]], repeats: int
) -> tuple[dict[str, float], dict[str, T]]:
    """Median seconds and last result of each task; taking turns shares the machine's drift."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    results = {}
    for _ in range(repeats):
        for name, task in tasks.items():
            started = time.perf_counter()
            results[name] = task()
            times[name].append(time.perf_counter() - started)
    return {name: median(seconds) for name, seconds in times.items()}, results


def fit_scikit_learn(digits: Digits, dtype: str, c: float) -> Result:
    """C sum(loss) + |W|^2 / 2 is C n times our objective; x has its own 1, so no intercept."""
    from sklearn.linear_model import LogisticRegression

    tol = float(np.finfo(dtype).eps)  # of the mean loss's gradient and of Newton's decrement
    model = LogisticRegression(
        C=c, solver="newton-cholesky", fit_intercept=False, tol=tol, max_iter=200
    )
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on an ill-conditioned Hessian it resorts to L-BFGS
        model.fit(digits.x.astype(dtype), digits.y)
    seconds = time.perf_counter() - started
    w, iterations = model.coef_.T, int(model.n_iter_[0])
    return Result(iterations, seconds, digits.truth(w, c), np.nan, digits.accuracy(w), [])


def fit_all(digits: Digits, c: float, repeats: int) -> dict[Key, Result]:
    results: dict[Key, Result] = {}
    for dtype in DTYPES:
        for solver in SOLVERS:
            tasks = {name: partial(digits.fit, f, solver, dtype, c) for name, f in FORMULAS.items()}
            seconds, runs = take_turns(tasks, repeats)
            for name, run in runs.items():
                results[dtype, solver, name] = Result(
                    len(run.path) - 1,
                    seconds[name],
                    digits.truth(run.solution, c),
                    min(run.norms),
                    digits.accuracy(run.solution),
                    [digits.truth(w, c).norm for w in run.path],
                )
        results[dtype, "newton-cholesky", "scikit-learn"] = fit_scikit_learn(digits, dtype, c)
    return results


def time_formulas(digits: Digits, w: Array, repeats: int) -> dict[str, dict[str, float]]:
    """Microseconds per evaluation at the training set's logits: what and dtype, whose formulas."""
    result = {}
    for dtype in DTYPES:
        logits = (digits.x @ w).astype(dtype)
        vector = np.random.default_rng(SEED).standard_normal(logits.shape).astype(dtype)
        calls: dict[str, dict[str, Callable[[], object]]] = {
            "loss, gradient, Hessian": {
                name: partial(evaluate, f, logits, digits.y) for name, f in FORMULAS.items()
            },
            "loss, gradient": {
                name: partial(f.value_and_grad, logits, digits.y) for name, f in FORMULAS.items()
            },
            "Hessian · vector": {
                name: partial(f.hvp(logits), vector) for name, f in FORMULAS.items()
            },
        }
        for what, tasks in calls.items():
            take_turns(tasks, 10)  # to warm up
            seconds, _ = take_turns(tasks, repeats)
            result[f"{what}\n{dtype}"] = {name: 1e6 * s for name, s in seconds.items()}
    return result


def evaluate(formulas: Formulas, logits: Array, labels: Array) -> None:
    formulas.value_and_grad(logits, labels)
    formulas.hessian(logits)


def draw(
    path: Path, results: dict[Key, Result], times: dict[str, dict[str, float]], c: float
) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(SOLVERS) + 1, figsize=(16, 4.8), layout="constrained")
    for ax, solver in zip(axes, SOLVERS, strict=False):
        for dtype, dashes in zip(DTYPES, ("--", "-"), strict=True):
            for name, color in COLORS.items():
                norms = results[dtype, solver, name].true_norms
                ax.semilogy(norms, dashes, color=color, label=f"{name}, {dtype}")
        ax.set(title=f"{solver}, C = {c:g}", xlabel="iteration", ylabel="true |gradient|")
        ax.grid(alpha=0.3)
        ax.legend()

    ax = axes[-1]
    for offset, (name, color) in zip((-0.2, 0.2), COLORS.items(), strict=True):
        heights = [case[name] for case in times.values()]
        bars = ax.bar(np.arange(len(times)) + offset, heights, 0.4, color=color, label=name)
        ax.bar_label(bars, fmt="%.0f")
    ax.set(title="One evaluation on 1437 × 10 logits", ylabel="µs")
    ax.set_xticks(range(len(times)), list(times), fontsize=8, rotation=30, ha="right")
    ax.legend()
    figure.savefig(path, dpi=130)


def print_results(results: dict[Key, Result]) -> None:
    print(
        f"{'method':<32}{'dtype':<9}{'iter.':>5}{'seconds':>9}{'objective':>17}"
        f"{'true |grad|':>13}{'own |grad|':>12}{'held-out':>10}"
    )
    for (dtype, solver, name), r in results.items():
        own = "-" if np.isnan(r.own_norm) else f"{r.own_norm:.2e}"
        print(
            f"{f'{solver}, {name}':<32}{dtype:<9}{r.iterations:>5}{r.seconds:>9.2f}"
            f"{r.truth.objective:>17.12f}{r.truth.norm:>13.2e}{own:>12}{r.accuracy:>10.4f}"
        )


def print_confidence(digits: Digits) -> None:
    """Where the difference comes from, and where there is none.

    By CG: at C = 1e6 rounding in the assembled float32 Hessian exceeds the penalty, whoever's
    formulas fill it, and full Newton fails or not by luck.
    """
    print("float32 Newton-CG by penalty: the more confident the fit, the more p - 1 loses")
    print(f"{'C':>10}{'median 1-p':>13}{'softlane':>12}{'NumPy':>12}{'ratio':>9}")
    for c in (1e0, 1e2, 1e4, 1e6):
        ours, numpys = (
            digits.truth(digits.fit(f, "Newton-CG", "float32", c).solution, c)
            for f in FORMULAS.values()
        )
        print(
            f"{c:>10g}{ours.miss:>13.1e}{ours.norm:>12.2e}{numpys.norm:>12.2e}"
            f"{numpys.norm / ours.norm:>9.2g}"
        )


def failures(results: dict[Key, Result]) -> list[str]:
    found = []
    for solver in SOLVERS:
        ours, numpys = (results["float32", solver, name].truth.norm for name in FORMULAS)
        if not ours < numpys:
            found.append(f"{solver}, float32: |gradient| {ours:.2e}, NumPy's {numpys:.2e}")
    ours = results["float64", "Newton", "softlane"].truth.objective
    theirs = results["float64", "newton-cholesky", "scikit-learn"].truth.objective
    if abs(ours - theirs) > 1e-9 * ours:
        found.append(f"another optimum: objective {ours!r}, scikit-learn's {theirs!r}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    # The weakest penalty of LogisticRegressionCV's default grid.
    parser.add_argument("--C", type=float, default=1e4, help="inverse penalty, as in scikit-learn")
    parser.add_argument("--repeats", type=int, default=3, help="fits to take the median time of")
    parser.add_argument("--png", type=Path, default=Path("digits.png"))
    options = parser.parse_args()

    digits = Digits.load()
    engine = f"{sl.active_isa()}, {sl.get_num_threads()} threads"
    print(f"softlane {sl.__version__} ({engine}), NumPy {np.__version__}")
    print(f"{len(digits.x)} images to fit, {len(digits.x_held_out)} held out, C = {options.C:g}\n")
    results = fit_all(digits, options.C, options.repeats)
    print_results(results)
    print(f"\n{LEGEND}\n")
    print_confidence(digits)

    w = digits.fit(FORMULAS["softlane"], "Newton", "float64", options.C).solution
    times = time_formulas(digits, w, repeats=200)
    print("\nµs per evaluation on 1437 x 10 logits; for products NumPy has its softmax at hand")
    for case, us in times.items():
        columns = "".join(f"{name:>10} {t:>7.1f}" for name, t in us.items())
        print(f"{case.replace(chr(10), ', '):<36}{columns}")
    draw(options.png, results, times, options.C)
    print(f"\ndrawn: {options.png}")

    found = failures(results)
    print("".join(f"FAILED: {failure}\n" for failure in found), end="")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
