"""The trainer's commands, one module each with a function `run`; only one is imported."""
