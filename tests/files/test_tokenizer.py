"""load_tokenizer and save_tokenizer: BERT's ids from tokenizer.json or from vocab.txt, the same ids."""

import itertools
import json

import pytest
from places import SHARED
from tokenizers import Tokenizer, models, normalizers

from numbert import InputError, load_tokenizer
from numbert.files.tokenizer import SPECIAL_TOKENS, bert_tokenizer, save_tokenizer

# An id is a token's place in this list.
TOKENS = [
    *("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *(
        "the",
        "The",
        "cat",
        "Cat",
        "sat",
        "##s",
        "##ting",
        "on",
        "mat",
        ".",
        ",",
        "!",
        "e",
        "é",
        "##t",
        "##é",
        "中",
        "文",
    ),
]
REAL = SHARED / "data" / "vocab"

TEXTS = [
    "",
    " \t\n",
    "The cat sat on the mat.",
    "Ünïcödé, naïve façade — café; ÀÉÎ and a\u0301 e\u0301",
    "中文 and 日本語 and 한국어 and русский, Ελληνικά, עברית, हिन्दी",
    "emoji 🙂👩‍👩‍👧, zero\u200bwidth, nul\x00, control\x01, soft\u00adhyphen, bad \ufffd",
    "no\u00a0break\u3000space\u2028line\x85next",
    "[CLS] a [MASK] in the text [SEP] [mask] [UNK]",
    "don't, e-mail@example.org $5.00 (50%) \\path_to/file",
    "x" * 150 + " " + "supercalifragilisticexpialidocious",
    "İstanbul ſtraße ǅ ﬁ Ⅷ",
]


def write_vocab(folder, tokens=TOKENS, **options):
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    if options:
        (folder / "tokenizer_config.json").write_text(json.dumps(options))
    return folder


def assert_same_ids(one, other):
    for text in TEXTS:
        assert one.encode(text).ids == other.encode(text).ids, text
    for pair in itertools.pairwise(TEXTS):
        assert one.encode(*pair).ids == other.encode(*pair).ids, pair
        assert one.encode(*pair).type_ids == other.encode(*pair).type_ids, pair


class TestVocabTxt:
    def test_one_text_and_a_pair(self, tmp_path):
        tokenizer = load_tokenizer(write_vocab(tmp_path))
        one = tokenizer.encode("The cats,  sat.")
        assert one.tokens == ["[CLS]", "the", "cat", "##s", ",", "sat", ".", "[SEP]"]
        assert one.ids == [TOKENS.index(token) for token in one.tokens]
        assert one.type_ids == [0] * 8
        pair = tokenizer.encode("the cat", "sat!")
        assert pair.tokens == ["[CLS]", "the", "cat", "[SEP]", "sat", "!", "[SEP]"]
        assert pair.type_ids == [0, 0, 0, 0, 1, 1, 1]
        assert pair.attention_mask == [1] * 7

    def test_nothing_is_a_text(self, tmp_path):
        assert load_tokenizer(write_vocab(tmp_path)).encode("").tokens == ["[CLS]", "[SEP]"]

    def test_words_that_are_not_there_and_special_tokens_that_are(self, tmp_path):
        tokenizer = load_tokenizer(write_vocab(tmp_path))
        assert tokenizer.encode("the dog [MASK].").tokens == ["[CLS]", "the", "[UNK]", "[MASK]", ".", "[SEP]"]
        assert tokenizer.decode(tokenizer.encode("the cats sat").ids) == "the cats sat"

    @pytest.mark.parametrize(
        ("options", "text", "tokens"),
        [
            ({}, "The É", ["the", "e"]),
            ({"do_lower_case": None}, "The É", ["the", "e"]),
            ({"do_lower_case": False}, "The Cat é", ["The", "Cat", "é"]),
            ({"do_lower_case": False, "strip_accents": True}, "The é", ["The", "e"]),
            ({"strip_accents": False}, "The É", ["the", "é"]),
            ({}, "中文", ["中", "文"]),
            ({"tokenize_chinese_chars": False}, "中文", ["[UNK]"]),
        ],
    )
    def test_tokenizer_config_decides_and_lower_case_without_accents_is_the_default(
        self, options, text, tokens, tmp_path
    ):
        tokenizer = load_tokenizer(write_vocab(tmp_path, **options))
        assert tokenizer.encode(text).tokens[1:-1] == tokens

    @pytest.mark.parametrize("newline", ["\n", "\r\n"])
    def test_a_line_ends_at_a_line_feed_and_nowhere_else(self, newline, tmp_path):
        tokens = [*TOKENS, "\u2028", "a\x0cb", "last"]
        (tmp_path / "vocab.txt").write_bytes(newline.join(tokens).encode())
        vocab = load_tokenizer(tmp_path).get_vocab()
        assert vocab == {token: index for index, token in enumerate(tokens)}


class TestTokenizerJson:
    def test_it_goes_before_vocab_txt_and_is_taken_as_it_is(self, tmp_path):
        write_vocab(tmp_path, do_lower_case=True)
        vocab = {token: index for index, token in enumerate(reversed(TOKENS))}
        bert_tokenizer(vocab, do_lower_case=False).save(str(tmp_path / "tokenizer.json"))
        one = load_tokenizer(tmp_path).encode("The cat")
        assert one.tokens == ["[CLS]", "The", "cat", "[SEP]"]
        assert one.ids == [vocab[token] for token in one.tokens]

    def test_stored_truncation_and_padding_are_off(self, tmp_path):
        tokenizer = bert_tokenizer({token: index for index, token in enumerate(TOKENS)})
        tokenizer.enable_truncation(4)
        tokenizer.enable_padding(length=4)
        assert len(tokenizer.encode("the cat sat on the mat")) == 4
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        read = load_tokenizer(tmp_path)
        assert len(read.encode("the cat sat on the mat")) == 8
        assert len(read.encode("")) == 2


class TestRefused:
    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ({}, "has neither tokenizer.json nor vocab.txt"),
            ({"tokenizer.json": "{"}, "tokenizer.json is not a tokenizer: "),
            ({"tokenizer.json": "[3]"}, "tokenizer.json is not a tokenizer: "),
            ({"tokenizer.json": b"\xff\xfe"}, "tokenizer.json is not a tokenizer: "),
            ({"vocab.txt": b"\xff\xfe"}, "vocab.txt is not UTF-8: "),
            ({"vocab.txt": ""}, "vocab.txt has no [PAD]; BERT needs [PAD], [UNK], [CLS], [SEP], [MASK]"),
            ({"vocab.txt": "[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n"}, "vocab.txt has no [MASK]; BERT needs [PAD], "),
            (
                {"vocab.txt": "\n".join(TOKENS), "tokenizer_config.json": "{"},
                "config.json is not readable as JSON",
            ),
            ({"vocab.txt": "\n".join(TOKENS), "tokenizer_config.json": "[]"}, "holds a list; it must be a JSON"),
            (
                {"vocab.txt": "\n".join(TOKENS), "tokenizer_config.json": '{"do_lower_case": "no"}'},
                "tokenizer_config.json: do_lower_case is 'no'; it must be true or false",
            ),
        ],
    )
    def test_one_line_names_the_file_and_what_is_wrong(self, files, message, tmp_path):
        for name, content in files.items():
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(InputError) as caught:
            load_tokenizer(tmp_path)
        assert message in str(caught.value)
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("token", SPECIAL_TOKENS.values())
    def test_tokenizer_json_without_a_special_token(self, token, tmp_path):
        vocab = {other: index for index, other in enumerate(TOKENS) if other != token}
        Tokenizer(models.WordPiece(vocab, unk_token="the")).save(str(tmp_path / "tokenizer.json"))
        with pytest.raises(InputError, match=rf"tokenizer.json has no \{token}; BERT needs"):
            load_tokenizer(tmp_path)


class TestSaving:
    @pytest.mark.parametrize("do_lower_case", [True, False])
    def test_each_of_the_files_gives_the_same_ids_again(self, do_lower_case, tmp_path):
        tokenizer = bert_tokenizer({token: index for index, token in enumerate(TOKENS)}, do_lower_case)
        save_tokenizer(tokenizer, tmp_path / "new", max_length=11)
        assert_same_ids(load_tokenizer(tmp_path / "new"), tokenizer)
        (tmp_path / "new" / "tokenizer.json").unlink()
        assert_same_ids(load_tokenizer(tmp_path / "new"), tokenizer)
        assert (tmp_path / "new" / "vocab.txt").read_text(encoding="utf-8").split() == TOKENS
        written = json.loads((tmp_path / "new" / "tokenizer_config.json").read_text())
        assert written["tokenizer_class"] == "BertTokenizer"
        assert written["do_lower_case"] is do_lower_case
        assert written["model_max_length"] == 11
        assert written["mask_token"] == "[MASK]"

    def test_the_callers_truncation_stays_his_own(self, tmp_path):
        tokenizer = bert_tokenizer({token: index for index, token in enumerate(TOKENS)})
        tokenizer.enable_truncation(4)
        save_tokenizer(tokenizer, tmp_path)
        assert json.loads((tmp_path / "tokenizer.json").read_text())["truncation"] is None
        assert tokenizer.truncation["max_length"] == 4

    def test_a_tokenizer_with_another_normalizer_is_read_as_it_is(self, tmp_path):
        tokenizer = bert_tokenizer({token: index for index, token in enumerate(TOKENS)})
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace("dog", "cat")])
        save_tokenizer(tokenizer, tmp_path)
        assert load_tokenizer(tmp_path).encode("the dog").tokens == ["[CLS]", "the", "cat", "[SEP]"]
        written = json.loads((tmp_path / "tokenizer_config.json").read_text())
        assert written["tokenizer_class"] == "PreTrainedTokenizerFast"


@pytest.mark.skipif(not REAL.exists(), reason="needs the published vocabularies in ../shared/data/vocab")
class TestPublishedVocabularies:
    @pytest.mark.parametrize("case", ["cased", "uncased"])
    def test_vocab_txt_gives_the_ids_of_tokenizer_json(self, case, tmp_path):
        vocab = (REAL / f"bert-base-{case}-vocab.txt").read_text(encoding="utf-8").splitlines()
        ours = load_tokenizer(write_vocab(tmp_path, vocab, do_lower_case=case == "uncased"))
        published = tmp_path / "published"
        published.mkdir()
        text = (REAL / f"bert-base-{case}-tokenizer.json").read_text(encoding="utf-8")
        (published / "tokenizer.json").write_text(text, encoding="utf-8")
        assert_same_ids(ours, load_tokenizer(published))
        assert json.loads(ours.to_str()) == json.loads(text) | {"truncation": None}
