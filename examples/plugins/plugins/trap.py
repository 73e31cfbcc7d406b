"""Returns what would be executed by a program that unpickles it."""

import os


class Trap:
    """An object that is a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def apply(text):
    """The trap."""
    return Trap()
