"""learn: what a command was seen to do → a profile that grants that and little more."""
