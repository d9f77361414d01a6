"""What a thread takes beside the output: PERFORMANCE's goal is 64 KB.

The figures are those that the driver allocates by. The kernels' stack is not among them.
"""

from __future__ import annotations

import pytest

import softlane as sl

GOAL = 64 << 10
MANY = 10**9
ITEM = {"float32": 4, "float64": 8}
ROWS = (1, 3, 4, MANY)  # few are done one by one, and take less
HESSIAN = "cross_entropy_hessian"


@pytest.mark.parametrize("dtype", ITEM)
def test_a_thread_takes_at_most_64_kb_up_to_1024_classes(dtype: str) -> None:
    over = {
        (name, rows, classes): size
        for classes in range(1025)
        for rows in ROWS
        for name, size in sl._core.scratch_bytes(dtype, rows, classes).items()
        if size > GOAL
    }
    assert not over


@pytest.mark.parametrize("dtype", ITEM)
@pytest.mark.parametrize("classes", [1, 10, 32, 33, 256, 257, 1024, 50_257])
def test_scratch_does_not_grow_with_rows(dtype: str, classes: int) -> None:
    assert sl._core.scratch_bytes(dtype, 4, classes) == sl._core.scratch_bytes(dtype, MANY, classes)


@pytest.mark.parametrize("dtype", ITEM)
@pytest.mark.parametrize("classes", [1025, 5003, 50_257, 10**6])
def test_beyond_a_block_a_row_takes_its_exponents(dtype: str, classes: int) -> None:
    block = sl._core.scratch_bytes(dtype, MANY, 1024)
    more = (classes // 1024 + 1) * ITEM[dtype] + 64  # one a block, and whole lines of memory
    moments = 3 * (classes + 48) * ITEM[dtype]  # of K² entries
    for name, size in sl._core.scratch_bytes(dtype, MANY, classes).items():
        assert size <= block[name] + more + (moments if name == HESSIAN else 0), name


def test_a_dtype_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="scratch_bytes: dtype must be 'float32' or 'float64'"):
        sl._core.scratch_bytes("float16", 4, 4)
