"""Files in and out: weights in safetensors files, the names in them, tokenizers."""
