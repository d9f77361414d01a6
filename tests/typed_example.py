"""What a type checker says of calls: checked by mypy --strict, and run by test_docs.py.

A line that ends in ``type: ignore[...]`` must be an error of that kind, else mypy reports the
comment as unused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import softlane as sl
from softlane import special

if TYPE_CHECKING:
    from typing_extensions import assert_type
else:
    T = TypeVar("T")

    def assert_type(value: T, _: object) -> T:
        return value


F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
AnyFloats = NDArray[np.floating[Any]] | np.floating[Any]


def maps_keep_the_dtype(x: F4, wide: F8, labels: NDArray[np.int64]) -> None:
    assert_type(sl.softmax(x), F4)
    assert_type(sl.softmax(wide, axis=(0, 1)), F8)
    assert_type(sl.softmax(x, None, temperature=2, out=x), F4)
    assert_type(sl.log_softmax(x), F4)
    assert_type(sl.softmin(wide), F8)
    assert_type(sl.softmax([1.0, 2.0]), AnyFloats)
    assert_type(sl.softmax(labels), AnyFloats)
    assert_type(special.softmax(x, axis=0), F4)
    assert_type(special.log_softmax(wide), F8)


def reductions_of_everything_are_scalars(x: F4, wide: F8) -> None:
    assert_type(sl.logsumexp(x), np.float32)
    assert_type(sl.smooth_max(wide), np.float64)
    assert_type(sl.smooth_min(x), np.float32)
    assert_type(special.logsumexp(x), np.float32)
    assert_type(sl.logsumexp(x, axis=0), F4 | np.float32)
    assert_type(sl.smooth_max(x, keepdims=True), F4 | np.float32)
    assert_type(sl.entropy(wide), F8 | np.float64)
    assert_type(sl.logsumexp([1.0]), AnyFloats)
    assert_type(special.logsumexp(x, 0, None, False, True), tuple[AnyFloats, AnyFloats])
    assert_type(special.logsumexp(x, return_sign=True), tuple[AnyFloats, AnyFloats])


def losses_keep_the_dtype_of_the_logits(x: F4, wide: F8, labels: NDArray[np.int64]) -> None:
    assert_type(sl.cross_entropy(x, labels), F4 | np.float32)
    assert_type(sl.cross_entropy(wide, labels, reduction="mean"), np.float64)
    assert_type(sl.cross_entropy(x, labels, ignore_index=np.int64(1)), F4 | np.float32)
    assert_type(sl.cross_entropy_hessian_diag(x, labels, ignore_index=labels[0]), F4)
    assert_type(sl.cross_entropy_grad(x, labels, weight=[1.0, 2.0, 3.0]), F4)
    assert_type(sl.cross_entropy_value_and_grad(x, labels), tuple[F4 | np.float32, F4])
    assert_type(sl.cross_entropy_value_and_grad(x, labels, reduction="sum"), tuple[np.float32, F4])
    assert_type(sl.cross_entropy_grad_and_hess_diag(wide, labels), tuple[F8, F8])
    assert_type(sl.cross_entropy_hessian(x), F4)
    assert_type(sl.cross_entropy_hessian_diag(wide, labels), F8)
    assert_type(sl.cross_entropy_hvp(x, x, labels), F4)
    assert_type(sl.cross_entropy_hessian_solve(x, x, 0.5, reduction="mean"), F4)


def labels_become_rows_of_the_dtype_asked_for(labels: NDArray[np.int64]) -> None:
    assert_type(sl.one_hot(labels, 3), F4)
    assert_type(sl.one_hot(labels, np.int64(3), dtype=None), F4)
    assert_type(sl.one_hot([0, 2], 3, dtype=np.float64), F8)
    assert_type(sl.one_hot(labels, 3, dtype=np.int8), NDArray[np.int8])
    assert_type(sl.one_hot(labels, 3, dtype="bool"), NDArray[Any])


def the_configuration_is_plain_python() -> None:
    assert_type(sl.__version__, str)
    assert_type(sl.get_num_threads(), int)
    assert_type(sl.active_isa(), str)
    assert_type(sl.available_isas(), list[str])
    assert_type(sl.show_config("dicts"), dict[str, dict[str, Any]])
    with sl.num_threads(2) as nothing:
        assert_type(nothing, None)
    with sl.num_threads(np.int64(2)):
        sl.set_num_threads(np.int64(2))


def mistakes_are_found(x: F4, wide: F8, labels: NDArray[np.int64]) -> None:
    sl.softmax(x, -1, 2.0)  # type: ignore[call-overload]
    sl.softmax(x, axis=0.5)  # type: ignore[call-overload]
    sl.softmax(x, temperature="1")  # type: ignore[call-overload]
    sl.softmax(x, out=[0.0])  # type: ignore[call-overload]
    sl.cross_entropy(x)  # type: ignore[call-overload]
    sl.cross_entropy(x, labels, reduction="average")  # type: ignore[call-overload]
    sl.cross_entropy_value_and_grad(x, labels, out=x)  # type: ignore[call-overload]
    sl.cross_entropy_hessian_solve(x, x)  # type: ignore[call-overload]
    sl.cross_entropy(x, labels, ignore_index=1.0)  # type: ignore[call-overload]
    sl.one_hot(labels, 2.5)  # type: ignore[call-overload]
    sl.set_num_threads("2")  # type: ignore[arg-type]
    sl.show_config(mode="yaml")  # type: ignore[call-overload]
