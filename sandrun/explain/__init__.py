"""Explain: what a plan refused of what a command tried, in plain words, and what the command most likely failed of."""
