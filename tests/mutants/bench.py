"""Bugs planted in bench: what would make numbert look faster or slower than it is."""

from mutants.machinery import Mutant

MUTANTS = [
    Mutant(
        "bench-the-slower-torch",
        "bench/race.py",
        "        return min(forms, key=",
        "        return max(forms, key=",
        "numbert is compared with the attention that nobody would choose",
        tests=("bench/test_bench.py::test_the_faster_form_of_a_peer_has_the_smaller_median_over_all_rounds",),
    ),
    Mutant(
        "bench-padding-is-computed",
        "bench/workloads.py",
        '    unpad = "attention_mask" in workload.inputs\n',
        "    unpad = False\n",
        "the race of ragged batches shows nothing of what leaving padding out saves",
        tests=("bench/test_table.py::test_numbert_leaves_padding_out_where_there_is_any",),
    ),
    Mutant(
        "bench-products-of-the-padded-batch",
        "bench/products.py",
        "    tokens = int(lengths.sum())\n",
        "    tokens = len(lengths) * int(lengths.max())\n",
        "the floor of a ragged batch counts padding, so numbert seems to be below it",
        tests=("bench/test_products.py::test_the_products_of_forward_are_the_work_that_is_counted",),
    ),
    Mutant(
        "bench-products-without-the-weights-gradient",
        "bench/products.py",
        "            np.matmul(d_out.mT, x, out=d_w)\n",
        "",
        "a third of a training step's products is forgotten",
        tests=("bench/test_products.py::test_the_products_of_training_are_the_work_that_is_counted",),
    ),
    Mutant(
        "bench-peak-of-the-first-step",
        "bench/table.py",
        "    for _ in range(2):  #",
        "    for _ in range(1):  #",
        "activations and AdamW's averages are never there together, as they are in every later step",
        tests=("bench/test_table.py::test_the_peak_of_a_workload_is_that_of_a_process_that_has_done_it_twice",),
    ),
    Mutant(
        "bench-writing-compares-the-first-position",
        "bench/writing.py",
        "    scores = [outputs.logits[:, -1]]\n",
        "    scores = [outputs.logits[:, 0]]\n",
        "the scores after the beginning are those after its first token, in both libraries alike",
        tests=("bench/test_texts.py::test_what_is_written_token_by_token_has_the_scores_of_the_whole_text",),
    ),
]
