"""convert: a model folder of a TensorFlow checkpoint, or of a pickle of PyTorch's."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numbert.bert.pretrained import BertPreTrainedModel
from numbert.bert.tasks.registry import MODELS, model_class_named
from numbert.config import BertConfig
from numbert.errors import InputError, abridged
from numbert.files import pytorch, tensorflow
from numbert.files.atomic import check_new, replacing
from numbert.files.pytorch import PyTorchWeights
from numbert.files.tensorflow import TensorFlowWeights
from numbert.files.tokenizer import SPECIAL_TOKENS, bert_tokenizer, load_tokenizer, save_tokenizer, vocabulary_size
from numbert.files.weights import ignored_names
from numbert.progress import bar, to_terminal

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# The class that a head is known by. What was fine-tuned comes first.
HEADS = {
    "qa_outputs.weight": "BertForQuestionAnswering",
    "classifier.weight": "BertForSequenceClassification",
    "cls.predictions.bias": "BertForMaskedLM",
    "cls.seq_relationship.weight": "BertForNextSentencePrediction",
}


@dataclass(frozen=True)
class Conversion:
    """What `convert` made: the folder, the name of the model's class, and a line for each thing to know of it."""

    folder: Path
    model: str
    notes: list[str]


def convert(source: str | Path, folder: str | Path, progress: bool = True) -> Conversion:
    """Makes a model folder of a TensorFlow checkpoint, or of a pytorch_model.bin.

    The names in the checkpoint decide which class the model is of: that of the head that is there,
    BertForPreTraining if there are both pretraining heads, BertModel if there is none. (The config.json beside a
    pickle may name the class, and is followed.) The tokenizer comes along, if it is there.

    Args:
        source: the prefix of a TensorFlow checkpoint, one of its files, a file that torch.save wrote (PyTorch must
            be installed), or a folder that has one of these.
        folder: a folder that does not exist, or is empty.
        progress: whether to show a bar on stderr, if that is a terminal.

    Raises:
        InputError: the folder holds something, a file of the source is missing or damaged, or the files do not fit
            each other.
    """
    folder = Path(folder)
    check_new(folder)
    weights = _opened(Path(source))
    config = weights.config()
    model_class, options = _model_class(weights, config)
    tokenizer, notes = _tokenizer(weights, config)
    size = sum(math.prod(tensor.shape) for tensor in weights.tensors.values())
    with bar(progress and to_terminal(), size, " numbers", unit_scale=True) as weights.on_read:
        model = model_class.from_weights(weights, config, **options)
    # A buffer that transformers once saved as if it had been learned.
    strange = [name for name in ignored_names(model, weights) if not name.endswith("position_ids")]
    if strange := weights.unknown + strange:
        notes.append(f"{weights.folder} has {abridged(strange)}, which {model_class.__name__} does not have")
    with replacing(folder) as new:
        model.save_pretrained(new)
        if tokenizer is not None:
            save_tokenizer(tokenizer, new, max_length=config.max_position_embeddings)
    return Conversion(folder, model_class.__name__, notes)


def _opened(source: Path) -> TensorFlowWeights | PyTorchWeights:
    """The weights that a path means."""
    if source.is_dir() and any(source.glob(pytorch.FILES)):
        return PyTorchWeights(source)
    if source.is_file() and not re.search(tensorflow.FILES, source.name) and not Path(f"{source}.index").exists():
        return PyTorchWeights(source)
    return TensorFlowWeights(source)


def _model_class(
    weights: TensorFlowWeights | PyTorchWeights, config: BertConfig
) -> tuple[type[BertPreTrainedModel], dict[str, Any]]:
    """The class whose heads are there, and the arguments with which it is made."""
    heads = [name for head, name in HEADS.items() if head in weights.tensors]
    pooler = any(name.endswith("pooler.dense.weight") for name in weights.tensors)
    named = [cls.__name__ for cls in MODELS if config.architectures == [cls.__name__]]
    if named:
        name = named[0]
    elif heads[:2] == ["BertForMaskedLM", "BertForNextSentencePrediction"]:
        name = "BertForPreTraining"
    else:
        name = heads[0] if heads else "BertModel"
    return model_class_named(name), {"add_pooling_layer": False} if name == "BertModel" and not pooler else {}


def _tokenizer(
    weights: TensorFlowWeights | PyTorchWeights, config: BertConfig
) -> tuple[Tokenizer | None, list[str]]:
    """The tokenizer beside the weights, and a line about it.

    Google's folders do not say whether text is lower-cased; where a vocabulary has no capital letters, it is.
    """
    folder = weights.folder if weights.folder.is_dir() else weights.folder.parent
    if not (folder / "vocab.txt").exists() and not (folder / "tokenizer.json").exists():
        return None, [f"{folder} has no vocab.txt, so the model comes without a tokenizer"]
    tokenizer, notes = load_tokenizer(folder), []
    if not (folder / "tokenizer.json").exists() and not (folder / "tokenizer_config.json").exists():
        vocab = tokenizer.get_vocab()
        lower = all(piece == piece.lower() for piece in vocab.keys() - set(SPECIAL_TOKENS.values()))
        tokenizer = bert_tokenizer(vocab, do_lower_case=lower)
        notes.append(
            f"{folder / 'vocab.txt'} has {'no ' if lower else ''}capital letters, so do_lower_case is "
            f"{str(lower).lower()} in tokenizer_config.json"
        )
    if (size := vocabulary_size(tokenizer)) > config.vocab_size:
        raise InputError(f"the tokenizer in {folder} has {size:,} ids, and vocab_size is {config.vocab_size:,}")
    return tokenizer, notes
