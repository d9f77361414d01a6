"""The bench measures what it says it does, and says what it does not measure."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softlane as sl

ROOT = Path(__file__).parent.parent
FAST = ("--peer", "NumPy,SciPy", "--threads", "1")


@pytest.fixture(scope="module", autouse=True)
def root_on_path() -> Iterator[None]:
    """The bench runs from a clone; it is not installed."""
    sys.path.insert(0, str(ROOT))
    yield
    sys.path.remove(str(ROOT))


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Every operation and dtype on a tiny array, as a user runs it."""
    file = tmp_path_factory.mktemp("bench") / "new.json"
    done = _command("--shape", "3x5,4x3@0:fresh", *FAST, "--json", str(file))
    assert done.returncode == 0, done.stderr
    return done, file


@pytest.fixture
def result(finished: tuple[Any, Path]) -> dict[str, Any]:
    return json.loads(finished[1].read_text(encoding="utf-8"))


def _plan() -> Any:
    from bench.timing import Plan

    return Plan(sample=1e-4, seconds=0.02, fewest=5, most=5)


def _measure(peers: list[Any], text: str = "8x16", op: str = "softmax") -> dict[str, Any]:
    from bench.cells import Array, Cell
    from bench.measure import measure

    return measure(Cell(op, "float32", Array.parse(text), 1), peers, _plan())


def _result(*cells: dict[str, Any]) -> dict[str, Any]:
    return {"cells": [*cells], "missing": {}, "exp_measured": True, "machine": {"load": 0.0}}


def test_result_keeps_to_the_schema(result: dict[str, Any]) -> None:
    from bench.schema import faults

    assert list(faults(result)) == []


def test_schema_finds_faults(result: dict[str, Any]) -> None:
    from bench.schema import faults

    result["cells"][0]["threads"] = 0
    result["cells"][1]["state"] = "dreamt"
    del result["machine"]["cpu"]
    result["host"] = "name"
    result["seconds"] = True
    found = " ".join(faults(result))
    for fault in (
        "$.cells[0].threads is 0",
        "$.cells[1].state is 'dreamt'",
        "$.machine has no 'cpu'",
        "$ has an unknown 'host'",
        "$.seconds is no number",
    ):
        assert fault in found


def test_every_operation_and_dtype_has_its_cell(result: dict[str, Any]) -> None:
    from bench.cells import DTYPES, OPERATIONS

    cells = {(cell["op"], cell["dtype"]): cell for cell in result["cells"]}
    assert set(cells) == {(op, dtype) for op in OPERATIONS for dtype in DTYPES}
    for (op, dtype), cell in cells.items():
        if dtype in result["unsupported"]:
            assert cell["state"] == "not supported by this version"
        else:
            assert cell["state"] == "timed"
            assert cell["peers"]["NumPy"] == {"state": "timed", "note": ""}, (op, dtype)
            assert min(map(len, cell["samples"].values())) >= 5
            assert cell["limit"]["seconds"] > 0
    # bfloat16 is a dtype of ml_dtypes, which may not be there.
    assert {"float32", "float64", "float16"}.isdisjoint(result["unsupported"])


def test_output_is_a_table_and_a_last_line(finished: tuple[Any, Path]) -> None:
    done, _ = finished
    lines = done.stdout.splitlines()
    assert any(line.startswith("cell ") and "ahead ×" in line for line in lines)
    assert any(line.startswith("softmax float32 3x5 t1") for line in lines)
    assert any(line.startswith("hessian float64 4x3@0:fresh t1") for line in lines)
    assert lines[-1].startswith("Geometric mean")
    assert "behind the fastest peer" in lines[-1]
    assert done.stderr == ""  # no progress bar in a pipe


def test_memory_comes_with_its_option(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    arguments = ("--op", "softmax", "--dtype", "float32", "--shape", "64x16:fresh,4x8", *FAST)
    done = _command(*arguments, "--memory", "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert "temporary KB" in done.stdout
    fresh, warm = json.loads(file.read_text(encoding="utf-8"))["cells"]
    assert fresh["memory"]["allocated_output"] == 64 * 16 * 4
    assert fresh["memory"]["numpy_peak"] >= 64 * 16 * 4
    assert warm["memory"]["allocated_output"] == 0
    assert warm["memory"]["numpy_peak"] < 64 * 16 * 4


def test_picture_comes_with_its_option(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "bench.png"
    arguments = ("--op", "softmax", "--dtype", "float32", "--shape", "64x16,4x8", *FAST)
    done = _command(*arguments, "--plot", str(picture))
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_picture_of_a_large_run_is_svg_too(tmp_path: Path, result: dict[str, Any]) -> None:
    pytest.importorskip("matplotlib")
    from bench.plot import draw

    result["cells"] = 4 * result["cells"]
    draw(result, tmp_path / "bench.svg")
    assert "<svg" in (tmp_path / "bench.svg").read_text(encoding="utf-8")


def test_slow_peer_is_slow() -> None:
    from bench.peers import Peer
    from bench.peers.numpy import NumPy
    from bench.report import Row, rows, summary

    class Slow(NumPy):
        name = "slow"

        def prepare(self, problem: Any) -> Any:
            call = super().prepare(problem)

            def slow() -> Any:
                time.sleep(0.002)
                return call()

            return slow

    peer: Peer = Slow(1)
    cell = _measure([peer])
    row = Row.of(cell)
    assert row.peer == "slow"
    assert row.peer_seconds > 0.002
    assert row.ahead is not None
    assert row.ahead > 10
    line = summary(_result(cell))
    assert "0 of 1 behind the fastest peer" in line
    assert rows(_result(cell)) == [row]


def test_wrong_peer_is_reported_and_not_timed() -> None:
    from bench.peers.numpy import NumPy
    from bench.report import remarks

    class Wrong(NumPy):
        name = "wrong"

        def prepare(self, problem: Any) -> Any:
            call = super().prepare(problem)
            return lambda: call() * np.float32(1.01)

    class Broken(NumPy):
        name = "broken"

        def prepare(self, problem: Any) -> Any:
            raise RuntimeError("out of order")

    cell = _measure([Wrong(1), Broken(1)])
    assert set(cell["samples"]) == {"softlane"}
    assert cell["peers"]["wrong"]["state"] == "mismatch"
    assert cell["peers"]["broken"]["state"] == "error"
    notes = "\n".join(remarks({**_result(cell)}))
    assert "wrong not timed, mismatch" in notes
    assert "out of order" in notes


def test_missing_peers_and_a_busy_machine_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.measure import find_peers
    from bench.report import remarks

    monkeypatch.setitem(sys.modules, "scipy", None)
    peers, missing = find_peers(1, ["NumPy", "SciPy"])
    assert [peer.name for peer in peers] == ["NumPy"]
    assert "not installed" in missing["SciPy"]
    assert "busy" in remarks({**_result(), "machine": {"load": 2.0}})[0]
    assert remarks({**_result(), "missing": missing})[0].startswith("SciPy: missing")


@pytest.mark.parametrize("text", ["5x7", "5x7:strided", "5x7:fresh", "7x5@0", "3x5x4@1", "7"])
def test_peers_agree_with_softlane(text: str) -> None:
    from bench.cells import OPERATIONS, OPTIONS
    from bench.measure import find_peers

    peers, _ = find_peers(1, ["NumPy", "SciPy", "scikit-learn"])
    for op in OPERATIONS + OPTIONS:
        states = _measure(peers, text, op)["peers"]
        assert {s["state"] for s in states.values()} <= {"timed", "not applicable"}, (op, states)
        assert states["NumPy"]["state"] == "timed"


@pytest.mark.parametrize("warmed", [True, False])
def test_contestants_take_turns(warmed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import timing
    from bench.timing import Plan, interleave

    if not warmed:
        monkeypatch.setattr(timing, "WARMED", 0)
    turns: list[str] = []
    plan = Plan(sample=0, seconds=0, fewest=3, most=9)
    samples = interleave(
        {"a": lambda: turns.append("a"), "b": lambda: turns.append("b")},
        plan,
        limits={"limit": lambda: turns.append("limit")},
        given={"itself": lambda: 0.5},
    )
    calls = 2 if warmed else 1  # the first is not measured
    round_robin = [who for who in ("a", "b", "limit") for _ in range(calls)] * 3
    assert turns[-9 * calls :] == round_robin
    assert {who: len(times) for who, times in samples.items()} == dict.fromkeys(samples, 3)
    assert samples["itself"] == [0.5] * 3


def test_slow_contestant_stops_early_and_the_first_never_does() -> None:
    from bench.timing import Plan, interleave

    plan = Plan(sample=0, seconds=60, fewest=2, most=4)
    quick, slow = (lambda: time.sleep(0.0005)), (lambda: time.sleep(0.02))
    rounds = {k: len(v) for k, v in interleave({"us": quick, "them": slow}, plan).items()}
    assert rounds == {"us": 4, "them": 2}
    rounds = {k: len(v) for k, v in interleave({"us": slow, "them": quick}, plan).items()}
    assert rounds == {"us": 4, "them": 4}
    hasty = Plan(sample=0, seconds=0.001, fewest=2, most=4)
    rounds = {k: len(v) for k, v in interleave({"us": quick, "them": slow}, hasty).items()}
    assert rounds == {"us": 2, "them": 1}


def test_regression_is_found_and_drift_is_not_one(
    tmp_path: Path, result: dict[str, Any], finished: tuple[Any, Path]
) -> None:
    from bench.report import changes, comparison

    def scaled(factor: float, who: tuple[str, ...]) -> dict[str, Any]:
        old = copy.deepcopy(result)
        for cell in old["cells"]:
            for kind in (cell.get("samples", {}), cell.get("limit", {}).get("samples", {})):
                for name in kind.keys() & set(who):
                    kind[name] = [factor * t for t in kind[name]]
        return old

    timed = [cell for cell in result["cells"] if cell["state"] == "timed"]
    regressed = changes(scaled(0.02, ("softlane",)), result)
    assert len(regressed) == len(timed)
    assert all(change.lost for change in regressed)
    assert "LOST" in comparison(regressed)
    drifted = changes(scaled(0.02, ("softlane", "NumPy", "SciPy", "copy", "fill")), result)
    assert not any(change.lost for change in drifted)
    assert not any(change.lost for change in changes(result, result))


def test_regression_sets_the_exit_status(tmp_path: Path, result: dict[str, Any]) -> None:
    for cell in result["cells"]:
        if cell["state"] == "timed":
            cell["samples"]["softlane"] = [t / 50 for t in cell["samples"]["softlane"]]
    old = tmp_path / "old.json"
    old.write_text(json.dumps(result), encoding="utf-8")
    arguments = ("--op", "softmax", "--dtype", "float32", "--shape", "3x5", *FAST)
    done = _command(*arguments, "--against", str(old))
    assert done.returncode == 1, done.stderr
    assert "1 lost more than 15%" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--op", "softmx"], "'softmx' is not one of softmax"),
        (["--dtype", "int8"], "'int8' is not one of float32"),
        (["--shape", "64by10"], "'64by10' is no shape such as 64x1000"),
        (["--shape", "64x0"], "has no elements"),
        (["--shape", "64x10@2"], "has no axis 2"),
        (["--shape", "64x10:odd"], "the layouts are out, strided, fresh"),
        (["--threads", "0"], "'0' is neither 'all' nor a number from 1"),
        (["--threads", "many"], "'many' is neither"),
        (["--isa", "avx1024"], "'avx1024' is not one of"),
        (["--peer", "CuPy"], "'CuPy' is not one of NumPy"),
        (["--json", "no/such/directory/x.json"], "there is no directory"),
        (["--plot", "x.gif"], "ends in neither .png nor .svg"),
        (["--against", "no-such.json"], "No such file"),
        (["--against", "pyproject.toml"], "is no JSON"),
        (["--against", "tests/hashes.json"], "is no result of this bench"),
        (["--op", "hessian", "--shape", "2x100000"], "these options leave no cell: Hessians of"),
        (["--quick", "--full"], "not allowed with"),
    ],
)
def test_bad_options_get_a_clear_message(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bench.command import main

    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_arrays_are_written_as_they_are_read() -> None:
    from bench.cells import FULL, Array

    for array in FULL:
        assert Array.parse(str(array)) == array
    assert str(Array.parse("64×1000@1")) == "64x1000"


def test_full_grid_holds_every_shape_and_no_cell_twice() -> None:
    from bench.cells import FULL, grid

    cells = grid(full=True, threads=(1, 2))
    assert len({cell.key for cell in cells}) == len(cells)
    assert {cell.array for cell in cells if cell.op == "softmax"} == set(FULL)
    assert {7, 37, 151, 257, 5003, 50257} <= {cell.array.classes for cell in cells}


def test_no_cell_is_lost_when_time_is_up() -> None:
    from bench.cells import grid
    from bench.run import run

    cells = grid(full=False, threads=(1,), ops=("softmax",))
    *each, whole = run(cells, _plan(), full=False, seconds=1e-9, peers=["NumPy"])
    assert len(each) == len(whole["cells"]) == len(cells)


def test_interrupt_keeps_what_was_measured(tmp_path: Path) -> None:
    file = tmp_path / "new.json"
    # 56 cells of at least 0.3 s each, of which some are done by then.
    command = ("--op", "softmax,hessian", "--shape", "3x5,3x5:fresh,8x900,8x901,8x902,8x903,8x904")
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "bench", "--full", *command, *FAST, "--json", str(file)],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        time.sleep(10)
        assert process.poll() is None
        process.terminate()
        output, _ = process.communicate(timeout=60)
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    states = [cell["state"] for cell in cells]
    measured = states.count("timed")
    assert 0 < measured < len(states) == 56
    assert states == ["timed"] * measured + ["not reached in time"] * (len(states) - measured)
    assert "not reached in time" in output


def test_failure_takes_no_other_cell_along() -> None:
    from bench.cells import Array, Cell
    from bench.report import remarks
    from bench.run import run
    from bench.schema import faults

    impossible = Cell("hessian", "float64", Array((1, 1 << 40)), 1)
    possible = Cell("softmax", "float64", Array((1, 4)), 1)
    *_, whole = run([impossible, possible], _plan(), full=False, peers=["NumPy"])
    assert [cell["state"] for cell in whole["cells"]] == ["failed", "timed"]
    assert list(faults(whole)) == []
    assert "MemoryError" in "".join(remarks(whole))


def test_dead_worker_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import run
    from bench.cells import grid

    def dies(job: dict[str, Any], isa: str | None) -> Iterator[dict[str, Any]]:
        yield {"event": "found"}
        raise run.WorkerError("the worker ended with -11")

    monkeypatch.setattr(run, "_events", dies)
    found: dict[str, Any] = {}
    cells = grid(full=False, threads=(1,), ops=("softmax",))
    failed = list(run._cells({}, cells, None, found))
    assert {cell["note"] for cell in failed} == {"the worker ended with -11"}
    assert len(failed) == len(cells)


def test_copies_are_timed_by_turns() -> None:
    """A copy beside itself: every cell has a row, and a directory without one is refused."""
    script = ROOT / "bench" / "by_turns.py"
    installed = str(Path(sl.__file__).parent.parent)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(script), *arguments], capture_output=True, text=True, check=False
        )

    done = run(f"{installed}@scalar", f"{installed}*2", "3x4")
    assert done.returncode == 0, done.stderr
    _, *rows, last = done.stdout.splitlines()
    assert len(rows) == 10  # five operations, two dtypes
    assert all(float(row.split()[-1]) > 0 for row in rows)
    assert last.startswith("10 cells: ")
    refused = run(installed, "nowhere", "3x4")
    assert refused.returncode == 1
    assert "no copy of softlane in nowhere" in refused.stderr
    chosen = run(installed, installed, "3x4", "hvp,cross_entropy")
    assert chosen.returncode == 0, chosen.stderr
    assert {row.split()[0] for row in chosen.stdout.splitlines()[1:-1]} == {"hvp", "cross_entropy"}
    refused = run(installed, installed, "3x4", "hvp,hpv")
    assert refused.returncode == 1
    assert "no operation hpv: there are " in refused.stderr
    refused = run(installed, installed, "64x128256", "hessian")
    assert refused.returncode == 1
    assert "no cell is left" in refused.stderr


def test_calls_with_pauses_between_them_are_timed() -> None:
    script = ROOT / "bench" / "pauses.py"
    done = subprocess.run(
        [sys.executable, str(script), "3x4"],
        capture_output=True, text=True, check=False,
        env={**os.environ, "SOFTLANE_NUM_THREADS": "2"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    _, _, *rows = done.stdout.splitlines()
    assert [row.split()[:2] for row in rows] == [["float32", "3x4"], ["float64", "3x4"]]
    assert all(float(ratio) > 0 for row in rows for ratio in row.split()[2:])
