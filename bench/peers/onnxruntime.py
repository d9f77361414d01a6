"""ONNX Runtime: models of one operator, inputs and outputs bound to NumPy's memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.peers.base import Foreign, Peer, UnavailableError
from bench.problem import AnyArray, Call, Problem

OPERATORS = {
    "softmax": "Softmax",
    "log_softmax": "LogSoftmax",
    "logsumexp": "ReduceLogSumExp",
    "cross_entropy": "SoftmaxCrossEntropyLoss",
}
OPSET = 17


class OnnxRuntime(Peer):
    name = "ONNX Runtime"

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import onnx
        import onnxruntime

        self._onnx, self._runtime = onnx, onnxruntime
        self.version = onnxruntime.__version__

    def prepare(self, problem: Problem) -> Call:
        if problem.cell.op not in OPERATORS:
            raise UnavailableError("no such operator")
        if problem.cell.dtype == "bfloat16":
            raise UnavailableError("no bfloat16 on the CPU")
        inputs: dict[str, AnyArray] = {"x": problem.x}
        if problem.cell.op == "cross_entropy":
            if problem.axis != -1 or problem.x.ndim != 2:
                raise UnavailableError("classes on another axis than the second")
            inputs["labels"] = problem.labels
        warm = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        session = self._session(problem, inputs)
        if problem.fresh:
            return lambda: session.run(None, warm)[0]
        return self._bound(session, problem, warm)

    def _session(self, problem: Problem, inputs: dict[str, AnyArray]) -> Foreign:
        make, op = self._onnx.helper, problem.cell.op
        numbers = make.np_dtype_to_tensor_dtype

        def info(name: str, array: AnyArray) -> Foreign:
            return make.make_tensor_value_info(name, numbers(array.dtype), array.shape)

        attributes: dict[str, dict[str, Any]] = {
            "softmax": {"axis": problem.axis},
            "log_softmax": {"axis": problem.axis},
            "logsumexp": {"axes": [problem.axis], "keepdims": 0},
            "cross_entropy": {"reduction": "none"},
        }
        node = make.make_node(OPERATORS[op], list(inputs), ["y"], **attributes[op])
        result = info("y", self._result(problem))
        graph = make.make_graph([node], op, [info(*item) for item in inputs.items()], [result])
        model = make.make_model(graph, opset_imports=[make.make_opsetid("", OPSET)])
        model.ir_version = 8
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            return self._runtime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            if "NOT_IMPLEMENTED" in str(error):
                raise UnavailableError(f"no {OPERATORS[op]} of {problem.cell.dtype}") from None
            raise

    @staticmethod
    def _result(problem: Problem) -> AnyArray:
        """Return a warm array; its losses of halves are halves, where softlane's are float32."""
        return problem.outputs()[0].astype(problem.x.dtype)

    def _bound(self, session: Foreign, problem: Problem, warm: dict[str, AnyArray]) -> Call:
        binding = session.io_binding()
        out = self._result(problem)
        for name, array in warm.items():
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        binding.bind_output("y", "cpu", 0, out.dtype, out.shape, out.ctypes.data)
        run = session.run_with_iobinding
        if problem.cell.array.layout == "out":

            def contiguous() -> AnyArray:
                run(binding)
                return out

            return contiguous

        def strided() -> AnyArray:
            np.copyto(warm["x"], problem.x)  # tensors have no strides
            run(binding)
            return out

        return strided
