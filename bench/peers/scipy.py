"""scipy.special: four of the operations, none with `out=`."""

from __future__ import annotations

from bench.peers.base import Peer, UnavailableError
from bench.problem import Call, Problem


class SciPy(Peer):
    name = "SciPy"

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import scipy
        import scipy.special

        self.version = scipy.__version__
        self._special = scipy.special

    def prepare(self, problem: Problem) -> Call:
        op, x, axis, special = problem.cell.op, problem.x, problem.axis, self._special
        if op not in ("softmax", "log_softmax", "logsumexp", "weighted_logsumexp"):
            raise UnavailableError("no such operation")
        if problem.x.dtype.itemsize < 4:
            raise UnavailableError("computes half precision in half precision")
        if op == "weighted_logsumexp":
            b = problem.v
            return lambda: special.logsumexp(x, axis=axis, b=b, return_sign=True)
        function = getattr(special, op)
        return lambda: function(x, axis=axis)
