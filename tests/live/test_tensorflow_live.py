"""TensorFlow itself and numbert read the same from each other's checkpoints, to the last byte."""

import make_tf_checkpoint
import numpy as np
import pytest
from places import SHARED

import numbert
from numbert.files.bundle import Bundle
from numbert.files.tensorflow import published_name

pytestmark = pytest.mark.tensorflow

PUBLISHED = SHARED / "data" / "tf1-checkpoint" / "bert_model.ckpt"


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow", reason="needs tensorflow-cpu")


def assert_same_as_tensorflow_reads(tf, prefix):
    theirs, ours = tf.train.load_checkpoint(str(prefix)), Bundle(prefix)
    assert set(ours.tensors) == set(theirs.get_variable_to_shape_map())
    for name, tensor in ours.tensors.items():
        expected, array = theirs.get_tensor(name), ours.read(name)
        if tensor.dtype == "bfloat16":  # numbert gives the float32 that it means
            expected = expected.astype(np.float32)
        expected = np.asarray(expected)
        assert (array.dtype, array.shape) == (expected.dtype, expected.shape), name
        assert array.tobytes() == expected.tobytes(), name


def assert_model_has_what_tensorflow_reads(tf, prefix):
    model, theirs = numbert.BertForPreTraining.from_tf(prefix), tf.train.load_checkpoint(str(prefix))
    parameters, seen = dict(model.named_parameters()), set()
    for variable in theirs.get_variable_to_shape_map():
        if (name := published_name(variable)) is not None:
            array = theirs.get_tensor(variable)
            np.testing.assert_array_equal(parameters[name].data, array.T if variable.endswith("kernel") else array)
            seen.add(name)
    assert seen == set(parameters)


def save(tf, prefix, tensors, slices=None):
    """As TensorFlow 1's Saver saves; slices: for each tensor "", or the shape of all and the part that it is."""
    names = [name for name, _ in tensors]
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=slices or [""] * len(names),
        tensors=[tensor for _, tensor in tensors],
    )


def random(*shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


@pytest.mark.skipif(not SHARED.exists(), reason="the published checkpoint is in ../shared/data")
def test_a_published_checkpoint(tf):
    assert_same_as_tensorflow_reads(tf, PUBLISHED)
    assert_model_has_what_tensorflow_reads(tf, PUBLISHED)


def test_the_stored_checkpoint_which_tensorflow_did_not_write(tf):
    assert_same_as_tensorflow_reads(tf, make_tf_checkpoint.PREFIX)
    assert_model_has_what_tensorflow_reads(tf, make_tf_checkpoint.PREFIX)


def test_every_type_and_many_blocks_that_tensorflow_writes(tf, tmp_path):
    types = (np.float32, np.float64, np.float16, np.int32, np.int64, tf.bfloat16)
    tensors = [(f"of/{tf.as_dtype(dtype).name}", tf.cast(random(3, 5) * 9, dtype)) for dtype in types]
    tensors += [("scalar", tf.constant(7, tf.int64)), ("empty", tf.zeros((0, 3))), ("large", random(400, 700))]
    tensors += [(f"bert/encoder/layer_{n}/some/long/name/that/others/share", random(2)) for n in range(2_000)]
    save(tf, tmp_path / "model.ckpt", tensors)
    assert_same_as_tensorflow_reads(tf, tmp_path / "model.ckpt")


def test_partitioned_tensors_in_two_shards_that_tensorflow_writes(tf, tmp_path):
    wide, tall = random(3, 9_000), random(20_000, 2)
    parts = [(0, 100), (100, 8_900)]
    save(
        tf,
        tmp_path / "one",
        [("wide", wide[:, :100]), ("wide", wide[:, 100:]), ("whole", random(4))],
        [*(f"3 9000 -:{start},{length}" for start, length in parts), ""],
    )
    starts = range(0, 20_000, 2_500)
    save(
        tf,
        tmp_path / "two",
        [("tall", tall[start : start + 2_500]) for start in starts],
        [f"20000 2 {start},2500:-" for start in starts],
    )
    both = [str(tmp_path / "one"), str(tmp_path / "two")]
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=both, destination_prefix=str(tmp_path / "model.ckpt"))
    assert len(list(tmp_path.glob("model.ckpt.data-*-of-00002"))) == 2
    assert_same_as_tensorflow_reads(tf, tmp_path / "model.ckpt")
    np.testing.assert_array_equal(Bundle(tmp_path / "model.ckpt").read("tall"), tall)
    np.testing.assert_array_equal(Bundle(tmp_path / "model.ckpt").read("wide"), wide)


def test_what_tensorflow_refuses_too(tf, tmp_path):
    """A byte of a tensor that is another: a different checksum for both."""
    make_tf_checkpoint.write(tmp_path / "model.ckpt", {"a": random(5)})
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    data.write_bytes(bytes([data.read_bytes()[0] ^ 1]) + data.read_bytes()[1:])
    with pytest.raises(tf.errors.OpError, match="Checksum does not match"):
        tf.train.load_checkpoint(str(tmp_path / "model.ckpt")).get_tensor("a")
    with pytest.raises(numbert.InputError, match="is damaged: 'a' does not have the checksum"):
        Bundle(tmp_path / "model.ckpt").read("a")
