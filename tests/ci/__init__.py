"""The tests of what CI services run."""
