"""Hands the grid to workers, one process for each number of threads, and gathers the result."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.cells import Cell
from bench.timing import Plan

ROOT = Path(__file__).parent.parent
Result = dict[str, Any]


class WorkerError(RuntimeError):
    """A worker ended before its work did."""


def cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cpu": _cpu(),
        "cores": cores(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def environment(isa: str | None) -> dict[str, str]:
    """Return the workers' environment: this one's, and the repository's root to import from."""
    before = os.environ.get("PYTHONPATH")
    paths = [str(ROOT), *([before] if before else [])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **({"SOFTLANE_ISA": isa} if isa else {}),
    }


def _events(job: dict[str, Any], isa: str | None) -> Iterator[dict[str, Any]]:
    with subprocess.Popen(
        [sys.executable, "-m", "bench.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(isa),
        text=True,
    ) as worker:
        try:
            assert worker.stdin is not None
            assert worker.stdout is not None
            json.dump(job, worker.stdin)
            worker.stdin.close()
            yield from map(json.loads, worker.stdout)
        except BaseException:
            worker.kill()
            raise
    if worker.returncode:
        raise WorkerError(f"the worker for {job['threads']} threads ended with {worker.returncode}")


def _cells(
    job: dict[str, Any], cells: Sequence[Cell], isa: str | None, found: dict[str, Any]
) -> Iterator[Result]:
    """Yield one worker's cells; `found` becomes what it found. None is lost if it dies."""
    done = 0
    try:
        for event in _events(job, isa):
            if event["event"] == "found":
                found.update(event)
            else:
                done += 1
                yield event["cell"]
    except WorkerError as error:
        if not found:
            raise
        for cell in cells[done:]:
            yield {**cell.to_json(), "state": "failed", "note": str(error)}


def memory(cell: Cell, isa: str | None) -> dict[str, int]:
    """Measure a cell's memory, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.memory"],
        input=json.dumps(cell.to_json()),
        stdout=subprocess.PIPE,
        env=environment(isa),
        text=True,
        check=False,
    )
    if done.returncode:
        raise WorkerError(f"the memory of {cell.key} could not be measured")
    figures: dict[str, int] = json.loads(done.stdout)
    return figures


def run(
    cells: Sequence[Cell],
    plan: Plan,
    *,
    full: bool,
    seconds: float = 0.0,
    isa: str | None = None,
    peers: Sequence[str] | None = None,
    with_memory: bool = False,
) -> Iterator[Result]:
    """Yield each cell as it is done, and the whole result last.

    `seconds` bounds the time for cells, 0 for no bound; those not reached say so, after an
    interrupt too.
    """
    started = time.monotonic()
    on = machine()  # now: the load is to be others'
    found: dict[str, Any] = {}
    done: list[Result] = []
    counts = sorted({cell.threads for cell in cells})
    cells = [cell for threads in counts for cell in cells if cell.threads == threads]
    try:
        for i, threads in enumerate(counts):
            mine = [cell for cell in cells if cell.threads == threads]
            left = seconds - (time.monotonic() - started)
            job = {
                "threads": threads,
                "peers": peers,
                "plan": asdict(plan),
                "seconds": max(left / (len(counts) - i), 1.0) if seconds else 0.0,
                "cells": [cell.to_json() for cell in mine],
            }
            for cell in _cells(job, mine, isa, found):
                if with_memory and cell["state"] == "timed":
                    cell["memory"] = memory(Cell.from_json(cell), isa)
                done.append(cell)
                yield cell
    except KeyboardInterrupt:
        if not done:
            raise
        missed = cells[len(done) :]
        done += [{**cell.to_json(), "state": "not reached in time"} for cell in missed]
    yield {
        "schema": 1,
        "grid": "full" if full else "quick",
        "machine": on,
        "softlane": {"version": found["softlane"], "isa": found["isa"]},
        **{name: found[name] for name in ("versions", "missing", "unsupported", "exp_measured")},
        "seconds": time.monotonic() - started,
        "cells": done,
    }
