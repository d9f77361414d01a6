"""scikit-learn's HalfMultinomialLoss: the loss of its linear models and boosted trees."""

from __future__ import annotations

from bench.peers.base import Peer, UnavailableError, matrix
from bench.problem import AnyArray, Call, Problem


class ScikitLearn(Peer):
    name = "scikit-learn"

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import sklearn
        from sklearn._loss import HalfMultinomialLoss

        self.version = sklearn.__version__
        self._loss = HalfMultinomialLoss

    def prepare(self, problem: Problem) -> Call:
        op = problem.cell.op
        if op not in ("cross_entropy", "value_and_grad", "grad_and_hess_diag"):
            raise UnavailableError("no such operation")
        if problem.x.dtype.itemsize < 4:
            raise UnavailableError("no half precision")
        if problem.cell.array.layout == "strided":
            raise UnavailableError("takes no strided array")
        raw = matrix(problem, problem.x)
        classes = raw.shape[1]
        if classes < 3:
            raise UnavailableError("fewer than 3 classes")
        loss = self._loss(n_classes=classes)
        y = problem.labels.ravel().astype(raw.dtype)
        shape = problem.labels.shape
        outs = () if problem.fresh else problem.outputs()
        first = matrix(problem, outs[0]) if outs and op == "grad_and_hess_diag" else None
        losses = outs[0].ravel() if outs and first is None else None
        second = matrix(problem, outs[1]) if len(outs) > 1 else None

        if op == "cross_entropy":
            return lambda: loss.loss(y, raw, None, losses, self.threads).reshape(shape)

        def as_given(array: AnyArray) -> AnyArray:
            """View a matrix as softlane lays it out; costs next to nothing."""
            return array.reshape(problem.x.shape) if problem.axis == -1 else array.T

        def value_and_grad() -> tuple[AnyArray, ...]:
            value, gradient = loss.loss_gradient(y, raw, None, losses, second, self.threads)
            return value.reshape(shape), as_given(gradient)

        def grad_and_hess_diag() -> tuple[AnyArray, ...]:
            results = loss.gradient_hessian(y, raw, None, first, second, self.threads)
            return tuple(map(as_given, results))

        return value_and_grad if op == "value_and_grad" else grad_and_hess_diag
