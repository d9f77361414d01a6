"""Beside other libraries: their arrays go in, their schedulers call, the bits stay the same."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
import textwrap
from functools import partial
from typing import Any

import dask.array
import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pytest
import threadpoolctl
import xarray as xr

import softlane as sl

Array = npt.NDArray[Any]

BOTH = ["float32", "float64"]


def _solid(shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
    return (np.random.default_rng(1).standard_normal(shape) * 4).astype(dtype)


def _same(got: Any, wanted: Any) -> None:
    assert type(got) is type(wanted)
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    assert got.tobytes() == wanted.tobytes()


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype_", BOTH)
def test_a_pandas_frame_is_an_array_of_rows(dtype_: str) -> None:
    x = _solid((6, 3), dtype_)
    frame = pd.DataFrame(x, columns=["a", "b", "c"], index=list("uvwxyz"))
    _same(sl.softmax(frame), sl.softmax(x))
    _same(sl.softmax(frame, axis=0), sl.softmax(x, axis=0))
    _same(sl.logsumexp(frame), sl.logsumexp(x))
    labels = pd.Series([0, 1, 2, 2, 1, 0], index=frame.index)
    weight = pd.Series([1.0, 2.0, 0.5], index=frame.columns)
    _same(
        sl.cross_entropy_grad(frame, labels, weight=weight),
        sl.cross_entropy_grad(x, labels.to_numpy(), weight=weight.to_numpy()),
    )


@pytest.mark.parametrize("dtype_", BOTH)
def test_a_pandas_column_is_a_row(dtype_: str) -> None:
    x = _solid((7,), dtype_)
    series = pd.Series(x, index=range(10, 17))
    for function in (sl.softmax, sl.log_softmax, sl.logsumexp, sl.entropy):
        _same(function(series), function(x))


def test_pandas_columns_of_several_dtypes_become_what_numpy_makes_of_them() -> None:
    frame = pd.DataFrame({"a": np.array([1, 2], np.int8), "b": np.array([0.5, 4], np.float32)})
    assert frame.to_numpy().dtype == np.float32
    _same(sl.softmax(frame), sl.softmax(frame.to_numpy()))
    frame["c"] = ["x", "y"]
    with pytest.raises(TypeError, match=r"^softmax: x has dtype object"):
        sl.softmax(frame)


def test_a_missing_value_of_pandas_is_an_error_or_nan_and_never_dropped() -> None:
    assert np.isnan(sl.softmax(pd.Series([1.0, None, 2.0]))).all()
    integers = pd.Series([1, None, 2], dtype="Int64")
    # pandas 3 gives float64 with NaN for such a column, earlier versions objects
    if np.asarray(integers).dtype == object:
        with pytest.raises(TypeError, match="^softmax: x has dtype object"):
            sl.softmax(integers)
    else:
        assert np.isnan(sl.softmax(integers)).all()


def test_pandas_and_polars_columns_are_read_where_they_are() -> None:
    """No copy: the array that softlane reads is the column's own memory."""
    x = _solid((7,))
    series, column = pd.Series(x, copy=False), pl.Series(x)
    assert np.shares_memory(np.asarray(series), x)
    frame = pd.DataFrame(_solid((6, 3)))
    assert np.shares_memory(np.asarray(frame), frame.to_numpy())
    assert np.shares_memory(np.asarray(column), column.to_numpy(allow_copy=False))
    _same(sl.softmax(column), sl.softmax(x))


@pytest.mark.parametrize("dtype_", BOTH)
def test_a_polars_frame_is_an_array_of_rows(dtype_: str) -> None:
    x = _solid((6, 3), dtype_)
    frame = pl.DataFrame(x, schema=["a", "b", "c"])
    _same(sl.softmax(frame), sl.softmax(x))
    _same(sl.softmax(frame["b"]), sl.softmax(x[:, 1].copy()))
    labels = pl.Series([0, 1, 2, 2, 1, 0])
    _same(sl.cross_entropy(frame, labels), sl.cross_entropy(x, labels.to_numpy()))


def test_a_null_of_polars_is_nan_and_never_dropped() -> None:
    column = pl.Series([1.0, None, 2.0])
    assert np.isnan(sl.softmax(column)).all()
    assert np.isnan(sl.logsumexp(pl.DataFrame({"a": [0.0, None], "b": [1.0, 1.0]}), axis=-1)[1])


# --- labelled and blocked arrays ------------------------------------------------------------------


@pytest.mark.parametrize("dtype_", BOTH)
def test_xarray_applies_softlane_along_a_dimension(dtype_: str) -> None:
    x = _solid((4, 5, 3), dtype_)
    labelled = xr.DataArray(x, dims=["time", "class", "site"], coords={"time": np.arange(4)})
    core: dict[str, Any] = {"input_core_dims": [["class"]]}
    p = xr.apply_ufunc(sl.softmax, labelled, output_core_dims=[["class"]], **core)
    assert p.dims == ("time", "site", "class")
    _same(p.transpose("time", "class", "site").to_numpy(), sl.softmax(x, axis=1))
    total = xr.apply_ufunc(sl.logsumexp, labelled, kwargs={"axis": -1}, **core)
    assert total.dims == ("time", "site")
    assert total.coords["time"].equals(labelled.coords["time"])
    _same(total.to_numpy(), sl.logsumexp(x, axis=1))


def test_xarray_with_dask_blocks_gives_the_same_bits() -> None:
    x = _solid((40, 7))
    blocks = xr.DataArray(x, dims=["row", "class"]).chunk({"row": 9})
    p = xr.apply_ufunc(
        sl.softmax, blocks, input_core_dims=[["class"]], output_core_dims=[["class"]],
        dask="parallelized", output_dtypes=[x.dtype],
    )  # fmt: skip
    assert p.chunks is not None  # nothing computed yet
    _same(p.to_numpy(), sl.softmax(x))


@pytest.mark.parametrize("chunks", [(1, 11), (7, 11), (64, 11), (1000, 11)])
def test_dask_blocks_of_rows_give_the_same_bits(chunks: tuple[int, int]) -> None:
    x = _solid((1000, 11), np.float32)
    blocks = dask.array.from_array(x, chunks=chunks)
    _same(blocks.map_blocks(sl.softmax, dtype=x.dtype).compute(), sl.softmax(x))
    total = dask.array.apply_gufunc(
        partial(sl.logsumexp, axis=-1), "(k)->()", blocks, output_dtypes=x.dtype
    ).compute(scheduler="threads")
    _same(total, sl.logsumexp(x, axis=-1))


def test_dask_blocks_of_rows_and_labels_give_the_same_bits() -> None:
    x, y = _solid((1000, 11)), np.random.default_rng(2).integers(0, 11, 1000)
    loss, gradient = dask.array.apply_gufunc(
        sl.cross_entropy_value_and_grad, "(k),()->(),(k)",
        dask.array.from_array(x, chunks=(300, 11)), dask.array.from_array(y, chunks=300),
        output_dtypes=(x.dtype, x.dtype),
    )  # fmt: skip
    wanted = sl.cross_entropy_value_and_grad(x, y)
    for got, want in zip(dask.compute(loss, gradient), wanted, strict=True):
        _same(got, want)


# --- pools of threads -----------------------------------------------------------------------------


def _openmp_pools() -> list[dict[str, Any]]:
    pools = threadpoolctl.threadpool_info()
    library = sl.show_config(mode="dicts")["openmp"]["library"]
    return [p for p in pools if os.path.basename(p["filepath"]).startswith(library)]  # noqa: PTH119


def test_threadpoolctl_sees_the_pool() -> None:
    (pool,) = _openmp_pools()
    assert pool["user_api"] == "openmp"
    assert pool["num_threads"] >= 1


LIMIT = """
    import os, threading, time
    import numpy as np, threadpoolctl
    import softlane as sl

    def threads_of(call):
        # Threads of this process that have taken processor time during the call.
        def spent():
            times = {}
            for task in os.listdir("/proc/self/task"):
                with open(f"/proc/self/task/{task}/schedstat") as file:
                    times[task] = int(file.read().split()[0])
            return times
        call()
        time.sleep(0.05)  # until the threads of what came before sleep
        before = spent()
        for _ in range(20):
            call()
        return sum(t > before.get(task, 0) + 100_000 for task, t in spent().items())

    x = np.zeros((4000, 1000), np.float32)
    out = np.empty_like(x)
    call = lambda: sl.softmax(x, out=out)
"""


def _child(code: str, **environment: str) -> str:
    # OpenBLAS's own threads spin for a while after NumPy starts them: it gets one.
    kept = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(LIMIT) + textwrap.dedent(code)],
        env={**kept, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive",
             "OPENBLAS_NUM_THREADS": "1", **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


CALLED_BEFORE = pytest.mark.parametrize("before", ["", "sl.get_num_threads(); call()"])


@CALLED_BEFORE
def test_a_limit_of_threadpoolctl_holds_while_it_lasts(before: str) -> None:
    """Also for the first call of all, which must not take the limit for the default."""
    shown = _child(f"""
        {before}
        with threadpoolctl.threadpool_limits(1):
            print(sl.get_num_threads(), threads_of(call))
        print(sl.get_num_threads(), threads_of(call))
    """)
    assert shown == "1 1\n2 2\n"


@CALLED_BEFORE
def test_a_limit_holds_against_softlanes_own_number_and_leaves_it(before: str) -> None:
    shown = _child(f"""
        {before}
        sl.set_num_threads(4)
        with threadpoolctl.threadpool_limits(1, user_api="openmp"):
            print(sl.get_num_threads(), threads_of(call))
            with sl.num_threads(3):
                print(sl.get_num_threads())
        print(sl.get_num_threads())
    """)
    assert shown == "1 1\n1\n4\n"


def test_a_block_inside_a_limit_leaves_no_choice_behind() -> None:
    shown = _child("""
        with threadpoolctl.threadpool_limits(1):
            with sl.num_threads(1):
                pass
        print(sl.get_num_threads())
    """)
    assert shown == "2\n"


def test_a_limit_holds_against_the_environment() -> None:
    shown = _child(
        """
        with threadpoolctl.threadpool_limits(1):
            print(sl.get_num_threads())
        print(sl.get_num_threads())
        """,
        SOFTLANE_NUM_THREADS="5",
    )
    assert shown == "1\n5\n"


def test_a_limit_belongs_to_its_python_thread() -> None:
    """OpenMP keeps its number for each thread by itself: the documented reach of a limit."""
    shown = _child("""
        with threadpoolctl.threadpool_limits(1):
            seen = []
            other = threading.Thread(target=lambda: seen.append(sl.get_num_threads()))
            other.start()
            other.join()
            print(seen, sl.get_num_threads())
    """)
    assert shown == "[2] 1\n"


def test_the_bits_do_not_depend_on_a_limit() -> None:
    x = _solid((3000, 100), np.float32)
    wanted = sl.softmax(x)
    with threadpoolctl.threadpool_limits(1):
        _same(sl.softmax(x), wanted)


# --- many callers ---------------------------------------------------------------------------------


def _batches() -> list[Array]:
    return [_solid((300 + i, 200), BOTH[i % 2]) for i in range(6)]


def _jobs() -> tuple[list[tuple[Any, Array]], list[Array]]:
    functions = (sl.softmax, sl.log_softmax, sl.entropy)
    jobs = [(f, x) for x in _batches() for f in functions]
    return jobs, [f(x) for f, x in jobs]


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_joblib_gives_the_same_bits(backend: str) -> None:
    jobs, wanted = _jobs()
    parallel = joblib.Parallel(n_jobs=2, backend=backend)
    for got, want in zip(parallel(joblib.delayed(f)(x) for f, x in jobs), wanted, strict=True):
        _same(got, want)


def test_joblibs_limit_for_its_workers_holds() -> None:
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        seen = joblib.Parallel(n_jobs=2)(joblib.delayed(sl.get_num_threads)() for _ in range(4))
    assert seen == [1] * 4


def test_a_pool_of_threads_gives_the_same_bits() -> None:
    jobs, wanted = _jobs()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(f, x) for f, x in jobs for _ in range(3)]
        results = [f.result() for f in futures]
    for i, want in enumerate(wanted):
        for got in results[3 * i : 3 * i + 3]:
            _same(got, want)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_pool_of_processes_gives_the_same_bits(method: str) -> None:
    jobs, wanted = _jobs()
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        futures = [pool.submit(f, x) for f, x in jobs]
        for future, want in zip(futures, wanted, strict=True):
            _same(future.result(), want)
