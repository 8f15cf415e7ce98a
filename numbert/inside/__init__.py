"""Looking inside a model: its parameters, its shapes, its files."""
