"""Models: BERT with the head of a task, and the list of all classes."""
