"""Public functions whose calls go to the compiled module without a Python frame."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, TypeVar, cast

from softlane import _core

Function = TypeVar("Function", bound=Callable[..., Any])


def direct(function: Function) -> Function:
    """Have _core's function of the same name called with the arguments that `function` would get.

    The body of `function` has to do just that. What a caller sees of it (signature, annotations,
    docstring, errors of a call that does not fit) is the function's own.
    """
    made = _core.Direct(function, getattr(_core, function.__name__))
    return cast(Function, update_wrapper(made, function))
