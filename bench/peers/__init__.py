"""The peers: one class each, in one file each."""

from __future__ import annotations

from bench.peers.base import Peer, UnavailableError
from bench.peers.jax import Jax
from bench.peers.numba import Numba
from bench.peers.numpy import NumPy
from bench.peers.onnxruntime import OnnxRuntime
from bench.peers.scipy import SciPy
from bench.peers.sklearn import ScikitLearn
from bench.peers.torch import PyTorch

PEERS: tuple[type[Peer], ...] = (NumPy, SciPy, PyTorch, Jax, OnnxRuntime, ScikitLearn, Numba)

__all__ = ["PEERS", "Peer", "UnavailableError"]
