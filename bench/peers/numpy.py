"""The formulas that NumPy users write, at their best: in place, into `out`."""

from __future__ import annotations

import numpy as np

from bench.peers.base import Peer
from bench.problem import SMOOTHING, AnyArray, Call, Problem


class NumPy(Peer):
    name = "NumPy"
    version = np.__version__

    def prepare(self, problem: Problem) -> Call:
        formula = getattr(self, problem.cell.op)
        outs = (None, None) if problem.fresh else (*problem.outputs(), None)
        return lambda: formula(problem, *outs[:2])

    def softmax(self, problem: Problem, out: AnyArray | None, _: AnyArray | None) -> AnyArray:
        return self._softmax(problem.x, problem.axis, out)

    def log_softmax(self, problem: Problem, out: AnyArray | None, _: AnyArray | None) -> AnyArray:
        x, axis = problem.x, problem.axis
        z: AnyArray = np.subtract(x, x.max(axis, keepdims=True), out=out)
        z -= np.log(np.exp(z).sum(axis, keepdims=True))
        return z

    def logsumexp(self, problem: Problem, out: AnyArray | None, _: AnyArray | None) -> AnyArray:
        x, axis = problem.x, problem.axis
        top = x.max(axis, keepdims=True)
        total: AnyArray = np.log(np.exp(x - top).sum(axis), out=out)
        total += top.squeeze(axis)
        return total

    def cross_entropy(self, problem: Problem, out: AnyArray | None, _: AnyArray | None) -> AnyArray:
        picked = np.take_along_axis(problem.x, self._labels(problem), problem.axis)
        loss = self.logsumexp(problem, out, None)
        loss -= picked.squeeze(problem.axis)
        return loss

    def value_and_grad(
        self, problem: Problem, _: AnyArray | None, grad: AnyArray | None
    ) -> tuple[AnyArray, AnyArray]:
        x, axis, labels = problem.x, problem.axis, self._labels(problem)
        e = np.subtract(x, x.max(axis, keepdims=True), out=grad)
        picked = np.take_along_axis(e, labels, axis)
        np.exp(e, out=e)
        total = e.sum(axis, keepdims=True)
        e /= total
        np.put_along_axis(e, labels, np.take_along_axis(e, labels, axis) - 1, axis)
        return np.subtract(np.log(total), picked).squeeze(axis), e

    def grad_and_hess_diag(
        self, problem: Problem, grad: AnyArray | None, diagonal: AnyArray | None
    ) -> tuple[AnyArray, AnyArray]:
        axis, labels = problem.axis, self._labels(problem)
        p = self._softmax(problem.x, axis, grad)
        diagonal = np.subtract(1, p, out=diagonal)
        diagonal *= p
        np.put_along_axis(p, labels, np.take_along_axis(p, labels, axis) - 1, axis)
        return p, diagonal

    def hvp(self, problem: Problem, out: AnyArray | None, _: AnyArray | None) -> AnyArray:
        p = self._softmax(problem.x, problem.axis, None)
        mean = (p * problem.v).sum(problem.axis, keepdims=True)
        product: AnyArray = np.subtract(problem.v, mean, out=out)
        product *= p
        return product

    def hessian(self, problem: Problem, out: AnyArray | None, _: AnyArray | None) -> AnyArray:
        p = np.moveaxis(self._softmax(problem.x, problem.axis, None), problem.axis, -1)
        hessian: AnyArray = np.multiply(-p[..., :, None], p[..., None, :], out=out)
        k = np.arange(p.shape[-1])
        hessian[..., k, k] += p
        return hessian

    def masked_softmax(
        self, problem: Problem, out: AnyArray | None, _: AnyArray | None
    ) -> AnyArray:
        x, axis, mask = problem.x, problem.axis, problem.mask
        z = np.where(mask, x, x.dtype.type(-np.inf))
        top = z.max(axis, keepdims=True)
        e: AnyArray = np.subtract(z, np.where(top == -np.inf, x.dtype.type(0), top), out=out)
        np.exp(e, out=e)
        total = e.sum(axis, keepdims=True)
        e /= np.where(total == 0, x.dtype.type(1), total)
        return e

    def smoothed_value_and_grad(
        self, problem: Problem, _: AnyArray | None, grad: AnyArray | None
    ) -> tuple[AnyArray, AnyArray]:
        x, axis, labels = problem.x, problem.axis, self._labels(problem)
        share = x.dtype.type(SMOOTHING / x.shape[axis])
        e = np.subtract(x, x.max(axis, keepdims=True), out=grad)
        picked = np.take_along_axis(e, labels, axis)
        gaps = e.sum(axis, keepdims=True)
        np.exp(e, out=e)
        total = e.sum(axis, keepdims=True)
        e /= total
        e -= share
        kept = x.dtype.type(1 - SMOOTHING)
        np.put_along_axis(e, labels, np.take_along_axis(e, labels, axis) - kept, axis)
        loss: AnyArray = (np.log(total) - kept * picked - share * gaps).squeeze(axis)
        return loss, e

    def soft_value_and_grad(
        self, problem: Problem, _: AnyArray | None, grad: AnyArray | None
    ) -> tuple[AnyArray, AnyArray]:
        x, axis, shares = problem.x, problem.axis, problem.v
        e = np.subtract(x, x.max(axis, keepdims=True), out=grad)
        gaps, whole = (shares * e).sum(axis, keepdims=True), shares.sum(axis, keepdims=True)
        np.exp(e, out=e)
        total = e.sum(axis, keepdims=True)
        e *= whole / total
        e -= shares
        loss: AnyArray = (whole * np.log(total) - gaps).squeeze(axis)
        return loss, e

    def weighted_logsumexp(
        self, problem: Problem, _: AnyArray | None, __: AnyArray | None
    ) -> tuple[AnyArray, AnyArray]:
        x, axis = problem.x, problem.axis
        top = x.max(axis, keepdims=True)
        e = np.exp(x - top)
        e *= problem.v
        total = e.sum(axis, keepdims=True)
        log = np.log(np.abs(total)) + top
        return log.squeeze(axis), np.sign(total).squeeze(axis)

    @staticmethod
    def _labels(problem: Problem) -> AnyArray:
        return np.expand_dims(problem.labels, problem.axis)

    @staticmethod
    def _softmax(x: AnyArray, axis: int, out: AnyArray | None) -> AnyArray:
        e: AnyArray = np.subtract(x, x.max(axis, keepdims=True), out=out)
        np.exp(e, out=e)
        e /= e.sum(axis, keepdims=True)
        return e
