"""Files in and out: safetensors checkpoints, the names in them, tokenizers."""
