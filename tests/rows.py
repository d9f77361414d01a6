"""Hard rows, reproducible: scales, offsets, gaps and ties, in batches by number of classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from oracle import Rows

Array = npt.NDArray[Any]

# how many rows of so many classes: more than 1e5 in all, also up to 10 classes alone
ROWS = {
    1: 1000, 2: 40_000, 3: 30_000, 5: 15_000, 7: 10_000, 10: 8_000, 16: 4_000, 17: 3_000,
    33: 1_500, 64: 800, 100: 400, 257: 150, 1000: 40, 1024: 20, 1025: 20, 3000: 10, 100_000: 2,
}  # fmt: skip
LARGEST_GAP = {np.dtype(np.float32): 100.0, np.dtype(np.float64): 700.0}
LEAST_EXPONENT = {np.dtype(np.float32): 104.0, np.dtype(np.float64): 746.0}  # exp(-it) is 0
OFFSETS = np.array([0, 0, 0, 0, 1, -1, 100, -100, 1e3, -1e3, 1e5, -1e5, 1e8, -1e8])


def hard_rows(count: int, classes: int, dtype: npt.DTypeLike, seed: int = 0) -> Array:
    """Rows of scale 1e-3 to 1e4: normal, uniform, tied, saturated, evenly spaced by gap."""
    rng = np.random.default_rng([seed, count, classes])
    dtype = np.dtype(dtype)
    x = rng.standard_normal((count, classes)) * 10 ** rng.uniform(-3, 4, (count, 1))
    gap = rng.uniform(0, LARGEST_GAP[dtype], (count, 1))
    kind = np.arange(count)[:, None] % 6
    x = np.where(kind == 1, rng.uniform(-1, 1, x.shape) * 10 ** rng.uniform(-3, 4, gap.shape), x)
    x = np.where(kind == 2, rng.integers(-2, 2, x.shape) * 10 ** rng.uniform(-1, 2, gap.shape), x)
    # one class far above the others
    lifted = rng.standard_normal(x.shape) * rng.choice([0, 0.01, 1], gap.shape)
    lifted[np.arange(count), rng.integers(0, classes, count)] += gap[:, 0]
    x = np.where(kind == 3, lifted, x)
    # every gap up to the largest
    x = np.where(kind == 4, -gap * rng.uniform(0, 1, x.shape), x)
    offset = rng.choice(OFFSETS, gap.shape) * rng.uniform(0.5, 1, gap.shape)
    return (x + offset).astype(dtype)


def underflowing_rows(count: int, classes: int, dtype: npt.DTypeLike) -> Array:
    """One class so far above the others that they are subnormal, or nearly so, or 0."""
    rng = np.random.default_rng([count, classes])
    last = LEAST_EXPONENT[np.dtype(dtype)]
    x = -rng.uniform(0.8 * last, 1.02 * last, (count, classes))
    x[np.arange(count), rng.integers(0, classes, count)] = 0
    return x.astype(dtype)


@dataclass(frozen=True)
class Batch:
    """Rows, what else the losses take, and what is known of the rows in long double."""

    x: Array
    labels: Array
    probabilities: Array
    vector: Array
    damping: Array
    weight: Array
    sample_weight: Array
    temperature: float = 1.0

    @cached_property
    def exact(self) -> Rows:
        return Rows(self.x, self.temperature)

    def every(self, step: int) -> Batch:
        return Batch(
            *(a[::step] for a in (self.x, self.labels, self.probabilities, self.vector)),
            self.damping[::step],
            self.weight,
            self.sample_weight[::step],
            self.temperature,
        )


def hard_batch(
    count: int, classes: int, dtype: npt.DTypeLike, temperature: float = 1.0, seed: int = 0
) -> Batch:
    return batch_of(hard_rows(count, classes, dtype, seed), temperature, seed)


def batch_of(x: Array, temperature: float = 1.0, seed: int = 0) -> Batch:
    """The rows with random labels, probabilities, vectors and weights."""
    (count, classes), dtype = x.shape, x.dtype
    rng = np.random.default_rng([seed + 1, count, classes])
    labels = rng.integers(0, classes, count)
    labels[::2] = x[::2].argmax(1)  # half of the rows are right
    probabilities = rng.dirichlet(np.ones(classes), count)
    probabilities[rng.uniform(size=x.shape) < 0.2] = 0
    return Batch(
        x=x,
        labels=labels,
        probabilities=probabilities.astype(dtype),
        vector=rng.uniform(-1, 1, x.shape).astype(dtype),
        damping=10 ** rng.uniform(-3, 1, count),
        # at most 1, as a subnormal probability times 4 would be wrong by 4 units
        weight=rng.uniform(0.25, 1, classes),
        sample_weight=rng.uniform(0.25, 1, count),
        temperature=temperature,
    )
