"""The documentation is the specification: it is there, complete, and its examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import softlane as sl

ROOT = Path(__file__).parent.parent
SETTINGS = {"get_num_threads", "set_num_threads", "num_threads", "active_isa", "available_isas",
            "show_config"}  # fmt: skip
MATHEMATICS = sorted(set(sl.__all__) - SETTINGS - {"__version__"})
PUBLIC = [getattr(sl, name) for name in MATHEMATICS] + [
    getattr(sl.special, name) for name in sl.special.__all__
]
MODULES = ["softlane"] + [
    f"softlane.{m.name}" for m in pkgutil.iter_modules(sl.__path__) if m.name != "_core"
]


def _sections(function: Callable[..., Any]) -> list[str]:
    return re.findall(r"^ *(\w[\w ]*)\n *-+$", inspect.getdoc(function) or "", re.MULTILINE)


@pytest.mark.parametrize("module", MODULES)
def test_examples_give_what_they_show(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.failed == 0


def test_there_are_examples_for_every_function() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = {
        test.name.rsplit(".", 1)[1]
        for module in MODULES
        for test in finder.find(importlib.import_module(module))
        if test.examples and "." in test.name
    }
    assert set(sl.__all__) - {"__version__"} <= found


@pytest.mark.parametrize("name", MATHEMATICS)
def test_docstrings_are_complete(name: str) -> None:
    sections = _sections(getattr(sl, name))
    for section in ("Parameters", "Returns", "Raises", "Examples", "References"):
        assert section in sections, section
    assert sections.index("Parameters") < sections.index("Returns") < sections.index("Raises")


def _section(function: Callable[..., Any], name: str) -> str:
    text = inspect.getdoc(function) or ""
    return re.split(rf"^{name}\n-+\n", text, flags=re.MULTILINE)[1].split("\n\n\n")[0].partition(
        "\n---")[0]  # fmt: skip


@pytest.mark.parametrize("function", PUBLIC, ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_docstrings_say_all_that_a_caller_needs(function: Callable[..., Any]) -> None:
    parameters = inspect.signature(function).parameters
    returned = _section(function, "Returns")
    assert "dtype" in returned
    assert "shape" in returned
    raised = re.findall(r"^([\w.]+)$", _section(function, "Raises"), re.MULTILINE)
    wanted = ["TypeError", "ValueError", "numpy.exceptions.AxisError", "MemoryError"]
    if {"target", "labels"} & set(parameters):
        wanted.insert(2, "IndexError")
    assert [r for r in raised if r in wanted] == wanted
    assert set(raised) <= set(wanted) | {"Notes"}
    assert re.search(r"\b(nats?|bits?|unit)\b", inspect.getdoc(function) or "") or (
        function is sl.one_hot
    )
    assert re.search(r" = |softlane\.", _section(function, "Notes"))  # the formula, or where it is
    source = _section(function, "References")
    assert re.search(r"\[1\] .*(\n.*)*(doi:|arXiv:|Springer|Wiley|pp\.)", source)
    cited = set(re.findall(r"\[(\d)\]_", inspect.getdoc(function) or ""))
    assert cited <= set(re.findall(r"^\.\. \[(\d)\]", source, re.MULTILINE))


def test_the_typed_example_is_right_about_what_is_returned(monkeypatch: Any) -> None:
    """mypy checks tests/typed_example.py; here its claims meet the values."""
    import typed_example

    claims = 0

    def check(value: Any, claim: Any) -> None:
        nonlocal claims
        claims += 1
        assert _is_of(value, claim), (type(value), getattr(value, "dtype", None), claim)

    monkeypatch.setattr(typed_example, "assert_type", check)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    labels = np.array([0, 2])
    typed_example.maps_keep_the_dtype(x, x.astype(np.float64), labels)
    typed_example.reductions_of_everything_are_scalars(x, x.astype(np.float64))
    typed_example.losses_keep_the_dtype_of_the_logits(x, x.astype(np.float64), labels)
    typed_example.labels_become_rows_of_the_dtype_asked_for(labels)
    typed_example.the_configuration_is_plain_python()
    assert claims > 30


def _is_of(value: Any, claim: Any) -> bool:
    """Is `value` of the type `claim`, with the dtype of an array?"""
    origin, arguments = typing.get_origin(claim), typing.get_args(claim)
    if claim is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_is_of(value, a) for a in arguments)
    if origin is tuple:
        return len(value) == len(arguments) and all(map(_is_of, value, arguments))
    if origin in (np.ndarray, npt.NDArray):  # from NumPy 2.5 on NDArray is an origin of its own
        scalar = arguments[1].__args__[0] if origin is np.ndarray else arguments[0]
        return isinstance(value, np.ndarray) and _is_of(value.dtype.type(), scalar)
    return value is None if claim is None else isinstance(value, origin or claim)


@pytest.mark.parametrize(
    "claim",
    [npt.NDArray[np.float64], np.float32, tuple[npt.NDArray[np.float32]], None, str | int],
)
def test_a_wrong_claim_about_a_value_is_seen(claim: Any) -> None:
    x = np.zeros((2, 3), np.float32)
    assert _is_of(x, npt.NDArray[np.float32])
    assert not _is_of(x if typing.get_origin(claim) is not tuple else (1, x), claim)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_settings_are_documented(name: str) -> None:
    sections = _sections(getattr(sl, name))
    assert "Examples" in sections
    if inspect.signature(getattr(sl, name)).parameters:
        assert {"Parameters", "Raises"} <= set(sections)
    else:
        assert "Returns" in sections


@pytest.mark.parametrize("name", MATHEMATICS)
def test_every_parameter_is_documented(name: str) -> None:
    function = getattr(sl, name)
    text = inspect.getdoc(function) or ""
    section = text.split("Parameters\n----------\n", 1)[1].split("\n\nReturns\n", 1)[0]
    documented = [
        part.strip() for line in re.findall(r"^(\w[\w, ]*) : ", section, re.MULTILINE)
        for part in line.split(",")
    ]  # fmt: skip
    assert documented == list(inspect.signature(function).parameters)


SIGNATURES = {
    "softmax": "(x, axis=-1, *, temperature=1.0, where=None, dtype=None, out=None)",
    "log_softmax": "(x, axis=-1, *, temperature=1.0, where=None, dtype=None, out=None)",
    "softmin": "(x, axis=-1, *, temperature=1.0, where=None, dtype=None, out=None)",
    "logsumexp": "(x, axis=None, *, b=None, keepdims=False, return_sign=False, where=None, "
    "dtype=None, out=None)",
    "smooth_max": "(x, axis=None, *, temperature=1.0, keepdims=False, where=None, dtype=None, "
    "out=None)",
    "smooth_min": "(x, axis=None, *, temperature=1.0, keepdims=False, where=None, dtype=None, "
    "out=None)",
    "entropy": "(logits, axis=-1, *, temperature=1.0, base=None, keepdims=False, where=None, "
    "dtype=None, out=None)",
    "one_hot": "(labels, num_classes, *, axis=-1, dtype=np.float32)",
    "get_num_threads": "()",
    "set_num_threads": "(n)",
    "num_threads": "(n)",
    "active_isa": "()",
    "available_isas": "()",
    "show_config": "(mode='stdout')",
    **{
        name: f"({arguments}, axis=-1, *, weight=None, sample_weight=None, label_smoothing=0.0, "
        "ignore_index=None, reduction='none', out=None)"
        for name, arguments in {
            "cross_entropy": "logits, target",
            "cross_entropy_grad": "logits, target",
            "cross_entropy_value_and_grad": "logits, target",
            "cross_entropy_grad_and_hess_diag": "logits, target",
            "cross_entropy_hessian": "logits, target=None",
            "cross_entropy_hessian_diag": "logits, target=None",
            "cross_entropy_hvp": "logits, vector, target=None",
            "cross_entropy_hessian_solve": "logits, rhs, damping, target=None",
        }.items()
    },
}


def _expected(text: str) -> list[tuple[str, Any, bool]]:
    """Name, default and whether it is a keyword only, of a signature as written."""
    scope: dict[str, Any] = {"np": np}
    exec(f"def f{text}: ...", scope)
    return _shape(scope["f"])


def _shape(function: Callable[..., Any]) -> list[tuple[str, Any, bool]]:
    return [
        (p.name, p.default, p.kind is p.KEYWORD_ONLY)
        for p in inspect.signature(function).parameters.values()
    ]


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_those_of_the_contract(name: str) -> None:
    assert _shape(getattr(sl, name)) == _expected(SIGNATURES[name])


def test_every_signature_is_in_the_contract() -> None:
    assert set(SIGNATURES) == set(sl.__all__) - {"__version__"}


@pytest.mark.parametrize("name", sorted(set(sl.__all__) - {"__version__"}))
def test_annotations_resolve(name: str) -> None:
    hints = typing.get_type_hints(inspect.unwrap(getattr(sl, name)))
    assert "return" in hints


def test_the_readme_runs() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks
    scope: dict[str, Any] = {"__name__": "readme"}
    for block in blocks:
        if ">>>" in block:
            parser = doctest.DocTestParser()
            test = parser.get_doctest(block, scope, "README", "README.md", 0)
            runner = doctest.DocTestRunner()
            runner.run(test, clear_globs=False)
            assert runner.summarize().failed == 0
        else:
            exec(compile(block, "README.md", "exec"), scope)
