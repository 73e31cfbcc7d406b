"""Several commands under a profile each, joined by pipes, that start, run and end together: `sandrun up`."""
