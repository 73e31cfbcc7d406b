"""sandrun for programs in Python: `run`, `Popen`, `create_subprocess_exec` and the profiles that are built for them.

Nothing in here confines, and nothing is forked: each launch starts the launcher itself, as a command line would, and reads
what it writes to `--status-fd`. So the policy, the plan cache, the messages and the statuses are those of the command line,
and a program with threads, a pool or an event loop is as safe as with `subprocess`.
"""
