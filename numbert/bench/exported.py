"""What a user would pick for inference alone: ONNX Runtime and OpenVINO, both with one exported ONNX model."""

from __future__ import annotations

import io
import warnings
from typing import Any

from numbert.bench.peers import first_line, imported, tensors
from numbert.bench.race import Absent, Contestant
from numbert.bench.workloads import Workload, forward_answer
from numbert.nn.threads import get_num_threads

ONNXRUNTIME, OPENVINO = "onnxruntime", "openvino"


def onnx_bytes(model: Any, workload: Workload) -> bytes:
    """Exports transformers' BertModel to ONNX in memory, and returns the file.

    The export is torch's older one, which needs only onnx; the newer one needs onnxscript as well.

    Raises:
        Absent: onnx is not installed, or this torch cannot export this model.
    """
    torch, _ = imported("torch"), imported("onnx")
    names = list(workload.inputs)

    class Positional(torch.nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: Any) -> Any:
            outputs = self.model(**dict(zip(names, inputs, strict=True)))
            return outputs.last_hidden_state, outputs.pooler_output

    file = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inputs = tuple(tensors(workload.inputs).values())
            # eval() of the whole: an export gives a model back in the mode in which its outermost module was.
            torch.onnx.export(Positional().eval(), inputs, file, input_names=names, dynamo=False)
    except Exception as error:  # an exporter can stop for many reasons, and the others still race
        raise Absent(f"torch.onnx.export failed: {first_line(error)}") from None
    return file.getvalue()


def onnxruntime_forward(model: bytes, workload: Workload) -> Contestant:
    """Makes a contestant of an ONNX model.

    Raises:
        Absent: onnxruntime is not installed.
    """
    onnxruntime = imported("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = get_num_threads()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run() -> Any:
        return session.run(None, workload.inputs)

    return Contestant(ONNXRUNTIME, lambda: forward_answer(workload, *run()), run)


def openvino_forward(model: bytes, workload: Workload) -> Contestant:
    """Makes a contestant of an ONNX model, in float32 where OpenVINO would take bfloat16.

    Raises:
        Absent: openvino is not installed, or cannot read this model.
    """
    openvino = imported("openvino")
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": get_num_threads()}
    try:
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(io.BytesIO(model)), "CPU", options)
    except Exception as error:  # as above
        raise Absent(f"openvino cannot read the exported model: {first_line(error)}") from None

    def run() -> Any:
        return compiled(workload.inputs)

    def answer() -> Any:
        outputs = run()
        return forward_answer(workload, *(outputs[place] for place in compiled.outputs))

    return Contestant(OPENVINO, answer, run)
