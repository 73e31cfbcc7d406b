"""Attempts to escape, one a file: what the command must not be able to do.

An attempt is a module whose docstring is the claim that it guards. It has

- `attempt(*arguments)`: runs inside, from the module's source alone. To return is to have escaped; to raise Blocked, or
  an OSError of EPERM, EACCES, EROFS, ENOENT, ESRCH or one of `REFUSALS`, is to be blocked. Anything else is a broken attempt.
- `setup(out)`, if the attempt needs something: runs outside before it, prepares files, sockets and processes by the
  `Outside` that it gets, and appends the attempt's arguments to `out.arguments`.
- `unharmed(out)`, if something outside can show it: afterwards, is everything as it was?
- `SANDRUN`: the flags; absent, they are none, which is the built-in default profile. `{name}` is `out.values["name"]`.
- `PREFIX`: a program outside that starts both the control and sandrun.
- `BARE`: true if it must be blocked by an otherwise empty profile too, in which nothing of the syscalls is asked for.
- `SAYS`: what sandrun's message must contain, where it is to refuse the launch.
- `SHELL`: a line of shell inside that ends in `exec "$@"`, for a start that Python itself could not survive.
- `WHO`: ("root",) or ("user",) where only one of them can have a control. `MACHINE`: where it makes sense at all.
- `STATUSES`: the exit statuses of sandrun that mean "blocked", if not BLOCKED; `CONTROL_STATUS`: the control's, if not
  ESCAPED. Where both are the same, `unharmed` alone is the verdict.
- `watch(out, process)`: runs outside while the attempt does.
- `needs()`: what of the kernel it takes, by `support.need`.

Each attempt is run twice in the same way, first without sandrun. That is the control: unless it escapes there, with
`unharmed` being false, its being blocked inside would prove nothing.
"""
