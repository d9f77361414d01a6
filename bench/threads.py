"""Several threads over one, by turns in one process.

    python bench/threads.py [shape,shape,...]

The bench gives each number of threads a process of its own, one after the other. Where processors
share a core, or a neighbour comes and goes, the two runs see two machines; here both see the same.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

import softlane as sl
from bench.cells import Array, Cell
from bench.problem import Call, Problem, softlane_call
from bench.timing import FULL, interleave

OPERATIONS = ("softmax", "log_softmax", "logsumexp", "value_and_grad")
SHAPES = "64x1000,1000x64@0,10x4096@0,4096x10,100000x3,512x512,255x257,32x32000,1x1000000,8x50257"
LARGE = 200_000  # elements
GOAL = 1.9
PLAN = replace(FULL, settle=0.0)  # only softlane's own threads are here


def _on(threads: int, call: Call) -> None:
    sl.set_num_threads(threads)
    call()


def main(shapes: str = SHAPES) -> None:
    team = sl.get_num_threads()
    if team < 2:
        sys.exit("one thread is all there is")
    ratios: dict[Cell, float] = {}
    print(f"{'cell':44}{'1 thread µs':>12}{f'{team} threads µs':>14}{'ratio':>7}")
    for dtype in ("float32", "float64"):
        for array in map(Array.parse, shapes.split(",")):
            for op in OPERATIONS:
                cell = Cell(op, dtype, array, team)
                call = softlane_call(Problem.of(cell))
                calls = {str(n): partial(_on, n, call) for n in (team, 1)}
                many, one = (1e6 * median(s) for s in interleave(calls, PLAN).values())
                ratios[cell] = one / many
                print(f"{op} {dtype} {array!s:28}{one:12.1f}{many:14.1f}{one / many:7.2f}")
    for name, least in (("all", 0), (f"{LARGE} elements or more", LARGE)):
        some = [ratio for cell, ratio in ratios.items() if math.prod(cell.array.shape) >= least]
        if some:
            print(f"{name}: median {median(some):.2f}, {min(some):.2f} to {max(some):.2f}, "
                  f"{sum(r >= GOAL for r in some)} of {len(some)} at {GOAL} or more")  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:2])
