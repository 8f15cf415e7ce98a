"""TensorFlow's checkpoints without TensorFlow: checksums, the table, the tensors, the names, and what is damaged.

The checkpoint in tests/files/google/ was written by `make_tf_checkpoint`, which has no code in common with the
reader. tests/live/test_tensorflow_live.py compares both with TensorFlow's own.
"""

import re
import shutil
import time
import tracemalloc

import make_tf_checkpoint as made
import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import one_line
from places import SHARED

import numbert
from numbert import BertForMaskedLM, BertForPreTraining, BertModel, InputError
from numbert.files.bundle import Bundle
from numbert.files.crc32c import ROW, crc32c, crc32c_plain, masked
from numbert.files.protobuf import Message, varint
from numbert.files.table import read_table
from numbert.files.tensorflow import TensorFlowWeights, published_name

PUBLISHED = SHARED / "data" / "tf1-checkpoint" / "bert_model.ckpt"
needs_published = pytest.mark.skipif(not SHARED.exists(), reason="the published checkpoint is in ../shared/data")


def read_all(prefix):
    bundle = Bundle(prefix)
    return {name: bundle.read(name) for name in bundle.tensors}


class TestChecksums:
    @pytest.mark.parametrize(
        ("data", "checksum"),
        [
            (b"", 0),
            (b"123456789", 0xE3069283),
            (bytes(32), 0x8A9136AA),  # this and the next three are RFC 3720's
            (b"\xff" * 32, 0x62A8AB43),
            (bytes(range(32)), 0x46DD794E),
            (bytes(reversed(range(32))), 0x113FDB5C),
        ],
        ids=["nothing", "digits", "zeros", "ones", "rising", "falling"],
    )
    def test_known_values(self, data, checksum):
        assert crc32c_plain(data) == crc32c(data) == checksum

    @pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 4 * ROW - 1, 4 * ROW, 4 * ROW + 5, 12 * ROW + 2])
    def test_the_fast_form_is_the_plain_one_at_every_end_of_a_row(self, size):
        data = np.random.default_rng(size).bytes(size)
        assert crc32c(data) == crc32c_plain(data)

    @given(st.binary(max_size=300), st.binary(max_size=300))
    def test_the_fast_form_is_the_plain_one_and_goes_on_where_another_stopped(self, first, second):
        assert crc32c(first + second) == crc32c_plain(second, crc32c_plain(first) ^ 0xFFFFFFFF)
        assert masked(crc32c(first)) == made.masked_crc32c(first)

    def test_it_takes_seconds_for_a_base_model(self):
        data = bytes(20_000_000)
        crc32c(data[:1_000_000])  # makes the tables
        started = time.process_time()
        crc32c(data)
        assert len(data) / (time.process_time() - started) > 30e6, "100 MB/s on a machine that does nothing else"


class TestTheFormat:
    @given(st.integers(0, 2**64 - 1), st.binary(max_size=3))
    def test_varints(self, number, before):
        data = before + made.varint(number)
        assert varint(data + b"\x01", len(before)) == (number, len(data))

    @given(
        st.dictionaries(st.binary(max_size=12), st.binary(max_size=40)), st.integers(20, 200), st.integers(1, 5)
    )
    def test_a_table_has_what_was_written_whatever_the_blocks(self, entries, size, restart_every):
        in_order = sorted(entries.items())
        cuts = [in_order[at : at + size // 20] for at in range(0, len(in_order), size // 20)]
        data = made.table_of([(cut[-1][0], made.block(cut, restart_every)) for cut in cuts])
        assert read_bytes(data) == dict(in_order)

    def test_fields_of_a_message(self):
        message = Message(made.field(1, 300) + made.field(2, b"\x08\x05") + made.field(6, (7,)) + made.field(1, 2))
        assert (message.number(1), message.message(2).number(1), message.number(6)) == (2, 5, 7)
        assert (message.number(9), message.messages(9), message.has(9)) == (0, [], False)

    def test_the_stored_checkpoint_to_the_last_number(self):
        expected, bundle = made.stored_arrays(), Bundle(made.PREFIX)
        assert set(bundle.tensors) == set(expected)
        for name, array in expected.items():
            assert bundle.tensors[name].shape == array.shape
            assert bundle.read(name).dtype == array.dtype
            np.testing.assert_array_equal(bundle.read(name), array, err_msg=name)
        assert len(bundle.tensors["bert/embeddings/word_embeddings"].parts) == 3

    def test_the_stored_checkpoint_is_what_its_script_writes(self, tmp_path):
        made.write_stored(tmp_path)
        files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert files == {path.name: path.read_bytes() for path in made.FOLDER.iterdir()}

    @pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "int64"])
    def test_every_type_whole_and_in_parts_along_two_axes(self, dtype, tmp_path):
        array = np.arange(3 * 70).reshape(3, 70).astype(dtype)
        places = [(rows, columns) for rows in ((0, 1), (1, 2)) for columns in ((0, 64), (64, 6))]
        made.write(tmp_path / "x", {"whole": array, "cut": array, "no": array[:0]}, 3, {"cut": places})
        for name, tensor in read_all(tmp_path / "x").items():
            assert tensor.dtype == dtype
            np.testing.assert_array_equal(tensor, array[:0] if name == "no" else array)

    def test_bfloat16_is_the_upper_half_of_a_float32(self, tmp_path):
        array = np.array([1.0, -2.5, 3e38], np.float32).view(np.uint32) & 0xFFFF0000
        halves = (array >> 16).astype(np.uint16)

        def as_bfloat16(entries):
            entries[b"a"] = made.value(14, (3,), size=6, checksum=made.masked_crc32c(halves.tobytes()))

        made.write(tmp_path / "x", {"a": halves.view(np.float16)}, change=as_bfloat16)
        np.testing.assert_array_equal(Bundle(tmp_path / "x").read("a"), array.view(np.float32))

    def test_writing_into_a_tensor_changes_no_file(self, tmp_path):
        made.write(tmp_path / "x", {"a": np.ones(3, np.float32)})
        Bundle(tmp_path / "x").read("a")[:] = 7
        assert Bundle(tmp_path / "x").read("a").tolist() == [1, 1, 1]

    @needs_published
    def test_a_published_checkpoint(self):
        arrays = read_all(PUBLISHED)
        assert len(arrays) == 139
        assert arrays["global_step"] == 20
        assert arrays["bert/encoder/layer_1/intermediate/dense/kernel"].shape == (4, 16)
        for name in arrays:  # Adam's second moments are squares, and gamma has moved little in 20 steps from 1
            assert not name.endswith("adam_v") or (arrays[name] >= 0).all()
            assert not name.endswith("gamma") or np.abs(arrays[name] - 1).max() < 1e-4


def read_bytes(data):
    """What is in a table, given as bytes."""

    class File:
        def read_bytes(self):
            return data

        def __str__(self):
            return "x.index"

    return read_table(File())


@pytest.fixture
def stored(tmp_path):
    """A copy of the stored checkpoint's folder, to spoil."""
    return shutil.copytree(made.FOLDER, tmp_path / "google")


# --- a model -----------------------------------------------------------------------------------------------------


class TestNames:
    @pytest.mark.parametrize("heads", [(), ("mlm",), ("nsp",), ("mlm", "nsp")], ids="+".join)
    def test_each_variable_of_googles_is_a_parameter_of_the_model(self, heads):
        variables = made.encoder_shapes(tiny.config()) | {
            name: shape for head in heads for name, shape in made.head_shapes(tiny.config())[head].items()
        }
        model = BertForPreTraining(tiny.config())
        shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        names = {published_name(variable) for variable in variables}
        assert len(names) == len(variables)
        for variable, shape in variables.items():
            assert shapes[published_name(variable)] == (shape[::-1] if variable.endswith("kernel") else shape)
        if len(heads) == 2:
            assert names == set(shapes)

    def test_what_is_fine_tuned(self):
        assert published_name("output_weights") == "classifier.weight"
        assert published_name("output_bias") == "classifier.bias"
        assert published_name("cls/squad/output_weights") == "qa_outputs.weight"
        assert published_name("cls/squad/output_bias") == "qa_outputs.bias"

    @pytest.mark.parametrize(
        "variable",
        [
            "bert/pooler/dense/gamma",
            "bert/encoder/layer_x/output/dense/bias",
            "layer_1/output/dense/bias",
            "x/kernel",
        ],
    )
    def test_others_have_no_name(self, variable):
        assert published_name(variable) is None

    def test_what_training_needs_is_skipped_and_what_is_not_known_is_named(self, tmp_path):
        training = (
            "global_step",
            "beta1_power",
            "bert/pooler/dense/bias/adam_m",
            "output_bias/adam_v",
            "x/Adam_1",
        )
        one = np.ones(3, np.float32)
        made.write(tmp_path / "x", dict.fromkeys((*training, "bert/pooler/dense/bias", "adam_m/x", "y/z"), one))
        weights = TensorFlowWeights(tmp_path / "x")
        assert list(weights.tensors) == ["bert.pooler.dense.bias"]
        assert weights.unknown == ["adam_m/x", "y/z"]


class TestFromTf:
    def test_every_parameter_kernels_transposed(self):
        model, arrays = BertForPreTraining.from_tf(made.PREFIX), made.stored_arrays()
        assert not model.training
        parameters = dict(model.named_parameters())
        layer = "encoder/layer_1/attention/self/query"
        query = parameters["bert.encoder.layer.1.attention.self.query.weight"].data
        np.testing.assert_array_equal(query, arrays[f"bert/{layer}/kernel"].T)
        np.testing.assert_array_equal(
            model.bert.embeddings.LayerNorm.weight.data, arrays["bert/embeddings/LayerNorm/gamma"]
        )
        np.testing.assert_array_equal(
            model.bert.embeddings.LayerNorm.bias.data, arrays["bert/embeddings/LayerNorm/beta"]
        )
        np.testing.assert_array_equal(
            model.cls.seq_relationship.weight.data, arrays["cls/seq_relationship/output_weights"]
        )
        taken = {published_name(name): name for name in arrays if published_name(name)}
        assert set(taken) == set(parameters)
        for name, variable in taken.items():
            array = arrays[variable].T if variable.endswith("kernel") else arrays[variable]
            np.testing.assert_array_equal(parameters[name].data, array, err_msg=name)
            assert parameters[name].data.flags.c_contiguous, name

    def test_the_model_computes_as_googles_does(self):
        """The pooler's product by hand, with the kernel [in,out] on the right."""
        model, arrays = BertModel.from_tf(made.PREFIX, dtype=np.float64), made.stored_arrays()
        with numbert.no_grad():
            out = model(**tiny.inputs())
        first = out.last_hidden_state[:, 0]
        pooled = np.tanh(first @ arrays["bert/pooler/dense/kernel"] + arrays["bert/pooler/dense/bias"])
        np.testing.assert_allclose(out.pooler_output, pooled, rtol=1e-12)

    @pytest.mark.parametrize("path", ["bert_model.ckpt.index", "bert_model.ckpt.data-00001-of-00002", ""])
    def test_one_of_the_files_or_the_folder_will_do(self, path):
        read, expected = BertModel.from_tf(made.FOLDER / path), BertModel.from_tf(made.PREFIX)
        assert all((read.state_dict()[name] == array).all() for name, array in expected.state_dict().items())

    def test_a_configuration_takes_the_files_place(self, stored):
        (stored / "bert_config.json").unlink()
        with pytest.raises(InputError, match=r"bert_config.json does not exist"):
            BertModel.from_tf(stored)
        config = tiny.config(hidden_dropout_prob=0.5)
        assert BertModel.from_tf(stored, config).config == config

    def test_options_and_dtype(self):
        model = BertModel.from_tf(made.PREFIX, dtype=np.float64, add_pooling_layer=False)
        assert (model.dtype, model.pooler) == (np.float64, None)

    def test_heads_that_the_model_does_not_have_are_left_out_and_others_said(self, caplog, tmp_path):
        BertModel.from_tf(made.PREFIX)
        BertForMaskedLM.from_tf(made.PREFIX)
        assert caplog.messages == []
        made.write_beside(tmp_path, num_hidden_layers=1)
        made.write(tmp_path / "x", made.google("mlm") | {"strange": np.ones(2, np.float32)})
        BertForMaskedLM.from_tf(tmp_path / "x")
        (message,) = caplog.messages
        assert message.startswith(f"{tmp_path / 'x'} has strange, bert.encoder.layer.1.")
        assert message.endswith("more, which this BertForMaskedLM does not have")

    def test_a_head_that_is_not_there(self, tmp_path):
        made.write_beside(tmp_path)
        made.write(tmp_path / "x", made.google())
        with pytest.raises(InputError, match=r"x has no cls.predictions.bias.*which BertForMaskedLM needs"):
            BertForMaskedLM.from_tf(tmp_path / "x")

    def test_another_shape(self, tmp_path):
        made.write_beside(tmp_path, intermediate_size=24)
        made.write(tmp_path / "x", made.google())
        with pytest.raises(InputError, match=r"intermediate.dense.* in .*x.index has shape \[20.* needs \[24"):
            BertModel.from_tf(tmp_path / "x")

    def test_how_many_labels_a_classifier_has_is_its_shape(self, tmp_path):
        made.write_beside(tmp_path)
        made.write(tmp_path / "x", made.google("classifier"))
        labels = TensorFlowWeights(tmp_path / "x").config().to_dict()["id2label"]
        assert list(labels.values()) == [f"LABEL_{number}" for number in range(5)]


# --- what is damaged ---------------------------------------------------------------------------------------------


def change_file(name, change):
    def spoil(folder):
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return spoil


def rewritten(change, **options):
    """A checkpoint of the tensors a [4,3] (in two parts) and b [5], with other values in its index."""

    def spoil(folder):
        arrays = {"a": np.ones((4, 3), np.float32), "b": np.ones(5, np.float32)}
        halves = [((0, 2), None), ((2, 2), None)]
        shutil.rmtree(folder)
        folder.mkdir()
        made.write(folder / "bert_model.ckpt", arrays, parts={"a": halves}, change=change, **options)

    return spoil


def with_b(*arguments, **changes):
    """What is said of b is changed, and the checksums are right all the same."""
    given = {"size": 20, "offset": 48, "checksum": made.masked_crc32c(np.ones(5, np.float32).tobytes())} | changes
    return rewritten(lambda entries: entries.update({b"b": made.value(*(arguments or (1, (5,))), **given)}))


def with_a(places):
    return rewritten(lambda entries: entries.update({b"a": made.value(1, (4, 3), slices=places)}))


def replace_table(data):
    return change_file("bert_model.ckpt.index", lambda before: data)


INDEX, FIRST, SECOND = ("bert_model.ckpt.index", *(f"bert_model.ckpt.data-0000{n}-of-00002" for n in (0, 1)))
EMPTY = made.block([])
SPOILED = {
    "index cut": (change_file(INDEX, lambda data: data[:-1]), f"{INDEX} is no index .*does not end as one"),
    "index empty": (replace_table(b""), "is no index"),
    "index of another kind": (replace_table(b"\xff" * 99), "is no index"),
    "byte of the first block": (
        change_file(INDEX, lambda data: data[:9] + bytes([data[9] ^ 4]) + data[10:]),
        f"{INDEX} cannot be read: the block at byte 0 is damaged: its checksum is another",
    ),
    "no header": (replace_table(made.table({})), "cannot be read: it has no header"),
    "compressed": (
        replace_table(made.table_of([(b"", made.block([(b"", made.header(1))]))], compression=1)),
        r"is compressed \(Snappy\); numbert reads blocks that are not",
    ),
    "no shard": (
        lambda folder: (folder / SECOND).unlink(),
        f"{SECOND}, which .*{INDEX} names, cannot be read: No such",
    ),
    "shard cut": (
        change_file(SECOND, lambda data: data[:-1]),
        f"{SECOND} is not whole: it has 2,503 bytes, .*2,504",
    ),
    "byte of a tensor": (
        change_file(FIRST, lambda data: bytes([data[0] ^ 1]) + data[1:]),
        f"{FIRST} is damaged: 'bert/embeddings/LayerNorm/beta' does not have the checksum in the index",
    ),
    "big-endian": (
        rewritten(lambda e: e.update({b"": made.header(1, endianness=1)})),
        "its numbers are big-endian",
    ),
    "version": (rewritten(lambda e: e.update({b"": made.header(1, version=2)})), "it has version 2 of the format"),
    "shard beyond": (with_b(shard=1), "'b' is in shard 1, counted from 0, of 1"),
    "beyond the file": (with_b(offset=49), "data-00000-of-00001 is not whole: it has 68 bytes, .* promises 69"),
    "far beyond": (with_b(offset=2**62), "is not whole: it has 68 bytes, .* promises 4,611,"),
    "size": (with_b(size=16), r"'b' of shape \[5\] in float32 has 16 bytes"),
    "checksum": (with_b(checksum=7), "is damaged: 'b' does not have the checksum"),
    "huge shape": (with_b(1, (2**31, 2**31)), r"there is a shape \[2147483648, 2147483648\]"),
    "huge shape without numbers": (with_b(1, (0, 2**62), size=0), "there is a shape"),
    "negative shape": (
        with_b(1, (2**64 - 1,)),
        "field 1 is 18446744073709551615; it must be a number of at least 0",
    ),
    "many axes": (with_b(1, (1,) * 70), "there is a shape"),
    "no tensor": (rewritten(lambda e: e.update({b"b": b"\x0f"})), "a field is of kind 7"),
    "cut value": (
        rewritten(lambda e: e.update({b"b": b"\x12\x7f"})),
        "127 bytes from byte 2 on are beyond its end",
    ),
    "part not there": (
        with_a([((0, 1), None), ((1, 3), None)]),
        "'a' is partitioned, and a part of it is not there",
    ),
    "parts too few": (with_a([((0, 2), None)]), "the parts of 'a' are not the whole"),
    "parts overlap": (with_a([((0, 2), None)] * 2), "two parts of 'a' overlap"),
    "part beyond": (with_a([((0, 2), None), ((3, 2), None)]), r"a part of 'a' is beyond its shape, \[4, 3\]"),
    "part of too few axes": (with_a([((0, 2),)]), "a part of 'a' is beyond its shape"),
    "part of another shape": (
        rewritten(lambda e: e.update({made.part_key("a", ((0, 2), None)): made.value(1, (2, 2), size=16)})),
        "a part of 'a' has another type or shape than the whole says",
    ),
    "tensors that share a file": (
        rewritten(lambda e: e.update({b"c%d" % n: e[b"b"] for n in range(9)})),
        "is not whole: it has 68 bytes, .* promises 248",
    ),
    "keys out of order": (
        replace_table(made.table_of([(b"b", made.block([(b"b", b""), (b"a", b"")]))])),
        "its keys are not in order",
    ),
    "a block twice": (
        replace_table(made.table_of([(b"b", made.block([(b"b", b"")]))] * 2)),
        "its keys are not in order",
    ),
    "entry beyond its block": (
        replace_table(made.table_of([(b"b", b"\0\x05\x05abc" + EMPTY)])),
        "goes beyond its block",
    ),
    "more shared than there is": (
        replace_table(made.table_of([(b"b", b"\x05\0\0" + EMPTY)])),
        "goes beyond its block",
    ),
    "no restart points": (replace_table(made.table_of([(b"b", b"\0")])), "a block has no restart points"),
    "more restart points than bytes": (
        replace_table(made.table_of([(b"b", b"\xff" * 8)])),
        "a block has more restart points than bytes",
    ),
    "keys of many times the file": (
        replace_table(
            made.table_of(
                [
                    (
                        b"b",
                        b"\0\x80\x80\x40\0"
                        + b"a" * 2**20
                        + b"".join(b"\x80\x80\x40\x01\0" + bytes([n]) for n in range(99))
                        + EMPTY,
                    )
                ]
            )
        ),
        "its keys are more than 67,108,864 bytes",
    ),
    "no number": (
        replace_table(made.table_of([(b"b", b"\xff" * 11 + EMPTY)])),
        "there is no whole number at byte 0",
    ),
}


class TestDamaged:
    @pytest.mark.parametrize("case", SPOILED)
    def test_one_line_names_the_file_and_what_is_wrong(self, case, stored):
        spoil, message = SPOILED[case]
        spoil(stored)
        tracemalloc.start()
        with pytest.raises(InputError) as caught:
            read_all(stored / "bert_model.ckpt")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert re.search(message, one_line(caught)), caught.value
        assert str(stored) in str(caught.value)
        assert peak < 200e6

    def test_a_base_models_checkpoint_that_is_none(self, tmp_path):
        with pytest.raises(InputError, match=r"x.index does not exist; a TensorFlow checkpoint is NAME.index and"):
            BertModel.from_tf(tmp_path / "x")
        with pytest.raises(InputError, match=r"has no NAME.index; give the path of one, up to .index"):
            BertModel.from_tf(tmp_path)
        for name in "ab":
            made.write(tmp_path / name, {})
        with pytest.raises(InputError, match=r"has 2 TensorFlow checkpoints, \['a.index', 'b.index'\]; give"):
            BertModel.from_tf(tmp_path)

    def test_a_weight_of_whole_numbers(self, tmp_path):
        made.write_beside(tmp_path)
        made.write(tmp_path / "x", made.google() | {"bert/pooler/dense/bias": np.ones(12, np.int64)})
        with pytest.raises(
            InputError, match=r"bert/pooler/dense/bias in .*x.index is int64; a weight can be float32"
        ):
            BertModel.from_tf(tmp_path / "x")

    def test_from_pretrained_says_how_the_folder_is_converted(self):
        with pytest.raises(InputError, match=r"`numbert convert .*google/bert_model.ckpt FOLDER` makes a model"):
            BertModel.from_pretrained(made.FOLDER)


ORIGINAL = {path.name: path.read_bytes() for path in made.FOLDER.iterdir()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy that each example spoils and mends again."""
    return shutil.copytree(made.FOLDER, tmp_path_factory.mktemp("hostile") / "google")


@pytest.fixture(scope="module")
def stored_entries(tmp_path_factory):
    """The keys and values of its index."""
    entries = {}
    made.write_stored(tmp_path_factory.mktemp("entries"), change=entries.update)
    return entries


class TestNoInputIsMoreThanOneLine:
    """Whatever is in the files: all tensors as they were, or one line that names a file."""

    def read(self, folder, name, content):
        """All tensors, or None after the one line."""
        (folder / name).write_bytes(content)
        found, said = None, ""
        try:
            found = read_all(folder / "bert_model.ckpt")
        except InputError as error:
            said = str(error)
        (folder / name).write_bytes(ORIGINAL[name])
        if found is None:
            assert str(folder) in said
            assert len(said.splitlines()) == 1
            assert len(said) < 400 + 2 * len(str(folder))
        return found

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from([INDEX, FIRST, SECOND]), st.data())
    def test_a_flipped_bit_or_a_cut_is_seen_or_changes_nothing(self, folder, name, data):
        content = bytearray(ORIGINAL[name])
        if data.draw(st.booleans()):
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        else:
            del content[data.draw(st.integers(0, len(content) - 1)) :]
        if (found := self.read(folder, name, bytes(content))) is not None:
            expected = made.stored_arrays()
            assert all(np.array_equal(found[array], expected[array]) for array in expected)

    @settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=400), st.booleans())
    def test_bytes_that_are_no_table(self, folder, content, ends_well):
        assert self.read(folder, INDEX, content + (made.MAGIC if ends_well else b"")) is None

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.binary(max_size=60), max_size=4))
    def test_blocks_of_any_bytes_with_right_checksums(self, folder, blocks):
        self.read(folder, INDEX, made.table_of([(b"", content) for content in blocks]))

    @settings(max_examples=100, deadline=None)
    @given(st.data())
    def test_values_of_any_bytes_with_right_checksums(self, folder, stored_entries, data):
        entries = dict(stored_entries)
        for key in data.draw(st.lists(st.sampled_from(sorted(entries)), min_size=1, max_size=3)):
            value = bytearray(entries.get(key, b""))
            if data.draw(st.booleans()) and value:
                value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
            else:
                value = data.draw(st.binary(max_size=40))
            entries[key] = bytes(value)
            if data.draw(st.booleans()):
                entries[data.draw(st.binary(max_size=9))] = entries.pop(key, b"")
        self.read(folder, INDEX, made.table(entries))
