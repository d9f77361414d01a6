"""Instruction sets, version and what the package exports."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import threadpoolctl

import softlane as sl

CONTRACT = {
    "softmax", "log_softmax", "softmin", "logsumexp", "smooth_max", "smooth_min", "entropy",
    "one_hot", "cross_entropy", "cross_entropy_grad", "cross_entropy_value_and_grad",
    "cross_entropy_grad_and_hess_diag", "cross_entropy_hessian", "cross_entropy_hessian_diag",
    "cross_entropy_hvp", "cross_entropy_hessian_solve", "get_num_threads", "set_num_threads",
    "num_threads", "active_isa", "available_isas", "show_config", "__version__",
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


def test_special_comes_with_the_package() -> None:
    code = "print(sl.special.__name__, sorted(sl.special.__all__))"
    child = _import(None, code)
    assert child.stdout == "softlane.special ['log_softmax', 'logsumexp', 'softmax']\n"


def test_the_configuration_is_what_it_says() -> None:
    config = sl.show_config(mode="dicts")
    assert config["softlane"] == {"version": sl.__version__}
    assert config["simd"] == {"active": sl.active_isa(), "available": sl.available_isas()}
    assert config["numpy"] == {"version": np.__version__}
    assert config["python"]["version"] == platform.python_version()
    compiler = config["compiler"]
    assert f"{compiler['name']} {compiler['version']}" == sl._core.compiler()
    assert re.match(r"\d+\.\d+", compiler["version"])
    assert compiler["standard"] >= 201703
    assert compiler["flags"]["fast_math"] is False
    with sl.num_threads(3):
        assert sl.show_config(mode="dicts")["threads"] == {"number": 3}


def test_the_openmp_runtime_is_the_one_that_is_loaded() -> None:
    openmp = sl.show_config(mode="dicts")["openmp"]
    pools = threadpoolctl.threadpool_info()
    loaded = [Path(pool["filepath"]).name for pool in pools if pool["user_api"] == "openmp"]
    # threadpoolctl follows the link libgomp.so.1 to libgomp.so.1.0.0
    assert any(name.startswith(openmp["library"]) for name in loaded), (openmp, loaded)
    assert openmp["date"] >= 201511


@pytest.mark.parametrize("isa", sl.available_isas())
def test_the_configuration_shows_a_forced_instruction_set(isa: str) -> None:
    child = _import(isa, "print(sl.show_config('dicts')['simd']['active'])")
    assert child.stdout == f"{isa}\n"


def test_the_printed_configuration_holds_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert sl.show_config() is None
    text = capsys.readouterr().out
    config = sl.show_config(mode="dicts")
    for topic, entries in config.items():
        assert f"{topic}:\n" in text
        for name in entries:
            assert f"  {name}: " in text
    assert f"  version: {sl.__version__}\n" in text
    assert f"  available: {', '.join(sl.available_isas())}\n" in text
    assert "fast_math=False" in text


@pytest.mark.parametrize("mode", ["yaml", "", None, "DICTS", ["stdout"]])
def test_an_unknown_mode_is_an_error(mode: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="^show_config: mode must be 'stdout' or 'dicts', got "):
        sl.show_config(mode)
    assert capsys.readouterr().out == ""


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
