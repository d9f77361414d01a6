"""`python -m softlane` finds what is wrong, and only that; the probe that the limits come from."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import oracle
import pytest

import softlane as sl
from softlane import _selfcheck

PUBLIC = {
    "softmax": "softmax",
    "log_softmax": "log_softmax",
    "logsumexp": "logsumexp",
    "entropy": "entropy",
    "loss": "cross_entropy",
    "gradient": "cross_entropy_grad",
    "hess_diag": "cross_entropy_hessian_diag",
}


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "softlane", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _replace(
    monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    right = getattr(sl, PUBLIC[name])
    monkeypatch.setattr(sl, PUBLIC[name], lambda *a, **more: change(right(*a, **more)))


def _far(result: np.ndarray) -> np.ndarray:
    """Off by at least 8 ULP."""
    return result * result.dtype.type(1 + 16 * np.finfo(result.dtype).eps)


def test_a_sound_installation_passes() -> None:
    child = _run()
    assert child.returncode == 0, child.stdout
    assert child.stderr == ""
    for word in (*PUBLIC, *sl.available_isas(), sl.__version__, sl._core.compiler(), "passed"):
        assert word in child.stdout, word


def test_help_explains_the_command() -> None:
    child = _run("--help")
    assert child.returncode == 0
    assert child.stdout.startswith("usage: python -m softlane")
    assert _run("--unknown").returncode == 2


@pytest.mark.parametrize("name", PUBLIC)
def test_a_wrong_kernel_is_reported(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _replace(monkeypatch, name, _far)
    monkeypatch.setattr(_selfcheck, "SHAPES", ())
    assert _selfcheck.main([]) == 1
    report = capsys.readouterr().out
    assert "self-check FAILED" in report
    for dtype in _selfcheck.DTYPES:
        if _selfcheck.wider(dtype) is not None:
            assert f"\n  {name} of {dtype} on scalar is off by" in report
    # Those that are right are not accused.
    for other in PUBLIC.keys() - {name}:
        assert f"\n  {other} of" not in report


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_result_that_is_not_finite_is_reported(
    wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(result: np.ndarray) -> np.ndarray:
        result = np.array(result)
        result.flat[-1] = wrong
        return result

    _replace(monkeypatch, "softmax", spoil)
    assert not _selfcheck.check_accuracy().passed


@pytest.mark.skipif(
    len(sl.available_isas()) == 1, reason="one instruction set: none to differ from"
)
def test_an_instruction_set_with_other_bits_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def nudge(result: np.ndarray) -> np.ndarray:
        if sl.active_isa() == "scalar":
            result = np.array(result)
            result.flat[-1] = np.nextafter(result.flat[-1], result.dtype.type(1))
        return result

    before = sl.active_isa()
    _replace(monkeypatch, "gradient", nudge)
    result = _selfcheck.check_accuracy()
    assert not result.passed
    assert not result.same_bits
    assert any("gradient of float32 has other bits on scalar" in f for f in result.failures)
    assert not any("softmax" in f for f in result.failures)
    assert sl.active_isa() == before


def test_the_instruction_set_is_put_back_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(result: np.ndarray) -> np.ndarray:
        if sl.active_isa() == "scalar":
            raise MemoryError
        return result

    before = sl.active_isa()
    _replace(monkeypatch, "softmax", fail)
    with pytest.raises(MemoryError):
        _selfcheck.check_accuracy()
    assert sl.active_isa() == before


def test_what_cannot_be_checked_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where long double is no wider than float64."""
    monkeypatch.setattr(np, "longdouble", np.float64)
    monkeypatch.setattr(_selfcheck, "SHAPES", ())
    assert _selfcheck.main([]) == 0
    report = capsys.readouterr().out
    assert "float64 could not be checked" in report
    assert "float32  softmax" in report


def test_the_references_own_error_is_negligible(dtype: np.dtype) -> None:
    """A hundredth of an ULP, against definitions at 1300 bits."""
    wide = _selfcheck.wider(dtype.name)
    if wide is None:
        pytest.skip("no wider format")

    def error(value: Any, exact: Any, size: Any = None) -> float:
        mantissa, exponent = np.frexp(value)
        high = float(mantissa)  # in two parts, for mpf takes a float
        low = float(mantissa - wide(high))
        with oracle.mp.workprec(oracle.PRECISION):
            got = oracle.mp.ldexp(oracle.mp.mpf(high) + oracle.mp.mpf(low), int(exponent))
            return float(abs(got - exact) / oracle._mp_ulp(exact if size is None else size, dtype))

    for x, labels in _selfcheck.samples(dtype.name):
        if x.shape[1] not in (2, 3, 37):
            continue
        r = _selfcheck.Reference(x, labels, wide)
        for i in range(4):
            row, label = x[i], int(labels[i])
            matrix = oracle.hessian_row(row)
            total = oracle.logsumexp_row(row)
            size = max(abs(total), abs(float(row.max())))
            assert error(r.logsumexp[i], total, size) < 0.01
            assert error(r.entropy[i], oracle.entropy_row(row)) < 0.01
            assert error(r.loss[i], oracle.loss_row(row, label)) < 0.01
            for got, exact in (
                (r.softmax[i], oracle.softmax_row(row)),
                (r.log_softmax[i], oracle.log_softmax_row(row)),
                (r.gradient[i], oracle.gradient_row(row, label)),
                (r.hess_diag[i], [matrix[k][k] for k in range(len(row))]),
            ):
                assert max(map(error, got, exact)) < 0.01


def test_exp_alone_has_a_speed(isa: str, dtype: np.dtype) -> None:
    ns = sl._core.exp_ns(dtype.name)
    assert ns > 0
    if dtype == np.float32 and isa != "scalar":
        assert ns < 50


@pytest.mark.parametrize("dtype", ["float16", "", "Float32"])
def test_exp_alone_knows_two_dtypes(dtype: str) -> None:
    with pytest.raises(ValueError, match="float32"):
        sl._core.exp_ns(dtype)
