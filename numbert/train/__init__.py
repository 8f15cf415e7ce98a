"""Training, whatever the task: optimizer, schedule, loop, run folder."""
