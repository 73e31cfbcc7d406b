"""Small programs that the tests run inside a sandbox."""
