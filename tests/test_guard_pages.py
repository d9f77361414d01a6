"""No access out of bounds: arrays that end, and begin, at a page that may not be touched.

A fault kills the process, so a child does the work: this file, run as a program.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

import softlane as sl

Array = npt.NDArray[Any]

MOST_CLASSES = 300
MOST_MATRIX_CLASSES = 70
ROWS = 3
# Rows that go together, across lanes and abreast, and so many labels that they stay where they lie.
TOGETHER = [(20, classes) for classes in (1, 2, 3, 7, 10, 16, 17, 37, 64, 80, 100, 255, 256, 257)]
TOGETHER += [(600, 3), (600, 10), (80, 80), (80, 257)]
# Matrices of rows in groups, and so many that they go past the caches (kernels/matrix.hpp).
GROUPED = [(20, classes) for classes in range(1, 41)]
STREAMED = [(500, 133), (130, 257)]
DTYPES = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)


class Guarded:
    """Memory between two pages without access."""

    def __init__(self, size: int) -> None:
        page = mmap.PAGESIZE
        self.size = -(-size // page) * page
        self._map = mmap.mmap(-1, self.size + 2 * page)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        libc = ctypes.CDLL(None, use_errno=True)
        for guard in (address, address + page + self.size):
            if libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")
        self.bytes = np.frombuffer(self._map, np.uint8)[page : page + self.size]

    def array(self, shape: tuple[int, ...], dtype: npt.DTypeLike, at_end: bool) -> Array:
        """An array whose last byte, or first, touches a guard."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        part = self.bytes[self.size - size :] if at_end else self.bytes[:size]
        return part.view(dtype).reshape(shape)

    def copy(self, values: Array, at_end: bool) -> Array:
        place = self.array(values.shape, values.dtype, at_end)
        place[...] = values
        return place


class Checker:
    """Calls every function on guarded arrays and compares with the plain ones."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        size = 8 * ROWS * MOST_CLASSES**2
        self.inputs = [Guarded(8 * 100 * MOST_CLASSES) for _ in range(5)]
        self.outs = [Guarded(size) for _ in range(2)]
        self.calls = 0

    def check(self, classes: int, rows: int, axis: int) -> None:
        rng = np.random.default_rng([classes, rows])
        shape = (rows, classes) if axis else (classes, rows)
        x, v, t = (rng.uniform(0, 4, (3, *shape))).astype(self.dtype)
        y = rng.integers(0, classes, rows)
        w = rng.uniform(0.5, 1, classes)
        s = rng.uniform(0.5, 1, rows)
        for at_end in (True, False):
            gx, gv = (g.copy(a, at_end) for g, a in zip(self.inputs, (x, v), strict=False))
            gt, gy = self.inputs[2].copy(t, at_end), self.inputs[3].copy(y, at_end)
            self._unary(sl.softmax, x, gx, axis, at_end, temperature=1.0)
            self._unary(sl.log_softmax, x, gx, axis, at_end, temperature=0.5)
            self._unary(sl.logsumexp, x, gx, axis, at_end)
            self._unary(sl.entropy, x, gx, axis, at_end)
            self._same(lambda u, b, **o: sl.logsumexp(u, b=b, return_sign=True, **o),
                       (x, v), (gx, gv), axis, at_end)  # fmt: skip
            keep = t > 1
            gm = self.inputs[4].copy(keep, at_end)
            for function in (sl.softmax, sl.log_softmax, sl.logsumexp):
                self._same(function, (x,), (gx,), axis, at_end,
                           guarded={"where": gm}, plain={"where": keep})  # fmt: skip
            for target, guarded in ((y, gy), (t, gt)):
                self._loss(x, target, gx, guarded, axis, at_end)
            smoothing = {"label_smoothing": 0.125}
            self._same(sl.cross_entropy_value_and_grad, (x, y), (gx, gy), axis, at_end,
                       guarded=smoothing, plain=smoothing)  # fmt: skip
            self._same(sl.cross_entropy_hvp, (x, v), (gx, gv), axis, at_end)
            self._same(sl.cross_entropy_hessian_solve, (x, v, s), (gx, gv, s), axis, at_end)
            # per class and per row, in the place of vector and probabilities
            gw, gs = self.inputs[1].copy(w, at_end), self.inputs[2].copy(s, at_end)
            self._same(sl.cross_entropy_grad, (x, y), (gx, gy), axis, at_end,
                       guarded={"weight": gw, "sample_weight": gs},
                       plain={"weight": w, "sample_weight": s})  # fmt: skip

    def check_strided(self, classes: int, rows: int, step: int) -> None:
        """Every other element, or fewer, the last of them beside the guard."""
        x = np.random.default_rng(classes).uniform(0, 4, (rows, classes)).astype(self.dtype)
        wide = np.zeros(((rows * classes - 1) * step + 1,), self.dtype)
        wide[::step] = x.ravel()
        flat = self.inputs[0].copy(wide, at_end=True)[::step]
        item = self.dtype.itemsize * step
        gx = np.lib.stride_tricks.as_strided(flat, x.shape, (classes * item, item))
        for function in (sl.softmax, sl.log_softmax, sl.logsumexp):
            self._unary(function, x, gx, -1, True)

    def check_matrices(self, place: Guarded, rows: int, classes: int) -> None:
        x = np.random.default_rng(classes).uniform(0, 4, (rows, classes)).astype(self.dtype)
        wanted = sl.cross_entropy_hessian(x)
        for at_end in (True, False):
            out = place.array(wanted.shape, self.dtype, at_end)
            self._compare((sl.cross_entropy_hessian(x, out=out),), (wanted,))

    def _unary(self, function: Any, x: Array, gx: Array, axis: int, at_end: bool, **o: Any) -> None:
        wanted = function(x, axis, **o)
        out = self.outs[0].array(np.shape(wanted), self.dtype, at_end)
        self._compare((function(gx, axis, **o, out=out),), (wanted,))

    def _loss(self, x: Array, t: Array, gx: Array, gt: Array, axis: int, at_end: bool) -> None:
        functions = [sl.cross_entropy_value_and_grad, sl.cross_entropy_grad_and_hess_diag,
                     sl.cross_entropy, sl.cross_entropy_hessian_diag]  # fmt: skip
        if x.shape[axis] <= MOST_MATRIX_CLASSES:
            functions.append(sl.cross_entropy_hessian)
        for function in functions:
            self._same(function, (x, t), (gx, gt), axis, at_end)

    def _same(self, function: Any, plain_arguments: tuple[Any, ...], arguments: tuple[Any, ...],
              axis: int, at_end: bool, guarded: dict[str, Any] | None = None,
              plain: dict[str, Any] | None = None) -> None:  # fmt: skip
        result = function(*plain_arguments, axis=axis, **(plain or {}))
        wanted = result if isinstance(result, tuple) else (result,)
        outs = tuple(
            g.array(w.shape, w.dtype, at_end) for g, w in zip(self.outs, wanted, strict=False)
        )
        out = outs if isinstance(result, tuple) else outs[0]
        got = function(*arguments, axis=axis, **(guarded or {}), out=out)
        self._compare(got if isinstance(got, tuple) else (got,), wanted)

    def _compare(self, got: tuple[Array, ...], wanted: tuple[Array, ...]) -> None:
        self.calls += 1
        for a, b in zip(got, wanted, strict=True):
            if a.tobytes() != b.tobytes():
                raise AssertionError(f"{a} != {b}")


def main(isa: str) -> None:
    faulthandler.enable()
    sl._core.select_isa(isa)
    sl.set_num_threads(1)
    for dtype in DTYPES:
        checker = Checker(dtype)
        for classes in range(1, MOST_CLASSES + 1):
            for rows, axis in ((1, -1), (ROWS, -1), (ROWS, 0)):
                checker.check(classes, rows, axis)
            for step in (2, 3):
                for rows in (ROWS, 32):
                    checker.check_strided(classes, rows, step)
        for rows, classes in TOGETHER:
            for axis in (-1, 0):
                checker.check(classes, rows, axis)
        for rows, classes in GROUPED + STREAMED:
            size = rows * classes**2 * checker.dtype.itemsize
            checker.check_matrices(Guarded(size), rows, classes)
        print(f"{checker.calls} calls in {isa}")


@pytest.mark.skipif(os.name != "posix", reason="needs mprotect")
def test_nothing_outside_the_arrays_is_touched(isa: str) -> None:
    child = subprocess.run(
        [sys.executable, str(Path(__file__)), isa],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    assert child.stdout.count("calls") == len(DTYPES)


@pytest.mark.skipif(os.name != "posix", reason="needs mprotect")
def test_a_guard_page_stops_who_touches_it() -> None:
    """Else the test above could not fail."""
    code = """
import ctypes
from test_guard_pages import Guarded
guarded = Guarded(8)
last = guarded.array((1,), "f8", at_end=True)
print(last[0], flush=True)
ctypes.string_at(last.ctypes.data, 16)
"""
    child = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.stdout == "0.0\n"
    assert child.returncode < 0  # a signal


if __name__ == "__main__":
    main(sys.argv[1])
