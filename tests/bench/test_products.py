"""The products that numbert's time is compared with are those that are counted, and nothing else."""

import numpy as np
import pytest

from numbert import BertConfig
from numbert.bench.products import products_run, train_products_run
from numbert.bench.workloads import forward_gflop, train_gflop

CONFIG = BertConfig(
    vocab_size=53, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20
)
LENGTHS = np.array([7, 16, 1])


@pytest.fixture
def multiplied(monkeypatch):
    """What np.matmul multiplies: the shapes of its operands, the result and its array, and the multiply-adds."""
    calls = []
    matmul = np.matmul

    def counting(a, b, out):
        calls.append((a, b, out, out.size * a.shape[-1]))
        return matmul(a, b, out=out)

    monkeypatch.setattr(np, "matmul", counting)
    return calls


def test_the_products_of_forward_are_the_work_that_is_counted(multiplied):
    products_run(CONFIG, LENGTHS)()
    assert 2e-9 * sum(work for *_, work in multiplied) == pytest.approx(forward_gflop(CONFIG, LENGTHS))


def test_the_products_of_training_are_the_work_that_is_counted(multiplied):
    train_products_run(CONFIG, LENGTHS, masked=4)()
    assert 2e-9 * sum(work for *_, work in multiplied) == pytest.approx(train_gflop(CONFIG, LENGTHS, 4))


def test_attention_is_a_product_for_each_sequence_and_the_linear_layers_see_all_tokens_at_once(multiplied):
    products_run(CONFIG, LENGTHS)()
    shapes = [out.shape for *_, out, _ in multiplied]
    assert [shapes.count((3, length, length)) for length in LENGTHS] == [2, 2, 2]  # scores, a head and layer each
    assert [shapes.count((3, length, 4)) for length in LENGTHS] == [2, 2, 2]  # context
    assert shapes.count((24, 12)) == 2 * 5  # query, key, value, attention output, output
    assert shapes.count((24, 20)) == 2  # intermediate


@pytest.mark.parametrize("run", [products_run, lambda *sizes: train_products_run(*sizes, masked=4)])
def test_each_weight_is_an_array_of_its_own_in_float32_and_results_are_written_over(multiplied, run):
    run(CONFIG, LENGTHS)()
    e, f = CONFIG.hidden_size, CONFIG.intermediate_size
    weights = {id(b.base) for _, b, _, _ in multiplied if b.shape in ((e, f), (f, e)) and b.base is not None}
    assert len(weights) == 2 * CONFIG.num_hidden_layers
    outs = {id(out): out.shape for _, _, out, _ in multiplied}
    assert len(outs) < len(multiplied) / 2
    assert all(array.dtype == np.float32 for call in multiplied for array in call[:3])
    assert all(np.isfinite(out).all() for _, _, out, _ in multiplied)
    assert not any(np.shares_memory(out, a) or np.shares_memory(out, b) for a, b, out, _ in multiplied)
