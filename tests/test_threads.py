"""Threads: how many, from many Python threads at once, and after a fork."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from operations import OPERATIONS, make_inputs

import softlane as sl

SECONDS = 120  # until a child counts as hung


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a child without the thread variables of this process."""
    kept = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_the_number_of_threads_is_what_was_set() -> None:
    for n in (1, 2, 7, 16, np.int64(3)):
        sl.set_num_threads(n)
        assert sl.get_num_threads() == n
        assert type(sl.get_num_threads()) is int


def test_the_block_restores_the_number_of_threads() -> None:
    sl.set_num_threads(2)
    with sl.num_threads(5):
        assert sl.get_num_threads() == 5
        with sl.num_threads(1):
            assert sl.get_num_threads() == 1
        assert sl.get_num_threads() == 5
    assert sl.get_num_threads() == 2
    with pytest.raises(KeyError), sl.num_threads(5):
        raise KeyError
    assert sl.get_num_threads() == 2


BAD_NUMBERS = [
    (0, ValueError),
    (-1, ValueError),
    (2**40, ValueError),
    (1.5, TypeError),
    ("2", TypeError),
    (None, TypeError),
]


@pytest.mark.parametrize(("bad", "error"), BAD_NUMBERS)
def test_a_bad_number_of_threads_is_an_error(bad: Any, error: type[Exception]) -> None:
    before = sl.get_num_threads()
    with pytest.raises(error, match=r"^set_num_threads: n ") as caught:
        sl.set_num_threads(bad)
    assert type(caught.value) is error
    with pytest.raises(error, match=r"^num_threads: n "), sl.num_threads(bad):
        pytest.fail("the block was entered")
    assert sl.get_num_threads() == before


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({"SOFTLANE_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "5"}, 5),
        ({"SOFTLANE_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
        ({"SOFTLANE_NUM_THREADS": "1"}, 1),
        ({"SOFTLANE_NUM_THREADS": " 3 "}, 3),
        ({"OMP_NUM_THREADS": "5,2"}, 5),  # 5 threads, and 2 inside each
    ],
)
def test_the_environment_sets_the_number_of_threads(
    environment: dict[str, str], wanted: int
) -> None:
    child = _python("import softlane as sl; print(sl.get_num_threads())", **environment)
    assert child.returncode == 0, child.stderr
    assert child.stdout == f"{wanted}\n"


@pytest.mark.parametrize(
    "text", ["", " ", "4x", "x4", "1e3", "0x4", "4.0", "4 4", "4,2", "0", "-3", "4097", "9" * 30]
)
def test_text_that_is_no_number_of_threads_does_not_count(text: str) -> None:
    """As OpenMP does with OMP_NUM_THREADS."""
    code = "import softlane as sl; print(sl.get_num_threads(), sl._core.chosen_num_threads())"
    child = _python(code, SOFTLANE_NUM_THREADS=text, OMP_NUM_THREADS="5")
    assert (child.returncode, child.stderr) == (0, "")
    assert child.stdout == "5 0\n"


@pytest.mark.parametrize("text", ["4x", "1e3", "0x4", "4 4", "4097x"])
def test_openmp_and_softlane_agree_on_what_is_no_number(text: str) -> None:
    """Else the pool would look limited, and set_num_threads could not exceed the misread number."""
    code = "import softlane as sl; sl.set_num_threads(64); print(sl.get_num_threads())"
    assert _python(code, OMP_NUM_THREADS=text).stdout == "64\n"


def test_without_the_environment_threads_are_the_usable_processors() -> None:
    child = _python("import softlane as sl; print(sl.get_num_threads())")
    assert int(child.stdout) == len(os.sched_getaffinity(0))


NAMES = ("softmax", "logsumexp", "loss", "gradient", "hvp", "hessian_solve", "entropy", "hessian")


@pytest.mark.usefixtures("isa")
def test_many_python_threads_on_shared_inputs_get_the_same_bits() -> None:
    batches = [make_inputs(3000, 10, np.float32), make_inputs(40, 1500, np.float64),
               make_inputs(5, 7, np.float32)]  # fmt: skip
    jobs = [(n, b) for b in batches for n in NAMES if n != "hessian" or b.logits.shape[1] < 100]
    wanted = [[r.tobytes() for r in OPERATIONS[n](b)] for n, b in jobs]
    barrier = threading.Barrier(8)

    def work(seed: int) -> int:
        barrier.wait(SECONDS)
        order, wrong = np.random.default_rng(seed).permutation(len(jobs)), 0
        for _ in range(3):
            for i in order:
                name, batch = jobs[i]
                wrong += [r.tobytes() for r in OPERATIONS[name](batch)] != wanted[i]
                if seed == 0:  # meanwhile
                    sl.set_num_threads(1 + int(i) % 4)
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [0] * 8


def test_the_interpreter_runs_while_a_call_computes() -> None:
    """The GIL is released: a long call does not stop this thread from counting."""
    x = np.zeros((200, 20_000), np.float64)
    sl.set_num_threads(1)
    out = np.empty_like(x)
    sl.softmax(x, out=out)
    done = threading.Event()

    def compute() -> None:
        for _ in range(40):
            sl.softmax(x, out=out)
        done.set()

    worker = threading.Thread(target=compute)
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # the interpreter lets go of the lock only when asked to
    try:
        worker.start()
        counted = 0
        while not done.wait(0.0005):
            counted += 1
        worker.join()
    finally:
        sys.setswitchinterval(switch)
    assert counted > 20


FORK = """
    import os, sys, time, warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads is what is tested
    import threading
    import numpy as np
    import softlane as sl

    sl.set_num_threads(4)
    x = np.random.default_rng(1).standard_normal((500, 1000)).astype(np.float32)
    v = x[::-1].copy()

    def compute():
        p, h = sl.softmax(x), sl.cross_entropy_hvp(x, v)
        lse = sl.logsumexp(np.ascontiguousarray(x.T), 0)
        return p.tobytes() + h.tobytes() + lse.tobytes()

    wanted = compute()

    def fork_and_compare():
        child = os.fork()
        if child == 0:
            same = compute() == wanted
            os._exit(0 if same else 3)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        os.kill(child, 9)
        os.waitpid(child, 0)
        return "hung"
"""


def test_labels_that_another_thread_changes_are_classes_all_the_same() -> None:
    """Checked or not by then: such a call gives anything, but stays within its arrays."""
    child = _python("""
        import threading
        import time
        import numpy as np
        import softlane as sl

        sl.set_num_threads(2)
        stop = threading.Event()
        labels = np.zeros(4096, np.int64)

        def change():
            while not stop.is_set():
                labels[:] = 1 << 40
                labels[:] = 0

        changer = threading.Thread(target=change, daemon=True)
        changer.start()
        seen = set()
        for classes in (3, 20, 100, 1100):
            x = np.zeros((4096, classes), np.float32)
            out = np.empty(4096, np.float32), np.empty_like(x)
            options = {"weight": np.ones(classes)}, {}, {"label_smoothing": 0.5}
            end = time.monotonic() + 2
            while time.monotonic() < end:
                for choice in options:
                    try:
                        sl.cross_entropy_value_and_grad(x, labels, out=out, **choice)
                        seen.add("computed")
                    except IndexError:
                        seen.add("refused")
        stop.set()
        changer.join()
        print(sorted(seen))
    """)
    assert child.returncode == 0, child.stderr
    assert child.stdout == "['computed', 'refused']\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.parametrize(
    "when",
    [
        # after a parallel call
        "print({fork_and_compare() for _ in range(20)}, compute() == wanted)",
        # from another thread than the one that computed
        """
        results = set()
        thread = threading.Thread(target=lambda: results.update(
            fork_and_compare() for _ in range(10)))
        thread.start()
        thread.join()
        print(results, compute() == wanted)
        """,
        # while another thread computes
        """
        stop = threading.Event()
        def work():
            while not stop.is_set():
                compute()
        worker = threading.Thread(target=work)
        worker.start()
        results = {fork_and_compare() for _ in range(20)}
        stop.set()
        worker.join()
        print(results, compute() == wanted)
        """,
    ],
    ids=["after a call", "from a thread", "during a call"],
)
def test_a_forked_child_computes_the_same_bits(when: str) -> None:
    child = _python(textwrap.dedent(FORK) + textwrap.dedent(when))
    assert child.returncode == 0, child.stderr
    assert child.stdout == "{0} True\n"


def test_a_child_of_a_child_computes_the_same_bits() -> None:
    child = _python(
        textwrap.dedent(FORK)
        + textwrap.dedent("""
        outer = os.fork()
        if outer == 0:
            os._exit(0 if fork_and_compare() == 0 else 4)
        print(os.waitstatus_to_exitcode(os.waitpid(outer, 0)[1]))
        """)
    )
    assert child.stdout == "0\n", child.stderr


X86_GLIBC = platform.machine() == "x86_64" and platform.libc_ver()[0] == "glibc"


@pytest.mark.skipif(not X86_GLIBC, reason="sets the control register through glibc's fenv_t")
@pytest.mark.parametrize(
    "control",
    [0x8040, 0x2000, 0x4000, 0x6000],
    ids=["subnormals flushed", "downward", "upward", "toward zero"],
)
def test_the_calling_thread_s_arithmetic_changes_no_bit(control: int) -> None:
    """A library built with -ffast-math flushes subnormals in the thread that loads it."""
    shown = _python(f"""
        import ctypes
        import numpy as np
        import softlane as sl

        libm = ctypes.CDLL("libm.so.6")
        default, changed = (ctypes.c_uint32 * 8)(), (ctypes.c_uint32 * 8)()
        libm.fegetenv(default)
        libm.fegetenv(changed)
        changed[7] |= {control}

        rng = np.random.default_rng(5)
        x = rng.standard_normal((40_000, 6)) * 300 - 300
        y = rng.integers(0, 6, 40_000)
        calls = (
            lambda: sl.softmax(x),
            lambda: sl.log_softmax(x, temperature=0.7),
            lambda: sl.logsumexp(x, axis=1),
            lambda: sl.cross_entropy(x, y, reduction="mean"),
            lambda: sl.cross_entropy_grad(x, y),
            lambda: sl.softmax(x[0]),
        )
        for threads in (1, 2):
            sl.set_num_threads(threads)
            for call in calls:
                expected = call().tobytes()
                libm.fesetenv(changed)
                got = call()
                after = (ctypes.c_uint32 * 8)()
                libm.fegetenv(after)
                libm.fesetenv(default)
                assert got.tobytes() == expected
                assert after[7] & {control} == {control}
        print("same")
    """)
    assert shown.stdout == "same\n", shown.stderr
