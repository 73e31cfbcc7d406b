"""What stands behind the pytest plugin: bodies of tests that run confined, and sessions that are started so."""
