"""BERT, in the order data flows: embeddings, attention, layer, encoder, pooler, heads, model, tasks."""

from numbert.bert.tasks import registry
from numbert.bert.tasks.registry import *  # noqa: F403 (the one list of classes)

__all__ = registry.__all__
