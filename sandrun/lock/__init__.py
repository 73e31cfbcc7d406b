"""lock: what a profile came to when somebody looked at it, and what its runs used, to hold later runs to."""
