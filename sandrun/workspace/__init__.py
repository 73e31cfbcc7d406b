"""Copy-on-write workspaces: what a command changed below its overlays, kept apart until somebody commits or discards it."""
