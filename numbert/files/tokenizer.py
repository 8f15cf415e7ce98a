"""Tokenizers in and out: tokenizer.json, or Google's vocab.txt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numbert.errors import InputError
from numbert.files.atomic import replacing

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Each with the key that names it in tokenizer_config.json.
SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Reads tokenizer.json; or else makes the same of vocab.txt, one token a line.

    With vocab.txt, tokenizer_config.json says whether text is lower-cased ("do_lower_case"), loses its accents
    ("strip_accents") and is split at Chinese characters ("tokenize_chinese_chars"). What it does not say is as in
    transformers: lower-cased, without accents, split; for a cased vocabulary "do_lower_case": false must be there.

    Truncation and padding stored in tokenizer.json are turned off: they are one user's choice (all-MiniLM-L6-v2
    stores 128), and would cut off text that the model could read without a word.

    Raises:
        InputError: neither file is there, one is broken, or a special token is not in the vocabulary.
    """
    from tokenizers import Tokenizer  # here, because it takes as long to import as NumPy

    folder = Path(folder)
    if (path := folder / "tokenizer.json").exists():
        try:
            tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except OSError:
            raise
        except Exception as error:  # the library raises no narrower one
            raise InputError(f"{path} is not a tokenizer: {error}") from None
        for token in SPECIAL_TOKENS.values():
            _check_special(token, tokenizer.token_to_id(token), path)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
    if not (path := folder / "vocab.txt").exists():
        raise InputError(f"{folder} has neither tokenizer.json nor vocab.txt")
    try:
        # Only "\n" ends a line: a vocabulary may hold the other characters that str.splitlines() splits at.
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error}") from None
    vocab = {token: index for index, token in enumerate(lines)}
    for token in SPECIAL_TOKENS.values():
        _check_special(token, vocab.get(token), path)
    return bert_tokenizer(vocab, **_options(folder / "tokenizer_config.json"))


def bert_tokenizer(
    vocab: dict[str, int],
    do_lower_case: bool = True,
    strip_accents: bool | None = None,
    tokenize_chinese_chars: bool = True,
) -> Tokenizer:
    """BERT's tokenizer for a vocabulary: clean, split at spaces and punctuation, then the longest pieces first.

    One text becomes [CLS] A [SEP], a pair [CLS] A [SEP] B [SEP] with token type 1 from B on.

    Args:
        vocab: each token and its id, the five special tokens among them.
        strip_accents: None for as do_lower_case.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=tokenize_chinese_chars,
        strip_accents=strip_accents,
        lowercase=do_lower_case,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocab[token]) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS.values()))  # "[MASK]" in a text is the token
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: str | Path, max_length: int | None = None) -> None:
    """Writes tokenizer.json, tokenizer_config.json and, for WordPiece, vocab.txt, as transformers reads them.

    Truncation and padding are not stored.

    Args:
        max_length: the model's max_position_embeddings, at which transformers truncates when asked to.

    Raises:
        InputError: the folder cannot be made.
    """
    state = json.loads(tokenizer.to_str()) | {"truncation": None, "padding": None}
    config: dict[str, Any] = SPECIAL_TOKENS | _class_and_options(state)
    if max_length is not None:
        config["model_max_length"] = max_length
    with replacing(folder) as new:
        _write_json(new / "tokenizer.json", state)
        _write_json(new / "tokenizer_config.json", config)
        if state["model"]["type"] == "WordPiece":
            vocab = sorted(state["model"]["vocab"].items(), key=lambda item: item[1])
            text = "".join(f"{token}\n" for token, _ in vocab)
            (new / "vocab.txt").write_text(text, encoding="utf-8", newline="\n")


def _class_and_options(state: dict[str, Any]) -> dict[str, Any]:
    """transformers' BertTokenizer builds its normalizer from options; the other class reads tokenizer.json's."""
    normalizer = state["normalizer"] or {}
    if normalizer.get("type") == "BertNormalizer" and normalizer["clean_text"]:
        return {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": normalizer["lowercase"],
            "strip_accents": normalizer["strip_accents"],
            "tokenize_chinese_chars": normalizer["handle_chinese_chars"],
        }
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    }


def _options(path: Path) -> dict[str, Any]:
    """The arguments of `bert_tokenizer` that a tokenizer_config.json gives; none where there is no such file."""
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not readable as JSON: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds a {type(values).__name__}; it must be a JSON object")
    options = {}
    for key in ("do_lower_case", "strip_accents", "tokenize_chinese_chars"):
        value = values.get(key)
        if value is not None and not isinstance(value, bool):
            raise InputError(f"{path}: {key} is {value!r}; it must be true or false")
        if value is not None:
            options[key] = value
    return options


def _check_special(token: str, index: int | None, path: Path) -> None:
    if index is None:
        raise InputError(f"{path} has no {token}; BERT needs {', '.join(SPECIAL_TOKENS.values())}")


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
