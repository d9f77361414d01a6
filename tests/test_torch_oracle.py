"""PyTorch's loss and autograd as one oracle of the losses and their derivatives.

Random options; the first derivative from one backward pass, second ones from two. PyTorch is held
to its own accuracy: its log-softmax is off by some ULP of the largest logit, its gradient by some
of 1. Where the contract departs from PyTorch, a test is named for it.
Not collected where PyTorch is missing (conftest.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional

import softlane as sl

Array = npt.NDArray[Any]

REDUCTIONS = ("none", "sum", "mean")
SEEDS = range(60)


@dataclass(frozen=True)
class Problem:
    """One loss: softlane's arguments, and the same for PyTorch, whose classes are on axis 1."""

    logits: Array
    target: Array
    axis: int
    options: dict[str, Any]

    def torch_loss(self, logits: torch.Tensor) -> torch.Tensor:
        theirs = dict(self.options)
        if "weight" in theirs:
            theirs["weight"] = torch.from_numpy(theirs["weight"]).to(logits.dtype)
        target = torch.from_numpy(self.target)
        target = target.to(logits.dtype) if target.is_floating_point() else target
        return functional.cross_entropy(logits, target, **theirs)

    def leaf(self) -> torch.Tensor:
        return torch.from_numpy(self.logits.copy()).requires_grad_()

    def gradient(self, logits: torch.Tensor, create_graph: bool = False) -> torch.Tensor:
        loss = self.torch_loss(logits).sum()
        return torch.autograd.grad(loss, logits, create_graph=create_graph)[0]

    @property
    def arguments(self) -> dict[str, Any]:
        return {"axis": self.axis, **self.options}

    @property
    def size(self) -> float:
        """What a rounding error of PyTorch's counts by: the weights, and a mean's divisor."""
        largest = float(np.max(self.options.get("weight", 1.0)))
        soft = self.target.dtype.kind == "f"
        return largest * (float(self.target.sum(self.axis).max()) if soft else 1.0)


def problem(seed: int, dtype: np.dtype, reduction: str) -> Problem:
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 9))
    shape = [(classes,), (6, classes), (5, classes, 3), (2, classes, 2, 3)][rng.integers(4)]
    axis = 0 if len(shape) == 1 else 1
    logits = (rng.standard_normal(shape) * rng.choice([0.1, 1.0, 5.0])).astype(dtype)
    rows = tuple(n for d, n in enumerate(shape) if d != axis)
    options: dict[str, Any] = {"reduction": reduction}
    if rng.random() < 0.5:
        options["weight"] = rng.uniform(0.25, 2.0, classes).astype(dtype)
    if rng.random() < 0.5:
        options["label_smoothing"] = float(rng.choice([0.1, 0.5, 1.0]))
    if rng.random() < 0.4:
        target = rng.uniform(0.0, 1.0, shape).astype(dtype)
        if rng.random() < 0.7:
            target = (target / target.sum(axis, keepdims=True)).astype(dtype)
    else:
        target = np.asarray(rng.integers(0, classes, rows))
        if rows and rng.random() < 0.5:
            options["ignore_index"] = ignored = int(rng.choice([-100, -1, 0, classes]))
            target[rng.random(rows) < 0.3] = ignored
            target.flat[0] = 1  # a mean of nothing has tests of its own
    return Problem(logits, target, axis, options)


@pytest.fixture(params=SEEDS)
def seed(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(params=REDUCTIONS)
def reduction(request: pytest.FixtureRequest) -> str:
    return request.param


def _close(got: Any, wanted: torch.Tensor, size: float) -> None:
    """Within PyTorch's own error: 32 ULP of the value, or of `size`."""
    expected = wanted.detach().numpy()
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    eps = float(np.finfo(got.dtype).eps)
    np.testing.assert_allclose(got, expected, rtol=32 * eps, atol=32 * eps * size)


def test_the_loss_and_its_gradient_are_pytorchs(seed: int, dtype: np.dtype, reduction: str) -> None:
    p = problem(seed, dtype, reduction)
    leaf = p.leaf()
    loss, gradient = sl.cross_entropy_value_and_grad(p.logits, p.target, **p.arguments)
    terms = p.size * max(1.0, float(np.abs(p.logits).max()))
    count = loss.size if reduction == "none" else p.logits.size / p.logits.shape[p.axis]
    _close(loss, p.torch_loss(leaf), terms * (count if reduction == "sum" else 1))
    _close(gradient, p.gradient(leaf), p.size)
    assert sl.cross_entropy(p.logits, p.target, **p.arguments).tobytes() == loss.tobytes()
    alone = sl.cross_entropy_grad(p.logits, p.target, **p.arguments)
    assert alone.tobytes() == gradient.tobytes()


def test_float32_is_pytorchs_float64_rounded(seed: int, reduction: str) -> None:
    """Against the wider reference softlane's own error shows, not PyTorch's."""
    narrow, wide = (problem(seed, np.dtype(d), reduction) for d in ("float32", "float64"))
    same = Problem(
        narrow.logits.astype(np.float64),
        narrow.target.astype(np.float64) if narrow.target.dtype.kind == "f" else narrow.target,
        narrow.axis,
        {k: v.astype(np.float64) if k == "weight" else v for k, v in narrow.options.items()},
    )
    assert same.logits.dtype == wide.logits.dtype
    leaf = same.leaf()
    loss, gradient = sl.cross_entropy_value_and_grad(narrow.logits, narrow.target,
                                                     **narrow.arguments)  # fmt: skip
    eps = float(np.finfo(np.float32).eps)
    np.testing.assert_allclose(loss, same.torch_loss(leaf).detach(), rtol=4 * eps, atol=0)
    # p - t cancels where t is soft: relative to the larger of the two terms
    np.testing.assert_allclose(gradient, same.gradient(leaf), rtol=4 * eps,
                               atol=4 * eps * narrow.size)  # fmt: skip


def test_a_second_backward_pass_is_the_hessian_times_a_vector(
    seed: int, dtype: np.dtype, reduction: str
) -> None:
    p = problem(seed, dtype, reduction)
    vector = np.random.default_rng(seed + 1).standard_normal(p.logits.shape).astype(dtype)
    leaf = p.leaf()
    (theirs,) = torch.autograd.grad(
        p.gradient(leaf, create_graph=True), leaf, torch.from_numpy(vector)
    )
    got = sl.cross_entropy_hvp(p.logits, vector, p.target, **p.arguments)
    _close(got, theirs, p.size * float(np.abs(vector).max()))


def _full_hessian(p: Problem) -> Array:
    """(rows, K, K) from PyTorch's Hessian of the sum of the losses."""
    matrix = torch.autograd.functional.hessian(lambda x: p.torch_loss(x).sum(), p.leaf())
    wide = np.moveaxis(matrix.numpy(), (p.axis, p.axis + p.logits.ndim), (-2, -1))
    classes = p.logits.shape[p.axis]
    count = p.logits.size // classes
    blocks = wide.reshape(count, count, classes, classes)
    off_diagonal = blocks[~np.eye(count, dtype=bool)]
    assert not off_diagonal.any()  # nothing between rows
    return blocks[np.arange(count), np.arange(count)]


def test_pytorchs_hessian_is_the_hessian(dtype: np.dtype, reduction: str) -> None:
    for seed in range(20):
        p = problem(seed, dtype, reduction)
        classes = p.logits.shape[p.axis]
        blocks = torch.from_numpy(_full_hessian(p))
        got = sl.cross_entropy_hessian(p.logits, p.target, **p.arguments)
        _close(got.reshape(-1, classes, classes), blocks, p.size)

        def rows(a: Array, p: Problem = p, classes: int = classes) -> Array:
            return np.moveaxis(a, p.axis, -1).reshape(-1, classes)

        diagonal = sl.cross_entropy_hessian_diag(p.logits, p.target, **p.arguments)
        _close(rows(diagonal), torch.diagonal(blocks, dim1=-2, dim2=-1), p.size)
        pair = sl.cross_entropy_grad_and_hess_diag(p.logits, p.target, **p.arguments)
        assert pair[1].tobytes() == diagonal.tobytes()
        _close(pair[0], p.gradient(p.leaf()), p.size)

        rhs = np.random.default_rng(seed).standard_normal(p.logits.shape).astype(dtype)
        z = sl.cross_entropy_hessian_solve(p.logits, rhs, 0.5, p.target, **p.arguments)
        damped = blocks + 0.5 * torch.eye(classes, dtype=blocks.dtype)
        solved = torch.linalg.solve(damped, torch.from_numpy(rows(rhs)))
        condition = (p.size + 0.5) / 0.5
        _close(rows(z), solved, condition * float(np.abs(rhs).max()) / 0.5)


# --- where the contract departs from PyTorch ------------------------------------------------------

X = np.array([[0.0, 1.0, -np.inf], [1.0, 2.0, 3.0]])
KEPT = np.log1p(np.exp(-1.0))  # the loss of [0, 1] at label 1


def _torch(x: Array, target: Array, **options: Any) -> torch.Tensor:
    return functional.cross_entropy(torch.from_numpy(x), torch.from_numpy(target), **options)


def test_departure_a_probability_of_0_at_a_logit_of_minus_infinity_adds_0() -> None:
    target = np.array([[0.0, 1.0, 0.0], [0.25, 0.25, 0.5]])
    loss = sl.cross_entropy(X, target)
    np.testing.assert_allclose(loss[0], KEPT, rtol=1e-15)
    theirs = _torch(X, target, reduction="none")
    assert torch.isnan(theirs[0])
    np.testing.assert_allclose(loss[1], theirs[1], rtol=1e-14)


def test_departure_a_class_weight_of_0_at_a_logit_of_minus_infinity_adds_0() -> None:
    options = {"label_smoothing": 0.1}
    w = np.array([1.0, 1.0, 0.0])
    loss = sl.cross_entropy(X, [1, 1], weight=w, **options)
    assert np.isfinite(loss).all()
    theirs = _torch(X, np.array([1, 1]), weight=torch.from_numpy(w), reduction="none", **options)
    assert torch.isnan(theirs[0])
    np.testing.assert_allclose(loss[1], theirs[1], rtol=1e-14)


def test_departure_a_nan_in_an_ignored_row_has_gradient_0() -> None:
    x, y = np.array([[np.nan, 1.0], [1.0, 2.0]]), np.array([-100, 1])
    leaf = torch.from_numpy(x.copy()).requires_grad_()
    functional.cross_entropy(leaf, torch.from_numpy(y), reduction="sum").backward()
    gradient = sl.cross_entropy_grad(x, y, ignore_index=-100, reduction="sum")
    assert leaf.grad is not None
    assert torch.isnan(leaf.grad[0]).all()
    assert (gradient[0] == 0).all()
    np.testing.assert_allclose(gradient[1], leaf.grad[1], rtol=1e-15)
    for derivative in (sl.cross_entropy_hessian, sl.cross_entropy_hessian_diag):
        assert (derivative(x, y, ignore_index=-100)[0] == 0).all()


@pytest.mark.parametrize("label", ["int8", "int16", "int32", "uint16", "uint32", "uint64"])
def test_departure_labels_have_any_integer_dtype(label: str) -> None:
    y = np.array([1, 2])
    with pytest.raises(RuntimeError, match="dtype"):
        _torch(X, y.astype(label))
    assert sl.cross_entropy(X, y.astype(label)).tobytes() == sl.cross_entropy(X, y).tobytes()


def test_departure_labels_are_not_ignored_unless_asked() -> None:
    """PyTorch's ignore_index is -100 by default."""
    y = np.array([-100, 1])
    assert _torch(X, y, reduction="none")[0] == 0
    with pytest.raises(IndexError, match=r"^cross_entropy: target\[0\] is -100, but there are 3"):
        sl.cross_entropy(X, y)


def test_departure_nothing_is_reduced_unless_asked() -> None:
    """PyTorch's reduction is "mean" by default."""
    x, y = X[1:], np.array([1])
    assert _torch(x, y).shape == ()
    assert sl.cross_entropy(x, y).shape == (1,)


def test_departure_classes_are_on_the_last_axis_unless_asked() -> None:
    """PyTorch's classes are on axis 1."""
    x, y = np.random.default_rng(0).standard_normal((4, 3, 5)), np.zeros((4, 5), int)
    np.testing.assert_allclose(sl.cross_entropy(x, y, axis=1), _torch(x, y, reduction="none"),
                               rtol=1e-13)  # fmt: skip
    with pytest.raises(ValueError, match=r"^cross_entropy: target .*shape \(4, 3\)"):
        sl.cross_entropy(x, y)


def test_departure_sample_weights_weigh_rows(dtype: np.dtype) -> None:
    """PyTorch has none: its unreduced loss is weighed by hand."""
    for seed in range(20):
        p = problem(seed, dtype, "none")
        if p.logits.ndim == 1 or "ignore_index" in p.options:
            continue
        rows = tuple(n for d, n in enumerate(p.logits.shape) if d != p.axis)
        s = np.random.default_rng(seed).uniform(0, 2, rows).astype(dtype)
        leaf = p.leaf()
        weighed = p.torch_loss(leaf) * torch.from_numpy(s)
        terms = 2 * p.size * max(1.0, float(np.abs(p.logits).max()))
        options = p.arguments
        _close(sl.cross_entropy(p.logits, p.target, sample_weight=s, **options), weighed, terms)

        soft = p.target.dtype.kind == "f"
        per_class = np.ones(p.logits.shape[p.axis]) if soft else p.options.get(
            "weight", np.ones(p.logits.shape[p.axis]))  # fmt: skip
        divisor = s.sum() if soft else (s * per_class[p.target]).sum()
        mean = weighed.sum() / float(divisor)
        options["reduction"] = "mean"
        _close(
            sl.cross_entropy_grad(p.logits, p.target, sample_weight=s, **options),
            torch.autograd.grad(mean, leaf)[0],
            2 * p.size,
        )


def test_departure_a_negative_probability_is_an_error() -> None:
    target = np.array([[-0.5, 1.0, 0.5], [0.25, 0.25, 0.5]])
    assert torch.isfinite(_torch(X[1:], target[:1], reduction="none")).all()
    with pytest.raises(ValueError, match=r"^cross_entropy: target\[0, 0\] is -0.5"):
        sl.cross_entropy(X, target)


def test_departure_a_confident_label_keeps_its_digits(dtype: np.dtype) -> None:
    """PyTorch's loss and gradient at the label are 0."""
    x, y = np.array([[40.0, 0.0]], dtype), np.array([0])
    leaf = torch.from_numpy(x.copy()).requires_grad_()
    theirs = functional.cross_entropy(leaf, torch.from_numpy(y))
    theirs.backward()
    assert leaf.grad is not None
    assert theirs == 0
    assert leaf.grad[0, 0] == 0
    loss, gradient = sl.cross_entropy_value_and_grad(x, y)
    tail = np.exp(np.float64(-40))
    np.testing.assert_allclose(loss, [np.log1p(tail)], rtol=2 * float(np.finfo(dtype).eps))
    np.testing.assert_allclose(gradient[0, 0], -tail / (1 + tail),
                               rtol=2 * float(np.finfo(dtype).eps))  # fmt: skip


def test_a_mean_of_nothing_is_nan_and_its_gradient_0_as_pytorchs() -> None:
    x, y = np.ones((2, 3)), np.array([-100, -100])
    leaf = torch.from_numpy(x.copy()).requires_grad_()
    theirs = functional.cross_entropy(leaf, torch.from_numpy(y))
    theirs.backward()
    loss, gradient = sl.cross_entropy_value_and_grad(x, y, ignore_index=-100, reduction="mean")
    assert torch.isnan(theirs)
    assert np.isnan(loss)
    assert leaf.grad is not None
    assert (leaf.grad == 0).all()
    assert (gradient == 0).all()
