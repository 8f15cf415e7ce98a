"""Writes tests/parity/*.safetensors: what PyTorch computes for each case. Needs torch and transformers.

python tests/make_parity.py
"""

from parity_cases import CASES, STORED, torch_numbers
from safetensors.numpy import save_file

if __name__ == "__main__":
    import torch
    import transformers

    made_by = {"torch": torch.__version__, "transformers": transformers.__version__}
    STORED.mkdir(exist_ok=True)
    for name, case in CASES.items():
        save_file(torch_numbers(case), STORED / f"{name}.safetensors", metadata=made_by)
        print(f"{name}: {(STORED / f'{name}.safetensors').stat().st_size // 1024} KB")
