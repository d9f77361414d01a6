"""Timing by turns: every contestant once a round, so that the machine's drift hits all alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import Any

Call = Callable[[], Any]

# Seconds: calls that take longer are measured as they come. Where only calls of which a sample has
# several were made once beforehand, one of half a millisecond met cold caches, its peer warm ones.
WARMED = 0.02
CLEARLY_SLOWER = 8  # times the fastest: no rounds are spent on that beyond the fewest


@dataclass(frozen=True)
class Plan:
    """How long to measure a cell."""

    sample: float  # seconds that a sample should last: calls are repeated up to that
    seconds: float  # for a cell's rounds together
    fewest: int = 5
    most: int = 31
    # Rest before a sample, in which other pools' threads stop spinning on the processor that this
    # one's second thread is about to need. Not of the cell's seconds.
    settle: float = 0.0


# libgomp's threads look out for 300 000 pauses, 5 to 15 ms by the CPU: too long for the quick run.
QUICK = Plan(sample=0.0003, seconds=0.25, most=15, settle=0.001)
FULL = Plan(sample=0.0005, seconds=0.3, settle=0.02)


@contextmanager
def _no_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _seconds(call: Call, number: int) -> float:
    """Time `number` calls in a row; per call."""
    clock = time.perf_counter
    calls = repeat(None, number)
    started = clock()
    for _ in calls:
        call()
    return (clock() - started) / number


def _calibrate(call: Call, sample: float) -> tuple[int, float]:
    """Warm up; return how many calls fill a sample, and the time of one."""
    number, once = 1, _seconds(call, 1)
    for _ in range(3):  # its memory may be new
        if once < WARMED:
            once = min(once, _seconds(call, 1))
    while once * number < sample:
        number = max(2 * number, min(int(sample / max(once, 1e-9)), 64 * number))
        once = _seconds(call, number)
    return number, once


def interleave(
    calls: Mapping[str, Call],
    plan: Plan,
    *,
    limits: Mapping[str, Call] | None = None,
    given: Mapping[str, Callable[[], float]] | None = None,
) -> dict[str, list[float]]:
    """Measure contestants round robin; seconds per call, one sample a round.

    Parameters
    ----------
    calls
        Contestants by name, the one that matters first.
    plan
        How long.
    limits
        Calls that take part but compete with nobody.
    given
        Limits that time themselves and return seconds: in the first rounds only.

    Returns
    -------
    dict
        Samples by name, in seconds. A contestant that is clearly slower than the fastest, if it is
        not the first, stops after `plan.fewest`, or as soon as it alone has taken `plan.seconds`.
    """
    everyone, given = {**calls, **(limits or {})}, given or {}
    samples: dict[str, list[float]] = {name: [] for name in (*everyone, *given)}
    with _no_collection():
        sizes = {name: _calibrate(call, plan.sample) for name, call in everyone.items()}
        enough = CLEARLY_SLOWER * min(sizes[name][1] for name in calls)
        slow = {
            name: min(plan.fewest, max(1, int(plan.seconds / (number * once))))
            for name, (number, once) in sizes.items()
            if name in (*calls,)[1:] and once > enough
        }
        deadline = time.perf_counter() + plan.seconds
        for turn in range(plan.most):
            if turn >= plan.fewest and time.perf_counter() > deadline:
                break
            for name, call in everyone.items():
                if turn >= slow.get(name, plan.most):
                    continue
                number, once = sizes[name]
                if plan.settle:
                    time.sleep(plan.settle)
                    deadline += plan.settle
                if once < WARMED:
                    call()  # its data back into the cache after the others' turns
                samples[name].append(_seconds(call, number))
            if turn < plan.fewest:
                for name, measure in given.items():
                    samples[name].append(measure())
    return {name: [float(f"{t:.5g}") for t in times] for name, times in samples.items()}
