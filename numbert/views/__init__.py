"""Pictures of training runs and of measurements."""
