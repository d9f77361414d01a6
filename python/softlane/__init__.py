"""Stable batched softmax, log-sum-exp and cross-entropy with exact first and second derivatives.

softlane computes on the CPU, for NumPy code. float32 and float64 are computed in their own
precision; integers and bool become float64 first. Every output keeps its last digits over the whole
range, and a row's result depends on the row's values alone: not on the batch, the axis, the memory
layout, the number of threads or the instruction set.

Maps
    softmax, log_softmax, softmin, one_hot
Reductions
    logsumexp, smooth_max, smooth_min, entropy
Cross-entropy
    cross_entropy, cross_entropy_grad, cross_entropy_value_and_grad
Curvature of cross-entropy
    cross_entropy_grad_and_hess_diag, cross_entropy_hessian, cross_entropy_hessian_diag,
    cross_entropy_hvp, cross_entropy_hessian_solve
Configuration
    get_num_threads, set_num_threads, num_threads, active_isa, available_isas, show_config
SciPy's signatures
    softlane.special

Examples
--------
>>> import softlane as sl
>>> sl.softmax([1.0, 2.0, 3.0]).round(4).tolist()
[0.09, 0.2447, 0.6652]
"""

from softlane import special as special  # so that sl.special is there, as np.linalg is
from softlane._config import (
    active_isa,
    available_isas,
    get_num_threads,
    num_threads,
    set_num_threads,
    show_config,
)
from softlane._core import version as __version__
from softlane._curvature import (
    cross_entropy_grad_and_hess_diag,
    cross_entropy_hessian,
    cross_entropy_hessian_diag,
    cross_entropy_hessian_solve,
    cross_entropy_hvp,
)
from softlane._losses import (
    cross_entropy,
    cross_entropy_grad,
    cross_entropy_value_and_grad,
)
from softlane._maps import (
    entropy,
    log_softmax,
    logsumexp,
    one_hot,
    smooth_max,
    smooth_min,
    softmax,
    softmin,
)

__all__ = [
    "__version__",
    "active_isa",
    "available_isas",
    "cross_entropy",
    "cross_entropy_grad",
    "cross_entropy_grad_and_hess_diag",
    "cross_entropy_hessian",
    "cross_entropy_hessian_diag",
    "cross_entropy_hessian_solve",
    "cross_entropy_hvp",
    "cross_entropy_value_and_grad",
    "entropy",
    "get_num_threads",
    "log_softmax",
    "logsumexp",
    "num_threads",
    "one_hot",
    "set_num_threads",
    "show_config",
    "smooth_max",
    "smooth_min",
    "softmax",
    "softmin",
]
