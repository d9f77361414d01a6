"""Maps and reductions: softmax and its logarithm, log-sum-exp, entropy, one-hot labels.

Every function but `one_hot` hands its arguments to the compiled module, which does all the checks.
"""

from __future__ import annotations

import operator
import sys
from typing import Any, Literal, SupportsIndex, overload

import numpy as np
from numpy.exceptions import AxisError
from numpy.typing import ArrayLike, DTypeLike, NDArray

from softlane import _core
from softlane._direct import direct
from softlane._typing import Axis, Float, FloatArray, FloatResult, OutPair, Scalar


@overload
def softmax(
    x: NDArray[Float],
    axis: Axis = -1,
    *,
    temperature: float = 1.0,
    where: ArrayLike | None = None,
    dtype: None = None,
    out: NDArray[Float] | None = None,
) -> NDArray[Float]: ...
@overload
def softmax(
    x: NDArray[Any],
    axis: Axis = -1,
    *,
    temperature: float = 1.0,
    where: ArrayLike | None = None,
    dtype: type[Float],
    out: NDArray[Float] | None = None,
) -> NDArray[Float]: ...
@overload
def softmax(
    x: ArrayLike,
    axis: Axis = -1,
    *,
    temperature: float = 1.0,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: FloatArray | None = None,
) -> FloatResult: ...
@direct
def softmax(
    x: ArrayLike,
    axis: Axis = -1,
    *,
    temperature: float = 1.0,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: FloatArray | None = None,
) -> FloatResult:
    """Compute the softmax: exp(x / T) / Σ exp(x / T).

    Parameters
    ----------
    x : array_like
        Real numbers of any shape: float16, ml_dtypes.bfloat16, float32, float64, integers or bool,
        in any byte order. Differences between them are in nats, times T.
    axis : int, tuple of ints or None, default -1
        The axis of a row's K elements; several axes, or all for None, form one row together.
    temperature : float, default 1.0
        T, a finite number > 0, in the unit of `x`; dividing by it makes no temporary array.
    where : array_like of bool, optional
        Which entries of `x` take part: True to keep one; broadcastable to `x`. An excluded one
        counts as absent whatever it holds, NaN included: its softmax is 0. None keeps all.
    dtype : dtype_like, optional
        The result's dtype: float16, ml_dtypes.bfloat16, float32 or float64. The computation runs
        in the wider of what `x` and the result compute in, and is rounded once at its end; by
        default the result has the dtype of `x`, or float64 for integers and bool.
    out : ndarray, optional
        A writeable array of exactly the result's shape and dtype, with any strides, to write to.
        It may be an input or overlap one: the result is as if it did not.

    Returns
    -------
    ndarray or NumPy scalar
        Probabilities, without unit, with the shape of `x` and in `dtype`: `out` if given, else a
        new array, or a scalar for a 0-d `x`.

    Raises
    ------
    TypeError
        If `x` is a masked array or has any other dtype (complex, longdouble, object, str,
        datetime), `temperature` is not a number, `axis` or `dtype` is not as stated, `where` is
        not of dtype bool, or `out` is not an array of the result's dtype.
    ValueError
        If `temperature` is not a finite number > 0, an axis is repeated, `where` does not broadcast
        to `x`, or `out` has another shape than the result, is read-only, or has elements that share
        memory with each other.
    numpy.exceptions.AxisError
        If an axis is out of range.
    MemoryError
        If there is no memory for the result.

    See Also
    --------
    log_softmax : Its logarithm, in full precision.
    softmin : The softmax of -x.

    Notes
    -----
    For one row with z = x / T,

        p_k = exp(z_k) / Σ_j exp(z_j).

    The row's maximum sets only the exponent [2]_: with n_k = round(z_k · log2(e)),
    r_k = z_k - n_k · ln 2 and N the n of the maximum, each term is exp(r_k) · 2^(n_k - N), and
    n_k - N is exact. Nothing overflows, and no digit is lost to a rounded z - max(z). Results
    below the smallest normal number underflow gradually.

    A row with a NaN or a +inf is NaN throughout, and so is a row of -inf alone; -inf beside finite
    values gives 0 there. Other rows are not affected. An excluded entry counts as -inf and is 0 in
    any case: also in a row that is NaN, and in one without an entry kept, which is 0 throughout. A
    row without elements is empty. No floating-point warning is raised.

    References
    ----------
    .. [1] J. S. Bridle, "Probabilistic interpretation of feedforward classification network
       outputs, with relationships to statistical pattern recognition", in Neurocomputing:
       Algorithms, Architectures and Applications, NATO ASI Series F 68, Springer, 1990,
       pp. 227-236. doi:10.1007/978-3-642-76153-9_28
    .. [2] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA Journal of Numerical Analysis 41(4), 2021, pp. 2311-2330.
       doi:10.1093/imanum/draa038
    .. [3] G. Hinton, O. Vinyals and J. Dean, "Distilling the knowledge in a neural network", 2015,
       arXiv:1503.02531, for the temperature.

    Examples
    --------
    >>> import softlane as sl
    >>> sl.softmax([[1.0, 2.0, 3.0], [1000.0, 1000.0, -float("inf")]]).round(4).tolist()
    [[0.09, 0.2447, 0.6652], [0.5, 0.5, 0.0]]

    A lower temperature sharpens:

    >>> sl.softmax([1.0, 2.0, 3.0], temperature=0.5).round(4).tolist()
    [0.0159, 0.1173, 0.8668]

    Other axes, and integers:

    >>> sl.softmax([[0, 3], [0, 1]], axis=0).round(4).tolist()
    [[0.5, 0.8808], [0.5, 0.1192]]

    Entries left out, the future of a sequence for example:

    >>> sl.softmax([[1.0, 2.0], [1.0, 2.0]], where=[[True, False], [True, True]]).round(4).tolist()
    [[1.0, 0.0], [0.2689, 0.7311]]
    """
    return _core.softmax(x, axis, temperature, where, dtype, out)


@overload
def log_softmax(
    x: NDArray[Float],
    axis: Axis = -1,
    *,
    temperature: float = 1.0,
    where: ArrayLike | None = None,
    dtype: None = None,
    out: NDArray[Float] | None = None,
) -> NDArray[Float]: ...
@overload
def log_softmax(
    x: NDArray[Any],
    axis: Axis = -1,
    *,
    temperature: float = 1.0,
    where: ArrayLike | None = None,
    dtype: type[Float],
    out: NDArray[Float] | None = None,
) -> NDArray[Float]: ...
@overload
def log_softmax(
    x: ArrayLike,
    axis: Axis = -1,
    *,
    temperature: float = 1.0,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: FloatArray | None = None,
) -> FloatResult: ...
@direct
def log_softmax(
    x: ArrayLike,
    axis: Axis = -1,
    *,
    temperature: float = 1.0,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: FloatArray | None = None,
) -> FloatResult:
    """Compute the logarithm of the softmax: x / T - log Σ exp(x / T).

    Parameters
    ----------
    x : array_like
        Real numbers of any shape: float16, ml_dtypes.bfloat16, float32, float64, integers or bool,
        in any byte order. Differences between them are in nats, times T.
    axis : int, tuple of ints or None, default -1
        The axis of a row's K elements; several axes, or all for None, form one row together.
    temperature : float, default 1.0
        T, a finite number > 0, in the unit of `x`; dividing by it makes no temporary array.
    where : array_like of bool, optional
        Which entries of `x` take part: True to keep one; broadcastable to `x`. An excluded one
        counts as absent whatever it holds, NaN included: its log-softmax is -inf. None keeps all.
    dtype : dtype_like, optional
        The result's dtype: float16, ml_dtypes.bfloat16, float32 or float64. The computation runs
        in the wider of what `x` and the result compute in, and is rounded once at its end; by
        default the result has the dtype of `x`, or float64 for integers and bool.
    out : ndarray, optional
        A writeable array of exactly the result's shape and dtype, with any strides, to write to.
        It may be an input or overlap one: the result is as if it did not.

    Returns
    -------
    ndarray or NumPy scalar
        Log-probabilities in nats, all <= 0, with the shape of `x` and in `dtype`: `out` if given,
        else a new array, or a scalar for a 0-d `x`.

    Raises
    ------
    TypeError
        If `x` is a masked array or has any other dtype (complex, longdouble, object, str,
        datetime), `temperature` is not a number, `axis` or `dtype` is not as stated, `where` is
        not of dtype bool, or `out` is not an array of the result's dtype.
    ValueError
        If `temperature` is not a finite number > 0, an axis is repeated, `where` does not broadcast
        to `x`, or `out` has another shape than the result, is read-only, or has elements that share
        memory with each other.
    numpy.exceptions.AxisError
        If an axis is out of range.
    MemoryError
        If there is no memory for the result.

    See Also
    --------
    softmax : The probabilities themselves.
    cross_entropy : Minus the log-softmax at a label.

    Notes
    -----
    For one row with z = x / T, j* the first index of its maximum and
    Q = Σ_{k≠j*} exp(z_k - z_{j*}), the tail without the maximum,

        log p_k = (z_k - z_{j*}) - log1p(Q).

    Both terms are <= 0, so nothing cancels; the logarithm of the whole sum, which holds the
    maximum's own 1, would lose every Q below the machine epsilon [1]_.

    A row with a NaN or a +inf is NaN throughout, and so is a row of -inf alone; -inf beside finite
    values gives -inf there. Other rows are not affected. An excluded entry counts as -inf and is
    -inf in any case: also in a row that is NaN, and in one without an entry kept, which is -inf
    throughout. A row without elements is empty. No floating-point warning is raised.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA Journal of Numerical Analysis 41(4), 2021, pp. 2311-2330.
       doi:10.1093/imanum/draa038

    Examples
    --------
    >>> import softlane as sl
    >>> sl.log_softmax([1.0, 2.0, 3.0]).round(4).tolist()
    [-2.4076, -1.4076, -0.4076]

    A confident maximum keeps its digits:

    >>> [f"{v:.4g}" for v in sl.log_softmax([40.0, 0.0])]
    ['-4.248e-18', '-40']

    An excluded entry does not count, whatever it holds:

    >>> sl.log_softmax([2.0, float("nan"), 2.0], where=[True, False, True]).round(4).tolist()
    [-0.6931, -inf, -0.6931]
    """
    return _core.log_softmax(x, axis, temperature, where, dtype, out)


@overload
def softmin(
    x: NDArray[Float],
    axis: Axis = -1,
    *,
    temperature: float = 1.0,
    where: ArrayLike | None = None,
    dtype: None = None,
    out: NDArray[Float] | None = None,
) -> NDArray[Float]: ...
@overload
def softmin(
    x: NDArray[Any],
    axis: Axis = -1,
    *,
    temperature: float = 1.0,
    where: ArrayLike | None = None,
    dtype: type[Float],
    out: NDArray[Float] | None = None,
) -> NDArray[Float]: ...
@overload
def softmin(
    x: ArrayLike,
    axis: Axis = -1,
    *,
    temperature: float = 1.0,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: FloatArray | None = None,
) -> FloatResult: ...
@direct
def softmin(
    x: ArrayLike,
    axis: Axis = -1,
    *,
    temperature: float = 1.0,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: FloatArray | None = None,
) -> FloatResult:
    """Compute the softmax of -x: exp(-x / T) / Σ exp(-x / T).

    Parameters
    ----------
    x : array_like
        Real numbers of any shape: float16, ml_dtypes.bfloat16, float32, float64, integers or bool,
        in any byte order. Differences between them are in nats, times T.
    axis : int, tuple of ints or None, default -1
        The axis of a row's K elements; several axes, or all for None, form one row together.
    temperature : float, default 1.0
        T, a finite number > 0, in the unit of `x`; dividing by it makes no temporary array.
    where : array_like of bool, optional
        Which entries of `x` take part: True to keep one; broadcastable to `x`. An excluded one
        counts as absent whatever it holds, NaN included: its softmin is 0. None keeps all.
    dtype : dtype_like, optional
        The result's dtype: float16, ml_dtypes.bfloat16, float32 or float64. The computation runs
        in the wider of what `x` and the result compute in, and is rounded once at its end; by
        default the result has the dtype of `x`, or float64 for integers and bool.
    out : ndarray, optional
        A writeable array of exactly the result's shape and dtype, with any strides, to write to.
        It may be an input or overlap one: the result is as if it did not.

    Returns
    -------
    ndarray or NumPy scalar
        Probabilities, without unit, with the shape of `x` and in `dtype`: `out` if given, else a
        new array, or a scalar for a 0-d `x`.

    Raises
    ------
    TypeError
        If `x` is a masked array or has any other dtype (complex, longdouble, object, str,
        datetime), `temperature` is not a number, `axis` or `dtype` is not as stated, `where` is
        not of dtype bool, or `out` is not an array of the result's dtype.
    ValueError
        If `temperature` is not a finite number > 0, an axis is repeated, `where` does not broadcast
        to `x`, or `out` has another shape than the result, is read-only, or has elements that share
        memory with each other.
    numpy.exceptions.AxisError
        If an axis is out of range.
    MemoryError
        If there is no memory for the result.

    See Also
    --------
    softmax : The same for x.
    smooth_min : The smooth minimum, whose gradient this is.

    Notes
    -----
    For one row with z = -x / T,

        p_k = exp(z_k) / Σ_j exp(z_j),

    which is the Boltzmann distribution over states of energy x at temperature T. It is computed
    like `softmax`: the row's minimum sets only the exponent, and no digit is lost to a rounded
    difference [1]_. Integers are converted before their sign changes, so unsigned ones do not wrap
    around.

    A row with a NaN or a -inf is NaN throughout, and so is a row of +inf alone; +inf beside finite
    values gives 0 there. Other rows are not affected. An excluded entry counts as +inf and is 0 in
    any case: also in a row that is NaN, and in one without an entry kept, which is 0 throughout. A
    row without elements is empty. No floating-point warning is raised.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA Journal of Numerical Analysis 41(4), 2021, pp. 2311-2330.
       doi:10.1093/imanum/draa038

    Examples
    --------
    >>> import softlane as sl
    >>> sl.softmin([1.0, 2.0, 3.0]).round(4).tolist()
    [0.6652, 0.2447, 0.09]
    """
    return _core.softmin(x, axis, temperature, where, dtype, out)


@overload
def logsumexp(
    x: NDArray[Float],
    axis: None = None,
    *,
    b: None = None,
    keepdims: Literal[False] = False,
    return_sign: Literal[False] = False,
    where: ArrayLike | None = None,
    dtype: None = None,
    out: None = None,
) -> Float: ...
@overload
def logsumexp(
    x: NDArray[Float],
    axis: Axis = None,
    *,
    b: None = None,
    keepdims: bool = False,
    return_sign: Literal[False] = False,
    where: ArrayLike | None = None,
    dtype: None = None,
    out: NDArray[Float] | None = None,
) -> NDArray[Float] | Float: ...
@overload
def logsumexp(
    x: ArrayLike,
    axis: Axis = None,
    *,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: Literal[False] = False,
    where: ArrayLike | None = None,
    dtype: type[Float],
    out: NDArray[Float] | None = None,
) -> NDArray[Float] | Float: ...
@overload
def logsumexp(
    x: ArrayLike,
    axis: Axis = None,
    *,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: Literal[False] = False,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: FloatArray | None = None,
) -> FloatResult: ...
@overload
def logsumexp(
    x: ArrayLike,
    axis: Axis = None,
    *,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: Literal[True],
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: OutPair | None = None,
) -> tuple[FloatResult, FloatResult]: ...
@overload
def logsumexp(
    x: ArrayLike,
    axis: Axis = None,
    *,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: bool = False,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: FloatArray | OutPair | None = None,
) -> FloatResult | tuple[FloatResult, FloatResult]: ...
@direct
def logsumexp(
    x: ArrayLike,
    axis: Axis = None,
    *,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: bool = False,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: FloatArray | OutPair | None = None,
) -> FloatResult | tuple[FloatResult, FloatResult]:
    """Compute log Σ exp(x), or log Σ b·exp(x).

    Parameters
    ----------
    x : array_like
        Real numbers of any shape: float16, ml_dtypes.bfloat16, float32, float64, integers or bool,
        in any byte order. In nats.
    axis : int, tuple of ints or None, default None
        The axis of a row's K elements; several axes, or all for None, form one row together. With
        `b`, of the shape that `x` and `b` broadcast to.
    b : array_like, optional
        Factors of the terms, of the dtypes that `x` may have: positive, negative or 0. `x` and `b`
        broadcast against each other, and the result has the wider of their dtypes (float32 for
        float16 and bfloat16 together); a Python number takes the other's. None stands for 1.
    keepdims : bool, default False
        Keep the reduced axes, with length 1, so that the result broadcasts against `x`.
    return_sign : bool, default False
        Return the logarithm of the absolute value of the sum, and the sign of the sum.
    where : array_like of bool, optional
        Which entries take part: True to keep one; broadcastable to `x` (with `b`, to the shape of
        the two). An excluded one counts as absent whatever it holds, NaN included. None keeps all.
    dtype : dtype_like, optional
        The result's dtype: float16, ml_dtypes.bfloat16, float32 or float64. The computation runs
        in the wider of what the inputs and the result compute in, and is rounded once at its end;
        by default the result has the inputs' dtype, with float64 for integers and bool.
    out : ndarray, optional
        A writeable array of exactly the result's shape and dtype, with any strides, to write to.
        It may be an input or overlap one: the result is as if it did not. With `return_sign`, a
        pair of arrays apart from each other, either of which may be None.

    Returns
    -------
    ndarray or NumPy scalar, or a pair of them
        Log-sums in nats, with the shape of `x` (with `b`, of the two) without the reduced axes and
        in `dtype`: `out` if given, else a new array, or a scalar where that would be 0-d. With
        `return_sign`, log |Σ b·exp(x)| and the sign of the sum: 1, 0 or -1, or NaN where the sum is
        NaN. Without it, the result is NaN where the sum is negative.

    Raises
    ------
    TypeError
        If `x` or `b` is a masked array or has any other dtype (complex, longdouble, object, str,
        datetime), `axis` or `dtype` is not as stated, `where` is not of dtype bool, or `out` is not
        an array of the result's dtype (with `return_sign`, not a pair).
    ValueError
        If an axis is repeated, `x` and `b` do not broadcast against each other, `where` does not
        broadcast to them, or `out` has another shape than the result, is read-only, or has elements
        that share memory with each other or with those of the other `out`.
    numpy.exceptions.AxisError
        If an axis is out of range.
    MemoryError
        If there is no memory for the result.

    See Also
    --------
    smooth_max : The same with a temperature.
    log_softmax : x minus its log-sum-exp.

    Notes
    -----
    For one row with j* the first index of its maximum,

        log Σ_k exp(x_k) = x_{j*} + log1p(Σ_{k≠j*} exp(x_k - x_{j*})).

    The sum leaves out the maximum's own 1, which would hide every smaller term below the machine
    epsilon [1]_. The result is at least max(x) and at most max(x) + log K [2]_.

    With `b`, the terms b_k · exp(x_k) and their sum S are kept in twice the digits of float64 and
    with an exponent apart, so that neither leaves the range. Where terms of both signs cancel,
    what is left is as good as exp itself is there, to about 2^-56 of the sum of the terms' sizes.
    (float32 rows that cancel less than 2^20 times are summed in float64 alone.) It takes 3 to 9
    times as long as the sum without `b`.

    A row with a NaN gives NaN; without one, a row with a +inf gives +inf. -inf counts as if
    absent, and appended ones change no bit; a row of -inf alone, without elements or without
    entries kept gives -inf, and its sum has the sign 0. A term with b_k = 0 counts as absent, even
    where x_k is infinite or NaN. Other infinities follow IEEE 754: an infinite b_k or x_k makes S
    infinite, infinities of both signs make it NaN, and so does 0·inf, an infinite b_k where x_k is
    -inf. No floating-point warning is raised.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA Journal of Numerical Analysis 41(4), 2021, pp. 2311-2330.
       doi:10.1093/imanum/draa038
    .. [2] F. Nielsen and K. Sun, "Guaranteed bounds on information-theoretic measures of
       univariate mixtures using piecewise log-sum-exp inequalities", Entropy 18(12), 2016, article
       442. doi:10.3390/e18120442

    Examples
    --------
    >>> import softlane as sl
    >>> round(float(sl.logsumexp([1000.0, 1000.0])), 4)
    1000.6931
    >>> sl.logsumexp([[0.0, 0.0], [1.0, 3.0]], axis=1).round(4).tolist()
    [0.6931, 3.1269]
    >>> sl.logsumexp([[0.0, 0.0], [1.0, 3.0]], axis=1, keepdims=True).shape
    (2, 1)

    The logarithm of exp(1000) - exp(1001), which is negative:

    >>> size, sign = sl.logsumexp([1000.0, 1001.0], b=[1, -1], return_sign=True)
    >>> round(float(size), 4), float(sign)
    (1000.5413, -1.0)

    The mean of exp(x), whatever the size of x:

    >>> round(float(sl.logsumexp([-2000.0, -2000.0], b=0.5)), 4)
    -2000.0
    """
    return _core.logsumexp(x, axis, b, keepdims, return_sign, where, dtype, out)


@overload
def smooth_max(
    x: NDArray[Float],
    axis: None = None,
    *,
    temperature: float = 1.0,
    keepdims: Literal[False] = False,
    where: ArrayLike | None = None,
    dtype: None = None,
    out: None = None,
) -> Float: ...
@overload
def smooth_max(
    x: NDArray[Float],
    axis: Axis = None,
    *,
    temperature: float = 1.0,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    dtype: None = None,
    out: NDArray[Float] | None = None,
) -> NDArray[Float] | Float: ...
@overload
def smooth_max(
    x: ArrayLike,
    axis: Axis = None,
    *,
    temperature: float = 1.0,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    dtype: type[Float],
    out: NDArray[Float] | None = None,
) -> NDArray[Float] | Float: ...
@overload
def smooth_max(
    x: ArrayLike,
    axis: Axis = None,
    *,
    temperature: float = 1.0,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: FloatArray | None = None,
) -> FloatResult: ...
@direct
def smooth_max(
    x: ArrayLike,
    axis: Axis = None,
    *,
    temperature: float = 1.0,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: FloatArray | None = None,
) -> FloatResult:
    """Compute the smooth maximum T·log Σ exp(x / T).

    Parameters
    ----------
    x : array_like
        Real numbers of any shape: float16, ml_dtypes.bfloat16, float32, float64, integers or bool,
        in any byte order. In any unit.
    axis : int, tuple of ints or None, default None
        The axis of a row's K elements; several axes, or all for None, form one row together.
    temperature : float, default 1.0
        T, a finite number > 0, in the unit of `x`; dividing by it makes no temporary array.
    keepdims : bool, default False
        Keep the reduced axes, with length 1, so that the result broadcasts against `x`.
    where : array_like of bool, optional
        Which entries of `x` take part: True to keep one; broadcastable to `x`. An excluded one
        counts as absent whatever it holds, NaN included. None keeps all.
    dtype : dtype_like, optional
        The result's dtype: float16, ml_dtypes.bfloat16, float32 or float64. The computation runs
        in the wider of what `x` and the result compute in, and is rounded once at its end; by
        default the result has the dtype of `x`, or float64 for integers and bool.
    out : ndarray, optional
        A writeable array of exactly the result's shape and dtype, with any strides, to write to.
        It may be an input or overlap one: the result is as if it did not.

    Returns
    -------
    ndarray or NumPy scalar
        Smooth maxima in the unit of `x`, with the shape of `x` without the reduced axes and in
        `dtype`: `out` if given, else a new array, or a scalar where that would be 0-d.

    Raises
    ------
    TypeError
        If `x` is a masked array or has any other dtype (complex, longdouble, object, str,
        datetime), `temperature` is not a number, `axis` or `dtype` is not as stated, `where` is
        not of dtype bool, or `out` is not an array of the result's dtype.
    ValueError
        If `temperature` is not a finite number > 0, an axis is repeated, `where` does not broadcast
        to `x`, or `out` has another shape than the result, is read-only, or has elements that share
        memory with each other.
    numpy.exceptions.AxisError
        If an axis is out of range.
    MemoryError
        If there is no memory for the result.

    See Also
    --------
    smooth_min : The smooth minimum.
    softmax : The gradient of the smooth maximum.

    Notes
    -----
    For one row with j* the first index of its maximum,

        T · log Σ_k exp(x_k / T) = x_{j*} + T · log1p(Σ_{k≠j*} exp((x_k - x_{j*}) / T)),

    with

        max(x) <= smooth_max(x) <= max(x) + T · log K,

    so it tends to max(x) as T tends to 0 [1]_, [2]_. It is convex, and known as RealSoftMax with
    λ = 1 / T.

    A row with a NaN gives NaN; without one, a row with a +inf gives +inf. -inf counts as if
    absent, and appended ones change no bit; a row of -inf alone, without elements or without
    entries kept gives -inf. No floating-point warning is raised.

    References
    ----------
    .. [1] S. Boyd and L. Vandenberghe, "Convex Optimization", Cambridge University Press, 2004,
       section 3.1.5.
    .. [2] F. Nielsen and K. Sun, "Guaranteed bounds on information-theoretic measures of
       univariate mixtures using piecewise log-sum-exp inequalities", Entropy 18(12), 2016, article
       442. doi:10.3390/e18120442

    Examples
    --------
    >>> import softlane as sl
    >>> x = [1.0, 2.0, 3.0]
    >>> [round(float(sl.smooth_max(x, temperature=t)), 4) for t in (2.0, 1.0, 0.5, 0.1)]
    [4.3605, 3.4076, 3.0715, 3.0]
    """
    return _core.smooth_max(x, axis, temperature, keepdims, where, dtype, out)


@overload
def smooth_min(
    x: NDArray[Float],
    axis: None = None,
    *,
    temperature: float = 1.0,
    keepdims: Literal[False] = False,
    where: ArrayLike | None = None,
    dtype: None = None,
    out: None = None,
) -> Float: ...
@overload
def smooth_min(
    x: NDArray[Float],
    axis: Axis = None,
    *,
    temperature: float = 1.0,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    dtype: None = None,
    out: NDArray[Float] | None = None,
) -> NDArray[Float] | Float: ...
@overload
def smooth_min(
    x: ArrayLike,
    axis: Axis = None,
    *,
    temperature: float = 1.0,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    dtype: type[Float],
    out: NDArray[Float] | None = None,
) -> NDArray[Float] | Float: ...
@overload
def smooth_min(
    x: ArrayLike,
    axis: Axis = None,
    *,
    temperature: float = 1.0,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: FloatArray | None = None,
) -> FloatResult: ...
@direct
def smooth_min(
    x: ArrayLike,
    axis: Axis = None,
    *,
    temperature: float = 1.0,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: FloatArray | None = None,
) -> FloatResult:
    """Compute the smooth minimum -T·log Σ exp(-x / T).

    Parameters
    ----------
    x : array_like
        Real numbers of any shape: float16, ml_dtypes.bfloat16, float32, float64, integers or bool,
        in any byte order. In any unit.
    axis : int, tuple of ints or None, default None
        The axis of a row's K elements; several axes, or all for None, form one row together.
    temperature : float, default 1.0
        T, a finite number > 0, in the unit of `x`; dividing by it makes no temporary array.
    keepdims : bool, default False
        Keep the reduced axes, with length 1, so that the result broadcasts against `x`.
    where : array_like of bool, optional
        Which entries of `x` take part: True to keep one; broadcastable to `x`. An excluded one
        counts as absent whatever it holds, NaN included. None keeps all.
    dtype : dtype_like, optional
        The result's dtype: float16, ml_dtypes.bfloat16, float32 or float64. The computation runs
        in the wider of what `x` and the result compute in, and is rounded once at its end; by
        default the result has the dtype of `x`, or float64 for integers and bool.
    out : ndarray, optional
        A writeable array of exactly the result's shape and dtype, with any strides, to write to.
        It may be an input or overlap one: the result is as if it did not.

    Returns
    -------
    ndarray or NumPy scalar
        Smooth minima in the unit of `x`, with the shape of `x` without the reduced axes and in
        `dtype`: `out` if given, else a new array, or a scalar where that would be 0-d.

    Raises
    ------
    TypeError
        If `x` is a masked array or has any other dtype (complex, longdouble, object, str,
        datetime), `temperature` is not a number, `axis` or `dtype` is not as stated, `where` is
        not of dtype bool, or `out` is not an array of the result's dtype.
    ValueError
        If `temperature` is not a finite number > 0, an axis is repeated, `where` does not broadcast
        to `x`, or `out` has another shape than the result, is read-only, or has elements that share
        memory with each other.
    numpy.exceptions.AxisError
        If an axis is out of range.
    MemoryError
        If there is no memory for the result.

    See Also
    --------
    smooth_max : The smooth maximum.
    softmin : The gradient of the smooth minimum.

    Notes
    -----
    It is -smooth_max(-x): for one row with j* the first index of its minimum,

        -T · log Σ_k exp(-x_k / T) = x_{j*} - T · log1p(Σ_{k≠j*} exp((x_{j*} - x_k) / T)),

    with

        min(x) - T · log K <= smooth_min(x) <= min(x),

    so it tends to min(x) as T tends to 0 [1]_, [2]_. It is concave.

    A row with a NaN gives NaN; without one, a row with a -inf gives -inf. +inf counts as if
    absent, and appended ones change no bit; a row of +inf alone, without elements or without
    entries kept gives +inf. No floating-point warning is raised.

    References
    ----------
    .. [1] S. Boyd and L. Vandenberghe, "Convex Optimization", Cambridge University Press, 2004,
       section 3.1.5.
    .. [2] F. Nielsen and K. Sun, "Guaranteed bounds on information-theoretic measures of
       univariate mixtures using piecewise log-sum-exp inequalities", Entropy 18(12), 2016, article
       442. doi:10.3390/e18120442

    Examples
    --------
    >>> import softlane as sl
    >>> x = [1.0, 2.0, 3.0]
    >>> [round(float(sl.smooth_min(x, temperature=t)), 4) for t in (2.0, 1.0, 0.5, 0.1)]
    [-0.3605, 0.5924, 0.9285, 1.0]
    """
    return _core.smooth_min(x, axis, temperature, keepdims, where, dtype, out)


@overload
def entropy(
    logits: NDArray[Float],
    axis: Axis = -1,
    *,
    temperature: float = 1.0,
    base: float | None = None,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    dtype: None = None,
    out: NDArray[Float] | None = None,
) -> NDArray[Float] | Float: ...
@overload
def entropy(
    logits: ArrayLike,
    axis: Axis = -1,
    *,
    temperature: float = 1.0,
    base: float | None = None,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    dtype: type[Float],
    out: NDArray[Float] | None = None,
) -> NDArray[Float] | Float: ...
@overload
def entropy(
    logits: ArrayLike,
    axis: Axis = -1,
    *,
    temperature: float = 1.0,
    base: float | None = None,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: FloatArray | None = None,
) -> FloatResult: ...
@direct
def entropy(
    logits: ArrayLike,
    axis: Axis = -1,
    *,
    temperature: float = 1.0,
    base: float | None = None,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: FloatArray | None = None,
) -> FloatResult:
    """Compute the entropy -Σ p log p of p = softmax(logits / T).

    Parameters
    ----------
    logits : array_like
        Real numbers of any shape: float16, ml_dtypes.bfloat16, float32, float64, integers or bool,
        in any byte order. Raw scores, not probabilities.
    axis : int, tuple of ints or None, default -1
        The axis of a row's K elements; several axes, or all for None, form one row together.
    temperature : float, default 1.0
        T, a finite number > 0, in the unit of `logits`; dividing by it makes no temporary array.
    base : float, optional
        The base of the logarithm, a finite number > 0 other than 1: 2 gives bits. None gives nats.
    keepdims : bool, default False
        Keep the reduced axes, with length 1, so that the result broadcasts against `logits`.
    where : array_like of bool, optional
        Which entries of `logits` take part: True to keep one; broadcastable to `logits`. An
        excluded one counts as absent whatever it holds, NaN included. None keeps all.
    dtype : dtype_like, optional
        The result's dtype: float16, ml_dtypes.bfloat16, float32 or float64. The computation runs
        in the wider of what `logits` and the result compute in, and is rounded once at its end; by
        default the result has the dtype of `logits`, or float64 for integers and bool.
    out : ndarray, optional
        A writeable array of exactly the result's shape and dtype, with any strides, to write to.
        It may be an input or overlap one: the result is as if it did not.

    Returns
    -------
    ndarray or NumPy scalar
        Entropies in nats, or in the unit of `base`, with the shape of `logits` without the reduced
        axes and in `dtype`: `out` if given, else a new array, or a scalar where that would be 0-d.

    Raises
    ------
    TypeError
        If `logits` is a masked array or has any other dtype (complex, longdouble, object, str,
        datetime), `temperature` or `base` is not a number, `axis` or `dtype` is not as stated,
        `where` is not of dtype bool, or `out` is not an array of the result's dtype.
    ValueError
        If `temperature` is not a finite number > 0, `base` is not a finite number > 0 other than 1,
        an axis is repeated, `where` does not broadcast to `logits`, or `out` has another shape than
        the result, is read-only, or has elements that share memory with each other.
    numpy.exceptions.AxisError
        If an axis is out of range.
    MemoryError
        If there is no memory for the result.

    See Also
    --------
    softmax : The distribution itself.
    cross_entropy : The entropy of a target relative to this distribution.

    Notes
    -----
    For one row with z = logits / T, j* the first index of its maximum,
    Q = Σ_{k≠j*} exp(z_k - z_{j*}) and 0 · log 0 = 0 [1]_, [2]_,

        H = -Σ_k p_k log p_k = log1p(Q) + Σ_{k≠j*} p_k · (z_{j*} - z_k).

    Every term is >= 0, so nothing cancels, and the small entropy of a confident distribution keeps
    its digits. H lies between 0 and log K.

    A row with a NaN or a +inf gives NaN, and so does a row of -inf alone; -inf beside finite
    values counts as if absent. A row without elements, or without entries kept, gives 0: a sum
    without terms. No floating-point warning is raised.

    References
    ----------
    .. [1] C. E. Shannon, "A mathematical theory of communication", Bell System Technical Journal
       27, 1948, pp. 379-423 and 623-656.
    .. [2] T. M. Cover and J. A. Thomas, "Elements of Information Theory", 2nd edition, Wiley,
       2006, chapter 2.

    Examples
    --------
    >>> import softlane as sl
    >>> round(float(sl.entropy([0.0, 0.0, 0.0, 0.0])), 4)
    1.3863
    >>> round(float(sl.entropy([0.0, 0.0, 0.0, 0.0], base=2)), 4)
    2.0

    A confident distribution:

    >>> f"{sl.entropy([40.0, 0.0]):.4g}"
    '1.742e-16'

    Of the first two classes alone:

    >>> round(float(sl.entropy([0.0, 0.0, 5.0], base=2, where=[True, True, False])), 4)
    1.0
    """
    return _core.entropy(logits, axis, temperature, base, keepdims, where, dtype, out)


@overload
def one_hot(
    labels: ArrayLike,
    num_classes: SupportsIndex,
    *,
    axis: SupportsIndex = -1,
    dtype: type[np.float32] | None = np.float32,
) -> NDArray[np.float32]: ...
@overload
def one_hot(
    labels: ArrayLike,
    num_classes: SupportsIndex,
    *,
    axis: SupportsIndex = -1,
    dtype: type[Scalar],
) -> NDArray[Scalar]: ...
@overload
def one_hot(
    labels: ArrayLike,
    num_classes: SupportsIndex,
    *,
    axis: SupportsIndex = -1,
    dtype: DTypeLike,
) -> NDArray[Any]: ...
def one_hot(
    labels: ArrayLike,
    num_classes: SupportsIndex,
    *,
    axis: SupportsIndex = -1,
    dtype: DTypeLike | None = np.float32,
) -> NDArray[Any]:
    """Turn class labels into rows that are 1 at the label and 0 elsewhere.

    Parameters
    ----------
    labels : array_like
        Labels of any integer dtype and any shape, each in [0, num_classes).
    num_classes : int
        K, at least 1; 0 is accepted if there are no labels.
    axis : int, default -1
        Where the result has its new dimension of K classes.
    dtype : dtype_like, default numpy.float32
        The dtype of the result: float16, bfloat16 (of ml_dtypes), float32, float64, an integer
        dtype or bool, in any byte order. None is the default.

    Returns
    -------
    ndarray
        A new array in C order, of the shape of `labels` with K inserted at `axis`, and of `dtype`.

    Raises
    ------
    TypeError
        If `labels` is a masked array or is not of integer dtype (bool and float are not),
        `num_classes` or `axis` is not an int, or `dtype` is not one of those named.
    ValueError
        If `num_classes` is less than 1, `labels` is ragged, or the result would have more
        dimensions or elements than NumPy allows.
    IndexError
        If a label is outside [0, num_classes).
    numpy.exceptions.AxisError
        If `axis` is out of range for the result.
    MemoryError
        If there is no memory for the result.

    See Also
    --------
    cross_entropy : Takes labels as they are; one-hot rows give the same loss more slowly.

    Notes
    -----
    The result h has h[..., k] = 1 where k = labels[...], else 0: the indicator (Iverson bracket) of
    the label. Labels are checked before the result is allocated.

    References
    ----------
    .. [1] C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, section 4.1.2
       (the 1-of-K coding scheme).

    Examples
    --------
    >>> import softlane as sl
    >>> sl.one_hot([2, 0], 3).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    >>> sl.one_hot([2, 0], 3, axis=0, dtype=int).tolist()
    [[0, 1], [0, 0], [1, 0]]
    """
    label_array = _label_array(labels)
    classes = _class_count(num_classes, label_array)
    result_dtype = _result_dtype(dtype)
    position = _class_position(axis, label_array.ndim + 1)
    shape = (*label_array.shape[:position], classes, *label_array.shape[position:])
    result = _zeros(shape, result_dtype)
    at_labels = np.expand_dims(label_array.astype(np.intp, copy=False), position)
    np.put_along_axis(result, at_labels, 1, axis=position)
    return result


def _label_array(labels: ArrayLike) -> NDArray[np.integer[Any]]:
    array = _core.as_ndarray("one_hot", "labels", labels)
    if array.size == 0 and not isinstance(labels, np.ndarray):
        array = array.astype(np.intp)  # [] holds no floats, although NumPy makes it float64
    if array.dtype.kind not in "iu":
        raise TypeError(f"one_hot: labels has dtype {array.dtype}, but must have an integer dtype")
    return array


def _class_count(num_classes: SupportsIndex, labels: NDArray[np.integer[Any]]) -> int:
    if isinstance(num_classes, (bool, np.bool_)):
        raise TypeError(f"one_hot: num_classes is {num_classes}, but must be an int")
    try:
        classes = operator.index(num_classes)
    except TypeError:
        raise TypeError(f"one_hot: num_classes is {num_classes!r}, but must be an int") from None
    if classes < (1 if labels.size else 0):
        raise ValueError(f"one_hot: num_classes is {classes}, but must be at least 1")
    if labels.size and (int(labels.min()) < 0 or int(labels.max()) >= classes):
        wrong = np.argwhere((labels < 0) | (labels >= min(classes, sys.maxsize)))[0]
        index = tuple(wrong.tolist())
        where = str(list(index)) if index else ""
        raise IndexError(f"one_hot: labels{where} is {labels[index]}, but num_classes is {classes}")
    return classes


def _result_dtype(dtype: DTypeLike | None) -> np.dtype[Any]:
    accepted = "float16, bfloat16, float32, float64, an integer dtype or bool"
    try:
        result_dtype = np.dtype(np.float32 if dtype is None else dtype)
    except (TypeError, ValueError, AttributeError, SyntaxError):
        raise TypeError(f"one_hot: dtype is {dtype!r}, but must be {accepted}") from None
    is_bfloat16 = (result_dtype.name, result_dtype.type.__module__) == ("bfloat16", "ml_dtypes")
    if result_dtype.kind in "biu" or is_bfloat16:
        return result_dtype
    if result_dtype.type not in (np.float16, np.float32, np.float64):
        raise TypeError(f"one_hot: dtype is {result_dtype}, but must be {accepted}")
    return result_dtype


def _class_position(axis: SupportsIndex, ndim: int) -> int:
    if isinstance(axis, (bool, np.bool_)):
        raise TypeError(f"one_hot: axis is {axis}, but must be an int")
    try:
        position = operator.index(axis)
    except TypeError:
        raise TypeError(f"one_hot: axis is {axis!r}, but must be an int") from None
    if not -ndim <= position < ndim:
        raise AxisError(position, ndim, "one_hot")
    return position % ndim


def _zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    try:
        return np.zeros(shape, dtype)
    except (MemoryError, ValueError) as error:  # under this function's name
        kind = MemoryError if isinstance(error, MemoryError) else ValueError
        raise kind(f"one_hot: {error}") from None
