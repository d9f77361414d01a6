"""JAX: its own functions where it has them, jitted; formulas under jit where not."""

from __future__ import annotations

import numpy as np

from bench.cells import WITH_VECTOR
from bench.peers.base import Foreign, Peer
from bench.problem import SMOOTHING, Call, Problem


class Jax(Peer):
    """Takes every core that the process may run on: only affinity sets its threads."""

    name = "JAX"

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import jax
        import jax.scipy.special

        jax.config.update("jax_enable_x64", True)
        jax.config.update("jax_platforms", "cpu")
        self._jax = jax
        self.version = jax.__version__

    def prepare(self, problem: Problem) -> Call:
        jax = self._jax
        function = jax.jit(self._function(problem))
        arguments = [problem.x]
        if problem.cell.op == "masked_softmax":
            arguments.append(problem.mask)
        if problem.cell.op in WITH_VECTOR:
            arguments.append(problem.v)
        if problem.cell.array.layout == "strided":
            # No JAX array has strides: to take one over is part of the call.
            put = jax.device_put
            return lambda: jax.block_until_ready(
                function(*(put(np.ascontiguousarray(a)) for a in arguments))
            )
        ready = [jax.device_put(a) for a in arguments]
        block = jax.block_until_ready
        return lambda: block(function(*ready))

    def _function(self, problem: Problem) -> Foreign:
        jax, jnp, nn = self._jax, self._jax.numpy, self._jax.nn
        axis, op = problem.axis, problem.cell.op
        labels = jnp.asarray(problem.labels)

        def loss(x: Foreign) -> Foreign:
            picked = jnp.take_along_axis(x, jnp.expand_dims(labels, axis), axis).squeeze(axis)
            return nn.logsumexp(x, axis) - picked

        def smoothed(x: Foreign) -> Foreign:
            uniform = nn.logsumexp(x, axis) - x.mean(axis)
            return (1 - SMOOTHING) * loss(x) + SMOOTHING * uniform

        def soft(x: Foreign, t: Foreign) -> Foreign:
            return t.sum(axis) * nn.logsumexp(x, axis) - (t * x).sum(axis)

        def of_both(function: Foreign, x: Foreign, *more: Foreign) -> Foreign:
            value, pullback = jax.vjp(lambda y: function(y, *more), x)
            return value, pullback(jnp.ones_like(value))[0]

        def grad_and_hess_diag(x: Foreign) -> Foreign:
            p = nn.softmax(x, axis)
            target = nn.one_hot(labels, x.shape[axis], dtype=x.dtype, axis=axis)
            return p - target, p * (1 - p)

        def hvp(x: Foreign, v: Foreign) -> Foreign:
            p = nn.softmax(x, axis)
            return p * (v - (p * v).sum(axis, keepdims=True))

        def hessian(x: Foreign) -> Foreign:
            p = jnp.moveaxis(nn.softmax(x, axis), axis, -1)
            eye = jnp.eye(p.shape[-1], dtype=p.dtype)
            return p[..., :, None] * (eye - p[..., None, :])

        functions = {
            "softmax": lambda x: nn.softmax(x, axis),
            "log_softmax": lambda x: nn.log_softmax(x, axis),
            "logsumexp": lambda x: nn.logsumexp(x, axis),
            "cross_entropy": loss,
            "value_and_grad": lambda x: of_both(loss, x),
            "masked_softmax": lambda x, mask: nn.softmax(x, axis, where=mask),
            "smoothed_value_and_grad": lambda x: of_both(smoothed, x),
            "soft_value_and_grad": lambda x, t: of_both(soft, x, t),
            "weighted_logsumexp": lambda x, b: jax.scipy.special.logsumexp(
                x, axis, b, return_sign=True
            ),
            "grad_and_hess_diag": grad_and_hess_diag,
            "hvp": hvp,
            "hessian": hessian,
        }
        return functions[op]
