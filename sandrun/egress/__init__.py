"""The relay: the process outside the sandbox that serves the command's connections to the hosts it was granted."""
