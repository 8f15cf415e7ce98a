"""Writes checkpoints of TensorFlow, without TensorFlow and without numbert's reader: a second look at the format.

python tests/helpers/make_tf_checkpoint.py      writes tests/files/google/, a BERT with both pretraining heads

The stored one has two shards, a word embedding in three parts, Adam's moments and blocks of some 300 bytes.
TensorFlow reads it to the same bytes (tests/live/test_tensorflow_live.py).
"""

import itertools
import math
from pathlib import Path

import numpy as np
import tiny

FOLDER = Path(__file__).parents[1] / "files" / "google"
PREFIX = FOLDER / "bert_model.ckpt"
TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}
MAGIC = bytes.fromhex("57fb808b247547db")
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"abcdefghijkl",
    *(f"##{letter}" for letter in "abcdefghijkl"),
]


# --- bytes -------------------------------------------------------------------------------------------------------


def varint(number):
    found = b""
    while number > 127:
        found += bytes([number % 128 + 128])
        number //= 128
    return found + bytes([number])


def field(number, value):
    """A field of a protocol buffer; None is left out. Bytes are a message, a tuple has a number of 4 bytes."""
    if value is None:
        return b""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, tuple):
        return varint(number << 3 | 5) + value[0].to_bytes(4, "little")
    return varint(number << 3) + varint(value)


def masked_crc32c(data):
    """Bit for bit, as the polynomial is written in the standard."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 * (register & 1))
    checksum = register ^ 0xFFFFFFFF
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) % 2**32


# --- the table ---------------------------------------------------------------------------------------------------


def block(entries, restart_every=16):
    """The bytes of a block: entries that share the beginnings of their keys, and the restart points."""
    data, before, restarts = b"", b"", []
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % restart_every == 0:
            restarts.append(len(data))
        else:
            shared = next(
                (i for i, (a, b) in enumerate(zip(before, key, strict=False)) if a != b),
                min(len(before), len(key)),
            )
        data += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    restarts = restarts or [0]
    return data + b"".join(n.to_bytes(4, "little") for n in [*restarts, len(restarts)])


def table_of(blocks, compression=0):
    """A file of these data blocks: (last key, bytes) each."""
    data, index = b"", []

    def add(content):
        nonlocal data
        handle = varint(len(data)) + varint(len(content))
        content += bytes([compression])
        data += content + masked_crc32c(content).to_bytes(4, "little")
        return handle

    for last, content in blocks:
        index.append((last, add(content)))
    footer = add(block([])) + add(block(index, restart_every=1))
    return data + footer.ljust(40, b"\0") + MAGIC


def table(entries, block_size=300):
    """A file of these keys and values, in blocks of about that size."""
    blocks, current = [], []
    for key in sorted(entries):
        current.append((key, entries[key]))
        if len(block(current)) >= block_size:
            blocks.append((key, block(current)))
            current = []
    if current:
        blocks.append((current[-1][0], block(current)))
    return table_of(blocks)


# --- the bundle --------------------------------------------------------------------------------------------------


def header(shards, endianness=None, version=None):
    return field(1, shards) + field(2, endianness) + field(3, field(1, 1) + field(2, version))


def value(dtype, shape, shard=None, offset=None, size=None, checksum=None, slices=()):
    """What the index has of a tensor, or of a part of one."""
    shape = b"".join(field(2, field(1, size)) for size in shape)
    found = field(1, dtype) + field(2, shape) + field(3, shard) + field(4, offset) + field(5, size)
    found += field(6, None if checksum is None else (checksum,))
    return found + b"".join(field(7, extents(place)) for place in slices)


def extents(place):
    """A slice: (start, length) along each axis, or None for all of it."""
    return b"".join(field(1, b"" if one is None else field(1, one[0]) + field(2, one[1])) for one in place)


def part_key(name, place):
    """The key of a part, for names without bytes 0 and 255, and starts and lengths below 8,192."""

    def signed(number):
        if number == -1:
            return b"\x7f"
        return bytes([0x80 + number]) if number < 64 else bytes([0xC0 + number // 256, number % 256])

    key = b"\0" + name.encode() + b"\0\1" + bytes([1, len(place)])
    return key + b"".join(signed(n) for one in place for n in (one or (0, -1)))


def write(prefix, tensors, shards=1, parts=None, block_size=300, change=lambda entries: None):
    """Writes PREFIX.index and the data files.

    Args:
        tensors: the arrays, by name; they go to the shards in turn.
        parts: for some of them, the places of the parts that they are cut into.
        change: what is called with the keys and values before they are written.
    """
    data, turn = [b""] * shards, itertools.cycle(range(shards))

    def stored(array):
        shard, content = next(turn), array.tobytes()
        place = {"shard": shard or None, "offset": len(data[shard]) or None, "size": len(content)}
        data[shard] += content
        return value(TYPES[str(array.dtype)], array.shape, **place, checksum=masked_crc32c(content))

    entries = {b"": header(shards)}
    for name, array in sorted(tensors.items()):
        places = (parts or {}).get(name)
        if places is None:
            entries[name.encode()] = stored(array)
            continue
        entries[name.encode()] = value(TYPES[str(array.dtype)], array.shape, slices=places)
        for place in places:
            cut = tuple(slice(None) if one is None else slice(one[0], sum(one)) for one in place)
            entries[part_key(name, place)] = stored(array[cut])
    change(entries)
    Path(f"{prefix}.index").write_bytes(table(entries, block_size))
    for shard, content in enumerate(data):
        Path(f"{prefix}.data-{shard:05d}-of-{shards:05d}").write_bytes(content)


# --- Google's BERT -----------------------------------------------------------------------------------------------


def encoder_shapes(config):
    """The variables of Google's BertModel, as modeling.py makes them: kernels are [in,out]."""
    e, f = config.hidden_size, config.intermediate_size

    def norm(path):
        return {f"{path}/LayerNorm/beta": (e,), f"{path}/LayerNorm/gamma": (e,)}

    def dense(path, of, to):
        return {f"{path}/kernel": (of, to), f"{path}/bias": (to,)}

    shapes = {
        "bert/embeddings/word_embeddings": (config.vocab_size, e),
        "bert/embeddings/position_embeddings": (config.max_position_embeddings, e),
        "bert/embeddings/token_type_embeddings": (config.type_vocab_size, e),
    } | norm("bert/embeddings")
    for number in range(config.num_hidden_layers):
        layer = f"bert/encoder/layer_{number}"
        for name in ("query", "key", "value"):
            shapes |= dense(f"{layer}/attention/self/{name}", e, e)
        shapes |= dense(f"{layer}/attention/output/dense", e, e) | norm(f"{layer}/attention/output")
        shapes |= dense(f"{layer}/intermediate/dense", e, f) | dense(f"{layer}/output/dense", f, e)
        shapes |= norm(f"{layer}/output")
    return shapes | dense("bert/pooler/dense", e, e)


def head_shapes(config):
    """The variables of each head, by what it is for: run_pretraining.py, run_classifier.py, run_squad.py."""
    e, v = config.hidden_size, config.vocab_size
    transform = "cls/predictions/transform"
    return {
        "mlm": {
            f"{transform}/dense/kernel": (e, e),
            f"{transform}/dense/bias": (e,),
            f"{transform}/LayerNorm/beta": (e,),
            f"{transform}/LayerNorm/gamma": (e,),
            "cls/predictions/output_bias": (v,),
        },
        "nsp": {"cls/seq_relationship/output_weights": (2, e), "cls/seq_relationship/output_bias": (2,)},
        "classifier": {"output_weights": (5, e), "output_bias": (5,)},
        "squad": {"cls/squad/output_weights": (2, e), "cls/squad/output_bias": (2,)},
    }


def google(*heads, seed=0, **changes):
    """Arrays of a tiny BERT with these heads, under Google's names, all of their numbers different."""
    config = tiny.config(**changes)
    shapes = encoder_shapes(config)
    for head in heads:
        shapes |= head_shapes(config)[head]
    numbers = np.random.default_rng(seed).permutation(sum(math.prod(shape) for shape in shapes.values()))
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])[:-1]
    flat = np.split(((numbers + 1) / 4096).astype(np.float32), ends)  # exact in float32
    return {name: array.reshape(shape) for (name, shape), array in zip(shapes.items(), flat, strict=True)}


def write_beside(folder, **changes):
    """bert_config.json and vocab.txt, as Google's folders have them."""
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    config = tiny.config(**changes).to_dict()
    lines = [f'  "{name}": {config[name]}' for name in (*names, "max_position_embeddings", "type_vocab_size")]
    (folder / "bert_config.json").write_text("{\n" + ",\n".join([*lines, '  "hidden_act": "gelu"']) + "\n}\n")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")


def stored_arrays():
    """The arrays of the stored checkpoint: a model's, and some that training needs."""
    arrays = google("mlm", "nsp")
    for name in ("bert/pooler/dense/bias", "cls/predictions/output_bias"):
        arrays |= {f"{name}/adam_m": arrays[name] * 2, f"{name}/adam_v": arrays[name] * 4}
    return arrays | {"global_step": np.array(20, np.int64)}


def write_stored(folder, change=lambda entries: None):
    write_beside(folder)
    thirds = [((0, 10), None), ((10, 10), None), ((20, 9), None)]
    parts = {"bert/embeddings/word_embeddings": thirds}
    write(folder / PREFIX.name, stored_arrays(), shards=2, parts=parts, change=change)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    write_stored(FOLDER)
    print(*(f"{path.name}: {path.stat().st_size:,} bytes" for path in sorted(FOLDER.iterdir())), sep="\n")
