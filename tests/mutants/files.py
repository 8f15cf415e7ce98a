"""Bugs planted in files: model folders, names, tokenizers."""

from mutants.machinery import Mutant

MODEL_FOLDERS = "files/test_model_folders.py"
TOKENIZER = "files/test_tokenizer.py"

MUTANTS = [
    Mutant(
        "gamma-and-beta-swapped",
        "files/names.py",
        '((".gamma", ".weight"), (".beta", ".bias"))',
        '((".gamma", ".bias"), (".beta", ".weight"))',
        "two vectors of one shape: a LayerNorm that multiplies by its bias loads without a word",
        tests=(f"{MODEL_FOLDERS}::TestNames",),
    ),
    Mutant(
        "prefix-not-added",
        "files/names.py",
        '(name, f"{prefix}.{name}", name.removeprefix(f"{prefix}."))',
        '(name, name.removeprefix(f"{prefix}."))',
        "a bare encoder does not fit into a model with heads",
        tests=(f"{MODEL_FOLDERS}::TestNames",),
    ),
    Mutant(
        "prefix-not-removed",
        "files/names.py",
        '(name, f"{prefix}.{name}", name.removeprefix(f"{prefix}."))',
        '(name, f"{prefix}.{name}")',
        "an encoder is not found inside a model with heads",
        tests=(f"{MODEL_FOLDERS}::TestNames",),
    ),
    Mutant(
        "bfloat16-shifted-by-8",
        "files/weights.py",
        "bits <<= 16",
        "bits <<= 8",
        "bfloat16 is the upper half of a float32, not its upper quarter",
        tests=(f"{MODEL_FOLDERS}::TestReading",),
    ),
    Mutant(
        "bfloat16-read-as-float16",
        "files/weights.py",
        '"BF16": "<u2"}',
        '"BF16": "<f2"}',
        "16 bits are not 16 bits: exponent and fraction have other lengths",
        tests=(f"{MODEL_FOLDERS}::TestReading",),
    ),
    Mutant(
        "loaded-in-columns",
        "files/weights.py",
        ").reshape(tensor.shape)",
        ").reshape(tensor.shape[::-1]).T",
        "[out,in] read as the transpose of [in,out]: the shapes fit, the numbers do not",
        tests=(f"{MODEL_FOLDERS}::TestReading",),
    ),
    Mutant(
        "saved-transposed",
        "files/save.py",
        "np.ascontiguousarray(data, dtype)",
        "np.ascontiguousarray(data.T, dtype)",
        "TensorFlow's [in,out] in a file that is read as [out,in]",
        tests=(f"{MODEL_FOLDERS}::TestReading",),
    ),
    Mutant(
        "tied-decoder-saved-twice",
        "files/save.py",
        "model.named_parameters() if tied else model.all_named_parameters()",
        "model.all_named_parameters()",
        "the decoder beside the word embeddings, which readers report as unexpected",
        tests=(f"{MODEL_FOLDERS}::TestSaving",),
    ),
    Mutant(
        "ids-shifted-by-a-token-that-stands-twice",
        "files/tokenizer.py",
        "while line <= index:",
        "if True:",
        "a vocab.txt of the different tokens, one line each: every id after a gap is another token's",
        tests=(f"{TOKENIZER}::TestVocabTxt",),
    ),
    Mutant(
        "vocabulary-sized-by-the-number-of-tokens",
        "files/tokenizer.py",
        "return max(tokenizer.get_vocab().values(), default=-1) + 1",
        "return tokenizer.get_vocab_size()",
        "the highest ids have no row among the word embeddings",
        tests=(f"{TOKENIZER}::TestVocabTxt", f"{TOKENIZER}::TestAddedTokens"),
    ),
    Mutant(
        "added-tokens-numbered-by-the-library",
        "files/tokenizer.py",
        'state["model"]["vocab"] = ids | new',
        'state["model"]["vocab"] = ids',
        "an added token gets the next free number, or another token's, and not the id that it was learned with",
        tests=(f"{TOKENIZER}::TestAddedTokens",),
    ),
    Mutant(
        "tokenizer-class-of-config-json-not-looked-at",
        "files/tokenizer.py",
        "if named is None:",
        "if False:",
        "the vocabulary of a Japanese BERT, whose class only its config.json names, read by BERT's rules",
        tests=(f"{TOKENIZER}::TestVocabTxt",),
    ),
    Mutant(
        "disagreement-taken-for-agreement",
        "files/tokenizer.py",
        "if config.get(key) is (not done)",
        "if config.get(key) is done",
        "a line for every folder whose files agree, and none for one whose do not",
        tests=(f"{TOKENIZER}::TestDisagreements",),
    ),
]
