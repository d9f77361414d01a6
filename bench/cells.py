"""The grid: which operation, dtype, array and number of threads make a cell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

OPERATIONS = (
    "softmax",
    "log_softmax",
    "logsumexp",
    "cross_entropy",
    "value_and_grad",
    "grad_and_hess_diag",
    "hvp",
    "hessian",
)
# Not of the grid, but by name: softmax of 8 logits of 10, and loss and gradient of labels
# smoothed by 0.1 and of probabilities.
OPTIONS = (
    "masked_softmax",
    "smoothed_value_and_grad",
    "soft_value_and_grad",
    "weighted_logsumexp",
)
WITH_VECTOR = ("hvp", "soft_value_and_grad", "weighted_logsumexp")  # operations that read v
DTYPES = ("float32", "float64", "float16", "bfloat16")
ITEMSIZE = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}
LAYOUTS = ("out", "strided", "fresh")

# Elements. Each contestant holds its own output: larger ones would not fit, or not be quick.
LARGEST_HESSIAN = 1 << 26
LARGEST_QUICK_HESSIAN = 1 << 20

_ARRAY = re.compile(r"(?P<shape>\d+(x\d+)*)(@(?P<axis>-?\d+))?(:(?P<layout>[a-z]+))?")


@dataclass(frozen=True)
class Array:
    """Shape, class axis and layout.

    `out`: C-contiguous, into a warm `out=`; `strided`: every other element of rows twice as long,
    into a warm `out=`; `fresh`: C-contiguous, and the call allocates its result.
    """

    shape: tuple[int, ...]
    axis: int = -1
    layout: str = "out"

    @classmethod
    def parse(cls, text: str) -> Array:
        """Read `64x1000`, `10x4096@0`, `64x1000:strided`; the inverse of `str`."""
        match = _ARRAY.fullmatch(text.replace("×", "x"))
        if match is None:
            raise ValueError(f"{text!r} is no shape such as 64x1000, 10x4096@0 or 64x1000:strided")
        shape = tuple(int(n) for n in match["shape"].split("x"))
        axis = int(match["axis"] or -1)
        layout = match["layout"] or "out"
        if min(shape) < 1:
            raise ValueError(f"{text!r} has no elements")
        if not -len(shape) <= axis < len(shape):
            raise ValueError(f"{text!r} has no axis {axis}")
        if layout not in LAYOUTS:
            raise ValueError(f"{text!r}: the layouts are {', '.join(LAYOUTS)}")
        return cls(shape, axis - len(shape) if axis >= 0 else axis, layout)

    def __str__(self) -> str:
        axis = "" if self.axis == -1 else f"@{self.axis + len(self.shape)}"
        layout = "" if self.layout == "out" else f":{self.layout}"
        return "x".join(map(str, self.shape)) + axis + layout

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def classes(self) -> int:
        return self.shape[self.axis]

    @property
    def rows(self) -> int:
        return self.elements // self.classes


@dataclass(frozen=True)
class Cell:
    op: str
    dtype: str
    array: Array
    threads: int

    @property
    def key(self) -> str:
        """What identifies the cell from run to run."""
        return f"{self.op} {self.dtype} {self.array} t{self.threads}"

    @property
    def elements(self) -> int:
        return self.array.elements

    @property
    def output_bytes(self) -> int:
        """Bytes of the result: of the losses, of the arrays, or of both."""
        n, rows, size = self.elements, self.array.rows, ITEMSIZE[self.dtype]
        loss_size = max(size, 4)  # losses of half-precision logits are float32
        return {
            "softmax": n * size,
            "log_softmax": n * size,
            "logsumexp": rows * size,
            "cross_entropy": rows * loss_size,
            "value_and_grad": n * size + rows * loss_size,
            "grad_and_hess_diag": 2 * n * size,
            "hvp": n * size,
            "hessian": n * self.array.classes * size,
            "masked_softmax": n * size,
            "smoothed_value_and_grad": n * size + rows * loss_size,
            "soft_value_and_grad": n * size + rows * loss_size,
            "weighted_logsumexp": 2 * rows * size,
        }[self.op]

    @property
    def input_bytes(self) -> int:
        """Bytes read from memory: a strided array's cache lines come whole."""
        arrays = 2 if self.op in WITH_VECTOR else 1
        stride = 2 if self.array.layout == "strided" else 1
        mask = self.elements if self.op == "masked_softmax" else 0
        return arrays * stride * self.elements * ITEMSIZE[self.dtype] + mask

    def to_json(self) -> dict[str, Any]:
        return {
            "op": self.op,
            "dtype": self.dtype,
            "array": str(self.array),
            "threads": self.threads,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Cell:
        return cls(data["op"], data["dtype"], Array.parse(data["array"]), data["threads"])


def _arrays(*texts: str) -> tuple[Array, ...]:
    return tuple(map(Array.parse, texts))


LAST_AXIS = _arrays(
    "1x10",
    "1x1000",
    "64x1000",
    "4096x10",
    "100000x3",
    "512x512",
    "32x32000",
    "64x128256",
    "1x1000000",
)
OTHER_AXIS = _arrays("10x4096@0", "1000x64@0", "64x1000x16@1")
VARIANTS = _arrays(
    *(f"{shape}:{layout}" for shape in ("64x1000", "4096x10", "32x32000") for layout in LAYOUTS[1:])
)
# Multiples of nothing, with rows enough for 2¹⁶ elements (the last: 8 rows).
ODD_CLASSES = _arrays("9362x7", "1771x37", "434x151", "255x257", "13x5003", "8x50257")

FULL = LAST_AXIS + OTHER_AXIS + VARIANTS + ODD_CLASSES
QUICK = {
    "float32": _arrays("1x10", "64x1000", "4096x10"),
    "float64": _arrays("64x1000", "4096x10"),
    "float16": _arrays("64x1000"),
    "bfloat16": _arrays("64x1000"),
}


def grid(
    *,
    full: bool,
    threads: Sequence[int],
    ops: Sequence[str] | None = None,
    dtypes: Sequence[str] | None = None,
    arrays: Sequence[Array] | None = None,
) -> list[Cell]:
    """Return the cells, those of one number of threads together.

    What is named replaces the default of the quick or full grid. Hessians that are too large are
    left out, in a quick run smaller ones too unless their array is named.
    """
    largest = LARGEST_HESSIAN if full or arrays else LARGEST_QUICK_HESSIAN

    def chosen(dtype: str) -> Iterable[Array]:
        return arrays or (FULL if full else QUICK["float32" if dtypes else dtype])

    cells = (
        Cell(op, dtype, array, count)
        for count in threads
        for op in ops or OPERATIONS
        for dtype in dtypes or DTYPES
        for array in chosen(dtype)
    )
    return [
        cell
        for cell in cells
        if cell.op != "hessian" or cell.elements * cell.array.classes <= largest
    ]
