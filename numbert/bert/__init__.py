"""BERT, in the order data flows: embeddings, attention, layer, pooler, heads, model, pretraining."""
