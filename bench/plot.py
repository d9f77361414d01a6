"""The picture: left, how far ahead each cell is; right, elements per second by row length."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import geometric_mean
from typing import TYPE_CHECKING

from bench.cells import OPERATIONS
from bench.report import AHEAD, Result, Row, name, rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = (
    "#1b6ca8", "#e07b00", "#2a9d5c", "#b8336a", "#7a5cc4", "#8c6d1f", "#3aa6b9", "#666666",
)  # fmt: skip
TICKS = (0.1, 0.2, 0.5, 1, 1.5, 2, 5, 10, 20, 50, 100)
WIDE_TICKS = (0.001, 0.01, 0.1, 1, 10, 100, 1000)
FEW = 8192  # elements: below this a call's own cost is drawn, not the rate
BEHIND = "#c62828"
LABELLED = 44  # cells: with more, only the worst and the best have room for their names


def draw(result: Result, path: Path) -> None:
    """Write the picture; the suffix says which format."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    style = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with mpl.rc_context({**style, "svg.hashsalt": "softlane"}):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(13, 7), width_ratios=(1, 1.15), layout="constrained"
        )
        timed = rows(result)
        _speed_ups(left, [row for row in timed if row.ahead is not None])
        _throughput(right, timed)
        machine, softlane = result["machine"], result["softlane"]
        figure.suptitle(
            f"softlane {softlane['version']} ({softlane['isa']}), {machine['cpu']}", fontsize=11
        )
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=150, metadata=metadata)
        plt.close(figure)


def _speed_ups(axes: Axes, timed: list[Row]) -> None:
    """Draw a dot a cell, slowest at the bottom, coloured by operation."""
    timed = sorted(timed, key=lambda row: row.ahead or 0)
    ops = [op for op in OPERATIONS if any(row.cell["op"] == op for row in timed)]
    ratios = [row.ahead or 0.0 for row in timed]
    heights = list(range(len(timed)))
    axes.axvspan(min([*ratios, 1]) / 1.3, 1, color=BEHIND, alpha=0.07, lw=0)
    axes.axvline(1, color=BEHIND, lw=1.2)
    axes.axvline(AHEAD, color="#555555", lw=1, ls="--")
    axes.hlines(heights, 1, ratios, color="#cccccc", lw=0.8, zorder=1)
    for op in ops:
        mine = [i for i, row in enumerate(timed) if row.cell["op"] == op]
        color = COLORS[OPERATIONS.index(op)]
        xs = [ratios[i] for i in mine]
        axes.scatter(xs, mine, s=26, color=color, label=op, zorder=2, lw=0)
    axes.set_xscale("log")
    wide = max([*ratios, 1]) / min([*ratios, 1]) > 100
    ticks = [t for t in (WIDE_TICKS if wide else TICKS) if _inside(t, ratios)]
    axes.set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(min([*ratios, 1]) / 1.3, max([*ratios, AHEAD]) * 1.3)
    axes.set_ylim(-1, len(timed))
    if len(timed) <= LABELLED:
        labels = [f"{name(row.cell)}  {row.peer}" for row in timed]
        axes.set_yticks(heights, labels, fontsize=7)
        axes.tick_params(axis="y", length=0)
    else:
        axes.set_yticks([])
        axes.set_ylabel(f"{len(timed)} cells, sorted")
        middle = (axes.get_xlim()[0] * axes.get_xlim()[1]) ** 0.5
        for i in (0, len(timed) - 1):
            before = ratios[i] > middle  # the side with room
            axes.annotate(
                f"{name(timed[i].cell)} ({timed[i].peer})",
                (ratios[i], i),
                xytext=(-7 if before else 7, 0),
                textcoords="offset points",
                ha="right" if before else "left",
                va="center",
                fontsize=8,
                bbox={"fc": "white", "ec": "none", "alpha": 0.85, "pad": 0.5},
            )
    behind = sum(ratio < 1 for ratio in ratios)
    under = sum(ratio < AHEAD for ratio in ratios)
    mean = f"{geometric_mean(ratios):.2f}× in geometric mean" if ratios else "no peer"
    axes.set_title(
        f"Speed over the fastest peer: {mean}\n"
        f"{behind} of {len(timed)} cells behind, {under} less than {AHEAD}× ahead",
        loc="left",
        fontsize=11,
    )
    if ops:
        axes.legend(loc="lower right", fontsize=8, framealpha=0.9, edgecolor="none")


def _inside(tick: float, ratios: list[float]) -> bool:
    return min([*ratios, 1]) / 1.3 <= tick <= max([*ratios, AHEAD]) * 1.3


def _throughput(axes: Axes, timed: list[Row]) -> None:
    """Draw softmax's elements per second, or the first operation's, one thread, by dtype."""
    plain = [row for row in timed if row.cell["array"].replace("x", "").isdecimal()]
    plain = [row for row in plain if row.cell["elements"] >= FEW] or plain
    ops = {row.cell["op"] for row in plain} - {"hessian"}
    op = "softmax" if "softmax" in ops else next(iter(sorted(ops)), "")
    threads = min((row.cell["threads"] for row in plain if row.cell["op"] == op), default=1)
    lines: dict[str, dict[int, Row]] = defaultdict(dict)
    for row in plain:
        cell = row.cell
        if cell["op"] == op and cell["threads"] == threads:
            before = lines[cell["dtype"]].get(cell["classes"])
            if before is None or before.cell["elements"] < cell["elements"]:
                lines[cell["dtype"]][cell["classes"]] = row
    for i, (dtype, by_length) in enumerate(lines.items()):
        lengths = sorted(by_length)
        found = [by_length[length] for length in lengths]
        color = COLORS[i]

        def rate(seconds: list[float], found: list[Row] = found) -> list[float]:
            pairs = zip(found, seconds, strict=True)
            return [row.cell["elements"] / s / 1e9 for row, s in pairs]

        limits = [row.cell["limit"] for row in found]
        ours = rate([row.seconds for row in found])
        axes.plot(lengths, ours, "o-", color=color, lw=2, ms=5, label=f"softlane {dtype}")
        if all(row.peer for row in found):
            peers = rate([row.peer_seconds for row in found])
            axes.plot(lengths, peers, "x-", color=color, lw=1, ms=5, alpha=0.55,
                      label=f"fastest peer {dtype}")  # fmt: skip
        copies = rate([limit["memory_seconds"] for limit in limits])
        axes.plot(lengths, copies, ":", color=color, lw=1.2, label=f"copy limit {dtype}")
        if all(limit["exp_seconds"] for limit in limits):
            exps = rate([limit["exp_seconds"] for limit in limits])
            axes.plot(lengths, exps, "--", color=color, lw=1.2, label=f"exp limit {dtype}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("classes (row length)")
    axes.set_ylabel("10⁹ elements / s")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(visible=True, which="major", color="#eeeeee")
    axes.set_title(
        f"{op}, {threads} thread{'s' * (threads > 1)}: 10⁹ elements per second\n"
        "beside the machine's limits, by row length",
        loc="left",
        fontsize=11,
    )
    if lines:
        axes.legend(fontsize=8, framealpha=0.9, edgecolor="none", ncols=len(lines))
