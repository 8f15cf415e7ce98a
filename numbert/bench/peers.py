"""The same work done by torch and onnxruntime, as they are published, if they are installed."""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Mapping
from typing import Any

from numbert.bench.race import Absent, Contestant
from numbert.bench.workloads import ADAMW, Workload, forward_answer
from numbert.bert.pretrained import BertPreTrainedModel
from numbert.nn.array import Array
from numbert.nn.functional import IGNORE
from numbert.nn.threads import get_num_threads

TORCH, TORCH_MASKED, ONNXRUNTIME = "torch", "torch, masked only", "onnxruntime"


def imported(package: str) -> Any:
    """Imports a package and returns it.

    Raises:
        Absent: the package is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise Absent(f"{_first_line(error)}; pip install {package}") from None


def torch_model(model: BertPreTrainedModel) -> Any:
    """Makes transformers' model of the same class, with a copy of the weights, in eval().

    Raises:
        Absent: torch or transformers is not installed.
        RuntimeError: transformers names the parameters differently.
    """
    torch, transformers = imported("torch"), imported("transformers")
    torch.set_num_threads(get_num_threads())
    theirs = getattr(transformers, type(model).__name__)(transformers.BertConfig(**model.config.to_dict()))
    wrong = theirs.load_state_dict(_tensors(model.state_dict()), strict=False)
    names = {name for name, _ in theirs.named_parameters()}  # a tied one comes once
    if wrong.unexpected_keys or names & set(wrong.missing_keys):
        raise RuntimeError(f"transformers names the parameters differently: {wrong}")
    return theirs.eval()


def torch_forward(model: Any, workload: Workload) -> Contestant:
    """Makes a contestant of transformers' BertModel under no_grad()."""
    torch = imported("torch")
    inputs = _tensors(workload.inputs)

    def run() -> Any:
        with torch.no_grad():
            return model(**inputs)

    def answer() -> dict[str, Array]:
        outputs = run()
        return forward_answer(workload, outputs.last_hidden_state.numpy(), outputs.pooler_output.numpy())

    return Contestant(TORCH, answer, run)


def onnxruntime_forward(model: Any, workload: Workload) -> Contestant:
    """Makes a contestant of transformers' BertModel, exported to ONNX in memory.

    The export is torch's older one, which needs only onnx; the newer one needs onnxscript as well.

    Raises:
        Absent: onnxruntime or onnx is not installed, or this torch cannot export this model.
    """
    torch, onnxruntime, _ = imported("torch"), imported("onnxruntime"), imported("onnx")
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
            inputs = tuple(_tensors(workload.inputs).values())
            # eval() of the whole: an export gives a model back in the mode in which its outermost module was.
            torch.onnx.export(Positional().eval(), inputs, file, input_names=names, dynamo=False)
    except Exception as error:  # an exporter can stop for many reasons, and the others still race
        raise Absent(f"torch.onnx.export failed: {_first_line(error)}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = get_num_threads()
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])

    def run() -> Any:
        return session.run(None, workload.inputs)

    return Contestant(ONNXRUNTIME, lambda: forward_answer(workload, *run()), run)


def torch_train(model: Any, workload: Workload) -> list[Contestant]:
    """Makes contestants of one model: a step as transformers takes it, and one that decodes masked positions only.

    AdamW is torch's fused one, which is its fastest and the one that transformers' Trainer uses.
    """
    torch = imported("torch")
    cross_entropy = torch.nn.functional.cross_entropy
    inputs = _tensors(workload.inputs)
    labels, next_sentence_label = torch.from_numpy(workload.labels), torch.from_numpy(workload.next_sentence_label)
    optimizer = torch.optim.AdamW(model.parameters(), **ADAMW, fused=True)
    model.train()

    def loss() -> Any:
        return model(**inputs, labels=labels, next_sentence_label=next_sentence_label).loss

    def loss_of_masked_only() -> Any:
        outputs = model.bert(**inputs)
        masked = labels != IGNORE  # [b,l]
        scores = model.cls.predictions(outputs.last_hidden_state[masked])  # [m,e] -> [m,v]
        next_sentence_scores = model.cls.seq_relationship(outputs.pooler_output)  # [b,e] -> [b,2]
        return cross_entropy(scores, labels[masked]) + cross_entropy(next_sentence_scores, next_sentence_label)

    def contestant(name: str, loss: Any) -> Contestant:
        def answer() -> dict[str, Array]:
            model.eval()
            value = loss()
            value.backward()
            model.train()
            gradients = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
            model.zero_grad()
            return {"loss": value.detach().numpy(), **gradients}

        def run() -> None:
            loss().backward()
            optimizer.step()
            optimizer.zero_grad()

        return Contestant(name, answer, run)

    return [contestant(TORCH, loss), contestant(TORCH_MASKED, loss_of_masked_only)]


def _tensors(arrays: Mapping[str, Array]) -> dict[str, Any]:
    torch = imported("torch")
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
