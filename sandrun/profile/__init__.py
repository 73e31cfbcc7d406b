"""The profile language: TOML files and flags in, one frozen `Profile` out.

`load` is the way in; `model` has the nouns and `keys` the declaration of every key.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandrun.profile.loader import load as load

__all__ = ["load"]


def __getattr__(name: str) -> object:
    """Import the loader when it is asked for: help and completion read `keys` only."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sandrun.profile.loader import load  # noqa: PLC0415 (see above)

    return load
