"""`python -m bench`: its options, and what it prints."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from bench import report, timing
from bench.cells import (
    DTYPES,
    LARGEST_HESSIAN,
    LARGEST_QUICK_HESSIAN,
    OPERATIONS,
    OPTIONS,
    Array,
    Cell,
    grid,
)
from bench.run import Result, WorkerError, cores, run
from bench.schema import faults

T = TypeVar("T")

PEERS = ("NumPy", "SciPy", "PyTorch", "JAX", "ONNX Runtime", "scikit-learn", "numba")
QUICK_SECONDS = 50.0  # for cells; starting the workers takes the rest of a minute
LOST, FAILED = 1, 2  # exit status
PICTURES = (".png", ".svg")


def _list(read: Callable[[str], T]) -> Callable[[str], list[T]]:
    """Return a reader of comma-separated values."""

    def read_list(text: str) -> list[T]:
        return [read(part.strip()) for part in text.split(",")]

    return read_list


def _one_of(names: Sequence[str]) -> Callable[[str], str]:
    folded = {name.casefold(): name for name in names}

    def read(text: str) -> str:
        try:
            return folded[text.casefold()]
        except KeyError:
            raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(names)}") from None

    return read


def _array(text: str) -> Array:
    try:
        return Array.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _threads(text: str) -> int:
    if text == "all":
        return cores()
    if not text.isdecimal() or not 1 <= int(text) <= cores():
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither 'all' nor a number from 1 to {cores()}"
        )
    return int(text)


def _isa(text: str) -> str:
    import softlane as sl

    return _one_of(sl.available_isas())(text)


def _writable(text: str) -> Path:
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {str(path.parent)!r}")
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a directory")
    return path


def _picture(text: str) -> Path:
    path = _writable(text)
    if path.suffix not in PICTURES:
        raise argparse.ArgumentTypeError(f"{text!r} ends in neither {' nor '.join(PICTURES)}")
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError:
        raise argparse.ArgumentTypeError('matplotlib is missing: pip install ".[bench]"') from None
    return path


def _result(text: str) -> Result:
    try:
        data: Result = json.loads(Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error.strerror}") from None
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON: {error}") from None
    fault = next(faults(data), None)
    if fault is not None:
        raise argparse.ArgumentTypeError(f"{text!r} is no result of this bench: {fault}")
    return data


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m bench",
        description="Time softlane beside its peers and beside the machine's own limit.",
        epilog="Lists are separated by commas. bench/README.md says what the columns mean.",
        allow_abbrev=False,
    )
    size = options.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="under a minute (the default)")
    size.add_argument("--full", action="store_true", help="the whole grid")
    add = options.add_argument
    ops = OPERATIONS + OPTIONS
    add("--op", type=_list(_one_of(ops)), metavar="LIST", help=f"of {', '.join(ops)}")
    add("--dtype", type=_list(_one_of(DTYPES)), metavar="LIST", help=f"of {', '.join(DTYPES)}")
    add(
        "--shape",
        type=_list(_array),
        metavar="LIST",
        help="SHAPE[@AXIS][:LAYOUT], of the grid or not: 64x1000, 10x4096@0, 64x1000:strided",
    )
    add("--threads", type=_list(_threads), metavar="LIST", help="numbers or 'all' (default: 1,all)")
    add("--isa", type=_isa, metavar="NAME", help="instruction set to force")
    add("--peer", type=_list(_one_of(PEERS)), metavar="LIST", help=f"of {', '.join(PEERS)}")
    add("--memory", action="store_true", help="also measure what a call allocates")
    add("--json", type=_writable, metavar="FILE", help="write every sample (bench/schema.json)")
    add("--plot", type=_picture, metavar="FILE", help="draw the picture, PNG or SVG by the suffix")
    add(
        "--against",
        type=_result,
        metavar="OLD.json",
        help="compare with an earlier --json; exit status 1 where a cell lost more than "
        f"{report.LOST:.0%}".replace("%", "%%")
        + " beyond its spread",
    )
    return options


def _progress(results: Iterable[Result], total: int) -> Iterator[Result]:
    """Draw a bar on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield from results
        return
    try:
        from tqdm import tqdm  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError:
        yield from results
        return
    with tqdm(total=total, unit="cell", leave=False) as bar:
        for result in results:
            if "cells" not in result:
                bar.set_postfix_str(report.name(result), refresh=False)
                bar.update()
            yield result


def heading(result: Result) -> str:
    machine, softlane = result["machine"], result["softlane"]
    peers = ", ".join(f"{who} {version}" for who, version in result["versions"].items())
    return (
        f"softlane {softlane['version']} ({softlane['isa']}) on {machine['cpu']}, "
        f"{machine['cores']} cores, Python {machine['python']}\nbeside {peers}\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser()
    chosen = options.parse_args(arguments)
    threads = sorted(set(chosen.threads or (1, cores())))
    cells = grid(
        full=chosen.full,
        threads=threads,
        ops=chosen.op,
        dtypes=chosen.dtype,
        arrays=chosen.shape,
    )
    if not cells:
        options.error(
            f"these options leave no cell: Hessians of more than {LARGEST_HESSIAN} elements, in a "
            f"quick run {LARGEST_QUICK_HESSIAN}, are left out"
        )
    # `timeout` and a closed session end a long run as Ctrl-C does: what was measured is kept.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        result = _measure(cells, chosen)
    except WorkerError as error:
        print(f"{options.prog}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130
    if chosen.json:
        chosen.json.write_text(_dumps(result), encoding="utf-8")
    if chosen.plot:
        from bench.plot import draw

        draw(result, chosen.plot)
    return _print(result, chosen.against)


def _dumps(result: Result) -> str:
    """Write a line for each cell: with a line for each sample nobody could read the file."""
    head = json.dumps({**result, "cells": []}, indent=1)
    cells = ",\n  ".join(map(json.dumps, result["cells"]))
    return head.replace('"cells": []', f'"cells": [\n  {cells}\n ]') + "\n"


def _measure(cells: Sequence[Cell], chosen: argparse.Namespace) -> Result:
    named = chosen.full or chosen.shape
    results = run(
        cells,
        timing.FULL if chosen.full else timing.QUICK,
        full=chosen.full,
        seconds=0.0 if named else QUICK_SECONDS,
        isa=chosen.isa,
        peers=chosen.peer,
        with_memory=chosen.memory,
    )
    last: Result = {}
    for last in _progress(results, len(cells)):  # noqa: B007
        pass
    return last


def _print(result: Result, against: Result | None) -> int:
    print(heading(result))
    if report.rows(result):
        print(report.table(result))
    for remark in report.remarks(result):
        print(f"- {remark}")
    status = 0
    if against is not None:
        found = report.changes(against, result)
        print(f"\n{report.comparison(found)}\n")
        status = LOST if any(change.lost for change in found) else 0
    print(report.summary(result))
    return FAILED if any(cell["state"] == "failed" for cell in result["cells"]) else status
