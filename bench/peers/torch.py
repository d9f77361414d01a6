"""PyTorch: `out=` where it has one, and autograd for the loss's gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.peers.base import Foreign, Peer, UnavailableError
from bench.problem import SMOOTHING, AnyArray, Call, Problem


class PyTorch(Peer):
    name = "PyTorch"

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import torch

        self._torch = torch
        self.version = torch.__version__
        torch.set_num_threads(threads)

    def tensor(self, array: AnyArray) -> Foreign:
        """Share the array's memory; bfloat16 goes by its bits, NumPy has no name for it."""
        if array.dtype.name == "bfloat16":
            return self._torch.from_numpy(array.view(np.int16)).view(self._torch.bfloat16)
        return self._torch.from_numpy(array)

    def arrays(self, result: Foreign) -> tuple[AnyArray, ...]:
        results = result if isinstance(result, tuple) else (result,)
        return tuple(
            (t.float() if t.dtype == self._torch.bfloat16 else t).detach().numpy() for t in results
        )

    def prepare(self, problem: Problem) -> Call:
        x, axis, op = self.tensor(problem.x), problem.axis, problem.cell.op
        if op == "cross_entropy" or op.endswith("value_and_grad"):
            return self._loss(problem, x)
        outs = () if problem.fresh else tuple(map(self.tensor, problem.outputs()))
        into = {"out": outs[0]} if outs else {}
        if op == "masked_softmax":
            return self._masked_softmax(problem, x, into)
        if op in ("softmax", "log_softmax", "logsumexp"):
            return self._map(getattr(self._torch, op), x, axis, into)
        if op == "grad_and_hess_diag":
            return self._grad_and_hess_diag(problem, x, outs)
        if op == "hvp":
            v = self.tensor(problem.v)
            softmax, mul = self._torch.softmax, self._torch.mul

            def hvp() -> Foreign:
                p = softmax(x, axis)
                return mul(p, v - (p * v).sum(axis, keepdim=True), **into)

            return hvp

        if op != "hessian":
            raise UnavailableError("no such operation")

        def hessian() -> Foreign:
            p = self._torch.softmax(x, axis).movedim(axis, -1)
            h = self._torch.mul(p.neg()[..., :, None], p[..., None, :], **into)
            h.diagonal(dim1=-2, dim2=-1).add_(p)
            return h

        return hessian

    def _masked_softmax(self, problem: Problem, x: Foreign, into: dict[str, Any]) -> Call:
        """Of rows that keep something; those that do not are set to 0 as softlane has them."""
        torch, axis = self._torch, problem.axis
        out = torch.from_numpy(~problem.mask)
        empty = out.all(axis, keepdim=True)
        some_empty = bool(empty.any())

        def masked_softmax() -> Foreign:
            p = torch.softmax(x.masked_fill(out, -torch.inf), axis, **into)
            return p.masked_fill_(empty, 0) if some_empty else p

        return masked_softmax

    @staticmethod
    def _map(function: Foreign, x: Foreign, axis: int, into: dict[str, Any]) -> Call:
        if into:
            out = into["out"]
            return lambda: function(x, axis, out=out)
        return lambda: function(x, axis)

    def _loss(self, problem: Problem, x: Foreign) -> Call:
        """F.cross_entropy wants the classes second, or first of one dimension."""
        F = self._torch.nn.functional
        logits = x.movedim(problem.axis, min(1, x.ndim - 1))
        target = self._torch.from_numpy(problem.labels)
        options: dict[str, Any] = {"reduction": "none"}
        where = min(1, x.ndim - 1)
        if problem.cell.op == "smoothed_value_and_grad":
            options["label_smoothing"] = SMOOTHING
        if problem.cell.op == "soft_value_and_grad":
            target = self.tensor(problem.v).movedim(problem.axis, where)
        if problem.cell.op == "cross_entropy":
            return lambda: F.cross_entropy(logits, target, **options)

        leaf = x.detach().requires_grad_()
        ones = self._torch.ones(problem.labels.shape, dtype=x.dtype)
        grad = self._torch.autograd.grad

        def value_and_grad() -> Foreign:
            moved = leaf.movedim(problem.axis, where)
            loss = F.cross_entropy(moved, target, **options)
            return loss, grad(loss, leaf, ones)[0]

        return value_and_grad

    def _grad_and_hess_diag(self, problem: Problem, x: Foreign, outs: tuple[Any, ...]) -> Call:
        torch, axis = self._torch, problem.axis
        labels = torch.from_numpy(problem.labels).unsqueeze(axis)
        minus_one = torch.full(labels.shape, -1, dtype=x.dtype)
        first: dict[str, Any] = {"out": outs[0]} if outs else {}
        second: dict[str, Any] = {"out": outs[1]} if outs else {}

        def grad_and_hess_diag() -> Foreign:
            p = torch.softmax(x, axis, **first)
            diagonal = torch.addcmul(p, p, p, value=-1, **second)
            return p.scatter_add_(axis, labels, minus_one), diagonal

        return grad_and_hess_diag
