"""Whole calls of two installed copies of softlane, two ISAs or two numbers of threads, by turns.

    pip install --target OLD . && git switch ... && pip install --target NEW .
    python bench/by_turns.py OLD[@ISA][*THREADS] NEW[@ISA][*THREADS] [shape,... [operation,...]]

`--against` compares two runs, minutes or days apart; here a neighbour who comes or goes meets both.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import geometric_mean, median

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.cells import OPERATIONS, OPTIONS, Array, Cell, grid
from bench.worker import pin

ROOT = Path(__file__).resolve().parent.parent

USUAL = "softmax,log_softmax,logsumexp,value_and_grad,hessian"
DTYPES = ("float32", "float64")
SHAPES = (
    "1x10,1x1000,64x1000,4096x10,100000x3,9362x7,1771x37,434x151,255x257,512x512,13x5003,32x32000,"
    "64x128256"
)
ROUNDS, SAMPLE = 9, 2e-3  # seconds


def cells(shapes: str, operations: str) -> list[Cell]:
    arrays = [Array.parse(shape) for shape in shapes.split(",")]
    return grid(full=True, threads=(1,), ops=operations.split(","), dtypes=DTYPES, arrays=arrays)


def serve(shapes: str, operations: str, threads: int) -> None:
    """Answer each line `cell calls` with the seconds that so many calls of the cell took."""
    pin(threads)
    from time import perf_counter

    from bench.problem import Problem, softlane_call

    known = cells(shapes, operations)
    at, call = -1, None
    for line in sys.stdin:
        index, number = map(int, line.split())
        if call is None or index != at:
            at, call = index, softlane_call(Problem.of(known[index]))
            call()
        start = perf_counter()
        for _ in range(number):
            call()
        print(perf_counter() - start, flush=True)


class Copy:
    """A process that has imported softlane from a directory."""

    def __init__(self, where: str, shapes: str, operations: str) -> None:
        copy, _, threads = where.partition("*")
        directory, _, isa = copy.partition("@")
        if not (Path(directory) / "softlane").is_dir():
            sys.exit(f"no copy of softlane in {directory}: pip install --target {directory} .")
        served = f"{shapes!r}, {operations!r}, {int(threads or 1)}"
        path = os.pathsep.join((str(Path(directory).resolve()), str(ROOT)))
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from bench.by_turns import serve; serve({served})"],
            cwd=directory,  # `-c` looks there first, and not in this checkout
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, **({"SOFTLANE_ISA": isa} if isa else {})},
        )

    def seconds(self, cell: int, number: int) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(cell, number, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline()) / number

    def close(self) -> None:
        self._process.communicate()


def main(arguments: Sequence[str]) -> None:
    if not 2 <= len(arguments) <= 4:
        sys.exit(__doc__)
    shapes = arguments[2] if len(arguments) > 2 else SHAPES
    operations = arguments[3] if len(arguments) > 3 else USUAL
    known = OPERATIONS + OPTIONS
    unknown = sorted(set(operations.split(",")).difference(known))
    if unknown:
        sys.exit(f"no operation {', '.join(unknown)}: there are {', '.join(known)}")
    if not cells(shapes, operations):
        sys.exit("no cell is left: Hessians of more than 2^26 elements are left out")
    copies = [Copy(where, shapes, operations) for where in arguments[:2]]
    ratios = []
    print(f"{'cell':44}{'before µs':>12}{'after µs':>12}{'time ×':>8}")
    for index, cell in enumerate(cells(shapes, operations)):
        number = max(1, int(SAMPLE / max(copy.seconds(index, 1) for copy in copies)))
        samples: list[list[float]] = [[], []]
        for turn, i in product(range(ROUNDS + 1), range(2)):
            seconds = copies[i ^ turn & 1].seconds(index, number)
            if turn > 0:  # the first warms up
                samples[i ^ turn & 1].append(seconds)
        before, after = (1e6 * median(s) for s in samples)
        ratios.append(median(b / a for a, b in zip(*samples, strict=True)))
        name = f"{cell.op} {cell.dtype} {cell.array!s}"
        print(f"{name:44}{before:12.2f}{after:12.2f}{ratios[-1]:8.2f}", flush=True)
    for copy in copies:
        copy.close()
    print(f"{len(ratios)} cells: {geometric_mean(ratios):.3f} × the time, "
          f"{min(ratios):.2f} to {max(ratios):.2f}")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
