"""observe: see what a command does, by its system calls, without a say in it."""
