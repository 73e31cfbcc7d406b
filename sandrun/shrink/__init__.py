"""`sandrun shrink`: take away from a profile what a test command can do without."""
