"""Threads, instruction sets, and what this installation consists of."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, SupportsIndex, overload

import numpy as np

from softlane import _core


def get_num_threads() -> int:
    """Return the number of threads that a call may use.

    Returns
    -------
    int
        At least 1. Until `set_num_threads` is called it comes from the environment variable
        ``SOFTLANE_NUM_THREADS``, else from ``OMP_NUM_THREADS``, else from the processors that this
        process may run on. The variables are read at import; text that is not a whole number from
        1 to 4096 does not count.

    See Also
    --------
    set_num_threads : Change it.
    num_threads : Change it for a block of code.

    Notes
    -----
    Small calls stay on the calling thread whatever the number, and so do all calls in a forked
    child process. The number changes no bit of any result.

    The threads are softlane's own, but how many there may be is OpenMP's to say too: where its
    number is below the one it started with, as inside ``threadpoolctl.threadpool_limits(1)``, it is
    a limit, and so is ``OMP_THREAD_LIMIT``: this function returns no more, and calls use no more,
    whatever `set_num_threads` has set. OpenMP keeps its number for each calling thread by itself,
    so a limit set in one Python thread does not reach the others. Where several Python threads call
    at once, one of the calls has the threads, and the others compute on the thread that called.

    Examples
    --------
    >>> import softlane as sl
    >>> sl.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()


def set_num_threads(n: SupportsIndex) -> None:
    """Set the number of threads that a call may use.

    Parameters
    ----------
    n : int
        At least 1; more than there are processors is allowed.

    Raises
    ------
    TypeError
        If `n` is not an int.
    ValueError
        If `n` is less than 1.

    See Also
    --------
    num_threads : Change it for a block of code.

    Notes
    -----
    The setting holds for the whole process, and overrides the environment variables
    ``SOFTLANE_NUM_THREADS`` and ``OMP_NUM_THREADS``, but not a limit of threadpoolctl's while that
    lasts (see `get_num_threads`). It changes no bit of any result.

    Examples
    --------
    >>> import softlane as sl
    >>> before = sl.get_num_threads()
    >>> sl.set_num_threads(2)
    >>> sl.get_num_threads()
    2
    >>> sl.set_num_threads(before)
    """
    _core.set_num_threads(n, "set_num_threads")


@contextmanager
def num_threads(n: SupportsIndex) -> Iterator[None]:
    """Set the number of threads for a ``with`` block, and put the earlier number back after it.

    Parameters
    ----------
    n : int
        At least 1.

    Yields
    ------
    None

    Raises
    ------
    TypeError
        If `n` is not an int.
    ValueError
        If `n` is less than 1.

    See Also
    --------
    set_num_threads : Set it for good.

    Notes
    -----
    The number belongs to the process, so the block also affects calls that other Python threads
    make meanwhile; their results are the same bits.

    Examples
    --------
    >>> import softlane as sl
    >>> before = sl.get_num_threads()
    >>> with sl.num_threads(1):
    ...     sl.get_num_threads()
    1
    >>> sl.get_num_threads() == before
    True
    """
    before = _core.chosen_num_threads()
    _core.set_num_threads(n, "num_threads")
    try:
        yield
    finally:
        _core.choose_num_threads(before)


def active_isa() -> str:
    """Return the name of the instruction set that the kernels run on.

    Returns
    -------
    str
        One of `available_isas`: the best of them, or the one that the environment variable
        ``SOFTLANE_ISA`` names, such as ``SOFTLANE_ISA=avx2``.

    See Also
    --------
    available_isas : Those that this build and this CPU have.

    Notes
    -----
    ``SOFTLANE_ISA`` is read once, at import. If it names an instruction set that is unknown or that
    this CPU lacks, ``import softlane`` raises `ImportError` with the list of those available. The
    instruction set changes no bit of any result.

    Examples
    --------
    >>> import softlane as sl
    >>> sl.active_isa() in sl.available_isas()
    True
    """
    return _core.active_isa()


def available_isas() -> list[str]:
    """Return the names of the instruction sets that this build and this CPU have.

    Returns
    -------
    list of str
        Best first, from ``"avx512"``, ``"avx2"``, ``"neon"`` and ``"scalar"``. ``"scalar"`` is
        always there, and last.

    See Also
    --------
    active_isa : The one in use.

    Examples
    --------
    >>> import softlane as sl
    >>> sl.available_isas()[-1]
    'scalar'
    """
    return _core.available_isas()


@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> dict[str, dict[str, Any]]: ...
def show_config(mode: Literal["stdout", "dicts"] = "stdout") -> dict[str, dict[str, Any]] | None:
    """Show what this installation consists of: versions, instruction sets, threads, compiler.

    Parameters
    ----------
    mode : {"stdout", "dicts"}, default "stdout"
        "stdout" prints it; "dicts" returns it.

    Returns
    -------
    dict or None
        For "dicts", a dict of dicts: "softlane" (its version), "simd" (the active instruction set
        and those available), "threads" (how many a call may use), "openmp" (the runtime's file name
        and the date of its standard; empty and 0 in a build without OpenMP), "compiler" (its name
        and version, the C++ standard, and the flags that matter), "python" (version, implementation
        and machine) and "numpy" (its version). None for "stdout".

    Raises
    ------
    ValueError
        If `mode` is neither "stdout" nor "dicts".

    See Also
    --------
    numpy.show_config : The same for NumPy.
    active_isa : The instruction set alone.
    get_num_threads : The number of threads alone.

    Notes
    -----
    The compiler and its flags are those of the build; all else is as it is during the call. Of the
    flags, ``fast_math`` must be False, for under it the digits would be wrong.

    Examples
    --------
    >>> import softlane as sl
    >>> sl.show_config(mode="dicts")["softlane"]["version"] == sl.__version__
    True
    """
    if mode not in ("stdout", "dicts"):
        message = f"show_config: mode must be 'stdout' or 'dicts', got {mode!r}"
        raise ValueError(message)
    config: dict[str, dict[str, Any]] = {
        "softlane": {"version": _core.version},
        "simd": {"active": _core.active_isa(), "available": _core.available_isas()},
        "threads": {"number": _core.get_num_threads()},
        **_core.build(),
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "machine": platform.machine(),
        },
        "numpy": {"version": np.__version__},
    }
    if mode == "dicts":
        return config
    for topic, entries in config.items():
        print(f"{topic}:")
        for name, value in entries.items():
            print(f"  {name}: {_text(value)}")
    return None


def _text(value: Any) -> str:  # noqa: ANN401 (a name, a number, or some of them)
    if isinstance(value, dict):
        return ", ".join(f"{name}={entry}" for name, entry in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
