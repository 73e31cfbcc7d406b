"""sandrun: run one command with only what it needs."""
