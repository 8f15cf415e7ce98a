"""load_tokenizer and save_tokenizer: BERT's ids from tokenizer.json or from vocab.txt, the same ids."""

import itertools
import json
import re
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from places import SHARED
from tokenizers import Tokenizer, models, normalizers

from numbert import InputError, load_tokenizer
from numbert.files.tokenizer import (
    SPECIAL_TOKENS,
    bert_tokenizer,
    save_tokenizer,
    tokenizer_notes,
    vocabulary_size,
)

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

    def test_a_byte_order_mark_is_no_part_of_the_first_token(self, tmp_path):
        (tmp_path / "vocab.txt").write_text("".join(f"{t}\n" for t in TOKENS), encoding="utf-8-sig")
        (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}', encoding="utf-8-sig")
        tokenizer = load_tokenizer(tmp_path)
        assert tokenizer.token_to_id("[PAD]") == 0
        assert tokenizer.encode("The").tokens[1] == "The"

    def test_of_a_token_that_stands_twice_the_last_line_counts(self, tmp_path):
        tokens = [*TOKENS[:6], "cat", "dog", "cat", "the", "dog", "cat", "end"]
        tokenizer = load_tokenizer(write_vocab(tmp_path, tokens))
        assert tokenizer.encode("the cat dog end").ids[1:-1] == [9, 11, 10, 12]
        assert tokenizer.get_vocab_size() == 10
        assert vocabulary_size(tokenizer) == 13

    @pytest.mark.parametrize(
        "tokens",
        [
            [*TOKENS, "cat", "cat"],
            ["[PAD]", *TOKENS, "on", "zebra"],
            ["the", "the", "the", *TOKENS, ""],
            [*TOKENS, "", "", "last"],
        ],
    )
    def test_what_is_saved_has_the_same_ids_in_each_of_its_files(self, tokens, tmp_path):
        tokenizer = load_tokenizer(write_vocab(tmp_path, tokens))
        save_tokenizer(tokenizer, tmp_path / "new")
        lines = (tmp_path / "new" / "vocab.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
        assert len(lines) == len(tokens) == vocabulary_size(tokenizer)
        for _ in range(2):  # from tokenizer.json, then from vocab.txt
            read = load_tokenizer(tmp_path / "new")
            assert read.get_vocab() == tokenizer.get_vocab() == {token: i for i, token in enumerate(tokens)}
            (tmp_path / "new" / "tokenizer.json").unlink(missing_ok=True)

    @pytest.mark.parametrize("name", ["BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer", None])
    @pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
    def test_other_names_for_berts_rules_are_known(self, name, file, tmp_path):
        (write_vocab(tmp_path) / file).write_text(json.dumps({"tokenizer_class": name}))
        assert load_tokenizer(tmp_path).encode("the cats").tokens[1:-1] == ["the", "cat", "##s"]

    @pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
    @pytest.mark.parametrize(
        "name",
        [
            *(
                "BertJapaneseTokenizer",
                "RobertaTokenizer",
                "GPT2TokenizerFast",
                "MPNetTokenizer",
                "FunnelTokenizer",
            ),
            *(
                "RoFormerTokenizer",
                "HerbertTokenizer",
                "BertweetTokenizer",
                "BertGenerationTokenizer",
                "CanineTokenizer",
            ),
            *("PreTrainedTokenizerFast", "MyTokenizer", "Two\rLines", 3),
        ],
    )
    def test_the_vocabulary_of_another_algorithm_is_refused_by_its_name(self, name, file, tmp_path):
        (write_vocab(tmp_path) / file).write_text(json.dumps({"tokenizer_class": name}))
        with pytest.raises(
            InputError, match=re.escape(f"{file} names {name!r}; numbert reads vocab.txt by the rules")
        ) as caught:
            load_tokenizer(tmp_path)
        assert len(str(caught.value).splitlines()) == 1

    def test_tokenizer_config_goes_before_config_in_naming_the_class(self, tmp_path):
        write_vocab(tmp_path, tokenizer_class="BertTokenizer")
        (tmp_path / "config.json").write_text('{"tokenizer_class": "RobertaTokenizer"}')
        assert load_tokenizer(tmp_path).encode("the").tokens[1] == "the"


def added(content, **options):
    return {
        "content": content,
        "lstrip": False,
        "normalized": True,
        "rstrip": False,
        "single_word": False,
    } | options


def write_added(folder, tokens, form):
    """Writes {token: id} as added tokens in one of the two ways."""
    if form == "added_tokens.json":
        (folder / form).write_text(json.dumps(tokens))
        return folder
    decoder = {str(index): added(token, special=False) for token, index in tokens.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": decoder}))
    return folder


FORMS = ["added_tokens.json", "added_tokens_decoder"]
SIZE = len(TOKENS)


class TestAddedTokens:
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("ids", [(SIZE, SIZE + 1), (SIZE + 1, SIZE), (SIZE + 5, SIZE + 40), (1, SIZE + 3)])
    def test_each_is_one_id(self, form, ids, tmp_path):
        tokens = [*TOKENS]
        tokens[1] = "covid" if ids[0] == 1 else "[unused0]"
        write_added(write_vocab(tmp_path, tokens), {"covid": ids[0], "long covid": ids[1]}, form)
        tokenizer = load_tokenizer(tmp_path)
        assert tokenizer.encode("The COVID cat, long Covid.").ids == [
            *(TOKENS.index("[CLS]"), TOKENS.index("the"), ids[0], TOKENS.index("cat"), TOKENS.index(",")),
            *(ids[1], TOKENS.index("."), TOKENS.index("[SEP]")),
        ]
        assert tokenizer.id_to_token(ids[1]) == "long covid"
        assert vocabulary_size(tokenizer) == max(SIZE, *(i + 1 for i in ids))

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("first", [SIZE, SIZE + 7])
    @pytest.mark.parametrize("repeated", [[], ["cat", "dog"]])
    def test_what_is_saved_reads_back_the_same(self, form, first, repeated, tmp_path):
        tokens = [*repeated, *TOKENS]
        write_added(write_vocab(tmp_path, tokens), {"covid": first + 2, "<e>": first + 3}, form)
        tokenizer = load_tokenizer(tmp_path)
        save_tokenizer(tokenizer, tmp_path / "new")
        for _ in range(2):  # from tokenizer.json, then from vocab.txt
            read = load_tokenizer(tmp_path / "new")
            assert read.get_vocab() == tokenizer.get_vocab()
            assert read.get_added_tokens_decoder() == tokenizer.get_added_tokens_decoder()
            assert_same_ids(read, tokenizer)
            assert read.encode("the COVIDs <e>").ids == tokenizer.encode("the COVIDs <e>").ids
            (tmp_path / "new" / "tokenizer.json").unlink(missing_ok=True)

    def test_they_are_matched_as_the_file_says(self, tmp_path):
        flags = {
            "whole": {"single_word": True},
            "<l>": {"lstrip": True},
            "<r>": {"rstrip": True},
            "Raw": {"normalized": False},
        }
        decoder = {str(SIZE + i): added(token, **how) for i, (token, how) in enumerate(flags.items())}
        decoder["5"] = added("[MASK]", lstrip=True, special=True, normalized=False)
        tokenizer = load_tokenizer(write_vocab(tmp_path, added_tokens_decoder=decoder))
        assert tokenizer.encode("wholes whole").tokens[1:-1] == ["[UNK]", "whole"]
        found = tokenizer.encode("the <l> the <r> the [MASK]")
        assert found.offsets[1:-1] == [(0, 3), (3, 7), (8, 11), (12, 16), (16, 19), (19, 26)]
        assert tokenizer.encode("Raw raw").tokens[1:-1] == ["Raw", "[UNK]"]

    @pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
    @pytest.mark.parametrize("named", ["[unused0]", added("[unused0]", normalized=False)])
    def test_one_of_the_vocabulary_that_is_named_as_special_is_one_piece(self, file, named, tmp_path):
        assert load_tokenizer(write_vocab(tmp_path)).encode("the [unused0]").tokens[2] == "[UNK]"
        names = {"additional_special_tokens": [named, "<nowhere>"], "mask_token": "[MASK]", "add_bos_token": True}
        (tmp_path / file).write_text(json.dumps(names))
        tokenizer = load_tokenizer(tmp_path)
        assert tokenizer.encode("the[unused0]").tokens[1:-1] == ["the", "[unused0]"]
        assert tokenizer.encode("[Unused0]").tokens[1:-1] != ["[unused0]"]
        assert tokenizer.token_to_id("<nowhere>") is None
        assert vocabulary_size(tokenizer) == SIZE

    def test_of_added_tokens_json_those_named_as_special_are(self, tmp_path):
        write_added(write_vocab(tmp_path), {"<e>": SIZE, "word": SIZE + 1}, "added_tokens.json")
        (tmp_path / "special_tokens_map.json").write_text('{"additional_special_tokens": ["<e>"]}')
        decoder = load_tokenizer(tmp_path).get_added_tokens_decoder()
        assert (decoder[SIZE].special, decoder[SIZE].normalized) == (True, False)
        assert (decoder[SIZE + 1].special, decoder[SIZE + 1].normalized) == (False, True)

    @pytest.mark.parametrize("form", FORMS)
    def test_tokenizer_json_gets_those_that_it_does_not_have(self, form, tmp_path):
        bert_tokenizer({token: i for i, token in enumerate(TOKENS)}).save(str(tmp_path / "tokenizer.json"))
        write_added(tmp_path, {"covid": SIZE + 2, "[MASK]": TOKENS.index("[MASK]")}, form)
        tokenizer = load_tokenizer(tmp_path)
        assert tokenizer.encode("The Covid").ids[2] == SIZE + 2
        assert tokenizer.get_added_tokens_decoder()[TOKENS.index("[MASK]")].special

    def test_ids_that_tokenizer_json_has_otherwise_are_left_out_and_told(self, tmp_path, caplog):
        bert_tokenizer({token: i for i, token in enumerate(TOKENS)}).save(str(tmp_path / "tokenizer.json"))
        write_added(tmp_path, {"cat": SIZE, "covid": 8}, "added_tokens.json")
        assert load_tokenizer(tmp_path).get_vocab() == {token: i for i, token in enumerate(TOKENS)}
        assert caplog.messages == [
            f"{tmp_path}: the added token {said}, which is followed"
            for said in (
                f"'cat' has the id {SIZE}, but tokenizer.json has it as 8",
                "'covid' has the id 8, but tokenizer.json has 'cat' there",
            )
        ]

    @pytest.mark.parametrize(
        ("tokens", "message"),
        [
            ({"cat": SIZE}, f"the added token 'cat' has the id {SIZE}, but vocab.txt has it as 8"),
            ({"covid": 8}, "the added token 'covid' has the id 8, but vocab.txt has 'cat' there"),
            ({"one": SIZE, "two": SIZE}, f"'two' has the id {SIZE}, but vocab.txt has 'one' there"),
            ({"covid": -1}, "the added token 'covid' has the id -1; it can be 0 to 16,777,215"),
            ({"covid": 1 << 24}, "the added token 'covid' has the id 16777216; it can be 0 to"),
            ({"covid": "7"}, "the added token 'covid' has the id '7'; it can be"),
            ({"covid": True}, "the added token 'covid' has the id True; it can be"),
            ({"": SIZE}, f"the added token with the id {SIZE} is ''"),
            ([3], "added_tokens.json holds a list; it must be a JSON object"),
        ],
    )
    def test_what_cannot_be_is_refused_in_one_line(self, tokens, message, tmp_path):
        (write_vocab(tmp_path) / "added_tokens.json").write_text(json.dumps(tokens))
        with pytest.raises(InputError) as caught:
            load_tokenizer(tmp_path)
        assert message in str(caught.value)
        assert str(tmp_path) in str(caught.value)

    @pytest.mark.parametrize(
        "decoder", [[], "x", {"x": added("y")}, {"30": "y"}, {"30": {}}, {"30": {"content": 3}}]
    )
    def test_a_broken_decoder_is_refused(self, decoder, tmp_path):
        write_vocab(tmp_path, added_tokens_decoder=decoder)
        with pytest.raises(InputError, match=r"tokenizer_config.json: (added_tokens_decoder|the added token)"):
            load_tokenizer(tmp_path)


any_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 40), st.text(max_size=3), st.just("cat")),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)
decoders = st.dictionaries(
    st.one_of(st.integers(0, 40).map(str), st.text(max_size=2)),
    st.one_of(any_json, st.fixed_dictionaries({"content": st.text(max_size=3)}, optional={"special": any_json})),
    max_size=3,
)


@example(config={}, tokens={"": "\x85"})  # a line's end
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["added_tokens_decoder", "additional_special_tokens", "mask_token", "tokenizer_class"]),
        any_json | decoders,
    ),
    any_json | st.dictionaries(st.text(max_size=3), st.integers(-1, 40)),
)
def test_whatever_the_files_beside_vocab_txt_hold_it_is_read_or_refused_in_one_line(tmp_path, config, tokens):
    write_vocab(tmp_path, **config)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "added_tokens.json").write_text(json.dumps(tokens))
    refusal, tokenizer = "", None
    try:
        tokenizer = load_tokenizer(tmp_path)
    except InputError as error:
        refusal = str(error)
    if tokenizer is None:
        assert len(refusal.splitlines()) == 1
        return
    vocab = tokenizer.get_vocab()
    assert {token: vocab[token] for token in TOKENS} == {token: i for i, token in enumerate(TOKENS)}
    assert len(set(vocab.values())) == len(vocab)


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


class TestDisagreements:
    @pytest.mark.parametrize(
        ("built", "config", "key", "done"),
        [
            ({"do_lower_case": True}, {"do_lower_case": False}, "do_lower_case", "true"),
            ({"do_lower_case": False}, {"do_lower_case": True}, "do_lower_case", "false"),
            ({"strip_accents": False}, {"strip_accents": True}, "strip_accents", "false"),
            (
                {"tokenize_chinese_chars": False},
                {"tokenize_chinese_chars": True},
                "tokenize_chinese_chars",
                "false",
            ),
        ],
    )
    def test_one_line_is_on_stderr_and_tokenizer_json_is_followed(self, built, config, key, done, tmp_path):
        said = {"true": "false", "false": "true"}[done]
        vocab = {token: i for i, token in enumerate(TOKENS)}
        bert_tokenizer(vocab, **built).save(str(tmp_path / "tokenizer.json"))
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        code = "import sys, numbert; [numbert.load_tokenizer(sys.argv[1]) for _ in range(2)]"
        ran = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=True, text=True
        )
        line = f"{tmp_path}: {key} is {done} by tokenizer.json, which is followed, and {said} by "
        line += "tokenizer_config.json"
        assert (ran.stdout, ran.stderr) == ("", f"{line}\n")
        assert tokenizer_notes(tmp_path) == [line]
        assert_same_ids(load_tokenizer(tmp_path), bert_tokenizer(vocab, **built))

    @pytest.mark.parametrize(
        "config", [{}, {"do_lower_case": None, "strip_accents": None}, {"do_lower_case": True}]
    )
    def test_nothing_is_said_where_nothing_disagrees(self, config, tmp_path, caplog):
        bert_tokenizer({token: i for i, token in enumerate(TOKENS)}).save(str(tmp_path / "tokenizer.json"))
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        load_tokenizer(tmp_path)
        assert caplog.messages == tokenizer_notes(tmp_path) == []

    def test_a_normalizer_of_another_kind_is_tried_out(self, tmp_path):
        tokenizer = bert_tokenizer({token: i for i, token in enumerate(TOKENS)})
        write_vocab(tmp_path, do_lower_case=True, strip_accents=True)
        for normalizer, keys in (
            (None, ["do_lower_case", "strip_accents"]),
            (normalizers.Lowercase(), ["strip_accents"]),
            (normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]), []),
        ):
            tokenizer.normalizer = normalizer
            tokenizer.save(str(tmp_path / "tokenizer.json"))
            assert [note.split()[1] for note in tokenizer_notes(tmp_path)] == keys

    def test_notes_say_why_a_tokenizer_cannot_be_read_and_nothing_where_there_is_none(self, tmp_path):
        assert tokenizer_notes(tmp_path) == []
        (tmp_path / "vocab.txt").write_text("the\n")
        (note,) = tokenizer_notes(tmp_path)
        assert "vocab.txt has no [PAD]" in note


class TestRefused:
    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ({"vocab.txt": "\n".join(TOKENS), "config.json": "{"}, "config.json is not readable as JSON"),
            ({"vocab.txt": "\n".join(TOKENS).encode("utf-16")}, "vocab.txt is not UTF-8: "),
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
