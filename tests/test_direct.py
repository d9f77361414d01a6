"""A public function is what a Python function is to its callers, though its calls run no Python."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import pydoc
import subprocess
import sys
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_overhead import CALLED

import softlane as sl
from softlane import _core

DIRECT = sorted(set(CALLED) - {"np.exp"})


def _python(name: str) -> Callable[..., Any]:
    wrapped: Callable[..., Any] = getattr(sl, name).__wrapped__
    assert isinstance(wrapped, types.FunctionType)
    return wrapped


def _bytes(result: Any) -> list[bytes]:
    parts = result if isinstance(result, tuple) else (result,)
    return [np.asarray(part).tobytes() for part in parts]


@pytest.mark.parametrize("name", DIRECT)
def test_a_call_is_that_of_the_python_function(name: str) -> None:
    function, python = getattr(sl, name), _python(name)
    _, arguments = CALLED[name]
    names = list(inspect.signature(function).parameters)
    by_name = dict(zip(names, arguments, strict=False))
    not_interned = {"".join(list(key)): value for key, value in by_name.items()}
    expected = _bytes(python(*arguments))
    assert _bytes(function(*arguments)) == expected
    assert _bytes(function(**by_name)) == expected
    assert _bytes(function(**dict(reversed(by_name.items())))) == expected
    assert _bytes(function(**not_interned)) == expected
    assert _bytes(function(*arguments, axis=-1)) == _bytes(python(*arguments, axis=-1))


class Odd:
    """Neither a number nor an array, nor true or false."""

    def __bool__(self) -> bool:
        raise TypeError("a truth is asked for")

    def __repr__(self) -> str:
        return "Odd"


def _complaint(function: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> str:
    with pytest.raises(TypeError) as caught:
        function(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", DIRECT)
def test_every_parameter_arrives_in_its_place(name: str) -> None:
    function, python = getattr(sl, name), _python(name)
    _, arguments = CALLED[name]
    names = list(inspect.signature(function).parameters)
    for parameter in names[len(arguments) :]:
        said = [_complaint(f, arguments, {parameter: Odd()}) for f in (function, python)]
        assert said[0] == said[1]
        assert parameter in said[0] or said[0] == "a truth is asked for"


@pytest.mark.parametrize("name", DIRECT)
@pytest.mark.parametrize(
    "call",
    [
        lambda f, a: f(),
        lambda f, a: f(*a, *range(10)),
        lambda f, a: f(*a, nothing_of_the_kind=1),
        lambda f, a: f(*a, **{next(iter(inspect.signature(f).parameters)): a[0]}),
        lambda f, a: f(axis=0),
    ],
    ids=["none", "too many", "unknown", "twice", "first missing"],
)
def test_a_call_that_does_not_fit_says_what_python_says(
    name: str, call: Callable[[Callable[..., Any], tuple[Any, ...]], Any]
) -> None:
    _, arguments = CALLED[name]
    with pytest.raises(TypeError) as expected:
        call(_python(name), arguments)
    with pytest.raises(TypeError) as caught:
        call(getattr(sl, name), arguments)
    assert str(caught.value) == str(expected.value)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", DIRECT)
def test_it_is_introspected_as_a_function(name: str) -> None:
    function, python = getattr(sl, name), _python(name)
    assert callable(function)
    assert inspect.isroutine(function)
    assert inspect.signature(function) == inspect.signature(python)
    assert typing.get_type_hints(function) == typing.get_type_hints(python)
    for attribute in ("__name__", "__qualname__", "__module__", "__doc__"):
        assert getattr(function, attribute) == getattr(python, attribute)
    assert f"{name}(" in pydoc.plaintext.document(function)
    assert repr(function) == f"<function {python.__module__}.{name}>"


@pytest.mark.parametrize("name", DIRECT)
def test_it_is_pickled_and_copied_by_name(name: str) -> None:
    function = getattr(sl, name)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(function, protocol)) is function
    assert copy.copy(function) is function
    assert copy.deepcopy(function) is function


class Name(str):
    """A keyword that equals another only if it is that one."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def test_a_keyword_given_twice_is_refused() -> None:
    twice: dict[str, Any] = {Name("temperature"): 5.0, "temperature": 1.0}
    assert len(twice) == 2
    with pytest.raises(TypeError):
        sl.softmax([1.0, 2.0], **twice)
    assert sl.softmax([1.0, 2.0], **{Name("temperature"): 5.0})[0] > 0.4


def test_names_of_its_own_may_be_anything() -> None:
    made = _made(lambda x: None)
    made.__module__, made.__qualname__ = None, 5
    assert (
        repr(made)
        == f"<function {__name__}.test_names_of_its_own_may_be_anything.<locals>.<lambda>>"
    )
    made.__dict__ = {}
    assert repr(made).startswith("<function ")


@pytest.mark.parametrize("name", DIRECT)
def test_inspect_finds_the_signature_without_unwrapping(name: str) -> None:
    assert inspect.getfullargspec(getattr(sl, name)) == inspect.getfullargspec(_python(name))


NESTED = """
import sys
import softlane as sl

class Argument:
    def __float__(self):
        return float(sl.softmax(1.0, temperature=self))
    def __index__(self):
        return int(sl.softmax([1.0], self))
    def __array__(self, *a, **k):
        return sl.cross_entropy_hessian_solve([1.0], self, 1.0)

class Itself:
    __array__ = sl.softmax

calls = {
    "float": lambda: sl.softmax(1.0, temperature=Argument()),
    "index": lambda: sl.softmax([1.0], Argument()),
    "array": lambda: sl.cross_entropy_hessian_solve([1.0], Argument(), 1.0),
    "no Python frame": lambda: sl.softmax(Itself()),
    "python": lambda: sl.softmax.__wrapped__(Itself()),
}
for _ in range(2):
    try:
        calls[sys.argv[1]]()
    except RecursionError as error:
        assert "recursion" in str(error)
    else:
        raise AssertionError
assert sl.softmax([2.0]).tolist() == [1.0]
"""


@pytest.mark.parametrize("how", ["float", "index", "array", "no Python frame", "python"])
def test_calls_within_calls_without_end_are_a_recursion_error(how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NESTED, how], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_it_can_be_a_method_and_have_attributes() -> None:
    class Logits(np.ndarray[Any, Any]):
        softmax = sl.softmax

    x = np.array([1.0, 2.0]).view(Logits)
    assert isinstance(x.softmax, types.MethodType)
    assert x.softmax(axis=0).tolist() == sl.softmax([1.0, 2.0]).tolist()
    assert Logits.softmax is sl.softmax

    made = _made(lambda x, axis=-1, temperature=1.0, where=None, dtype=None, out=None: None)
    made.note = "a note"
    assert made.note == "a note"


def _made(function: Callable[..., Any], core: Callable[..., Any] = _core.softmax) -> Any:
    return _core.Direct(function, core)


def test_calls_keep_no_reference() -> None:
    x, out, temperature = np.zeros(3), np.zeros(3), 1.25
    counts = [sys.getrefcount(value) for value in (x, out, temperature, None)]
    for _ in range(100):
        sl.softmax(x, -1, temperature=temperature, out=out)
        sl.softmax(x, out=out)
        with pytest.raises(TypeError):
            sl.softmax(x, x, x)  # type: ignore[call-overload]
        with pytest.raises(TypeError):
            sl.softmax(x, nothing=out)  # type: ignore[call-overload]
    after = [sys.getrefcount(value) for value in (x, out, temperature, None)]
    assert after[:3] == counts[:3]
    assert abs(after[3] - counts[3]) < 100


def test_one_in_a_cycle_is_collected() -> None:
    cell: list[Any] = []
    cell.append(_made(lambda x, y=cell: y))
    cell[0].itself = cell[0]
    dead = weakref.ref(cell[0])
    del cell
    gc.collect()
    assert dead() is None


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (lambda x: x,),
        (len, _core.softmax),
        (lambda x: x, lambda x: x),
        (lambda x: x, _core.get_num_threads),
        (lambda x: x, len),
        (lambda *x: x, _core.softmax),
        (lambda **x: x, _core.softmax),
        (eval(f"lambda {', '.join(f'x{i}' for i in range(17))}: 0"), _core.softmax),
    ],
)
def test_what_cannot_be_bound_is_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        _core.Direct(*arguments)
    with pytest.raises(TypeError, match="by position"):
        _core.Direct(*arguments, core=_core.softmax)  # type: ignore[call-arg]


def test_a_keyword_without_default_is_required() -> None:
    def function(x: Any, *, axis: Any, temperature: Any = 1.0) -> Any:
        raise AssertionError

    made = _made(function)
    with pytest.raises(TypeError, match="axis"):
        made(np.zeros(3))
    # Six arguments are what _core.softmax takes; all three of this signature reach it.
    with pytest.raises(TypeError, match="expected 6 positional arguments, got 3"):
        made(np.zeros(3), axis=0)
