"""Types that the public functions share.

A result of the input's shape is annotated as an array when an array goes in, although a 0-d one
comes back as a NumPy scalar: the convention of NumPy's own annotations, which do not know shapes
either.
"""

from typing import Any, Literal, SupportsIndex, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)
Float = TypeVar("Float", bound=np.float16 | np.float32 | np.float64)
Loss = TypeVar("Loss", bound=np.float32 | np.float64)  # losses of float16 logits are float32

FloatArray: TypeAlias = NDArray[np.floating[Any]]
FloatResult: TypeAlias = FloatArray | np.floating[Any]
OutPair: TypeAlias = tuple[FloatArray | None, FloatArray | None]

Axis: TypeAlias = SupportsIndex | tuple[SupportsIndex, ...] | None
Reduction: TypeAlias = Literal["none", "sum", "mean"]
