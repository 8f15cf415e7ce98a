"""The tables: parameters as the published table counts them, shapes in letters and numbers."""

import re

import numpy as np
import pytest
import tiny

import numbert
from numbert.bert.tasks.registry import model_class_named
from numbert.inside.shapes import shapes, shapes_table
from numbert.inside.summary import summary
from numbert.nn.switches import uninitialized


@pytest.fixture(scope="module")
def base():
    with uninitialized():
        return numbert.BertForMaskedLM(numbert.BertConfig(vocab_size=28996))


class TestSummary:
    def test_bert_base_cased_counts_as_published(self, base):
        text = summary(base)
        counts = dict(re.findall(r"(\w+: \d-\d+) +([\d,]+|--)", text))
        assert counts["Embedding: 3-1"] == "22,268,928"
        assert counts["Embedding: 3-2"] == "393,216"
        assert counts["LayerNorm: 3-4"] == "1,536"
        assert counts["Dropout: 3-5"] == "--"
        assert counts["ModuleList: 3-6"] == "85,054,464"
        assert counts["BertPredictionHeadTransform: 3-7"] == "592,128"
        assert counts["Linear: 3-8"] == "22,297,924"
        assert "Total params: 130,609,732" in text
        assert "Tied parameters counted once: 108,340,804" in text
        assert base.num_parameters() == 108_340_804

    def test_the_total_is_the_same_at_every_depth(self, base):
        for depth in (1, 2, 3, 9):
            assert "Total params: 130,609,732" in summary(base, depth)


class TestTrainable:
    def test_what_is_not_trainable_is_counted_apart(self):
        model = numbert.BertModel(tiny.config())
        frozen = model.embeddings.parameters()
        for parameter in frozen:
            parameter.trainable = False
        count = sum(parameter.size for parameter in frozen)
        text = summary(model)
        assert f"Trainable params: {model.num_parameters() - count:,}\n" in text
        assert f"Non-trainable params: {count:,}\n" in text
        assert f"Total params: {model.num_parameters():,}\n" in text


class TestShapes:
    def test_every_layer_is_listed_in_the_order_in_which_it_finishes(self):
        config = numbert.BertConfig(vocab_size=28996)
        rows = {row.name: row for row in shapes(config, numbert.BertModel)}
        assert rows["embeddings.word_embeddings"].numbers == (1, 13, 768)
        assert rows["encoder.layer.11.intermediate"].letters == ("b", "l", "f")
        assert rows["encoder.layer.11.intermediate"].numbers == (1, 13, 3072)
        assert rows["pooler"].numbers == (1, 768)
        assert rows["/pooler_output"].letters == ("b", "e")
        names = list(rows)
        assert (
            names.index("encoder.layer.0.attention/0") < names.index("encoder.layer.0/0") < names.index("pooler")
        )
        modules = {name for name, _ in numbert.BertModel(tiny.config(num_hidden_layers=12)).named_modules()}
        listed = {re.sub(r"/.*", "", name) for name in names}
        # A ModuleList has no output of its own, what is not given is not masked, and short texts need no blocks.
        attentions = [f"encoder.layer.{i}.attention.self" for i in range(12)]
        without = {"encoder.layer"} | {
            f"{name}.{mask}" for name in attentions for mask in ("mask", "head_mask", "in_blocks")
        }
        assert modules - listed == without

    def test_numbers_are_those_of_a_real_run(self):
        config = tiny.config()
        model = numbert.BertForPreTraining(config)
        out = model(**tiny.inputs())
        rows = {row.name: row.numbers for row in shapes(config, numbert.BertForPreTraining, 5, 7, saved=True)}
        assert rows["/prediction_logits"] == out.prediction_logits.shape
        assert rows["/seq_relationship_logits"] == out.seq_relationship_logits.shape
        for name, module in model.named_modules():
            for key, value in vars(module.saved).items() if module.saved else ():
                if isinstance(value, np.ndarray) and f"{name}.saved.{key}" in rows:
                    assert rows[f"{name}.saved.{key}"] == value.shape, f"{name}.saved.{key}"

    def test_the_attention_speaks_of_queries_and_keys(self):
        rows = {row.name: ",".join(row.letters) for row in shapes(tiny.config(), saved=True)}
        attention = "encoder.layer.0.attention.self.saved."
        assert rows[attention + "query_layer"] == "b,h,l,d"
        assert rows[attention + "key_layer"] == "b,h,r,d"
        assert rows[attention + "attention_probs"] == "b,h,l,r"

    def test_the_heads_of_tasks(self):
        """Five labels are five, though the batch of the twin is five as well; choices have their own letter."""
        config = tiny.config(num_labels=5)

        def letters(name, rows):
            return {row.name: (",".join(row.letters), row.numbers) for row in rows}[name]

        rows = shapes(config, numbert.BertForSequenceClassification, batch=4, length=6)
        assert letters("/logits", rows) == ("b,5", (4, 5))
        rows = shapes(config, numbert.BertForTokenClassification, batch=4, length=6)
        assert letters("classifier", rows) == ("b,l,5", (4, 6, 5))
        rows = shapes(tiny.config(), numbert.BertForQuestionAnswering, batch=4, length=6)
        assert letters("/start_logits", rows) == ("b,l", (4, 6))
        rows = shapes(config, numbert.BertForMultipleChoice, batch=4, length=6)
        assert letters("/logits", rows) == ("b,c", (4, 2))
        assert letters("bert/last_hidden_state", rows) == ("b·c,l,e", (8, 6, 12))

    def test_the_table_is_aligned(self):
        lines = shapes_table(shapes(tiny.config())).splitlines()
        assert len({line.rindex("[") for line in lines}) == 1


def test_an_unknown_class_is_named():
    with pytest.raises(numbert.InputError, match=r"there is no model BertForPoetry; there are .*BertModel"):
        model_class_named("BertForPoetry")
