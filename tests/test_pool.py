"""The threads that help a call: when they start, what they are, and that nobody waits in vain.

Each test is a child process with a pool of its own.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="asks Linux for this process's threads"
)

PRELUDE = """
    import os, resource, statistics, sys, threading, time
    import numpy as np
    import softlane as sl

    def tasks():
        return {int(t) for t in os.listdir("/proc/self/task")}

    def status(task, field):
        with open(f"/proc/self/task/{task}/status") as lines:
            return next(line.split()[1] for line in lines if line.startswith(field + ":"))

    x = np.random.default_rng(1).standard_normal((512, 1000)).astype(np.float32)
    row = x.reshape(1, -1)
    before = tasks()
    with sl.num_threads(1):
        wanted = sl.softmax(x).tobytes(), sl.softmax(row).tobytes()
"""


def _run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    # The BLAS that NumPy loads has threads of its own otherwise.
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    environment["OPENBLAS_NUM_THREADS"] = "1"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(PRELUDE) + textwrap.dedent(code)],
        env={**environment, **variables}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def _child(code: str, **variables: str) -> str:
    done = _run(code, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_threads_start_with_the_first_call_that_wants_them_and_no_more_of_them() -> None:
    shown = _child("""
        sl.set_num_threads(4)
        counts = [len(tasks() - before)]
        sl.softmax(x[:3])  # too little work
        counts.append(len(tasks() - before))
        for n in (3, 2, 1, 5):
            sl.set_num_threads(n)
            sl.softmax(x)
            counts.append(len(tasks() - before))
        print(counts)
    """)
    assert shown == "[0, 0, 2, 2, 2, 4]\n"


def test_threads_take_no_signals() -> None:
    """A signal that Python's main thread is to see must not end up in one of them."""
    shown = _child("""
        import signal
        sl.set_num_threads(3)
        sl.softmax(x)
        workers = tasks() - before
        blocked = [int(status(t, "SigBlk"), 16) for t in workers]
        # All but SIGKILL, SIGSTOP, the two that glibc keeps to itself (32, 33), and faults.
        kept = {getattr(signal, "SIG" + s) for s in "KILL STOP SEGV BUS FPE ILL TRAP SYS".split()}
        named = [s for s in range(1, 32) if s not in kept]
        print(len(workers), all(b >> (s - 1) & 1 for b in blocked for s in named))
        print(int(status(os.getpid(), "SigBlk"), 16))
    """)
    assert shown == "2 True\n0\n"


def test_a_fault_in_a_thread_reaches_the_handler() -> None:
    """A memory map whose file was cut short: SIGBUS, in whichever thread reads beyond."""
    code = """
        import faulthandler, tempfile
        faulthandler.enable()
        sl.set_num_threads(2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        f = tempfile.TemporaryFile()
        f.truncate(64 << 20)
        y = np.memmap(f, np.float32, "r", shape=(16384, 1024))
        f.truncate(32 << 20)  # the caller's part stays
        sl.logsumexp(y, axis=1)
    """
    for _ in range(5):  # a thread's, mostly; if none began, the caller's
        done = _run(code)
        assert done.returncode == -signal.SIGBUS
        assert "Bus error" in done.stderr


def test_threads_have_all_places_where_openmp_binds() -> None:
    """Its runtime binds the main thread to the first place, which the threads would inherit."""
    wanted = os.sched_getaffinity(0)
    if len(wanted) < 2:
        pytest.skip("one processor")
    code = """
        sl.set_num_threads(3)
        sl.softmax(x)
        def places():
            return [sorted(os.sched_getaffinity(t)) for t in tasks() - before]
        end = time.monotonic() + 20  # a thread goes there first thing, when it gets to run
        while any(len(p) == 1 for p in places()) and time.monotonic() < end:
            time.sleep(0.01)
        print(places())
    """
    for binding in ({"OMP_PROC_BIND": "true"}, {"OMP_PROC_BIND": "close", "OMP_PLACES": "cores"}):
        assert _child(code, **binding) == f"{[sorted(wanted)] * 2}\n"


def test_a_small_call_wakes_no_thread_unless_another_follows() -> None:
    shown = _child("""
        sl.set_num_threads(2)
        small = x[:64]
        def pause():
            time.sleep(0.02)  # the thread, if there is one, goes to sleep
        def spent():
            with open(f"/proc/self/task/{min(tasks() - before)}/schedstat") as times:
                return int(times.read().split()[0])

        for _ in range(20):
            sl.softmax(small)
            pause()
        counts = [len(tasks() - before)]
        for _ in range(1000):
            sl.softmax(small)
        counts.append(len(tasks() - before))

        pause()
        awake = [spent()]
        for _ in range(20):
            sl.softmax(small)
            pause()
        awake.append(spent())
        sl.softmax(x)
        pause()
        awake.append(spent())
        for _ in range(1000):
            sl.softmax(small)
        awake.append(spent())
        print(counts, [later > earlier for earlier, later in zip(awake, awake[1:])])
    """)
    assert shown == "[0, 1] [False, True, True]\n"


@pytest.mark.parametrize(
    ("rows", "offset", "started"), [(64, 0, 1), (64, 16, 0), (95, 16, 0), (96, 16, 1), (95, 0, 0)]
)
def test_rows_side_by_side_are_shared_where_threads_have_lines_of_their_own(
    rows: int, offset: int, started: int
) -> None:
    """95 rows do not begin at a line in every class, wherever the first does."""
    shown = _child(f"""
        sl.set_num_threads(2)
        raw = np.empty(4 * 1000 * {rows} + 128, np.uint8)
        begin = -raw.ctypes.data % 64 + {offset}
        out = raw[begin:][:4 * 1000 * {rows}].view(np.float32).reshape(1000, {rows})
        for _ in range(1000):
            sl.softmax(x.reshape(1000, -1)[:, :{rows}], axis=0, out=out)
        print(len(tasks() - before))
    """)
    assert shown == f"{started}\n"


def test_openmp_limit_on_threads_holds() -> None:
    code = """
        sl.set_num_threads(4)
        sl.softmax(x)
        print(sl.get_num_threads(), len(tasks() - before))
    """
    assert _child(code, OMP_THREAD_LIMIT="2") == "2 1\n"


def test_threads_stay_on_the_processors_of_the_caller() -> None:
    shown = _child("""
        own = {min(os.sched_getaffinity(0))}
        os.sched_setaffinity(0, own)
        sl.set_num_threads(3)
        sl.softmax(x)
        print([os.sched_getaffinity(t) == own for t in tasks() - before])
    """)
    assert shown == "[True, True]\n"


def test_a_thread_wakes_where_it_may_and_not_where_the_caller_is() -> None:
    own = os.sched_getaffinity(0)
    virtual = platform.machine() == "x86_64" and " hypervisor " in Path("/proc/cpuinfo").read_text()
    if len(own) < 2:
        pytest.skip("one processor")
    shown = _child("""
        own = os.sched_getaffinity(0)
        sl.set_num_threads(2)
        sl.softmax(x)
        worker, = tasks() - before
        def call_from(cpu):
            os.sched_setaffinity(0, {cpu})
            met = []
            for _ in range(5):
                time.sleep(0.01)
                sl.softmax(x)
                time.sleep(0.01)
                with open(f"/proc/self/task/{worker}/stat") as fields:
                    met.append(int(fields.read().rsplit(")", 1)[1].split()[36]) == cpu)
            return sum(met) / len(met), os.sched_getaffinity(worker)
        calls = [call_from(cpu) for cpu in (*own, *own)]
        print(statistics.mean(met for met, _ in calls), all(mask == own for _, mask in calls))

        # Somebody's own choice, whether the caller is there too or not.
        chosen = [{cpu} for cpu in own]
        for mask in chosen:
            os.sched_setaffinity(worker, mask)
            print(all(call_from(cpu)[1] == mask for cpu in own))
    """)
    met, same = shown.splitlines()[0].split()
    assert same == "True"
    if virtual:  # where it was each time, or each other time
        assert float(met) < 0.4
    assert shown.splitlines()[1:] == ["True"] * len(own)


def test_a_thread_without_a_processor_is_not_waited_for() -> None:
    """All on one processor: whoever waits for the others' end waits for whole slices of time."""
    shown = _child("""
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        out = np.empty_like(x)
        def median(threads):
            sl.set_num_threads(threads)
            times = []
            for _ in range(150):
                start = time.perf_counter()
                sl.softmax(x, out=out)
                times.append(time.perf_counter() - start)
            return statistics.median(times)
        median(2)
        alone = min(median(1) for _ in range(3))
        together = min(median(2) for _ in range(3))
        print(together < 5 * alone or (alone, together))
    """)
    assert shown == "True\n"


def test_fewer_threads_than_wanted_give_the_same_bits() -> None:
    """Where the system has no memory for their stacks."""
    shown = _child("""
        sl.set_num_threads(16)
        out = np.empty_like(x)
        with open("/proc/self/statm") as sizes:
            now = int(sizes.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + (8 << 20), -1))
        sl.softmax(x, out=out)
        few = len(tasks() - before)
        sl.softmax(row, out=out.reshape(1, -1))
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
        print(out.tobytes() == wanted[1], 0 < few < 15)
    """)
    assert shown == "True True\n"


def test_the_process_ends_while_threads_compute_and_sleep() -> None:
    shown = _child("""
        sl.set_num_threads(2)
        started = threading.Event()
        def work():
            while True:
                sl.softmax(x)
                started.set()
        for _ in range(3):
            threading.Thread(target=work, daemon=True).start()
        started.wait(60)
        print("end")
    """)
    assert shown == "end\n"


def test_calls_of_many_threads_end_with_the_same_bits() -> None:
    """One has the pool, the others do their work alone; teams of all sizes follow each other."""
    shown = _child("""
        wrong = []
        def work(seed):
            rng = np.random.default_rng(seed)
            for i in range(400):
                sl.set_num_threads(int(rng.integers(1, 9)))
                rows = int(rng.integers(1, 64))
                got = sl.softmax(x[:rows]).tobytes() == wanted[0][:rows * 4000]
                if i % 20 == 0:
                    got = got and sl.softmax(row).tobytes() == wanted[1]
                if not got:
                    wrong.append((seed, i, rows))
                if i % 50 == 0:
                    time.sleep(0.001)  # the pool goes to sleep meanwhile, or is about to
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
        for t in threads: t.start()
        for t in threads: t.join()
        time.sleep(0.1)  # until the system has seen the last of those threads
        print(wrong, len(tasks() - before) <= 7)
    """)
    assert shown == "[] True\n"
