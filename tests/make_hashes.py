"""Write hashes.json: what every operation gives for a fixed set of inputs, in 64 bits each.

    python tests/make_hashes.py

The inputs come from an integer generator, so the hashes are the same on every system and every
instruction set. test_same_bits.py compares.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from operations import OPERATIONS, Inputs, make_inputs

CLASSES = (1, 2, 3, 4, 5, 7, 8, 10, 15, 16, 17, 31, 33, 64, 100, 257, 1000, 1024, 1025, 2048, 5003)
MOST_MATRIX_CLASSES = 64
ROWS = 35  # every combination of scale and offset that make_inputs has, and then some


@cache
def _inputs(classes: int, dtype: npt.DTypeLike) -> Inputs:
    return make_inputs(ROWS, classes, dtype, seed=classes)


def result_hash(name: str, dtype: npt.DTypeLike) -> str:
    """Hash of the operation's results, as little-endian bytes in C order."""
    digest = hashlib.sha256()
    for classes in CLASSES:
        if OPERATIONS[name].kind == "matrix" and classes > MOST_MATRIX_CLASSES:
            continue
        for result in OPERATIONS[name](_inputs(classes, dtype)):
            assert not np.isnan(result).any(), f"{name}: NaN has no fixed bits"
            digest.update(result.astype(result.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()[:16]


def main() -> None:
    hashes = {
        f"{name}/{dtype}": result_hash(name, np.dtype(dtype))
        for name in OPERATIONS
        for dtype in ("float32", "float64")
    }
    path = Path(__file__).parent / "hashes.json"
    path.write_text(json.dumps(hashes, indent=1) + "\n")
    print(f"{len(hashes)} hashes to {path.name}")


if __name__ == "__main__":
    main()
