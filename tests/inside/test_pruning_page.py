"""What docs/pruning.md says of the shipped model."""

import importlib.util

from places import ROOT

import numbert
from numbert import head_importance


def test_the_shipped_model_can_do_without_half_of_its_heads_as_docs_pruning_says():
    spec = importlib.util.spec_from_file_location("draw_pruning", ROOT / "docs" / "draw_pruning.py")
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    first, second = page.masked_sentences()
    first, second = first[3:6], second[3:8]  # of middling length
    model = numbert.BertForMaskedLM.from_pretrained(numbert.shipped_model("python"))
    scores = head_importance(model, first)
    kept = page.curve(page.by_importance(scores)[:12], second, every=12)
    lost = page.curve(page.by_importance(-scores)[:12], second, every=12)
    assert list(kept) == list(lost) == [24, 12]
    assert kept[12] > 0.75 * kept[24]
    assert lost[12] < 0.5 * lost[24]
