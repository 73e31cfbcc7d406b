"""The entry: `sandrun` and `python -m sandrun`. The first lines of every launch, so it imports next to nothing.

The process ends by `os._exit`: nothing buffers output here, and the interpreter's own teardown takes milliseconds that
every launch would pay for.
"""

from __future__ import annotations

import gc
import os
import resource
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import NoReturn

EXIT_SANDRUN = 125
EXIT_INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line in `sys.argv` and end the process with its exit status."""
    gc.disable()  # a launch is short and makes no garbage worth collecting; collections cost 5 to 10 ms
    sys.excepthook = _crash
    # As in tools/sandrun-python, which not everybody starts.
    sys.dont_write_bytecode |= resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY
    _occupy_standard_fds()
    _undo_locale_coercion()
    from sandrun import native  # noqa: PLC0415 (the interrupt and crash handling above must cover the imports)

    status = None
    if native.has_left():
        from sandrun.plancache.kept import launched  # noqa: PLC0415 (what other launches do without)

        status = launched(sys.argv[1:])
    elif native.is_absent():
        from sandrun.plancache.again import found  # noqa: PLC0415 (what the native half does without)

        status = found(sys.argv[1:])
    if status is None:
        from sandrun import cli  # noqa: PLC0415 (heavy)

        status = cli.main(sys.argv[1:])
    os._exit(status)


def _occupy_standard_fds() -> None:
    """Open a device on each of the fds 0 to 2 that the caller closed.

    Else the next file that is opened takes that number, and the command or a message writes into it. As in glibc's
    own start of privileged programs, the direction is the unusable one: reading or writing still fails with EBADF.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest free number is the one that was found closed.
            os.set_inheritable(
                os.open("/dev/full" if fd == 0 else "/dev/null", os.O_RDONLY if fd else os.O_WRONLY), True
            )


def _undo_locale_coercion() -> None:
    """Remove the LC_CTYPE that Python itself set in the environment where the locale is C (PEP 538).

    The command would inherit it. What the caller set is in /proc/self/environ, which Python cannot change.
    """
    if "LC_CTYPE" in os.environ:
        try:
            with open("/proc/self/environ", "rb") as file:
                given = file.read().split(b"\0")
        except OSError:
            return
        if not any(entry.startswith(b"LC_CTYPE=") for entry in given):
            del os.environ["LC_CTYPE"]


def _crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> NoReturn:
    """End the process after an exception that nothing handled: the user's interrupt, want of resources, or else a bug."""
    if issubclass(kind, KeyboardInterrupt):
        os._exit(EXIT_INTERRUPTED)
    if issubclass(kind, MemoryError) or (isinstance(error, OSError) and error.errno in _scarce()):
        what = str(error.strerror if isinstance(error, OSError) else "Cannot allocate memory")
        print(f"sandrun: cannot go on: {what}", file=sys.stderr, flush=True)  # noqa: T201
        print("sandrun: hint: see the limits of this process: ulimit -a", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(EXIT_SANDRUN)
    sys.__excepthook__(kind, error, trace)
    print("sandrun: this is a bug in sandrun: please report it with the lines above", file=sys.stderr, flush=True)  # noqa: T201
    os._exit(EXIT_SANDRUN)


def _scarce() -> tuple[int, ...]:
    """The errors of a machine or a limit that is exhausted, which any call may meet."""
    import errno  # noqa: PLC0415 (only when something failed)

    return errno.EMFILE, errno.ENFILE, errno.ENOMEM


def _leave_working_directory() -> None:
    """Take the working directory off the places of modules, where `python -m` has put it first.

    A command may write there, and what only some runs need is imported after it has ended. Where sandrun itself is only
    there, it comes last, by a name with a final "/" that tells it from a place that is there without `-m`.
    """
    try:
        here = os.getcwd()
    except OSError:
        here = ""
    if sys.path[:1] in ([here], [""]) and not sys.flags.safe_path:
        del sys.path[0]
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if root not in sys.path:
        # This very package and no other that is installed, and nothing else from here before what is.
        sys.path.insert(0, root)
        import sandrun  # noqa: F401, PLC0415 (see above)

        del sys.path[0]
        sys.path.append(root + "/")


if __name__ == "__main__":
    _leave_working_directory()
    main()
