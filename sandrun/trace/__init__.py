"""trace: which system calls a command makes, and what would have been enough to let it make them."""
