"""What a run begins from: new weights, or a model that was trained before."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from tokenizers import Tokenizer

from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.files.tokenizer import SPECIAL_TOKENS, load_tokenizer
from numbert.files.weights import StoredWeights, load_into
from numbert.nn.switches import uninitialized
from numbert.pretrain.settings import Settings


@dataclass(frozen=True)
class Beginning:
    """A model folder to begin from.

    Attributes:
        path: the folder's absolute path.
        sha256: the SHA-256 of its config.json and weights, in hexadecimal.
    """

    path: str
    sha256: str

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Looks at the model in a folder.

        Raises:
            InputError: there is no model, its special tokens have other ids than 0 to 4, it has fewer pieces than
                its tokenizer, or it does not know the second segment of a pair.
        """
        config = BertConfig.from_file(folder / "config.json")
        StoredWeights(folder)
        tokenizer = load_tokenizer(folder)
        piece, highest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
        if highest >= config.vocab_size:
            raise InputError(
                f"the tokenizer in {folder} has the ids 0 to {highest} ({highest} is {piece!r}), but the model "
                f"has {config.vocab_size} pieces; the two are not of one model"
            )
        if config.type_vocab_size < 2:
            raise InputError(f"the model in {folder} has type_vocab_size {config.type_vocab_size}; pairs need 2")
        ids = [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS.values()]
        if ids != list(range(len(ids))):
            names = ", ".join(
                f"{token} {index}" for token, index in zip(SPECIAL_TOKENS.values(), ids, strict=True)
            )
            raise InputError(
                f"{folder} has the special tokens {names}; to train on, they must be 0 to {len(ids) - 1}, as in a "
                "model that numbert has trained"
            )
        digest = hashlib.sha256()
        for path in [folder / "config.json", *sorted(folder.glob("model*.safetensors"))]:
            digest.update(path.read_bytes())
        return cls(str(folder.absolute()), digest.hexdigest())

    @property
    def folder(self) -> Path:
        """The model folder."""
        return Path(self.path)

    def tokenizer(self) -> Tokenizer:
        """Loads the model's tokenizer."""
        return load_tokenizer(self.folder)

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Adds the model's sizes to the settings that are given.

        Raises:
            InputError: a size is given that is not the model's.
        """
        config = BertConfig.from_file(self.folder / "config.json")
        sizes = {
            "vocab_size": config.vocab_size,
            "hidden_size": config.hidden_size,
            "layers": config.num_hidden_layers,
            "heads": config.num_attention_heads,
        }
        for name, value in sizes.items():
            if given.get(name, value) != value:
                raise InputError(
                    f"{name} is {given[name]}, but the model in {self.path} has {value}; leave it out"
                )
        return {"positions": max(config.max_position_embeddings, given.get("length", 0)), **given, **sizes}

    def model(self, settings: Settings) -> BertForPreTraining:
        """Loads the model, with the dropout and the number of positions that the settings ask for.

        Positions that the model was not trained on begin as copies of those that it was trained on, from the first
        one again, as in Longformer (Beltagy et al. 2020, section 5): what attention has learned of neighbouring
        positions then holds among the new ones too. Of relative positions, a distance longer than any that was
        trained begins as a copy of the longest one in its direction (Shaw et al. 2018, section 3.2, leave it so).

        Raises:
            InputError: a weight is missing, is not finite or does not fit, or the configuration asks for what
                numbert does not have yet.
        """
        config = dataclasses.replace(
            BertConfig.from_file(self.folder / "config.json"),
            hidden_dropout_prob=settings.dropout,
            attention_probs_dropout_prob=settings.dropout,
        )
        with uninitialized():
            model = BertForPreTraining(config, seed=settings.seed)
        load_into(model, StoredWeights(self.folder))
        for name, array in model.state_dict().items():
            if not np.isfinite(array).all():
                raise InputError(f"{name} in {self.path} has numbers that are not finite")
        trained, positions = self._trained_positions(config), settings.positions or settings.length
        if (trained, positions) == (config.max_position_embeddings,) * 2:
            return model
        arrays = model.state_dict()
        distances = np.arange(1 - positions, positions).clip(1 - trained, trained - 1)
        rows = {
            "position_embeddings": np.arange(positions) % trained,
            "distance_embedding": distances + config.max_position_embeddings - 1,
        }
        for name, array in arrays.items():
            if (table := name.removesuffix(".weight").rpartition(".")[2]) in rows:
                arrays[name] = array[rows[table]]
        with uninitialized():
            model = BertForPreTraining(
                dataclasses.replace(config, max_position_embeddings=positions), seed=settings.seed
            )
        model.load_state_dict(arrays)
        return model

    def _trained_positions(self, config: BertConfig) -> int:
        """The length of pairs in the run that the model is of, where its folder says so; else all positions."""
        try:
            run = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
            return min(int(run["settings"]["length"]), config.max_position_embeddings)
        except (OSError, ValueError, KeyError, TypeError):
            return config.max_position_embeddings
