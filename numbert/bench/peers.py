"""The same work done by torch and transformers, as they are published, if they are installed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from numbert.bench.race import Absent, Contestant
from numbert.bench.workloads import ADAMW, MAX_NORM, Workload, forward_answer
from numbert.bert.pretrained import BertPreTrainedModel
from numbert.config import BertConfig
from numbert.nn.array import Array
from numbert.nn.functional import IGNORE
from numbert.nn.threads import get_num_threads

TORCH, TORCH_MASKED = "torch", "torch, masked only"
# transformers' two attentions on a CPU: torch's scaled_dot_product_attention, and one product after the other.
SDPA, EAGER = "sdpa", "eager"
ATTENTIONS = (SDPA, EAGER)


def imported(package: str) -> Any:
    """Imports a package and returns it.

    Raises:
        Absent: the package is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise Absent(f"{first_line(error)}; pip install {package}") from None


def named(peer: str, attention: str) -> str:
    """Returns the name of a contestant: the peer with one of ATTENTIONS."""
    return peer.replace(TORCH, f"{TORCH}, {attention}")


def new_torch_model(name: str, config: BertConfig, attention: str = SDPA) -> Any:
    """Makes transformers' model of a class, with weights of its own, in eval().

    Args:
        name: that of the class.
        attention: one of ATTENTIONS.

    Raises:
        Absent: torch or transformers is not installed.
    """
    torch, transformers = imported("torch"), imported("transformers")
    torch.set_num_threads(get_num_threads())
    theirs = transformers.BertConfig(**config.to_dict(), attn_implementation=attention)
    return getattr(transformers, name)(theirs).eval()


def torch_models(model: BertPreTrainedModel) -> dict[str, Any]:
    """Makes transformers' models of the same class, in eval(): one with each of ATTENTIONS, and the same weights.

    The weights are a copy of the model's, one for all: there may be little memory.

    Raises:
        Absent: torch or transformers is not installed.
        RuntimeError: transformers names the parameters differently.
    """
    first = torch_model(model)
    models = {SDPA: first}
    for attention in ATTENTIONS:
        if attention not in models:
            models[attention] = new_torch_model(type(model).__name__, model.config, attention)
            models[attention].load_state_dict(first.state_dict(keep_vars=True), assign=True)
    return models


def torch_model(model: BertPreTrainedModel) -> Any:
    """Makes transformers' model of the same class with SDPA, with a copy of the weights, in eval().

    Raises:
        Absent: torch or transformers is not installed.
        RuntimeError: transformers names the parameters differently.
    """
    theirs = new_torch_model(type(model).__name__, model.config)
    wrong = theirs.load_state_dict(tensors(model.state_dict()), strict=False)
    names = {name for name, _ in theirs.named_parameters()}  # a tied one comes once
    if wrong.unexpected_keys or names & set(wrong.missing_keys):
        raise RuntimeError(f"transformers names the parameters differently: {wrong}")
    return theirs


def torch_forward(model: Any, workload: Workload, name: str) -> Contestant:
    """Makes a contestant of transformers' BertModel under no_grad()."""
    torch = imported("torch")
    inputs = tensors(workload.inputs)

    def run() -> Any:
        with torch.no_grad():
            return model(**inputs)

    def answer() -> dict[str, Array]:
        outputs = run()
        return forward_answer(workload, outputs.last_hidden_state.numpy(), outputs.pooler_output.numpy())

    return Contestant(name, answer, run)


def torch_train(models: Mapping[str, Any], workload: Workload) -> list[Contestant]:
    """Makes contestants of each model: a step as transformers takes it, and one that decodes only the masked.

    AdamW is torch's fused one, which is its fastest and the one that transformers' Trainer uses.

    Args:
        models: by their attention; all have the same parameters, and one optimizer.
    """
    torch = imported("torch")
    cross_entropy = torch.nn.functional.cross_entropy
    inputs = tensors(workload.inputs)
    labels, next_sentence_label = torch.from_numpy(workload.labels), torch.from_numpy(workload.next_sentence_label)
    parameters = dict(next(iter(models.values())).named_parameters())
    optimizer = torch.optim.AdamW(parameters.values(), **ADAMW, fused=True)

    def loss(model: Any) -> Any:
        return model(**inputs, labels=labels, next_sentence_label=next_sentence_label).loss

    def loss_of_masked_only(model: Any) -> Any:
        outputs = model.bert(**inputs)
        masked = labels != IGNORE  # [b,l]
        scores = model.cls.predictions(outputs.last_hidden_state[masked])  # [m,e] -> [m,v]
        next_sentence_scores = model.cls.seq_relationship(outputs.pooler_output)  # [b,e] -> [b,2]
        return cross_entropy(scores, labels[masked]) + cross_entropy(next_sentence_scores, next_sentence_label)

    def contestant(name: str, model: Any, loss: Any) -> Contestant:
        model.train()

        def answer() -> dict[str, Array]:
            model.eval()
            value = loss(model)
            value.backward()
            model.train()
            gradients = {name: parameter.grad.numpy() for name, parameter in parameters.items()}
            optimizer.zero_grad()
            return {"loss": value.detach().numpy(), **gradients}

        def run() -> None:
            loss(model).backward()
            torch.nn.utils.clip_grad_norm_(parameters.values(), MAX_NORM)
            optimizer.step()
            optimizer.zero_grad()

        return Contestant(name, answer, run)

    return [
        contestant(named(peer, attention), model, loss)
        for peer, loss in ((TORCH, loss), (TORCH_MASKED, loss_of_masked_only))
        for attention, model in models.items()
    ]


def tensors(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Returns tensors that share the arrays' memory."""
    torch = imported("torch")
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, or its class."""
    return (str(error) or type(error).__name__).splitlines()[0]
