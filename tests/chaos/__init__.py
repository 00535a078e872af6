"""Violence, repeated with a seed: `python -m tests.chaos NAME [--n N] [--seed S]`."""
