"""CPU tensors of PyTorch and arrays of JAX go in without a copy.

Not collected where either library is missing (conftest.py); .ci/run names this file after it has
installed both.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
import torch

import softlane as sl

Array = npt.NDArray[Any]

BOTH = ["float32", "float64"]


def _solid(shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
    return (np.random.default_rng(1).standard_normal(shape) * 4).astype(dtype)


@pytest.fixture(autouse=True)
def wide_jax() -> Any:
    with jax.enable_x64(True):
        yield


MAKERS: dict[str, Callable[[Array], Any]] = {
    "torch": lambda x: torch.from_numpy(x.copy()),
    "jax": jnp.array,
}
made_by = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def _address(value: Any) -> int:
    return value.data_ptr() if isinstance(value, torch.Tensor) else value.unsafe_buffer_pointer()


def _peak(call: Callable[[], Any]) -> int:
    """Bytes allocated at once through Python and NumPy, beside what was there before."""
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@made_by
@pytest.mark.parametrize("dtype_", BOTH)
def test_every_argument_may_be_a_peers_array(make: Callable[[Array], Any], dtype_: str) -> None:
    x, v = _solid((5, 4), dtype_), _solid((5, 4), dtype_)[::-1].copy()
    y, w, s = np.array([0, 3, 1, 2, 0]), np.array([1.0, 2.0, 0.5, 1.5]), np.arange(5.0)
    given = sl.cross_entropy_hvp(
        make(x), make(v), make(y), weight=make(w), sample_weight=make(s), label_smoothing=0.1
    )
    wanted = sl.cross_entropy_hvp(x, v, y, weight=w, sample_weight=s, label_smoothing=0.1)
    assert type(given) is np.ndarray
    assert given.dtype == np.dtype(dtype_)
    assert given.tobytes() == wanted.tobytes()
    assert sl.softmax(make(x), axis=0).tobytes() == sl.softmax(x, axis=0).tobytes()
    assert type(sl.logsumexp(make(x))) is np.dtype(dtype_).type


@made_by
@pytest.mark.parametrize("dtype_", ["int8", "uint8", "int64", "bool"])
def test_integers_of_a_peer_are_float64_first(make: Callable[[Array], Any], dtype_: str) -> None:
    x = np.array([[1, 0, 3], [0, 1, 1]]).astype(dtype_)
    assert sl.softmax(make(x)).tobytes() == sl.softmax(x.astype(np.float64)).tobytes()


@made_by
def test_a_peers_memory_is_read_where_it_is(make: Callable[[Array], Any]) -> None:
    given = make(_solid((6, 3)))
    seen = np.asarray(given)
    assert seen.__array_interface__["data"][0] == _address(given)
    assert not seen.flags.owndata


@made_by
@pytest.mark.parametrize("dtype_", BOTH)
def test_a_large_array_of_a_peer_costs_no_memory(make: Callable[[Array], Any], dtype_: str) -> None:
    given = make(np.zeros((2000, 1000), dtype_))
    size = 2_000_000 * np.dtype(dtype_).itemsize
    assert _peak(lambda: sl.logsumexp(given, axis=-1)) < size // 50
    # what the measure shows where a copy is made
    assert _peak(lambda: sl.logsumexp(np.asarray(given).copy(), axis=-1)) >= size
    assert _peak(lambda: sl.softmax(given)) < size + size // 50  # the result alone


def test_views_of_tensors_are_read_where_they_are() -> None:
    tensor = torch.from_numpy(_solid((600, 500)))
    for view in (tensor.T, tensor[::2], tensor[:, 3:400], tensor.unfold(0, 2, 1)[..., 0]):
        wanted = sl.logsumexp(np.ascontiguousarray(view.numpy()), axis=-1)
        assert sl.logsumexp(view, axis=-1).tobytes() == wanted.tobytes()
        assert np.asarray(view).__array_interface__["data"][0] == view.data_ptr()
        assert _peak(lambda view=view: sl.logsumexp(view, axis=-1)) < 100_000
    expanded = torch.zeros(1, 3).expand(5, 3)
    assert (sl.softmax(expanded) == 1 / 3).all()


def test_a_tensor_takes_the_result_through_its_numpy_view() -> None:
    """out= is NumPy's: a tensor itself is an error that says so."""
    x, out = torch.zeros(2, 4), torch.full((2, 4), -7.0)
    with pytest.raises(TypeError, match=r"^softmax: out must be a NumPy array or None, got Tensor"):
        sl.softmax(x, out=out)
    assert (out == -7).all()
    sl.softmax(x, out=out.numpy())
    assert (out == 0.25).all()
    sl.log_softmax(x, out=x.numpy())  # in place
    assert torch.equal(x, torch.full((2, 4), -float(np.log(np.float32(4)))))


def test_a_jax_array_is_never_written() -> None:
    x = jnp.zeros((2, 4))
    with pytest.raises(ValueError, match=r"^softmax: out is read-only"):
        sl.softmax(x, out=np.asarray(x))
    assert (x == 0).all()


@pytest.mark.parametrize(
    ("tensor", "error", "match"),
    [
        (torch.zeros(2, 3, requires_grad=True), RuntimeError, r"detach"),
        (torch.zeros(2, 3).to_sparse(), TypeError, r"^softmax: x is not an array: .*dense"),
        (torch.zeros(2, 3, dtype=torch.complex64), TypeError, r"^softmax: x has dtype complex64"),
        (torch.zeros(2, 3, device="meta"), TypeError, r"^softmax: x is not an array: .*meta"),
    ],
    ids=["requires_grad", "sparse", "complex", "meta"],
)
def test_tensors_that_numpy_cannot_see_are_errors(
    tensor: torch.Tensor, error: type[Exception], match: str
) -> None:
    """Where PyTorch raises an exception of another type than NumPy would, it is passed on."""
    with pytest.raises(error, match=match):
        sl.softmax(tensor)


def test_pytorchs_bfloat16_has_no_numpy_view_and_jaxs_has() -> None:
    with pytest.raises(TypeError, match=r"^softmax: x is not an array: .*BFloat16"):
        sl.softmax(torch.zeros(3, dtype=torch.bfloat16))
    assert np.asarray(jnp.zeros(3, jnp.bfloat16)).dtype.name == "bfloat16"


@made_by
def test_a_peers_threads_and_softlanes_leave_each_others_bits_alone(
    make: Callable[[Array], Any],
) -> None:
    """Two OpenMP runtimes, or an own pool, in one process."""
    x = _solid((3000, 200), np.float32)
    wanted = sl.softmax(x).tobytes()
    given = make(x)
    for _ in range(5):
        theirs = torch.softmax(given, -1) if isinstance(given, torch.Tensor) else jax.nn.softmax(
            given)  # fmt: skip
        assert sl.softmax(given).tobytes() == wanted
        np.testing.assert_allclose(np.asarray(theirs), sl.softmax(x), rtol=1e-4)
