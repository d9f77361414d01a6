"""What one call of softlane allocates, measured in a process of its own.

Reads a cell (JSON) from stdin, writes the figures to stdout.
"""

from __future__ import annotations

import gc
import json
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from bench.worker import pin

Call: TypeAlias = Callable[[], Any]

# What a thread may keep (PERFORMANCE, goal 5), and what a process's first large call costs besides:
# pages of code, stacks, an allocator's arena.
PER_THREAD = 64 << 10
SLACK = 256 << 10


def allowance(threads: int) -> int:
    """Bytes that a call may take besides its output."""
    return PER_THREAD * threads + SLACK


def _status(name: str) -> int:
    """Read a field of the process's status; bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise KeyError(name)


def _resident_growth(call: Call) -> int:
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM := VmRSS
        before = _status("VmHWM")
        call()
        return _status("VmHWM") - before
    except (OSError, KeyError):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        call()
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) * unit


def main() -> None:
    data = json.load(sys.stdin)
    pin(data["threads"])
    from dataclasses import replace

    import softlane as sl
    from bench.cells import Array, Cell
    from bench.problem import Problem, softlane_call

    cell = Cell.from_json(data)
    sl.set_num_threads(cell.threads)
    problem = Problem.of(cell)
    call = softlane_call(problem)
    # Code pages and the threads' stacks are there after a call on 2¹⁶ small rows' worth of data.
    small = Array((4096, 16)) if cell.op != "hessian" else Array((512, 16))
    softlane_call(Problem.of(replace(cell, array=small)))()

    resident = _resident_growth(call)
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    output = cell.output_bytes if problem.fresh else 0
    figures = {
        "numpy_peak": peak,
        "resident_growth": resident,
        "allocated_output": output,
        "temporary": max(peak, resident) - output,
    }
    json.dump(figures, sys.stdout)


if __name__ == "__main__":
    main()
