"""Looking inside a model: its parameters, shapes of outputs, names in its files, the importance of its heads."""
