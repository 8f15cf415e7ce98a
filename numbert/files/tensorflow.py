"""TensorFlowWeights: the weights in a TensorFlow checkpoint of Google's BERT, under their published names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numbert.config import BertConfig
from numbert.errors import InputError, shown
from numbert.files.bundle import STORED, Bundle
from numbert.nn.array import Array

CONFIG = "bert_config.json"
FILES = r"(?<=.)\.(index|meta|data-\d+-of-\d+)$"  # what a checkpoint's files end with

_LAYER = r"bert/encoder/layer_\d+/"
# A layer that multiplies by [in,out] is stored transposed: weights are [out,in] here.
DENSE = (
    rf"({_LAYER}(attention/self/(query|key|value)|attention/output/dense|intermediate/dense|output/dense)"
    r"|bert/pooler/dense|cls/predictions/transform/dense)/(kernel|bias)"
)
NORM = (
    rf"(bert/embeddings|{_LAYER}attention/output|{_LAYER}output|cls/predictions/transform)/LayerNorm/(gamma|beta)"
)
TABLE = r"bert/embeddings/(word|position|token_type)_embeddings"
# Google's own variables are [out,in] already.
HEADS = {
    "cls/predictions/output_bias": "cls.predictions.bias",
    "cls/seq_relationship/output_weights": "cls.seq_relationship.weight",
    "cls/seq_relationship/output_bias": "cls.seq_relationship.bias",
    "output_weights": "classifier.weight",
    "output_bias": "classifier.bias",
    "cls/squad/output_weights": "qa_outputs.weight",
    "cls/squad/output_bias": "qa_outputs.bias",
}
# What training needs to go on, and a model does not: Adam's moments and powers, the count of steps.
TRAINING = r"(.+/)?(adam_m|adam_v|Adam|Adam_1|global_step|beta1_power|beta2_power)"


@dataclass(frozen=True)
class TensorFlowTensor:
    """One array of a checkpoint: the name of the variable there, the index that names it, its type and its shape.

    Attributes:
        shape: as it is read; of a kernel, the transpose of the shape in the checkpoint.
    """

    variable: str
    file: Path
    dtype: str
    shape: tuple[int, ...]


class TensorFlowWeights:
    """The weights in a TensorFlow checkpoint of Google's BERT: bert_model.ckpt.index and the data files beside it.

    TensorFlow is not needed; docs/tensorflow.md says how the files are read. Opening a checkpoint reads the index,
    and `read` compares an array with its checksum.

    Args:
        prefix: what the names of the files begin with, such as uncased_L-12_H-768_A-12/bert_model.ckpt; the path
            of one of the files, or of their folder, will do.

    Attributes:
        folder: the prefix, by which messages name the checkpoint.
        tensors: the arrays, by their published names, such as bert.encoder.layer.0.attention.self.query.weight.
        unknown: the names of variables that are neither a BERT's nor an optimizer's.
        dtype: float64 if all weights are float64, else float32.
        on_read: called with how many numbers each array has that was read.

    Raises:
        InputError: there is no checkpoint, or a file of it is missing or damaged.
    """

    def __init__(self, prefix: str | Path) -> None:
        self.folder = checkpoint_prefix(Path(prefix))
        self._bundle = Bundle(self.folder)
        self.on_read: Callable[[int], Any] = lambda size: None
        self.tensors: dict[str, TensorFlowTensor] = {}
        self.unknown: list[str] = []
        for variable, tensor in self._bundle.tensors.items():
            if re.fullmatch(TRAINING, variable):
                continue
            if (name := published_name(variable)) is None:
                self.unknown.append(variable)
                continue
            shape = tensor.shape[::-1] if variable.endswith("/kernel") else tensor.shape
            self.tensors[name] = TensorFlowTensor(variable, self._bundle.index, tensor.dtype, shape)
        types = {tensor.dtype for tensor in self.tensors.values()}
        self.dtype = np.dtype(np.float64 if types == {"float64"} else np.float32)

    def read(self, name: str) -> Array:
        """Returns one array under its published name, a kernel as [out,in], after its checksum has been compared.

        Raises:
            InputError: its bytes do not have the checksum that is stored of them, or its type is none of float64,
                float32, float16 and bfloat16.
        """
        tensor = self.tensors[name]
        variable = tensor.variable
        if "float" not in tensor.dtype:
            raise InputError(f"{variable} in {tensor.file} is {tensor.dtype}; a weight can be {_FLOATS}")
        array = self._bundle.read(variable)
        self.on_read(array.size)
        return np.ascontiguousarray(array.T) if variable.endswith("/kernel") else array

    def config(self) -> BertConfig:
        """Reads the configuration beside the checkpoint, bert_config.json.

        It does not say how many labels a classifier has, so that is taken from the checkpoint.

        Raises:
            InputError: the file is missing, broken, or no BERT's.
        """
        config = BertConfig.from_file(self.folder.parent / CONFIG)
        classifier = self.tensors.get("classifier.weight")
        if classifier is None or len(classifier.shape) != 2 or classifier.shape[1] != config.hidden_size:
            return config
        values = config.to_dict()
        if len(values.get("id2label") or ()) == classifier.shape[0]:
            return config
        labels = [f"LABEL_{number}" for number in range(classifier.shape[0])]
        id2label = {str(number): label for number, label in enumerate(labels)}
        return BertConfig.from_dict(
            values | {"id2label": id2label, "label2id": {label: n for n, label in enumerate(labels)}}
        )


_FLOATS = ", ".join(name for name in STORED if "float" in name)


def published_name(variable: str) -> str | None:
    """Returns the published name of a variable of Google's BERT, or None if it is none.

    "bert/encoder/layer_0/output/dense/kernel" is "bert.encoder.layer.0.output.dense.weight".
    """
    if variable in HEADS:
        return HEADS[variable]
    if re.fullmatch(TABLE, variable):
        variable += "/weight"
    elif not re.fullmatch(DENSE, variable) and not re.fullmatch(NORM, variable):
        return None
    path, _, last = re.sub(r"/layer_(\d+)/", r"/layer/\1/", variable).rpartition("/")
    last = {"kernel": "weight", "gamma": "weight", "beta": "bias"}.get(last, last)
    return f"{path}/{last}".replace("/", ".")


def checkpoint_prefix(path: Path) -> Path:
    """Returns the prefix of the checkpoint that a path means: the prefix itself, one of its files, or its folder.

    Raises:
        InputError: there is no checkpoint, or the folder has several.
    """
    if path.is_dir():
        found = sorted(file.name for file in path.glob("*.index"))
        if len(found) != 1:
            has = f"has {len(found)} TensorFlow checkpoints, {shown(found)}" if found else "has no NAME.index"
            raise InputError(f"{path} {has}; give the path of one, up to .index")
        return path / found[0].removesuffix(".index")
    prefix = path.with_name(re.sub(FILES, "", path.name))
    if not prefix.with_name(f"{prefix.name}.index").exists():
        raise InputError(f"{prefix}.index does not exist; a TensorFlow checkpoint is NAME.index and NAME.data-...")
    return prefix
