"""One file a kernel mechanism: its names, what the parent prepares, and what the child applies. LIGHT."""
