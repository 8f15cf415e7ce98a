"""What the tests of `numbert bench` share: tiny sizes, and a machine without peers."""

import sys

TINY = {
    "vocab_size": 53,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 32,
}


def leave_out_peers(patch):
    for name in ("torch", "transformers", "onnxruntime", "openvino"):
        patch.setitem(sys.modules, name, None)  # importing it raises ModuleNotFoundError
