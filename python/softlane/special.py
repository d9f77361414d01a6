"""SciPy's softmax, log_softmax and logsumexp, with SciPy's signatures and defaults.

``from softlane.special import logsumexp`` in place of ``from scipy.special import logsumexp`` is
the whole migration. `axis` defaults to None here, all elements, for maps too; the functions of
`softlane` itself default to the last axis and take more options.

What departs from SciPy 1.17 does so on purpose:

- Integers and bool are converted to float64 before any arithmetic. SciPy's maps subtract first,
  which refuses bool and wraps unsigned integers round, and return float16 for 8-bit integers.
- An array of integers or bool beside a float32 one makes the result float64, whatever its width.
- Complex numbers, longdouble and objects are a `TypeError`.
- A masked array is a `TypeError`, for its mask would be lost. SciPy ignores the mask.
- A map of an empty row is empty. SciPy raises `ValueError`.
- No floating-point warning is raised.
"""

from __future__ import annotations

from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softlane import _core, _maps
from softlane._typing import Axis, Float, FloatResult

__all__ = ["log_softmax", "logsumexp", "softmax"]


@overload
def softmax(x: NDArray[Float], axis: Axis = None) -> NDArray[Float]: ...
@overload
def softmax(x: ArrayLike, axis: Axis = None) -> FloatResult: ...
def softmax(x: ArrayLike, axis: Axis = None) -> FloatResult:
    """Compute the softmax: exp(x) / Σ exp(x).

    `softlane.softmax` under the signature of ``scipy.special.softmax``.

    Parameters
    ----------
    x : array_like
        Real numbers of any shape: float16, bfloat16, float32, float64, integers or bool.
        Differences between them are in nats.
    axis : int, tuple of ints or None, default None
        The axis of a row's K elements; several axes, or all for None, form one row together.

    Returns
    -------
    ndarray or NumPy scalar
        Probabilities, without unit, with the shape of `x` and its dtype (float64 for integers and
        bool); a scalar for a 0-d `x`.

    Raises
    ------
    TypeError
        If `x` is a masked array or has any other dtype, or `axis` is of another type than stated.
    ValueError
        If an axis is repeated.
    numpy.exceptions.AxisError
        If an axis is out of range.
    MemoryError
        If there is no memory for the result.

    See Also
    --------
    softlane.softmax : The same with a temperature and more.

    Notes
    -----
    For one row, p_k = exp(x_k) / Σ_j exp(x_j); see `softlane.softmax` for how no digit is lost.
    SciPy's result is off by some 50 ULP where the row spans some tens of nats, because the rounding
    error of x - max(x) passes through exp [1]_.

    Other than SciPy's, this function takes 8-bit and unsigned integers and bool at their value,
    gives an empty result for an empty row, and refuses complex, longdouble and masked arrays.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA Journal of Numerical Analysis 41(4), 2021, pp. 2311-2330.
       doi:10.1093/imanum/draa038

    Examples
    --------
    >>> from softlane.special import softmax
    >>> softmax([[1.0, 2.0], [3.0, 4.0]]).round(4).tolist()
    [[0.0321, 0.0871], [0.2369, 0.6439]]
    >>> softmax([[1.0, 2.0], [3.0, 4.0]], axis=1).round(4).tolist()
    [[0.2689, 0.7311], [0.2689, 0.7311]]
    """
    return _maps.softmax(x, axis)


@overload
def log_softmax(x: NDArray[Float], axis: Axis = None) -> NDArray[Float]: ...
@overload
def log_softmax(x: ArrayLike, axis: Axis = None) -> FloatResult: ...
def log_softmax(x: ArrayLike, axis: Axis = None) -> FloatResult:
    """Compute the logarithm of the softmax: x - log Σ exp(x).

    `softlane.log_softmax` under the signature of ``scipy.special.log_softmax``.

    Parameters
    ----------
    x : array_like
        Real numbers of any shape: float16, bfloat16, float32, float64, integers or bool.
        Differences between them are in nats.
    axis : int, tuple of ints or None, default None
        The axis of a row's K elements; several axes, or all for None, form one row together.

    Returns
    -------
    ndarray or NumPy scalar
        Log-probabilities in nats, all <= 0, with the shape of `x` and its dtype (float64 for
        integers and bool); a scalar for a 0-d `x`.

    Raises
    ------
    TypeError
        If `x` is a masked array or has any other dtype, or `axis` is of another type than stated.
    ValueError
        If an axis is repeated.
    numpy.exceptions.AxisError
        If an axis is out of range.
    MemoryError
        If there is no memory for the result.

    See Also
    --------
    softlane.log_softmax : The same with a temperature and more.

    Notes
    -----
    For one row with j* the first index of its maximum,

        log p_k = (x_k - x_{j*}) - log1p(Σ_{j≠j*} exp(x_j - x_{j*})),

    two terms <= 0, so that nothing cancels [1]_.

    Other than SciPy's, this function takes 8-bit and unsigned integers and bool at their value,
    gives an empty result for an empty row and NaN throughout a row with a +inf, and refuses
    complex, longdouble and masked arrays.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA Journal of Numerical Analysis 41(4), 2021, pp. 2311-2330.
       doi:10.1093/imanum/draa038

    Examples
    --------
    A confident maximum keeps its digits:

    >>> from softlane.special import log_softmax
    >>> [f"{v:.4g}" for v in log_softmax([40.0, 0.0])]
    ['-4.248e-18', '-40']
    """
    return _maps.log_softmax(x, axis)


@overload
def logsumexp(
    a: NDArray[Float],
    axis: None = None,
    b: None = None,
    keepdims: Literal[False] = False,
    return_sign: Literal[False] = False,
) -> Float: ...
@overload
def logsumexp(
    a: ArrayLike,
    axis: Axis = None,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: Literal[False] = False,
) -> FloatResult: ...
@overload
def logsumexp(
    a: ArrayLike,
    axis: Axis = None,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    *,
    return_sign: Literal[True],
) -> tuple[FloatResult, FloatResult]: ...
@overload
def logsumexp(
    a: ArrayLike,
    axis: Axis,
    b: ArrayLike | None,
    keepdims: bool,
    return_sign: Literal[True],
) -> tuple[FloatResult, FloatResult]: ...
def logsumexp(
    a: ArrayLike,
    axis: Axis = None,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: bool = False,
) -> FloatResult | tuple[FloatResult, FloatResult]:
    """Compute log Σ b·exp(a).

    `softlane.logsumexp` under the signature of ``scipy.special.logsumexp``.

    Parameters
    ----------
    a : array_like
        Real numbers of any shape: float16, bfloat16, float32, float64, integers or bool. In nats.
    axis : int, tuple of ints or None, default None
        The axis of a row's K elements; several axes, or all for None, form one row together.
    b : array_like, optional
        Factors of exp(a), of any sign, without unit; 1 if None. `a` and `b` broadcast against each
        other. Where b is 0, the element of `a` takes no part, whatever it is.
    keepdims : bool, default False
        Keep the reduced axes, with length 1, so that the result broadcasts against `a`. A 0-d `a`
        counts as of shape (1,) then.
    return_sign : bool, default False
        Return the sign of the sum as well. Without it a negative sum gives NaN.

    Returns
    -------
    result : ndarray or NumPy scalar
        Log-sums in nats, or with `return_sign` the logarithm of their absolute value, with the
        shape that `a` and `b` broadcast to without the reduced axes, and the wider of their dtypes
        (float64 for integers and bool; a Python number as `b` leaves that of `a`); a scalar where
        that would be 0-d.
    sign : ndarray or NumPy scalar
        Only with `return_sign`: 1.0, 0.0 or -1.0 (NaN where the sum is), of the same shape and
        dtype.

    Raises
    ------
    TypeError
        If `a` or `b` is a masked array or has any other dtype, or `axis` is of another type than
        stated.
    ValueError
        If `a` and `b` do not broadcast against each other, or an axis is repeated.
    numpy.exceptions.AxisError
        If an axis is out of range.
    MemoryError
        If there is no memory for the result.

    See Also
    --------
    softlane.logsumexp : The same with more options.

    Notes
    -----
    For one row with j* the first index of its maximum and without b,

        log Σ_k exp(a_k) = a_{j*} + log1p(Σ_{k≠j*} exp(a_k - a_{j*})).

    The sum leaves out the maximum's own 1, which would hide every smaller term below the machine
    epsilon [1]_.

    Other than SciPy's, this function gives the sign 0 to an empty sum and float64 to integers of
    any width beside float32, and refuses complex, longdouble and masked arrays.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA Journal of Numerical Analysis 41(4), 2021, pp. 2311-2330.
       doi:10.1093/imanum/draa038

    Examples
    --------
    >>> from softlane.special import logsumexp
    >>> logsumexp([[1000.0, 1000.0], [0.0, 1.0]], axis=1).round(4).tolist()
    [1000.6931, 1.3133]

    A difference, and its sign:

    >>> value, sign = logsumexp([1, 2], b=[1, -1], return_sign=True)
    >>> round(float(value), 4), float(sign)
    (1.5413, -1.0)
    """
    result = _core.special_logsumexp(a, axis, b, keepdims, return_sign)
    if not keepdims:
        return result
    # SciPy counts a 0-d input as of shape (1,), which shows where its dimensions are kept.
    if isinstance(result, tuple):
        value, sign = result
        return np.atleast_1d(value), np.atleast_1d(sign)
    return np.atleast_1d(result)
