"""What a peer has to offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeAlias

import numpy as np

from bench.problem import AnyArray, Call, Problem

Foreign: TypeAlias = Any  # what a library without types takes or gives


class UnavailableError(Exception):
    """The peer has no such operation, or not for this dtype or array; says which."""


class Peer(ABC):
    """A library that is timed beside softlane. Making one imports it: ImportError if missing."""

    name: ClassVar[str]
    version: str

    def __init__(self, threads: int) -> None:
        self.threads = threads

    @abstractmethod
    def prepare(self, problem: Problem) -> Call:
        """Return the call to time; raises UnavailableError.

        The call takes NumPy's array and does what a user's call would; what can be allocated or
        compiled beforehand is, unless the cell is `fresh`.
        """

    def arrays(self, result: Foreign) -> tuple[AnyArray, ...]:
        """Return a call's result as NumPy arrays, in softlane's order and layout."""
        results = result if isinstance(result, tuple) else (result,)
        return tuple(np.asarray(each) for each in results)


def matrix(problem: Problem, array: AnyArray) -> AnyArray:
    """View an array as (rows, classes), without a copy; raises UnavailableError."""
    rows = np.moveaxis(array, problem.axis, -1)
    view = rows.reshape(-1, rows.shape[-1])
    if not np.may_share_memory(view, array):
        raise UnavailableError("rows that are no matrix")
    return view
