"""Instruction sets, version and what the package exports."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata, resources

import pytest

import softlane as sl

CONTRACT = {
    "softmax", "log_softmax", "softmin", "logsumexp", "smooth_max", "smooth_min", "entropy",
    "one_hot", "cross_entropy", "cross_entropy_grad", "cross_entropy_value_and_grad",
    "cross_entropy_grad_and_hess_diag", "cross_entropy_hessian", "cross_entropy_hessian_diag",
    "cross_entropy_hvp", "cross_entropy_hessian_solve", "get_num_threads", "set_num_threads",
    "num_threads", "active_isa", "available_isas", "__version__",
}  # fmt: skip


def _import(
    isa: str | None, code: str = "print(sl.active_isa())"
) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "SOFTLANE_ISA"}
    if isa is not None:
        environment["SOFTLANE_ISA"] = isa
    return subprocess.run(
        [sys.executable, "-c", f"import softlane as sl; {code}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("isa", sl.available_isas())
def test_the_environment_forces_an_instruction_set(isa: str) -> None:
    child = _import(isa, "print(sl.active_isa(), sl.softmax([0.0, 0.0]).tolist())")
    assert child.returncode == 0, child.stderr
    assert child.stdout == f"{isa} [0.5, 0.5]\n"


@pytest.mark.parametrize("isa", ["sse9", "AVX2 ", "scalar,avx2"])
def test_an_unknown_instruction_set_fails_at_import_and_lists_those_available(isa: str) -> None:
    child = _import(isa)
    assert child.returncode != 0
    last = child.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert "SOFTLANE_ISA" in last
    assert isa in last
    for available in sl.available_isas():
        assert available in last


@pytest.mark.parametrize("isa", [None, ""])
def test_the_best_instruction_set_is_the_default(isa: str | None) -> None:
    assert _import(isa).stdout == f"{sl.available_isas()[0]}\n"


def test_scalar_is_always_available_and_last() -> None:
    isas = sl.available_isas()
    assert isas[-1] == "scalar"
    assert len(set(isas)) == len(isas)
    assert sl.active_isa() in isas
    isas.clear()  # a copy
    assert sl.available_isas()


def test_every_instruction_set_of_this_processor_is_available() -> None:
    """The build has not silently lost an engine."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            words = set(file.read().split())
    except OSError:
        pytest.skip("no /proc/cpuinfo")
    needs = {"avx512": {"avx512f", "avx512dq", "avx512bw", "avx512vl", "fma"},
             "avx2": {"avx2", "fma"}, "neon": {"asimd"}}  # fmt: skip
    wanted = [isa for isa, flags in needs.items() if flags <= words]
    assert sl.available_isas() == [*wanted, "scalar"]


def test_selecting_an_unknown_instruction_set_changes_nothing() -> None:
    before = sl.active_isa()
    with pytest.raises(ValueError, match="scalar"):
        sl._core.select_isa("sse9")
    assert sl.active_isa() == before


def test_the_package_exports_the_contract() -> None:
    assert set(sl.__all__) >= CONTRACT
    assert all(hasattr(sl, name) for name in sl.__all__)
    assert sorted(sl.__all__) == list(sl.__all__)


def test_the_version_is_that_of_the_distribution() -> None:
    assert sl.__version__ == metadata.version("softlane")


def test_the_package_is_typed() -> None:
    package = resources.files(sl)
    assert (package / "py.typed").is_file()
    assert (package / "_core.pyi").is_file()


def test_import_is_quiet_and_needs_numpy_only() -> None:
    code = "import sys; print(sorted({'scipy', 'mpmath', 'torch', 'pytest'} & set(sys.modules)))"
    child = _import(None, code)
    assert (child.stdout, child.stderr) == ("[]\n", "")
