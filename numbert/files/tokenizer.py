"""Reading and writing tokenizers: tokenizer.json, or Google's vocab.txt."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numbert.errors import InputError, shown
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
# What transformers calls tokenizers that cut text by BERT's rules, with or without "Fast" at the end.
BERT_CLASSES = frozenset(
    f"{name}Tokenizer"
    for name in (
        *("Bert", "ConvBert", "DistilBert", "DPRContextEncoder", "DPRQuestionEncoder", "DPRReader", "Electra"),
        *("LayoutLM", "LayoutLMv2", "Lxmert", "MobileBert", "Realm", "RetriBert", "SqueezeBert"),
    )
)
# An added token's id beyond this is a slip: sizes follow from the highest id.
LARGEST_ID = (1 << 24) - 1


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Reads the tokenizer of a model folder: tokenizer.json or, if there is none, vocab.txt (one piece a line).

    With vocab.txt, tokenizer_config.json says whether text is lower-cased ("do_lower_case"), loses its accents
    ("strip_accents") and is split at Chinese characters ("tokenize_chinese_chars"). The defaults are those of
    transformers: lower-cased, without accents, split; so a cased vocabulary needs "do_lower_case": false.
    tokenizer.json says these things itself and is followed. If tokenizer_config.json disagrees with it, one line
    on stderr says so (through the logger "numbert").

    If vocab.txt has a piece twice, the last line counts, as in transformers, and the id of the other line has no
    piece. The number of ids is therefore `vocabulary_size` and not the number of pieces.

    A token that was added to the vocabulary is never cut. The ids of added tokens are in tokenizer_config.json
    ("added_tokens_decoder") or else in added_tokens.json. A token that tokenizer_config.json or
    special_tokens_map.json names as special, and that has an id, is not cut either.

    Truncation and padding that tokenizer.json stores are turned off: they are one user's choice (all-MiniLM-L6-v2
    stores 128), and would silently cut off text that the model could read.

    Raises:
        InputError: the folder has neither file, a file is broken, a special token is not in the vocabulary, an
            added token has the id of another, or vocab.txt belongs to a tokenizer with other rules than BERT's.
    """
    tokenizer, notes = _load(Path(folder))
    for note in notes:
        _say_once(note)
    return tokenizer


def tokenizer_notes(folder: str | Path) -> list[str]:
    """Says where the tokenizer files of a folder disagree, or why they cannot be read, in one line each."""
    folder = Path(folder)
    if not any((folder / name).exists() for name in ("tokenizer.json", "vocab.txt")):
        return []
    try:
        return _load(folder)[1]
    except InputError as error:
        return [str(error)]


def vocabulary_size(tokenizer: Tokenizer) -> int:
    """Returns the highest id + 1, the number of rows that the word embeddings need; there may be fewer pieces."""
    return max(tokenizer.get_vocab().values(), default=-1) + 1


def bert_tokenizer(
    vocab: dict[str, int],
    do_lower_case: bool = True,
    strip_accents: bool | None = None,
    tokenize_chinese_chars: bool = True,
) -> Tokenizer:
    """Makes BERT's tokenizer for a vocabulary (Devlin et al. 2019; transformers' BertTokenizer).

    It cleans the text, splits it into words at white space and punctuation, and cuts each word into the longest
    pieces of the vocabulary, from left to right. One text becomes [CLS] A [SEP], a pair [CLS] A [SEP] B [SEP] with
    token type 1 from B on.

    Args:
        vocab: the id of each piece and of the five special tokens.
        strip_accents: whether accents are removed; None means the same as do_lower_case.
        tokenize_chinese_chars: whether each Chinese character is a word of its own.
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
        max_length: the model's max_position_embeddings, at which transformers truncates if it is asked to.

    Raises:
        InputError: the folder cannot be made.
    """
    state = json.loads(tokenizer.to_str()) | {"truncation": None, "padding": None}
    config: dict[str, Any] = SPECIAL_TOKENS | _class_and_options(state)
    if not all(_is_plain(token) for token in state["added_tokens"]):
        config["added_tokens_decoder"] = {
            str(token["id"]): {key: value for key, value in token.items() if key != "id"}
            for token in state["added_tokens"]
        }
    if max_length is not None:
        config["model_max_length"] = max_length
    with replacing(folder) as new:
        _write_json(new / "tokenizer.json", state)
        _write_json(new / "tokenizer_config.json", config)
        if state["model"]["type"] == "WordPiece":
            text = "".join(f"{token}\n" for token in _lines(state["model"]["vocab"]))
            (new / "vocab.txt").write_text(text, encoding="utf-8", newline="\n")


# --- reading -----------------------------------------------------------------------------------------------------


def _load(folder: Path) -> tuple[Tokenizer, list[str]]:
    """Returns the tokenizer, and a line for each point in which the files disagree."""
    from tokenizers import Tokenizer  # here, because it takes as long to import as NumPy

    config_path = folder / "tokenizer_config.json"
    config = _read_json(config_path)
    notes: list[str] = []
    if (path := folder / "tokenizer.json").exists():
        try:
            tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8-sig"))
        except OSError:
            raise
        except Exception as error:  # the library raises no narrower one
            raise InputError(f"{path} is not a tokenizer: {error}") from None
        for token in SPECIAL_TOKENS.values():
            _check_special(token, tokenizer.token_to_id(token), path)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        notes += _disagreements(tokenizer, folder, config)
    elif (path := folder / "vocab.txt").exists():
        _check_class(folder, config)
        vocab = _read_vocab(path)
        for token in SPECIAL_TOKENS.values():
            _check_special(token, vocab.get(token), path)
        tokenizer = bert_tokenizer(vocab, **_options(config, config_path))
    else:
        raise InputError(f"{folder} has neither tokenizer.json nor vocab.txt")
    return _with_added_tokens(tokenizer, path, config, notes), notes


def _read_vocab(path: Path) -> dict[str, int]:
    """Reads each piece and its line, counted from 0; if a piece has several lines, the last one."""
    try:
        # Only "\n" ends a line (and "\r\n"): a vocabulary may hold the other characters that str.splitlines()
        # splits at. A byte order mark, which some editors put before the first line, is no part of it.
        lines = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error}") from None
    return {token: index for index, token in enumerate(lines)}


def _check_class(folder: Path, config: dict[str, Any]) -> None:
    """Raises InputError if vocab.txt belongs to other rules than BERT's, by which text would become nonsense."""
    name, named = "tokenizer_config.json", config.get("tokenizer_class")
    if named is None:  # some models name it here, the Japanese ones among them
        name, named = "config.json", _read_json(folder / "config.json").get("tokenizer_class")
    if named is not None and str(named).removesuffix("Fast") not in BERT_CLASSES:
        raise InputError(
            f"{folder / name} names {shown(named)}; numbert reads vocab.txt by the rules of BertTokenizer, which "
            "are others, and there is no tokenizer.json, which would hold these"
        )


def _disagreements(tokenizer: Tokenizer, folder: Path, config: dict[str, Any]) -> list[str]:
    """Says in one line each what the tokenizer does otherwise than tokenizer_config.json says."""

    def normalized(text: str) -> str:
        return text if tokenizer.normalizer is None else tokenizer.normalizer.normalize_str(text)

    does = {
        "do_lower_case": normalized("A") == "a",
        "strip_accents": normalized("é") in ("e", "E"),
        "tokenize_chinese_chars": len(normalized("中中").split()) == 2,
    }
    return [
        f"{folder}: {key} is {json.dumps(done)} by tokenizer.json, which is followed, and "
        f"{json.dumps(not done)} by tokenizer_config.json"
        for key, done in does.items()
        if config.get(key) is (not done)
    ]


def _options(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """Reads the arguments of `bert_tokenizer` that a tokenizer_config.json holds."""
    options = {}
    for key in ("do_lower_case", "strip_accents", "tokenize_chinese_chars"):
        value = values.get(key)
        if value is not None and not isinstance(value, bool):
            raise InputError(f"{path}: {key} is {value!r}; it must be true or false")
        if value is not None:
            options[key] = value
    return options


def _read_json(path: Path) -> dict[str, Any]:
    """Reads the JSON object in a file; an empty one if there is no file."""
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not readable as JSON: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds a {type(values).__name__}; it must be a JSON object")
    return values


def _check_special(token: str, index: int | None, path: Path) -> None:
    if index is None:
        raise InputError(f"{path} has no {token}; BERT needs {', '.join(SPECIAL_TOKENS.values())}")


def _say_once(line: str) -> None:
    """Tells the user, once, on stderr, unless the program has set up logging in another way."""
    if line not in _SAID:
        _SAID.add(line)
        logging.getLogger("numbert").warning(line)


_SAID: set[str] = set()


# --- added tokens ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _AddedToken:
    """A token, its id if a file gives one, and how it is matched: the keywords of the library's AddedToken."""

    content: str
    index: int | None
    matched: dict[str, bool]


def _with_added_tokens(tokenizer: Tokenizer, path: Path, config: dict[str, Any], notes: list[str]) -> Tokenizer:
    """Returns the tokenizer with the tokens that the files beside it add.

    Args:
        path: the file that the tokenizer is from. tokenizer.json is followed where other files disagree with it.
        notes: gets a line for each token that is left out because tokenizer.json disagrees.
    """
    from tokenizers import AddedToken, Tokenizer

    ids, size = tokenizer.get_vocab(), vocabulary_size(tokenizer)
    tokens = {index: token for token, index in ids.items()}
    json_first = path.name == "tokenizer.json"
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()} if json_first else set()
    added: dict[int, AddedToken] = {}
    for token in _read_added_tokens(path.parent, config):
        index = ids.get(token.content) if token.index is None else token.index
        if index is None:
            continue  # named, but no file gives it an id: no model has learned it
        other = added[index].content if index in added else tokens.get(index, token.content)
        if other != token.content or ids.get(token.content, index) != index:
            note = f"{path.parent}: the added token {token.content!r} has the id {index}, but {path.name} has "
            note += f"{other!r} there" if other != token.content else f"it as {ids[token.content]}"
            if not json_first:
                raise InputError(note)
            notes.append(f"{note}, which is followed")
        elif token.content not in known:
            added[index] = AddedToken(token.content, **token.matched)
    new = {token.content: index for index, token in added.items() if token.content not in ids}
    # The library numbers a token that it does not know by itself, from the number of tokens on. Where that would
    # be another id, the token has to be in the vocabulary that words are cut by.
    if new and (len(ids) < size or sorted(new.values()) != list(range(size, size + len(new)))):
        state = json.loads(tokenizer.to_str())
        if not isinstance(state["model"]["vocab"], dict):
            raise InputError(f"{path}: its vocabulary has no place for the ids of {', '.join(map(repr, new))}")
        state["model"]["vocab"] = ids | new
        tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_tokens([added[index] for index in sorted(added)])
    return tokenizer


def _read_added_tokens(folder: Path, config: dict[str, Any]) -> list[_AddedToken]:
    """Reads the tokens with an id, from tokenizer_config.json or else added_tokens.json, and the special ones."""
    special = _named_as_special(_read_json(folder / "special_tokens_map.json")) | _named_as_special(config)
    path, added = folder / "tokenizer_config.json", []
    if (decoder := config.get("added_tokens_decoder")) is not None:
        if not isinstance(decoder, dict):
            raise InputError(f"{path}: added_tokens_decoder is {decoder!r}; it must be a JSON object")
        for key, value in decoder.items():
            if not isinstance(value, dict) or not key.isdecimal():
                raise InputError(f"{path}: added_tokens_decoder has {key!r}: {value!r}; it maps ids to objects")
            added.append(_AddedToken(value.get("content", ""), int(key), _matched(value, special=False)))
    else:
        path = folder / "added_tokens.json"
        for content, index in _read_json(path).items():
            added.append(_AddedToken(content, index, special.get(content) or _matched({}, special=False)))
    for token in added:
        if not isinstance(token.content, str) or not token.content:
            raise InputError(f"{path}: the added token with the id {token.index!r} is {token.content!r}")
        if type(token.index) is not int or not 0 <= token.index <= LARGEST_ID:
            raise InputError(
                f"{path}: the added token {token.content!r} has the id {token.index!r}; "
                f"it can be 0 to {LARGEST_ID:,}"
            )
    given = {token.content for token in added}
    return added + [_AddedToken(token, None, how) for token, how in special.items() if token not in given]


def _named_as_special(values: dict[str, Any]) -> dict[str, dict[str, bool]]:
    """The special tokens that tokenizer_config.json or special_tokens_map.json names, and how each is matched."""
    named: list[Any] = [value for key, value in values.items() if key.endswith("_token")]
    for key in ("additional_special_tokens", "extra_special_tokens"):
        more = values.get(key)
        named += list(more.values()) if isinstance(more, dict) else more if isinstance(more, list) else []
    found = {}
    for token in named:
        about = token if isinstance(token, dict) else {"content": token}
        if isinstance(content := about.get("content"), str) and content:
            found[content] = _matched(about, special=True)
    return found


def _matched(values: dict[str, Any], special: bool) -> dict[str, bool]:
    """How a token is matched, as the file says; by default also within words, and if special in the raw text."""
    special = values.get("special", special) is True
    how = {key: values.get(key) is True for key in ("single_word", "lstrip", "rstrip")}
    return how | {"normalized": values.get("normalized", not special) is True, "special": special}


# --- writing -----------------------------------------------------------------------------------------------------


def _lines(vocab: dict[str, int]) -> Iterator[str]:
    """Yields each piece on the line of its id; an id without a piece gets the next one, whose last line counts."""
    line = 0
    for token, index in sorted(vocab.items(), key=lambda item: item[1]):
        while line <= index:
            yield token
            line += 1


def _is_plain(token: dict[str, Any]) -> bool:
    """Whether `bert_tokenizer` adds this token, and matches it in the same way."""
    matched = {key: value for key, value in token.items() if key not in ("id", "content")}
    return token["content"] in SPECIAL_TOKENS.values() and matched == _matched({}, special=True)


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


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
