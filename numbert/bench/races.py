"""The two races that all else is built on: a forward, and a training step, beside whoever is installed."""

from __future__ import annotations

from typing import Any

from numbert.bench import exported, peers
from numbert.bench.products import products_run, train_products_run
from numbert.bench.race import Absent, Contestant, Race, hold
from numbert.bench.workloads import Workload, forward_gflop, numbert_forward, numbert_train, train_gflop
from numbert.bert.model import BertModel
from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.config import BertConfig
from numbert.nn.workspace import workspace

BESIDE_BUSY = ", beside another process that keeps one core busy"


def forward_race(
    config: BertConfig, workload: Workload, rounds: int, seed: int, progress: bool, busy: bool = False
) -> Race:
    """Races BertModel on one workload, with nothing remembered for backward.

    Args:
        busy: whether another process keeps a core busy meanwhile.
    """
    about = forward_about(config, workload) + (BESIDE_BUSY if busy else "")
    race = Race("forward", about, forward_gflop(config, workload.lengths))
    model = BertModel(config, seed=seed)
    contestants = [numbert_forward(model, workload)]
    try:
        theirs = peers.torch_models(model)
    except Absent as absent:
        without = "torch makes its model"
        race.absent |= {peers.TORCH: str(absent), exported.ONNXRUNTIME: without, exported.OPENVINO: without}
    else:
        for attention, their in theirs.items():
            contestants.append(peers.torch_forward(their, workload, peers.named(peers.TORCH, attention)))
        race.forms[peers.TORCH] = [peers.named(peers.TORCH, attention) for attention in theirs]
        contestants += _exported(race, theirs[peers.SDPA], workload)
        race.notes.append("numbert / this: all give the same outputs from the same weights and ids.")
    if "attention_mask" in workload.inputs:
        race.notes.append(
            "numbert with unpad=True, the others with an attention_mask; compared is all but padding."
        )
    return hold(race, contestants, rounds, progress, products_run(config, workload.lengths), busy)


def _exported(race: Race, model: Any, workload: Workload) -> list[Contestant]:
    """Makes contestants of the exported model; whoever cannot run is put down in the race as absent."""
    contestants = []
    try:
        file = exported.onnx_bytes(model, workload)
    except Absent as absent:
        race.absent |= {exported.ONNXRUNTIME: str(absent), exported.OPENVINO: str(absent)}
        return []
    for name, make in (
        (exported.ONNXRUNTIME, exported.onnxruntime_forward),
        (exported.OPENVINO, exported.openvino_forward),
    ):
        try:
            contestants.append(make(file, workload))
        except Absent as absent:
            race.absent[name] = str(absent)
    return contestants


def train_race(config: BertConfig, workload: Workload, rounds: int, seed: int, progress: bool) -> Race:
    """Races a step of BertForPreTraining: forward with dropout, backward, clipping, AdamW, gradients to None."""
    race = Race("train", train_about(config, workload), train_gflop(config, workload.lengths, workload.masked))
    model = BertForPreTraining(config, seed=seed)
    contestants = [numbert_train(model, workload)]
    try:
        contestants += peers.torch_train(peers.torch_models(model), workload)
    except Absent as absent:
        race.absent[peers.TORCH] = str(absent)
    else:
        for peer in (peers.TORCH, peers.TORCH_MASKED):
            race.forms[peer] = [peers.named(peer, attention) for attention in peers.ATTENTIONS]
        race.notes += [
            f"numbert / {peers.TORCH}: torch as transformers trains, which decodes every position.",
            f"numbert / {peers.TORCH_MASKED}: torch made by hand to decode only the masked positions, as numbert "
            "does; the same work for both.",
            "Compared, without dropout: the loss and the gradient of every parameter.",
        ]
    products = train_products_run(config, workload.lengths, workload.masked)
    with workspace():  # as numbert's trainer runs
        return hold(race, contestants, rounds, progress, products)


def forward_about(config: BertConfig, workload: Workload) -> str:
    """Says in a sentence what a forward computes."""
    return f"BertModel, {sizes(config)}, {workload}, float32, no gradients"


def train_about(config: BertConfig, workload: Workload) -> str:
    """Says in a sentence what a training step computes."""
    return f"a step of BertForPreTraining with clipping and AdamW, {training(config, workload)}"


def training(config: BertConfig, workload: Workload) -> str:
    """Says in a sentence what is trained on."""
    return f"{sizes(config)}, {workload}, {workload.masked} masked, dropout {config.hidden_dropout_prob}, float32"


def sizes(config: BertConfig) -> str:
    """Says how large a model is."""
    return f"{config.num_hidden_layers} layers, {config.hidden_size} wide"
