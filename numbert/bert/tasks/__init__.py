"""BERT with a head for a task."""
