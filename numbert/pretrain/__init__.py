"""Pretraining on raw text: pairs, masks, the task that predicts both, and what is done with a run."""
