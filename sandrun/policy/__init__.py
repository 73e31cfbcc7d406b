"""What names mean: system calls, their sets and promises, address families, refusals. Data and pure functions."""
