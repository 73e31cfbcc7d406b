"""Why: what a resolved plan answers to one act of its command, and which entry of the profile decides."""
