"""What the machine itself allows: memory's speed and the exp kernel's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

import softlane as sl
from bench.cells import Cell

SHARED_FROM = 1 << 19  # bytes; below this, handing work to a thread costs more than copying

Bytes = NDArray[np.uint8]


class Team:
    """Threads that wait for work, the caller among them. NumPy lets go of the GIL to copy."""

    def __init__(self, jobs: list[Callable[[], Any]]) -> None:
        self._jobs = jobs
        self._start = threading.Barrier(len(jobs))
        self._end = threading.Barrier(len(jobs))
        self._open = True
        self._threads = [
            threading.Thread(target=self._serve, args=(job,), daemon=True) for job in jobs[1:]
        ]
        for thread in self._threads:
            thread.start()

    def _serve(self, job: Callable[[], Any]) -> None:
        while True:
            self._start.wait()
            if not self._open:
                return
            job()
            self._end.wait()

    def __call__(self) -> None:
        self._start.wait()
        self._jobs[0]()
        self._end.wait()

    def close(self) -> None:
        self._open = False
        self._start.wait()
        for thread in self._threads:
            thread.join()


class Memory:
    """Moves as many bytes as the cell has to read and write.

    A copy of n bytes moves 2n, so it is given half of the cell's bytes. A Hessian's output dwarfs
    its input: there the limit is to fill it.
    """

    def __init__(self, cell: Cell) -> None:
        self._teams: list[Team] = []
        if cell.op == "hessian":
            size = cell.output_bytes
            self._fill = True
        else:
            size = -(-(cell.input_bytes + cell.output_bytes) // 2)
            self._fill = False
        target = np.full(size, 1, np.uint8)
        source = target if self._fill else np.full(size, 2, np.uint8)
        name = "fill" if self._fill else "copy"
        self.calls: dict[str, Callable[[], Any]] = {name: self._job(target, source)}
        if cell.threads > 1 and size >= SHARED_FROM:
            cuts = [size * i // cell.threads // 64 * 64 for i in range(cell.threads)] + [size]
            pairs = pairwise(cuts)
            team = Team([self._job(target[a:b], source[a:b]) for a, b in pairs])
            self._teams.append(team)
            self.calls[f"{name}, {cell.threads} threads"] = team

    def _job(self, target: Bytes, source: Bytes) -> Callable[[], Any]:
        if self._fill:
            return lambda: target.fill(1)
        return lambda: np.copyto(target, source)

    def close(self) -> None:
        for team in self._teams:
            team.close()


def exp_seconds(cell: Cell) -> Callable[[], float] | None:
    """Return a measurement of the cell's exps on data in L1, over its threads, or None.

    It takes the kernel's own microbenchmark, which softlane may not have.
    """
    exp_ns = getattr(sl._core, "exp_ns", None)
    if exp_ns is None or cell.op == "hessian":
        return None
    compute = "float64" if cell.dtype == "float64" else "float32"

    def measure() -> float:
        return float(exp_ns(compute)) * 1e-9 * cell.elements / cell.threads

    return measure
