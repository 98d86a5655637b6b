"""The trainer's commands, a module each with its `run`; only the chosen one is imported."""
