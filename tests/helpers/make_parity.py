"""Writes tests/parity/*.safetensors: what PyTorch computes for each case, in training, and writes after prompts.

Needs torch and transformers:

    python tests/helpers/make_parity.py
"""

import generation_cases
import relative_steps
from parity_cases import CASES, torch_numbers
from places import STORED
from safetensors.numpy import save_file
from training_case import FILE, SEED, torch_training

if __name__ == "__main__":
    import torch
    import transformers

    made_by = {"torch": torch.__version__, "transformers": transformers.__version__}
    STORED.mkdir(exist_ok=True)
    files = {STORED / f"{name}.safetensors": torch_numbers(case) for name, case in CASES.items()}
    files[FILE] = torch_training(SEED)
    files[generation_cases.FILE] = generation_cases.to_store()
    files |= {relative_steps.file_of(kind): relative_steps.torch_numbers(kind) for kind in relative_steps.KINDS}
    for file, numbers in files.items():
        save_file(numbers, file, metadata=made_by)
        print(f"{file.stem}: {file.stat().st_size // 1024} KB")
