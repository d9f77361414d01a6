"""The tables, and the goals they are held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log
from statistics import geometric_mean, median, quantiles
from typing import Any

from bench.memory import allowance

Result = dict[str, Any]

AHEAD = 1.5  # of the fastest peer, in every cell
GEOMETRIC_MEAN = 5.0
OVER_LIMIT = 1.25  # times L, above LARGE elements
LARGE = 50_000
SMALL_CALL = 1e-6  # seconds for SMALL elements
SMALL = 10
SCALING = 1.9  # of all threads over one, where memory is not the limit
SHARED_FROM = 16_000  # elements; below, a call stays on its thread
BUSY = 0.5  # processes: more, and figures of several threads are of little worth
LOST = 0.15  # of a cell's speed, beyond its spread: a regression


def name(cell: Result) -> str:
    return f"{cell['op']} {cell['dtype']} {cell['array']} t{cell['threads']}"


def spread(samples: Sequence[float]) -> float:
    """Return the interquartile range over the median."""
    if len(samples) < 2:
        return 0.0
    low, middle, high = quantiles(samples, n=4, method="inclusive")
    return (high - low) / middle


@dataclass(frozen=True)
class Row:
    """A timed cell's figures."""

    cell: Result
    seconds: float
    spread: float
    peer: str  # the fastest, or nothing
    peer_seconds: float

    @classmethod
    def of(cls, cell: Result) -> Row:
        samples = {who: median(times) for who, times in cell["samples"].items()}
        ours = samples.pop("softlane")
        peer = min(samples, key=samples.__getitem__, default="")
        return cls(cell, ours, spread(cell["samples"]["softlane"]), peer, samples.get(peer, inf))

    @property
    def ahead(self) -> float | None:
        return self.peer_seconds / self.seconds if self.peer else None

    @property
    def over_limit(self) -> float:
        return float(self.seconds / self.cell["limit"]["seconds"])


def rows(result: Result) -> list[Row]:
    return [Row.of(cell) for cell in result["cells"] if cell["state"] == "timed"]


def microseconds(seconds: float) -> str:
    us = seconds * 1e6
    return f"{us:.2f}" if us < 10 else f"{us:.1f}" if us < 1000 else f"{us:.0f}"


def ratio(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if value >= 0.095 else f"{value:.1g}"


def columns(lines: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Align a table, its first line the heads; the columns in `left` to the left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if i in left else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def table(result: Result) -> str:
    """Return one line a cell: times in µs, and the two ratios."""
    timed = rows(result)
    with_memory = any("memory" in row.cell for row in timed)
    head = ["cell", "softlane µs", "± %", "fastest peer", "µs", "ahead ×", "limit", "over limit ×"]
    lines = [head + (["temporary KB"] if with_memory else [])]
    for row in timed:
        line = [
            name(row.cell),
            microseconds(row.seconds),
            f"{50 * row.spread:.0f}",
            row.peer or "none",
            microseconds(row.peer_seconds) if row.peer else "",
            ratio(row.ahead),
            row.cell["limit"]["bound"],
            f"{row.over_limit:.2f}",
        ]
        if with_memory:
            memory = row.cell.get("memory")
            line.append(f"{memory['temporary'] / 1024:.0f}" if memory else "")
        lines.append(line)
    return columns(lines, left=(0, 3, 6))


def remarks(result: Result) -> list[str]:
    """Say what is missing: peers, dtypes, cells, limits; which results differ; what disturbed."""
    notes = [f"{who}: missing, {why}" for who, why in result["missing"].items()]
    if result["machine"]["load"] > BUSY:
        notes.append(
            f"the machine was busy (load {result['machine']['load']:.1f}) when the run began: "
            "threads that had to wait for a core make whole calls wait"
        )
    for state in ("not supported by this version", "not reached in time"):
        cells = [cell for cell in result["cells"] if cell["state"] == state]
        if state.startswith("not supported"):
            kinds = sorted({cell["dtype"] for cell in cells})
            notes += [f"{kind}: {state} of softlane" for kind in kinds]
        elif cells:
            notes.append(f"{len(cells)} cells {state}, the first: {name(cells[0])}")
    for cell in result["cells"]:
        if cell["state"] == "failed":
            notes.append(f"{name(cell)}: failed, {cell['note']}")
        for who, peer in cell.get("peers", {}).items():
            if peer["state"] in ("mismatch", "error"):
                notes.append(f"{name(cell)}: {who} not timed, {peer['state']}: {peer['note']}")
    if not result["exp_measured"]:
        notes.append("limits are of memory alone: this softlane does not time its exp kernel")
    return notes


def _scaling(timed: Sequence[Row]) -> list[float]:
    """Return speed-ups of the most threads over one, where exp is the limit of both."""
    most = max((row.cell["threads"] for row in timed), default=1)
    cells = {name(row.cell): row for row in timed}
    found = []
    for row in timed:
        single = cells.get(name({**row.cell, "threads": 1}))
        bounds = {r.cell["limit"]["bound"] for r in (row, single) if r is not None}
        if (
            1 < most == row.cell["threads"]
            and single is not None
            and row.cell["elements"] >= SHARED_FROM
            and bounds == {"exp"}
        ):
            found.append(single.seconds / row.seconds)
    return found


def summary(result: Result) -> str:
    """Return one line: geometric mean, worst cell, and how many cells miss each goal."""
    timed = rows(result)
    ahead = [(row.ahead, row) for row in timed if row.ahead is not None]
    if not ahead:
        return f"{len(timed)} cells, none of them with a peer."
    mean = geometric_mean([times for times, _ in ahead])
    worst, where = min(ahead, key=lambda pair: pair[0])
    large = [row for row in timed if row.cell["elements"] > LARGE]
    small = [row for row in timed if row.cell["elements"] == SMALL and row.cell["op"] != "hessian"]
    memory = [row.cell for row in timed if "memory" in row.cell]
    scaling = _scaling(timed)
    misses = [
        (sum(times < 1 for times, _ in ahead), len(ahead), "behind the fastest peer"),
        (sum(times < AHEAD for times, _ in ahead), len(ahead), f"less than {AHEAD}× ahead"),
        (sum(row.over_limit > OVER_LIMIT for row in large), len(large), f"over {OVER_LIMIT} × L"),
        (sum(row.seconds > SMALL_CALL for row in small), len(small), "over 1 µs on 10 elements"),
        (
            sum(times < SCALING for times in scaling),
            len(scaling),
            f"less than {SCALING}× by threads",
        ),
        (
            sum(cell["memory"]["temporary"] > allowance(cell["threads"]) for cell in memory),
            len(memory),
            "with large temporaries",
        ),
    ]
    counts = ", ".join(f"{count} of {total} {what}" for count, total, what in misses if total)
    return (
        f"Geometric mean {mean:.2f}× ahead (goal {GEOMETRIC_MEAN:g}), "
        f"worst {ratio(worst)}× in {name(where.cell)} ({where.peer}). Misses: {counts}."
    )


@dataclass(frozen=True)
class Change:
    """A cell in two runs."""

    key: str
    before: float
    after: float
    drift: float  # how much slower the machine was: the other contestants' median ratio
    spread: float

    @property
    def slower(self) -> float:
        """Time after over time before, at the speed the machine had before."""
        return self.after / self.before / self.drift

    @property
    def lost(self) -> bool:
        return self.slower > 1 + LOST + self.spread


def changes(before: Result, after: Result) -> list[Change]:
    """Match the cells of two results."""
    old = {name(cell): cell for cell in before["cells"] if cell["state"] == "timed"}
    found = []
    for row in rows(after):
        key = name(row.cell)
        if key not in old:
            continue
        was = Row.of(old[key])
        found.append(
            Change(
                key,
                was.seconds,
                row.seconds,
                _drift(was.cell, row.cell),
                max(was.spread, row.spread),
            )
        )
    return found


def _drift(before: Result, after: Result) -> float:
    """Return the median ratio of what is no code of ours; 1 where nothing is in both runs."""

    def others(cell: Result) -> dict[str, float]:
        samples = {**cell["samples"], **cell["limit"]["samples"]}
        return {who: median(t) for who, t in samples.items() if who not in ("softlane", "exp")}

    old, new = others(before), others(after)
    ratios = [new[who] / old[who] for who in new if who in old]
    return exp(median(map(log, ratios))) if ratios else 1.0


def comparison(found: Sequence[Change]) -> str:
    """Return the before/after table and its verdict."""
    lines = [["cell", "before µs", "after µs", "machine ×", "time ×", "± %", ""]]
    lines += [
        [
            change.key,
            microseconds(change.before),
            microseconds(change.after),
            f"{change.drift:.2f}",
            f"{change.slower:.2f}",
            f"{50 * change.spread:.0f}",
            "LOST" if change.lost else "",
        ]
        for change in found
    ]
    lost = sum(change.lost for change in found)
    mean = geometric_mean([change.slower for change in found]) if found else 1.0
    verdict = (
        f"{len(found)} cells in both runs: {mean:.2f} × the time in geometric mean; "
        f"{lost} lost more than {LOST:.0%} beyond their spread."
    )
    return f"{columns(lines)}\n{verdict}"
