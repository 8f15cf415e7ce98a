"""Reading and writing model folders: weights in safetensors files, the names in them, tokenizers, downloads."""
