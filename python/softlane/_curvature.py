"""Second derivatives of cross-entropy: its Hessian whole, as a diagonal, a product and a solve.

The Hessian with respect to the logits has one K x K block a row and nothing between rows. A block
is a diagonal minus a matrix of rank one, so products and solves take O(K). The arguments are those
of `softlane._losses`. The compiled module does all the checks.
"""

from __future__ import annotations

from typing import SupportsIndex, overload

from numpy.typing import ArrayLike, NDArray

from softlane import _core
from softlane._direct import direct
from softlane._typing import Axis, Float, FloatArray, FloatResult, OutPair, Reduction


@overload
def cross_entropy_grad_and_hess_diag(
    logits: NDArray[Float],
    target: ArrayLike,
    axis: Axis = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    reduction: Reduction = "none",
    out: tuple[NDArray[Float] | None, NDArray[Float] | None] | None = None,
) -> tuple[NDArray[Float], NDArray[Float]]: ...
@overload
def cross_entropy_grad_and_hess_diag(
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
def cross_entropy_grad_and_hess_diag(
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
    """Compute the gradient of cross-entropy and the diagonal of its Hessian in one pass.

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
    out : tuple of (ndarray or None, ndarray or None), optional
        Writeable arrays of exactly the results' shapes and dtype, with any strides, to write to;
        None for a new array. They may overlap any input: the results are as if they did not.

    Returns
    -------
    gradient : ndarray or NumPy scalar
        What `cross_entropy_grad` returns, to the bit: ∂loss/∂logits, of the shape of `logits` and
        its dtype (float64 for integers and bool).
    hessian_diagonal : ndarray or NumPy scalar
        What `cross_entropy_hessian_diag` returns, to the bit: ∂²loss/∂logits², of the same shape
        and dtype.

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
    cross_entropy_grad : The gradient alone.
    cross_entropy_hessian_diag : The diagonal alone.
    cross_entropy_hessian : The whole Hessian.

    Notes
    -----
    With p = softmax(x) of a row x, t the one-hot or given target after smoothing and
    W = Σ_k w_k t_k,

        ∂loss/∂x_k = s · (W · p_k - w_k t_k),
        ∂²loss/∂x_k² = s · W · p_k (1 - p_k) [1]_,

    the pair that gradient boosting takes for each row and class [2]_. At the row's maximum neither
    p - 1 nor 1 - p is formed: with Q the sum of exp(x_k - max(x)) without the maximum's own 1,
    they are -Q / (1 + Q) and Q / (1 + Q).

    A row with a NaN or a +inf, or of -inf alone, gives NaN; where x is -inf beside finite values,
    p is 0. No floating-point warning is raised.

    References
    ----------
    .. [1] C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, section 4.3.4.
    .. [2] T. Chen and C. Guestrin, "XGBoost: a scalable tree boosting system", KDD 2016,
       pp. 785-794. doi:10.1145/2939672.2939785

    Examples
    --------
    >>> import softlane as sl
    >>> gradient, diagonal = sl.cross_entropy_grad_and_hess_diag([[2.0, 1.0, 0.0]], [0])
    >>> gradient.round(4).tolist()
    [[-0.3348, 0.2447, 0.09]]
    >>> diagonal.round(4).tolist()
    [[0.2227, 0.1848, 0.0819]]
    """
    return _core.cross_entropy_grad_and_hess_diag(
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
def cross_entropy_hessian(
    logits: NDArray[Float],
    target: ArrayLike | None = None,
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
def cross_entropy_hessian(
    logits: ArrayLike,
    target: ArrayLike | None = None,
    axis: Axis = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    reduction: Reduction = "none",
    out: FloatArray | None = None,
) -> FloatArray: ...
@direct
def cross_entropy_hessian(
    logits: ArrayLike,
    target: ArrayLike | None = None,
    axis: Axis = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    reduction: Reduction = "none",
    out: FloatArray | None = None,
) -> FloatArray:
    """Compute the Hessian of cross-entropy with respect to each row's logits.

    Parameters
    ----------
    logits : array_like
        Raw scores in nats, not probabilities, with the K classes on `axis`: float16,
        ml_dtypes.bfloat16, float32, float64, integers or bool, in any byte order. Every other
        dimension is a batch of rows.
    target : array_like, optional
        Class labels y, of any integer dtype and the shape of `logits` without `axis`; or class
        probabilities >= 0, of any of the float dtypes and of the shape of `logits`, which need not
        sum to 1. Without `weight` the Hessian is the same for every label (W = 1), and None stands
        for any.
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
    ndarray
        Of shape (..., K, K): the shape of `logits` without `axis`, then one K x K block for each
        row, with the dtype of `logits` (float64 for integers and bool). `out` if given.

    Raises
    ------
    TypeError
        If an input is a masked array, `logits` has any other dtype (complex, longdouble, object,
        str, datetime), `target` is of neither an integer nor one of the float dtypes, an option is
        of another type than stated, or `out` is not an array of the result's dtype.
    ValueError
        If a shape does not fit that of `logits`, a probability in `target` is negative or NaN,
        `target` is None though `weight` is given, a weight is negative or not finite,
        `label_smoothing` is outside [0, 1], `ignore_index` is given without labels, `reduction` is
        unknown, an axis is repeated, or `out` has another shape than the result, is read-only, or
        has elements that share memory with each other.
    IndexError
        If a label is outside [0, K) and is not `ignore_index`; nothing has been written then.
    numpy.exceptions.AxisError
        If an axis is out of range.
    MemoryError
        If there is no memory for the result.

    See Also
    --------
    cross_entropy_hessian_diag : The diagonal alone, in O(K).
    cross_entropy_hvp : Hessian times vector in O(K).
    cross_entropy_hessian_solve : Solve with the damped Hessian in O(K).

    Notes
    -----
    With p = softmax(x) of a row x, t the one-hot or given target after smoothing and
    W = Σ_k w_k t_k,

        H = s · W · (diag(p) - p pᵀ),

    the covariance of the one-hot class drawn from p and, for s · W = 1, its Fisher information
    with respect to x [1]_, [2]_. "mean" divides it by the loss's own divisor; there is nothing
    between rows. H is symmetric and positive semidefinite, and H · 1 = 0. On the diagonal, 1 - p
    at the row's maximum is computed from the sum without the maximum's own 1.

    A row with a NaN or a +inf, or of -inf alone, gives NaN; where x is -inf beside finite values,
    p is 0. No floating-point warning is raised.

    References
    ----------
    .. [1] D. Böhning, "Multinomial logistic regression algorithm", Annals of the Institute of
       Statistical Mathematics 44(1), 1992, pp. 197-200. doi:10.1007/BF00048682
    .. [2] C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, section 4.3.4.

    Examples
    --------
    >>> import softlane as sl
    >>> sl.cross_entropy_hessian([0.0, 0.0, 0.0]).round(4).tolist()
    [[0.2222, -0.1111, -0.1111], [-0.1111, 0.2222, -0.1111], [-0.1111, -0.1111, 0.2222]]

    Its size depends on the target only through class weights:

    >>> sl.cross_entropy_hessian([[0.0, 0.0]] * 2, [0, 1], weight=[1.0, 2.0]).round(4).tolist()
    [[[0.25, -0.25], [-0.25, 0.25]], [[0.5, -0.5], [-0.5, 0.5]]]
    """
    return _core.cross_entropy_hessian(
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
def cross_entropy_hessian_diag(
    logits: NDArray[Float],
    target: ArrayLike | None = None,
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
def cross_entropy_hessian_diag(
    logits: ArrayLike,
    target: ArrayLike | None = None,
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
def cross_entropy_hessian_diag(
    logits: ArrayLike,
    target: ArrayLike | None = None,
    axis: Axis = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    reduction: Reduction = "none",
    out: FloatArray | None = None,
) -> FloatResult:
    """Compute the diagonal of the Hessian of cross-entropy.

    Parameters
    ----------
    logits : array_like
        Raw scores in nats, not probabilities, with the K classes on `axis`: float16,
        ml_dtypes.bfloat16, float32, float64, integers or bool, in any byte order. Every other
        dimension is a batch of rows.
    target : array_like, optional
        Class labels y, of any integer dtype and the shape of `logits` without `axis`; or class
        probabilities >= 0, of any of the float dtypes and of the shape of `logits`, which need not
        sum to 1. Without `weight` the Hessian is the same for every label (W = 1), and None stands
        for any.
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
        ∂²loss/∂logits² (nats per nat²), all >= 0 for weights >= 0, with the shape of `logits` and
        its dtype (float64 for integers and bool): `out` if given, else a new array, or a scalar
        for 0-d `logits`.

    Raises
    ------
    TypeError
        If an input is a masked array, `logits` has any other dtype (complex, longdouble, object,
        str, datetime), `target` is of neither an integer nor one of the float dtypes, an option is
        of another type than stated, or `out` is not an array of the result's dtype.
    ValueError
        If a shape does not fit that of `logits`, a probability in `target` is negative or NaN,
        `target` is None though `weight` is given, a weight is negative or not finite,
        `label_smoothing` is outside [0, 1], `ignore_index` is given without labels, `reduction` is
        unknown, an axis is repeated, or `out` has another shape than the result, is read-only, or
        has elements that share memory with each other.
    IndexError
        If a label is outside [0, K) and is not `ignore_index`; nothing has been written then.
    numpy.exceptions.AxisError
        If an axis is out of range.
    MemoryError
        If there is no memory for the result.

    See Also
    --------
    cross_entropy_grad_and_hess_diag : Gradient and diagonal in one pass.
    cross_entropy_hessian : The whole Hessian.

    Notes
    -----
    With p = softmax(x) of a row x, t the one-hot or given target after smoothing and
    W = Σ_k w_k t_k,

        H_kk = s · W · p_k (1 - p_k) [1]_.

    At the row's maximum, 1 - p would cancel. It is computed as Q / (1 + Q), with Q the sum of
    exp(x_k - max(x)) without the maximum's own 1.

    A row with a NaN or a +inf, or of -inf alone, gives NaN; where x is -inf beside finite values,
    p is 0. No floating-point warning is raised.

    References
    ----------
    .. [1] D. Böhning, "Multinomial logistic regression algorithm", Annals of the Institute of
       Statistical Mathematics 44(1), 1992, pp. 197-200. doi:10.1007/BF00048682

    Examples
    --------
    >>> import softlane as sl
    >>> sl.cross_entropy_hessian_diag([2.0, 1.0, 0.0]).round(4).tolist()
    [0.2227, 0.1848, 0.0819]
    >>> [f"{v:.4g}" for v in sl.cross_entropy_hessian_diag([40.0, 0.0])]
    ['4.248e-18', '4.248e-18']
    """
    return _core.cross_entropy_hessian_diag(
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
def cross_entropy_hvp(
    logits: NDArray[Float],
    vector: ArrayLike,
    target: ArrayLike | None = None,
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
def cross_entropy_hvp(
    logits: ArrayLike,
    vector: ArrayLike,
    target: ArrayLike | None = None,
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
def cross_entropy_hvp(
    logits: ArrayLike,
    vector: ArrayLike,
    target: ArrayLike | None = None,
    axis: Axis = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    reduction: Reduction = "none",
    out: FloatArray | None = None,
) -> FloatResult:
    """Compute the Hessian of cross-entropy times a vector, without forming the Hessian.

    Parameters
    ----------
    logits : array_like
        Raw scores in nats, not probabilities, with the K classes on `axis`: float16,
        ml_dtypes.bfloat16, float32, float64, integers or bool, in any byte order. Every other
        dimension is a batch of rows.
    vector : array_like
        v, in nats, with the shape of `logits` or further dimensions before it, for several vectors
        at the same logits: of any dtype that `logits` may have, rounded to the one in which
        `logits` computes (float32 for float16, bfloat16 and float32).
    target : array_like, optional
        Class labels y, of any integer dtype and the shape of `logits` without `axis`; or class
        probabilities >= 0, of any of the float dtypes and of the shape of `logits`, which need not
        sum to 1. Without `weight` the Hessian is the same for every label (W = 1), and None stands
        for any.
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
        H v for every row, with the shape of `vector` and the dtype of `logits` (float64 for
        integers and bool): `out` if given, else a new array, or a scalar where that would be 0-d.

    Raises
    ------
    TypeError
        If an input is a masked array, `logits` or `vector` has any other dtype (complex,
        longdouble, object, str, datetime), `target` is of neither an integer nor one of the float
        dtypes, an option is of another type than stated, or `out` is not an array of the result's
        dtype.
    ValueError
        If a shape does not fit that of `logits`, a probability in `target` is negative or NaN,
        `target` is None though `weight` is given, a weight is negative or not finite,
        `label_smoothing` is outside [0, 1], `ignore_index` is given without labels, `reduction` is
        unknown, an axis is repeated, or `out` has another shape than the result, is read-only, or
        has elements that share memory with each other.
    IndexError
        If a label is outside [0, K) and is not `ignore_index`; nothing has been written then.
    numpy.exceptions.AxisError
        If an axis is out of range.
    MemoryError
        If there is no memory for the result.

    See Also
    --------
    cross_entropy_hessian : The Hessian itself.
    cross_entropy_hessian_solve : The inverse problem.

    Notes
    -----
    With p = softmax(x) of a row x, t the one-hot or given target after smoothing and
    W = Σ_k w_k t_k, the Hessian is H = s · W · (diag(p) - p pᵀ) [1]_, and its product with v takes
    O(K) [2]_:

        (H v)_k = s · W · p_k · (v_k - Σ_j p_j v_j).

    It is computed with v shifted by a number o, which changes nothing as H · 1 = 0: with u = v - o,

        (H v)_k = s · W · p_k · (u_k - Σ_j p_j u_j).

    Where the row's maximum j* has more than half of the probability, o is v_{j*}, so that a
    confident row does not cancel. Elsewhere it is the number nearest to 0 between the least and the
    largest v: no u is larger than its v. A constant v gives 0.

    A row with a NaN or a +inf, or of -inf alone, gives NaN; where x is -inf beside finite values,
    p is 0. No floating-point warning is raised.

    References
    ----------
    .. [1] D. Böhning, "Multinomial logistic regression algorithm", Annals of the Institute of
       Statistical Mathematics 44(1), 1992, pp. 197-200. doi:10.1007/BF00048682
    .. [2] B. A. Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6(1),
       1994, pp. 147-160. doi:10.1162/neco.1994.6.1.147

    Examples
    --------
    >>> import softlane as sl
    >>> sl.cross_entropy_hvp([0.0, 0.0, 0.0], [1.0, 0.0, 0.0]).round(4).tolist()
    [0.2222, -0.1111, -0.1111]

    Two vectors at the same logits:

    >>> v = [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    >>> sl.cross_entropy_hvp([0.0, 0.0, 0.0], v).round(4).tolist()
    [[0.2222, -0.1111, -0.1111], [-0.2222, 0.4444, -0.2222]]
    """
    return _core.cross_entropy_hvp(
        logits,
        vector,
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
def cross_entropy_hessian_solve(
    logits: NDArray[Float],
    rhs: ArrayLike,
    damping: ArrayLike,
    target: ArrayLike | None = None,
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
def cross_entropy_hessian_solve(
    logits: ArrayLike,
    rhs: ArrayLike,
    damping: ArrayLike,
    target: ArrayLike | None = None,
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
def cross_entropy_hessian_solve(
    logits: ArrayLike,
    rhs: ArrayLike,
    damping: ArrayLike,
    target: ArrayLike | None = None,
    axis: Axis = -1,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: SupportsIndex | None = None,
    reduction: Reduction = "none",
    out: FloatArray | None = None,
) -> FloatResult:
    """Solve (H + damping·I) z = rhs with H the Hessian of cross-entropy, without forming it.

    Parameters
    ----------
    logits : array_like
        Raw scores in nats, not probabilities, with the K classes on `axis`: float16,
        ml_dtypes.bfloat16, float32, float64, integers or bool, in any byte order. Every other
        dimension is a batch of rows.
    rhs : array_like
        b, with the shape of `logits` or further dimensions before it, for several right-hand sides
        at the same logits: of any dtype that `logits` may have, rounded to the one in which
        `logits` computes (float32 for float16, bfloat16 and float32).
    damping : array_like
        λ, finite and > 0: a scalar, or one for each row, broadcastable to the shape of `logits`
        without `axis`.
    target : array_like, optional
        Class labels y, of any integer dtype and the shape of `logits` without `axis`; or class
        probabilities >= 0, of any of the float dtypes and of the shape of `logits`, which need not
        sum to 1. Without `weight` the Hessian is the same for every label (W = 1), and None stands
        for any.
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
        z for every row, rhs / λ for one that is left out, with the shape of `rhs` and the dtype of
        `logits` (float64 for integers and bool): `out` if given, else a new array, or a scalar
        where that would be 0-d.

    Raises
    ------
    TypeError
        If an input is a masked array, `logits` or `rhs` has any other dtype (complex, longdouble,
        object, str, datetime), `target` is of neither an integer nor one of the float dtypes, an
        option is of another type than stated, or `out` is not an array of the result's dtype.
    ValueError
        If a shape does not fit that of `logits`, a probability in `target` is negative or NaN,
        `damping` is not finite and > 0, `target` is None though `weight` is given, a weight is
        negative or not finite, `label_smoothing` is outside [0, 1], `ignore_index` is given
        without labels, `reduction` is unknown, an axis is repeated, or `out` has another shape
        than the result, is read-only, or has elements that share memory with each other.
    IndexError
        If a label is outside [0, K) and is not `ignore_index`; nothing has been written then.
    numpy.exceptions.AxisError
        If an axis is out of range.
    MemoryError
        If there is no memory for the result.

    See Also
    --------
    cross_entropy_hvp : The product with the Hessian.
    cross_entropy_hessian : The Hessian itself.

    Notes
    -----
    With p = softmax(x) of a row x, t the one-hot or given target after smoothing, W = Σ_k w_k t_k
    and c = s · W, the Hessian is H = c · (diag(p) - p pᵀ) [1]_. With d_k = c · p_k + λ, the
    formula of Sherman and Morrison [2]_ gives, in O(K),

        z_k = b_k / d_k + c · (p_k / d_k) · (Σ_j p_j b_j / d_j) / D,
        D = 1 - c · Σ_j p_j² / d_j = Σ_j p_j · λ / d_j.

    The second form of D is a sum of positive terms, so a small λ does not cancel. A damped Newton
    step is -z for b the gradient. λ adds to the Hessian of the reduced loss, after its division
    for "mean".

    A row with a NaN or a +inf, or of -inf alone, gives NaN; where x is -inf beside finite values,
    p is 0. No floating-point warning is raised.

    References
    ----------
    .. [1] D. Böhning, "Multinomial logistic regression algorithm", Annals of the Institute of
       Statistical Mathematics 44(1), 1992, pp. 197-200. doi:10.1007/BF00048682
    .. [2] J. Sherman and W. J. Morrison, "Adjustment of an inverse matrix corresponding to a
       change in one element of a given matrix", Annals of Mathematical Statistics 21(1), 1950,
       pp. 124-127. doi:10.1214/aoms/1177729893

    Examples
    --------
    >>> import softlane as sl
    >>> z = sl.cross_entropy_hessian_solve([0.0, 0.0, 0.0], [1.0, 0.0, 0.0], 1.0)
    >>> z.round(4).tolist()
    [0.8333, 0.0833, 0.0833]

    Putting it back gives the right-hand side:

    >>> import numpy as np
    >>> back = sl.cross_entropy_hvp([0.0, 0.0, 0.0], z) + 1.0 * z
    >>> bool(np.allclose(back, [1.0, 0.0, 0.0], rtol=0, atol=1e-15))
    True
    """
    return _core.cross_entropy_hessian_solve(
        logits,
        rhs,
        damping,
        target,
        axis,
        weight,
        sample_weight,
        label_smoothing,
        ignore_index,
        reduction,
        out,
    )
