"""transformers reads what `pretrain` saved, and PyTorch's optimizer takes the same steps."""

import numpy as np
import pytest

pytestmark = pytest.mark.live
torch = pytest.importorskip("torch", reason="needs torch")
transformers = pytest.importorskip("transformers", reason="needs transformers")

from numbert import BertForPreTraining, Parameter  # noqa: E402
from numbert.pretrain.entry import pretrain  # noqa: E402
from numbert.train.optimizer import AdamW, clip_grad_norm  # noqa: E402


def test_transformers_reads_the_folder_and_gives_the_same_numbers(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join("\n".join(f"Line {i} of text {j} is here." for i in range(9)) for j in range(25)))
    folder = pretrain(
        [text], tmp_path / "model", 3, vocab_size=90, hidden_size=16, length=32, progress=False
    ).folder

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoding = tokenizer("Line 3 of text 5.", "The [MASK] is here.", return_tensors="pt")
    theirs, info = transformers.BertForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    out = theirs.eval()(**encoding)

    ours = BertForPreTraining.from_pretrained(folder)(**{name: array.numpy() for name, array in encoding.items()})
    np.testing.assert_allclose(ours.prediction_logits, out.prediction_logits.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(
        ours.seq_relationship_logits, out.seq_relationship_logits.detach().numpy(), atol=1e-5
    )


@pytest.mark.parametrize("options", [{}, {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.3}])
def test_adamw_and_clipping_take_pytorchs_steps(options):
    rng = np.random.default_rng(0)
    shapes = [(5, 4), (7,), (2, 3, 4)]
    ours = [Parameter(rng.standard_normal(shape)) for shape in shapes]
    theirs = [torch.nn.Parameter(torch.from_numpy(p.data.copy())) for p in ours]
    optimizers = AdamW(ours, **options), torch.optim.AdamW(theirs, **options)
    for step in range(60):
        for p, q in zip(ours, theirs, strict=True):
            if step % 7 == 3 and p.data.ndim == 1:  # now and then without a gradient
                p.grad = q.grad = None
            else:
                p.grad = rng.standard_normal(p.shape)
                q.grad = torch.from_numpy(p.grad.copy())
        norm = clip_grad_norm(ours, 2.0)
        assert norm == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs, 2.0)), rel=1e-12)
        for optimizer in optimizers:
            optimizer.step()
    for p, q in zip(ours, theirs, strict=True):
        # PyTorch divides by norm + 1e-6 when it clips.
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-6, atol=1e-8)
