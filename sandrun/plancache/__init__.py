"""The plan cache: a plan that was made is kept, with all that it was made from, and used again while that is unchanged.

The front (sandrun/native/front.c) looks here before it starts Python. What it finds it checks (facts.c), and if
anything at all is not as it was, Python makes the plan anew and replaces what was kept. So a hit gives the plan that
would be made now, and the cache decides nothing. What a supervisor in Python is to launch, the front checks and leaves
to it (`kept`); where there is no front, Python looks by itself (`again`).

**What a resolution depends on**, and what holds it. "Key" is in the name of an entry (`place.key`); a *fact* is in
the entry and is asked again before each use (`facts`); "never" means that such a launch is not kept at all (`keep`).

- The command line up to the command's name: key. Options end at the first word that is none, so the words of the command
  change no option, and nothing in `plan` looks at them; they are in no entry. The command's name is one of the words.
- Who and where: effective uid and gid, groups, working directory (by name): key. Another real than effective id: never.
- The number in `--status-fd NUMBER`, if these are the first words: not in the key, the launch takes that of its own words.
  Anywhere else: never. What the event `planned` says is in the entry, as the plan is.
- Which program: the place of the front, or the words by which it starts Python, or interpreter and `sys.path` where Python looks by itself: key. The modules
  that were imported, the directories of `sys.path`, the interpreter, the front, libseccomp: facts FILE.
- The environment (`Host.environ`, XDG_CONFIG_HOME and HOME for profiles, the locale's variables for how names are
  decoded): names are in the key; a value that was asked for is a fact ENV, the hash of it with a salt of the entry. A
  variable that looks like a secret, or another encoding of names than UTF-8: never.
- Profiles, and what they extend: fact FILE each; the places that were searched in vain: facts LSTAT. A profile that is no
  regular file (a pipe): never.
- Accounts: /etc/passwd and nsswitch.conf are facts FILE. An account that the file does not have, and any group: never.
- Files (`Host.lstat`, `stat`, `readlink`, `listdir`, `modes`): facts of the same names with the whole answer. `realpath`
  is the READLINK of each name on the way. What is read of a file: fact FILE; below /proc and /sys: fact CONTENT.
  Globs, the entries around a hole, the libraries of a command: they are such questions, and are asked again as such.
  The names in a directory are asked by its device, inode and ctime where those tell each change (`Facts.stamp`), which
  spares listing it; anything else there, and it is listed. A file's mode changes without that, so modes are always asked.
- Mounts: fact CONTENT of /proc/self/mountinfo. The limits of the process: facts RLIMIT.
- Descriptors 0 to 2, and those that are passed on: facts DESCRIPTOR (a directory, a socket, a file open for both,
  or none of these), DESCRIPTOR_PATH, DEVICE, SOCKET and UNIX_FREE. Which file, pipe or terminal it is may differ unless
  it was asked.
- The kernel: facts CONTENT of its boot_id, since devices have other numbers after the next start, and KERNEL (uname,
  Landlock's ABI, what seccomp(2) and prctl(2) say of this process, its capabilities), and CONTENT and LISTDIR of what
  else was read to guess whether namespaces can be had. Namespaces that were tried and cannot be had: never. Those that
  can: the launch makes them or fails, and then Python does it all again.
- Not asked by any resolution, and therefore no fact: time, umask, nice value, scheduling, control group, signals. What a
  launch does about these (the terminal, ignored signals) it decides anew from its own surroundings.

Never kept either: a plan that takes more beside its supervisor than a relay, a plan with warnings or lost protections,
`create` targets, variables that a profile of the user's or `--env` sets, `require`, resources, and other options that
tell (`--report`, `--verbose`, ...).

**Facts FILE** say which file it is by device, inode, size and times. A change within the grain of the clock would not
show, so nothing is kept that changed later than two seconds before this process began; that also covers what changes
between the reading and the look at its times.

**Who may be lied to.** Another user cannot write here: directory and entries belong to the effective user, are for it
alone, and are opened without following links. A command in a sandbox of the same user is kept out by `plan.trusted`, as
it is from profiles. The place does not depend on HOME or XDG variables. What runs outside of a sandbox as the same user
needs no cache to deceive. Between the check and the launch passes less time than between the questions of a resolution and
its launch; paths are opened by the launch in either case, without links, and holes compared by device and inode.
Where the command gets a pid namespace, the front asks while the child makes its namespaces and its view, which is as long;
the child waits for the last answer before it makes a file or executes anything, and ends if it is not the one that was
recorded. A supervisor in Python starts after the last answer, in less time than Python takes for a resolution.
"""
