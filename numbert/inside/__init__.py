"""Looking inside a model: its parameters, the shapes of its layers' outputs, the names in its files."""
