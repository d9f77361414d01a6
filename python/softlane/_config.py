"""Threads and instruction sets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from softlane import _core


def get_num_threads() -> int:
    """Return the number of threads that a call may use.

    Returns
    -------
    int
        At least 1. Until `set_num_threads` is called it comes from the environment variable
        ``SOFTLANE_NUM_THREADS``, else from ``OMP_NUM_THREADS``, else from the processors that this
        process may run on.

    See Also
    --------
    set_num_threads : Change it.
    num_threads : Change it for a block of code.

    Notes
    -----
    Small calls stay on the calling thread whatever the number, and so do all calls in a forked
    child process. The number changes no bit of any result.

    Examples
    --------
    >>> import softlane as sl
    >>> sl.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()


def set_num_threads(n: int) -> None:
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
    ``SOFTLANE_NUM_THREADS`` and ``OMP_NUM_THREADS``. It changes no bit of any result.

    Examples
    --------
    >>> import softlane as sl
    >>> before = sl.get_num_threads()
    >>> sl.set_num_threads(2)
    >>> sl.get_num_threads()
    2
    >>> sl.set_num_threads(before)
    """
    _core.set_num_threads(n)


@contextmanager
def num_threads(n: int) -> Iterator[None]:
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
    before = _core.get_num_threads()
    _core.set_num_threads(n)
    try:
        yield
    finally:
        _core.set_num_threads(before)


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
