"""Cross-entropy of logits against labels or probabilities, and its gradient.

One set of arguments, here and in `softlane._curvature`, gives the loss and its exact derivatives.
The compiled module does all the checks.
"""

from __future__ import annotations

from typing import Literal, SupportsIndex, overload

from numpy.typing import ArrayLike, NDArray

from softlane import _core
from softlane._direct import direct
from softlane._typing import (
    Axis,
    Float,
    FloatArray,
    FloatResult,
    Loss,
    OutPair,
    Reduction,
)


@overload
def cross_entropy(
    logits: NDArray[Loss],
    target: ArrayLike,
    axis: Axis = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    reduction: Literal["sum", "mean"],
    out: None = None,
) -> Loss: ...
@overload
def cross_entropy(
    logits: NDArray[Loss],
    target: ArrayLike,
    axis: Axis = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    reduction: Reduction = "none",
    out: NDArray[Loss] | None = None,
) -> NDArray[Loss] | Loss: ...
@overload
def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    axis: Axis = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    reduction: Reduction = "none",
    out: FloatArray | None = None,
) -> FloatResult: ...
@direct
def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    axis: Axis = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    reduction: Reduction = "none",
    out: FloatArray | None = None,
) -> FloatResult:
    """Compute the cross-entropy of softmax(logits) relative to a target, in nats.

    Parameters
    ----------
    logits : array_like
        Raw scores in nats, not probabilities, with the K classes on `axis`: float16,
        ml_dtypes.bfloat16, float32, float64, integers or bool, in any byte order. Every other
        dimension is a batch of rows.
    target : array_like
        Class labels y, of any integer dtype and the shape of `logits` without `axis`; or class
        probabilities >= 0, of any of the float dtypes and of the shape of `logits`, which need not
        sum to 1.
    axis : int, tuple of ints or None, default -1
        The axis of the classes; several axes, or all for None, hold them together, in C order.
    weight : array_like of shape (K,), optional
        A weight w_k for each class, finite and >= 0; 1 if None.
    sample_weight : array_like, optional
        A weight s for each row, finite and >= 0, broadcastable to the shape of `logits` without
        `axis`; 1 if None. A row of weight 0 is left out like an ignored one.
    label_smoothing : float, default 0.0
        ε in [0, 1]: the target t is (1 - ε)·target + ε/K, with labels taken as one-hot.
    ignore_index : int, optional
        Rows with this label have loss 0, gradient 0 and Hessian 0, whatever their logits hold. It
        need not be a class. For `target` of labels only.
    reduction : {"none", "sum", "mean"}, default "none"
        "none" gives every row's loss, "sum" their sum. "mean" divides the sum by Σ s·w_y over the
        rows that are not ignored where `target` holds labels, and by Σ s where it holds
        probabilities, as PyTorch does. Sums run in float64.
    out : ndarray, optional
        A writeable array of exactly the result's shape and dtype, with any strides, to write to.
        It may be an input or overlap one: the result is as if it did not.

    Returns
    -------
    ndarray or NumPy scalar
        Losses in nats, of the dtype of `logits` (float32 for float16 and bfloat16, float64 for
        integers and bool) and its shape without `axis`, or a scalar for "sum" and "mean" and where
        the result would be 0-d. `out` if given.

    Raises
    ------
    TypeError
        If an input is a masked array, `logits` has any other dtype (complex, longdouble, object,
        str, datetime), `target` is of neither an integer nor one of the float dtypes, an option is
        of another type than stated, or `out` is not an array of the result's dtype.
    ValueError
        If a shape does not fit that of `logits`, a probability in `target` is negative or NaN, a
        weight is negative or not finite, `label_smoothing` is outside [0, 1], `ignore_index` is
        given without labels, `reduction` is unknown, an axis is repeated, or `out` has another
        shape than the result, is read-only, or has elements that share memory with each other.
    IndexError
        If a label is outside [0, K) and is not `ignore_index`; nothing has been written then.
    numpy.exceptions.AxisError
        If an axis is out of range.
    MemoryError
        If there is no memory for the result.

    See Also
    --------
    cross_entropy_grad : Its gradient.
    cross_entropy_value_and_grad : Both in one pass.
    cross_entropy_hessian : Its second derivative.

    Notes
    -----
    With t the one-hot or given target after smoothing [3]_, the loss of a row x is

        s · Σ_k w_k t_k · (logsumexp(x) - x_k),    with 0 · (-inf) = 0,

    the expected code length in nats of a sample from t under softmax(x), if t sums to 1 and no
    weights are given [1]_. With j* the first index of the row's maximum and
    Q = Σ_{k≠j*} exp(x_k - x_{j*}),

        logsumexp(x) - x_k = (x_{j*} - x_k) + log1p(Q),

    two terms >= 0, so that a small loss keeps its digits where the logarithm of the whole sum
    would return 0 [2]_.

    A row whose target has weight where x is -inf has loss +inf. A row with a NaN or a +inf, or of
    -inf alone, has loss NaN. If every row is ignored, "mean" is NaN and "sum" is 0, and the
    derivatives of either are 0. No floating-point warning is raised.

    References
    ----------
    .. [1] T. M. Cover and J. A. Thomas, "Elements of Information Theory", 2nd edition, Wiley,
       2006, chapter 2.
    .. [2] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA Journal of Numerical Analysis 41(4), 2021, pp. 2311-2330.
       doi:10.1093/imanum/draa038
    .. [3] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception
       architecture for computer vision", CVPR 2016, pp. 2818-2826, for label smoothing.
       doi:10.1109/CVPR.2016.308

    Examples
    --------
    >>> import softlane as sl
    >>> logits = [[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    >>> sl.cross_entropy(logits, [0, 2]).round(4).tolist()
    [0.4076, 1.0986]
    >>> round(float(sl.cross_entropy(logits, [0, 2], reduction="mean")), 4)
    0.7531

    Class probabilities as target, and rows to ignore:

    >>> round(float(sl.cross_entropy([2.0, 1.0, 0.0], [0.5, 0.25, 0.25])), 4)
    1.1576
    >>> sl.cross_entropy(logits, [0, -1], ignore_index=-1).round(4).tolist()
    [0.4076, 0.0]

    A small loss keeps its digits, in float32 too:

    >>> import numpy as np
    >>> f"{float(sl.cross_entropy(np.array([17, 0], dtype=np.float32), 0)):.3g}"
    '4.14e-08'
    """
    return _core.cross_entropy(
        logits,
        target,
        axis,
        weight,
        sample_weight,
        label_smoothing,
        ignore_index,
        reduction,
        out,
    )


@overload
def cross_entropy_grad(
    logits: NDArray[Float],
    target: ArrayLike,
    axis: Axis = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    reduction: Reduction = "none",
    out: NDArray[Float] | None = None,
) -> NDArray[Float]: ...
@overload
def cross_entropy_grad(
    logits: ArrayLike,
    target: ArrayLike,
    axis: Axis = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    reduction: Reduction = "none",
    out: FloatArray | None = None,
) -> FloatResult: ...
@direct
def cross_entropy_grad(
    logits: ArrayLike,
    target: ArrayLike,
    axis: Axis = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    reduction: Reduction = "none",
    out: FloatArray | None = None,
) -> FloatResult:
    """Compute the gradient of cross-entropy with respect to the logits.

    Parameters
    ----------
    logits : array_like
        Raw scores in nats, not probabilities, with the K classes on `axis`: float16,
        ml_dtypes.bfloat16, float32, float64, integers or bool, in any byte order. Every other
        dimension is a batch of rows.
    target : array_like
        Class labels y, of any integer dtype and the shape of `logits` without `axis`; or class
        probabilities >= 0, of any of the float dtypes and of the shape of `logits`, which need not
        sum to 1.
    axis : int, tuple of ints or None, default -1
        The axis of the classes; several axes, or all for None, hold them together, in C order.
    weight : array_like of shape (K,), optional
        A weight w_k for each class, finite and >= 0; 1 if None.
    sample_weight : array_like, optional
        A weight s for each row, finite and >= 0, broadcastable to the shape of `logits` without
        `axis`; 1 if None. A row of weight 0 is left out like an ignored one.
    label_smoothing : float, default 0.0
        ε in [0, 1]: the target t is (1 - ε)·target + ε/K, with labels taken as one-hot.
    ignore_index : int, optional
        Rows with this label have loss 0, gradient 0 and Hessian 0, whatever their logits hold. It
        need not be a class. For `target` of labels only.
    reduction : {"none", "sum", "mean"}, default "none"
        The loss that is differentiated: "none" each row's own, "sum" their sum, "mean" the sum
        divided by Σ s·w_y over the rows that are not ignored where `target` holds labels, and by
        Σ s where it holds probabilities, as PyTorch does.
    out : ndarray, optional
        A writeable array of exactly the result's shape and dtype, with any strides, to write to.
        It may be an input or overlap one: the result is as if it did not.

    Returns
    -------
    ndarray or NumPy scalar
        ∂loss/∂logits (nats per nat), with the shape of `logits` and its dtype (float64 for
        integers and bool): `out` if given, else a new array, or a scalar for 0-d `logits`.

    Raises
    ------
    TypeError
        If an input is a masked array, `logits` has any other dtype (complex, longdouble, object,
        str, datetime), `target` is of neither an integer nor one of the float dtypes, an option is
        of another type than stated, or `out` is not an array of the result's dtype.
    ValueError
        If a shape does not fit that of `logits`, a probability in `target` is negative or NaN, a
        weight is negative or not finite, `label_smoothing` is outside [0, 1], `ignore_index` is
        given without labels, `reduction` is unknown, an axis is repeated, or `out` has another
        shape than the result, is read-only, or has elements that share memory with each other.
    IndexError
        If a label is outside [0, K) and is not `ignore_index`; nothing has been written then.
    numpy.exceptions.AxisError
        If an axis is out of range.
    MemoryError
        If there is no memory for the result.

    See Also
    --------
    cross_entropy : The loss.
    cross_entropy_value_and_grad : Loss and gradient in one pass.
    cross_entropy_grad_and_hess_diag : Gradient and the Hessian's diagonal in one pass.

    Notes
    -----
    With p = softmax(x) of a row x, t the one-hot or given target after smoothing [2]_ and
    W = Σ_k w_k t_k,

        ∂loss/∂x_k = s · (W · p_k - w_k t_k),

    for probabilities too, whether they sum to 1 or not [1]_; "mean" divides it by the loss's own
    divisor. Where the label is also the row's maximum, p_y - 1 would cancel. It is computed as
    -Q / (1 + Q), with Q = Σ_{k≠y} exp(x_k - x_y), the sum without the label's own 1.

    A row with a NaN or a +inf, or of -inf alone, has gradient NaN; where x is -inf beside finite
    values, p is 0. No floating-point warning is raised.

    References
    ----------
    .. [1] C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, section 4.3.4.
    .. [2] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception
       architecture for computer vision", CVPR 2016, pp. 2818-2826, for label smoothing.
       doi:10.1109/CVPR.2016.308

    Examples
    --------
    >>> import softlane as sl
    >>> logits = [[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    >>> sl.cross_entropy_grad(logits, [0, 2]).round(4).tolist()
    [[-0.3348, 0.2447, 0.09], [0.3333, 0.3333, -0.6667]]
    >>> sl.cross_entropy_grad(logits, [0, 2], reduction="mean").round(4).tolist()
    [[-0.1674, 0.1224, 0.045], [0.1667, 0.1667, -0.3333]]

    A confident, right row still has a gradient:

    >>> [f"{v:.4g}" for v in sl.cross_entropy_grad([40.0, 0.0], 0)]
    ['-4.248e-18', '4.248e-18']
    """
    return _core.cross_entropy_grad(
        logits,
        target,
        axis,
        weight,
        sample_weight,
        label_smoothing,
        ignore_index,
        reduction,
        out,
    )


@overload
def cross_entropy_value_and_grad(
    logits: NDArray[Loss],
    target: ArrayLike,
    axis: Axis = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    reduction: Literal["sum", "mean"],
    out: tuple[None, NDArray[Loss] | None] | None = None,
) -> tuple[Loss, NDArray[Loss]]: ...
@overload
def cross_entropy_value_and_grad(
    logits: NDArray[Loss],
    target: ArrayLike,
    axis: Axis = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    reduction: Reduction = "none",
    out: tuple[NDArray[Loss] | None, NDArray[Loss] | None] | None = None,
) -> tuple[NDArray[Loss] | Loss, NDArray[Loss]]: ...
@overload
def cross_entropy_value_and_grad(
    logits: ArrayLike,
    target: ArrayLike,
    axis: Axis = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    reduction: Reduction = "none",
    out: OutPair | None = None,
) -> tuple[FloatResult, FloatResult]: ...
@direct
def cross_entropy_value_and_grad(
    logits: ArrayLike,
    target: ArrayLike,
    axis: Axis = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    reduction: Reduction = "none",
    out: OutPair | None = None,
) -> tuple[FloatResult, FloatResult]:
    """Compute cross-entropy and its gradient in one pass over the logits.

    Parameters
    ----------
    logits : array_like
        Raw scores in nats, not probabilities, with the K classes on `axis`: float16,
        ml_dtypes.bfloat16, float32, float64, integers or bool, in any byte order. Every other
        dimension is a batch of rows.
    target : array_like
        Class labels y, of any integer dtype and the shape of `logits` without `axis`; or class
        probabilities >= 0, of any of the float dtypes and of the shape of `logits`, which need not
        sum to 1.
    axis : int, tuple of ints or None, default -1
        The axis of the classes; several axes, or all for None, hold them together, in C order.
    weight : array_like of shape (K,), optional
        A weight w_k for each class, finite and >= 0; 1 if None.
    sample_weight : array_like, optional
        A weight s for each row, finite and >= 0, broadcastable to the shape of `logits` without
        `axis`; 1 if None. A row of weight 0 is left out like an ignored one.
    label_smoothing : float, default 0.0
        ε in [0, 1]: the target t is (1 - ε)·target + ε/K, with labels taken as one-hot.
    ignore_index : int, optional
        Rows with this label have loss 0, gradient 0 and Hessian 0, whatever their logits hold. It
        need not be a class. For `target` of labels only.
    reduction : {"none", "sum", "mean"}, default "none"
        "none" gives every row's loss, "sum" their sum. "mean" divides the sum by Σ s·w_y over the
        rows that are not ignored where `target` holds labels, and by Σ s where it holds
        probabilities, as PyTorch does. The gradient is that of the reduced loss. Sums run in
        float64.
    out : tuple of (ndarray or None, ndarray or None), optional
        Writeable arrays of exactly the results' shapes and dtype, with any strides, to write to;
        None for a new array. They may overlap any input: the results are as if they did not.

    Returns
    -------
    loss : ndarray or NumPy scalar
        What `cross_entropy` returns, to the bit: losses in nats, of the shape of `logits` without
        `axis`, or a scalar for "sum" and "mean".
    gradient : ndarray or NumPy scalar
        What `cross_entropy_grad` returns, to the bit: ∂loss/∂logits, of the shape of `logits` and
        its dtype (float64 for integers and bool).

    Raises
    ------
    TypeError
        If an input is a masked array, `logits` has any other dtype (complex, longdouble, object,
        str, datetime), `target` is of neither an integer nor one of the float dtypes, an option is
        of another type than stated, or `out` is not a pair, each None or an array of the results'
        dtype.
    ValueError
        If a shape does not fit that of `logits`, a probability in `target` is negative or NaN, a
        weight is negative or not finite, `label_smoothing` is outside [0, 1], `ignore_index` is
        given without labels, `reduction` is unknown, an axis is repeated, or `out` has another
        shape than the result, is read-only, or has elements that share memory with each other or
        with the other result's.
    IndexError
        If a label is outside [0, K) and is not `ignore_index`; nothing has been written then.
    numpy.exceptions.AxisError
        If an axis is out of range.
    MemoryError
        If there is no memory for the result.

    See Also
    --------
    cross_entropy : The loss alone.
    cross_entropy_grad : The gradient alone.
    cross_entropy_grad_and_hess_diag : Gradient and the Hessian's diagonal in one pass.

    Notes
    -----
    With p = softmax(x) of a row x, t the one-hot or given target after smoothing [3]_ and
    W = Σ_k w_k t_k,

        loss = s · Σ_k w_k t_k · (logsumexp(x) - x_k),    with 0 · (-inf) = 0,
        ∂loss/∂x_k = s · (W · p_k - w_k t_k) [1]_.

    Both come from the row's sum without its maximum's own 1, so that neither cancels for a
    confident, right row [2]_; see `cross_entropy` and `cross_entropy_grad` for the forms and for
    special values.

    References
    ----------
    .. [1] C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, section 4.3.4.
    .. [2] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA Journal of Numerical Analysis 41(4), 2021, pp. 2311-2330.
       doi:10.1093/imanum/draa038
    .. [3] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception
       architecture for computer vision", CVPR 2016, pp. 2818-2826, for label smoothing.
       doi:10.1109/CVPR.2016.308

    Examples
    --------
    >>> import softlane as sl
    >>> logits = [[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    >>> loss, gradient = sl.cross_entropy_value_and_grad(logits, [0, 2], reduction="sum")
    >>> round(float(loss), 4)
    1.5062
    >>> gradient.round(4).tolist()
    [[-0.3348, 0.2447, 0.09], [0.3333, 0.3333, -0.6667]]

    Write the gradient to an array that is there already:

    >>> import numpy as np
    >>> gradient = np.empty((2, 3))
    >>> loss, same = sl.cross_entropy_value_and_grad(logits, [0, 2], out=(None, gradient))
    >>> same is gradient
    True
    """
    return _core.cross_entropy_value_and_grad(
        logits,
        target,
        axis,
        weight,
        sample_weight,
        label_smoothing,
        ignore_index,
        reduction,
        out,
    )
