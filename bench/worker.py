"""Measures cells in a process of its own, pinned before any library is imported.

Reads a job (JSON) from stdin, writes one JSON object a line to stdout: first what is installed,
then each cell as it is done.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

POOLS = ("SOFTLANE", "OMP", "OPENBLAS", "MKL", "NUMBA")


def pin(threads: int) -> None:
    """Give the process as many cores as threads, and every library that number.

    JAX takes all cores that the process may run on when it is imported.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[-threads:])
    for pool in POOLS:
        os.environ[f"{pool}_NUM_THREADS"] = str(threads)


def main() -> None:
    job: dict[str, Any] = json.load(sys.stdin)
    pin(job["threads"])
    # Libraries that print to stdout must not end up between our lines.
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    from bench.measure import run

    for event in run(job):
        lines.write(json.dumps(event) + "\n")


if __name__ == "__main__":
    main()
