"""Calls with something between them: two threads, or as many as there are, over one, by turns.

    python bench/pauses.py [shape,shape,...]

A loop of calls, as `threads.py` has it, finds its threads awake. A program does other work between
two calls, or sleeps, and then the first call has to wake them or do without.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

import softlane as sl
from bench.cells import Array, Cell
from bench.problem import Call, Problem, softlane_call

SHAPES = "32x1000,64x1000,128x1000,256x1000,512x512,32x32000"
WORK = (0.0, 80e-6, 1e-3)  # seconds before each call
SLEEP = 5e-3  # before two calls in a row
ROUNDS = 40


def work(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def timed(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def after_work(call: Call, seconds: float) -> list[float]:
    """Return the median of some calls, the first of which are not counted."""
    times = []
    for _ in range(12):
        work(seconds)
        times.append(timed(call))
    return [median(times[6:])]


def after_sleep(call: Call) -> list[float]:
    time.sleep(SLEEP)
    return [timed(call), timed(call)]


def main(shapes: str = SHAPES) -> None:
    team = sl.get_num_threads()
    if team < 2:
        sys.exit("one thread is all there is")
    time.sleep(0.3)  # OpenBLAS's threads spin at first, on the processor that the second one needs
    print(f"softmax on {team} threads, in times one thread's time, a call after")
    heads = [f"{1e6 * pause:.0f} µs" for pause in WORK]
    last = f"{1e3 * SLEEP:.0f} ms of sleep"
    print(f"{'':24}{''.join(f'{head:>10}' for head in heads)}{last:>16}{'the next':>10}")
    for dtype in ("float32", "float64"):
        for array in map(Array.parse, shapes.split(",")):
            call = softlane_call(Problem.of(Cell("softmax", dtype, array, team)))
            samples: dict[int, list[list[float]]] = {team: [], 1: []}
            for _ in range(ROUNDS):
                for threads, rounds in samples.items():
                    sl.set_num_threads(threads)
                    loops = [t for pause in WORK for t in after_work(call, pause)]
                    rounds.append(loops + after_sleep(call))
            many, one = ([median(c) for c in zip(*s, strict=True)] for s in samples.values())
            ratios = [m / o for m, o in zip(many, one, strict=True)]
            print(f"{dtype} {array!s:16}" + "".join(
                f"{r:{w}.2f}" for r, w in zip(ratios, (10,) * len(WORK) + (16, 10), strict=True)
            ))  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:2])
