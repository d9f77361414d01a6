# The compiled module: every argument by position, every check inside. The public functions wrap it.
from collections.abc import Callable
from inspect import Signature
from types import MethodType
from typing import Any, Final, Literal, SupportsIndex, final, overload

from numpy.typing import ArrayLike, DTypeLike, NDArray
from typing_extensions import Self

from softlane._typing import Axis, FloatArray, FloatResult, OutPair, Reduction

version: Final[str]

def softmax(
    x: ArrayLike,
    axis: Axis,
    temperature: float,
    where: ArrayLike | None,
    dtype: DTypeLike | None,
    out: FloatArray | None,
    /,
) -> FloatResult: ...
def log_softmax(
    x: ArrayLike,
    axis: Axis,
    temperature: float,
    where: ArrayLike | None,
    dtype: DTypeLike | None,
    out: FloatArray | None,
    /,
) -> FloatResult: ...
def softmin(
    x: ArrayLike,
    axis: Axis,
    temperature: float,
    where: ArrayLike | None,
    dtype: DTypeLike | None,
    out: FloatArray | None,
    /,
) -> FloatResult: ...
@overload
def logsumexp(
    x: ArrayLike,
    axis: Axis,
    b: ArrayLike | None,
    keepdims: bool,
    return_sign: Literal[False],
    where: ArrayLike | None,
    dtype: DTypeLike | None,
    out: FloatArray | None,
    /,
) -> FloatResult: ...
@overload
def logsumexp(
    x: ArrayLike,
    axis: Axis,
    b: ArrayLike | None,
    keepdims: bool,
    return_sign: Literal[True],
    where: ArrayLike | None,
    dtype: DTypeLike | None,
    out: OutPair | None,
    /,
) -> tuple[FloatResult, FloatResult]: ...
@overload
def logsumexp(
    x: ArrayLike,
    axis: Axis,
    b: ArrayLike | None,
    keepdims: bool,
    return_sign: bool,
    where: ArrayLike | None,
    dtype: DTypeLike | None,
    out: FloatArray | OutPair | None,
    /,
) -> FloatResult | tuple[FloatResult, FloatResult]: ...

# Under the signature of softlane.special, for its messages.
def special_logsumexp(
    a: ArrayLike,
    axis: Axis,
    b: ArrayLike | None,
    keepdims: bool,
    return_sign: bool,
    /,
) -> FloatResult | tuple[FloatResult, FloatResult]: ...
def smooth_max(
    x: ArrayLike,
    axis: Axis,
    temperature: float,
    keepdims: bool,
    where: ArrayLike | None,
    dtype: DTypeLike | None,
    out: FloatArray | None,
    /,
) -> FloatResult: ...
def smooth_min(
    x: ArrayLike,
    axis: Axis,
    temperature: float,
    keepdims: bool,
    where: ArrayLike | None,
    dtype: DTypeLike | None,
    out: FloatArray | None,
    /,
) -> FloatResult: ...
def entropy(
    x: ArrayLike,
    axis: Axis,
    temperature: float,
    base: float | None,
    keepdims: bool,
    where: ArrayLike | None,
    dtype: DTypeLike | None,
    out: FloatArray | None,
    /,
) -> FloatResult: ...
def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    axis: Axis,
    weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    label_smoothing: float,
    ignore_index: SupportsIndex | None,
    reduction: Reduction,
    out: FloatArray | None,
    /,
) -> FloatResult: ...
def cross_entropy_grad(
    logits: ArrayLike,
    target: ArrayLike,
    axis: Axis,
    weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    label_smoothing: float,
    ignore_index: SupportsIndex | None,
    reduction: Reduction,
    out: FloatArray | None,
    /,
) -> FloatResult: ...
def cross_entropy_value_and_grad(
    logits: ArrayLike,
    target: ArrayLike,
    axis: Axis,
    weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    label_smoothing: float,
    ignore_index: SupportsIndex | None,
    reduction: Reduction,
    out: OutPair | None,
    /,
) -> tuple[FloatResult, FloatResult]: ...
def cross_entropy_grad_and_hess_diag(
    logits: ArrayLike,
    target: ArrayLike,
    axis: Axis,
    weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    label_smoothing: float,
    ignore_index: SupportsIndex | None,
    reduction: Reduction,
    out: OutPair | None,
    /,
) -> tuple[FloatResult, FloatResult]: ...
def cross_entropy_hessian(
    logits: ArrayLike,
    target: ArrayLike | None,
    axis: Axis,
    weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    label_smoothing: float,
    ignore_index: SupportsIndex | None,
    reduction: Reduction,
    out: FloatArray | None,
    /,
) -> FloatArray: ...
def cross_entropy_hessian_diag(
    logits: ArrayLike,
    target: ArrayLike | None,
    axis: Axis,
    weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    label_smoothing: float,
    ignore_index: SupportsIndex | None,
    reduction: Reduction,
    out: FloatArray | None,
    /,
) -> FloatResult: ...
def cross_entropy_hvp(
    logits: ArrayLike,
    vector: ArrayLike,
    target: ArrayLike | None,
    axis: Axis,
    weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    label_smoothing: float,
    ignore_index: SupportsIndex | None,
    reduction: Reduction,
    out: FloatArray | None,
    /,
) -> FloatResult: ...
def cross_entropy_hessian_solve(
    logits: ArrayLike,
    rhs: ArrayLike,
    damping: ArrayLike,
    target: ArrayLike | None,
    axis: Axis,
    weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    label_smoothing: float,
    ignore_index: SupportsIndex | None,
    reduction: Reduction,
    out: FloatArray | None,
    /,
) -> FloatResult: ...

# The type of the public functions: binds arguments to the first one's signature and hands them, by
# position, to the second, which is one of the above.
@final
class Direct:
    def __new__(cls, python: Callable[..., Any], core: Callable[..., Any], /) -> Self: ...
    @property
    def __signature__(self) -> Signature: ...
    def __call__(self, *args: object, **kwargs: object) -> object: ...
    @overload
    def __get__(self, owner: None, type: type | None = None, /) -> Direct: ...
    @overload
    def __get__(self, owner: object, type: type | None = None, /) -> MethodType: ...

# np.asarray; a MaskedArray, and what is no array, is an error under the function's name.
def as_ndarray(function: str, name: str, value: ArrayLike, /) -> NDArray[Any]: ...
def get_num_threads() -> int: ...
def set_num_threads(n: SupportsIndex, function: str, /) -> None: ...

# The choice behind it, 0 for none: what num_threads puts back.
def chosen_num_threads() -> int: ...
def choose_num_threads(n: int, /) -> None: ...

# From how much work on a call wakes threads that sleep; returns what it was. Tests choose 0.
def choose_bytes_to_wake(n: float, /) -> float: ...
def active_isa() -> str: ...
def available_isas() -> list[str]: ...
def select_isa(name: str, /) -> None: ...
def compiler() -> str: ...
def build() -> dict[str, dict[str, Any]]: ...
def max_ulp(name: str, dtype: str, /) -> float: ...

# Nanoseconds that exp alone takes per element of "float32" or "float64" on the live instruction
# set: 1024 elements in L1, the least of several runs, without the GIL. It takes about 2 ms.
def exp_ns(dtype: str, /) -> float: ...

# Bytes of scratch that each thread gets for so many rows of classes, by operation.
def scratch_bytes(dtype: str, rows: int, classes: int, /) -> dict[str, int]: ...
