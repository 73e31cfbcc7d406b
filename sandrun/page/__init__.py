"""A record of a run for people: what it says as sections, and these as an HTML page or as text."""
