"""One cell: check every peer against softlane, then time them all by turns."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np

import softlane as sl
from bench import timing
from bench.cells import DTYPES, Cell
from bench.limits import Memory, exp_seconds
from bench.peers import PEERS, Peer, UnavailableError
from bench.problem import AnyArray, Problem, softlane_call, supported

# Relative to the largest value of the result: wide enough for what the peers' formulas lose, far
# too narrow for another function, axis or label.
TOLERANCE = {"float32": 2e-4, "float64": 1e-9, "float16": 2e-2, "bfloat16": 1e-1}

Event = dict[str, Any]


def find_peers(threads: int, names: Sequence[str] | None) -> tuple[list[Peer], dict[str, str]]:
    """Import the peers. Returns them, and why the others are missing."""
    peers: list[Peer] = []
    missing: dict[str, str] = {}
    for kind in PEERS:
        if names is not None and kind.name not in names:
            continue
        try:
            peers.append(kind(threads))
        except ImportError as error:
            missing[kind.name] = f"not installed ({error})"
    return peers, missing


def difference(ours: Sequence[AnyArray], theirs: Sequence[AnyArray]) -> float:
    """Return the largest difference of results, relative to the largest value; inf if unlike."""
    if len(ours) != len(theirs):
        return float("inf")
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape:
            return float("inf")
        scale = float(np.max(np.abs(a), initial=0)) or 1.0
        # In pieces, or a large cell would need three float64 arrays of its size.
        a_flat, b_flat = a.reshape(-1), b.reshape(-1)
        for start in range(0, a.size, 1 << 20):
            piece = slice(start, start + (1 << 20))
            gap = np.abs(a_flat[piece].astype(np.float64) - b_flat[piece].astype(np.float64))
            worst = max(worst, float(np.max(gap, initial=0)) / scale)
            if np.isnan(gap).any():
                return float("inf")
    return worst


def measure(cell: Cell, peers: Sequence[Peer], plan: timing.Plan) -> Event:
    """Measure a cell, as `schema.json` describes it."""
    problem = Problem.of(cell)
    ours = softlane_call(problem)
    result = ours()
    expected = tuple(map(np.asarray, result if isinstance(result, tuple) else (result,)))
    calls: dict[str, timing.Call] = {"softlane": ours}
    states: dict[str, dict[str, str]] = {}
    for peer in peers:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                call = peer.prepare(problem)
                off = difference(expected, peer.arrays(call()))
        except UnavailableError as reason:
            states[peer.name] = {"state": "not applicable", "note": str(reason)}
            continue
        except Exception as error:  # a peer's failure is a result, not ours to pass on
            note = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            states[peer.name] = {"state": "error", "note": note}
            continue
        if off <= TOLERANCE[cell.dtype]:
            calls[peer.name] = call
            states[peer.name] = {"state": "timed", "note": ""}
        else:
            note = f"differs by {off:.1e} of the largest value"
            states[peer.name] = {"state": "mismatch", "note": note}
    memory = Memory(cell)
    exp = exp_seconds(cell)
    several = cell.threads > 1  # 9 rounds of 7 contestants rest 1.3 s
    plan = replace(plan, most=min(plan.most, 9)) if several else replace(plan, settle=0.0)
    try:
        samples = timing.interleave(
            calls, plan, limits=memory.calls, given={"exp": exp} if exp is not None else None
        )
    finally:
        memory.close()
    return {
        **cell.to_json(),
        "state": "timed",
        "elements": cell.elements,
        "classes": cell.array.classes,
        "output_bytes": cell.output_bytes,
        "samples": {name: samples[name] for name in calls},
        "limit": _limit(samples, memory, exp is not None),
        "peers": states,
    }


def _limit(samples: dict[str, list[float]], memory: Memory, has_exp: bool) -> Event:
    moved = min(median(samples[name]) for name in memory.calls)
    exp = median(samples["exp"]) if has_exp else None
    bound = "exp" if exp is not None and exp > moved else next(iter(memory.calls))
    return {
        "seconds": max(moved, exp or 0.0),
        "bound": bound,
        "memory_seconds": moved,
        "exp_seconds": exp,
        "samples": {name: samples[name] for name in samples if name in (*memory.calls, "exp")},
    }


def run(job: dict[str, Any]) -> Iterator[Event]:
    """Do a worker's job: say what is there, then measure cell after cell."""
    sl.set_num_threads(job["threads"])
    peers, missing = find_peers(job["threads"], job["peers"])
    refused = [name for name in DTYPES if not supported(name)]
    yield {
        "event": "found",
        "softlane": sl.__version__,
        "isa": sl.active_isa(),
        "versions": {"NumPy": np.__version__} | {peer.name: peer.version for peer in peers},
        "missing": missing,
        "unsupported": refused,
        "exp_measured": hasattr(sl._core, "exp_ns"),
    }
    plan = timing.Plan(**job["plan"])
    deadline = time.monotonic() + job["seconds"] if job["seconds"] else None
    for data in job["cells"]:
        cell = Cell.from_json(data)
        if cell.dtype in refused:
            state = "not supported by this version"
        elif deadline and time.monotonic() > deadline:
            state = "not reached in time"
        else:
            state = ""
        yield (
            {"event": "cell", "cell": {**data, "state": state}}
            if state
            else _cell(cell, peers, plan)
        )


def _cell(cell: Cell, peers: Sequence[Peer], plan: timing.Plan) -> Event:
    try:
        return {"event": "cell", "cell": measure(cell, peers, plan)}
    except Exception as error:  # one cell's failure must not take an hour of others along
        note = f"{type(error).__name__}: {error}"
        return {"event": "cell", "cell": {**cell.to_json(), "state": "failed", "note": note}}
