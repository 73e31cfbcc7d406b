"""Through which profiles a file came into a launch: the chains of `extends`. Reads the files, as `profile.load` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandrun.errors import ProfileError
from sandrun.profile.bad import Bad
from sandrun.profile.find import NONE, locate
from sandrun.profile.loader import DEFAULT, read_layer

if TYPE_CHECKING:
    from collections.abc import Sequence


def ways(profiles: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """For each source of these words of `-p` (none: `default`) the sources that were extended on the way, outermost first.

    The shortest way counts. What cannot be read is left out: the launch says what is wrong with it.
    """
    found: dict[str, tuple[str, ...]] = {}
    work: list[tuple[str, str, tuple[str, ...]]] = [(word, "", ()) for word in profiles or DEFAULT]
    while work:
        later: list[tuple[str, str, tuple[str, ...]]] = []
        for word, base, way in work:
            try:
                if word == NONE or (file := locate(word, base)).source in found:
                    continue
                layer, _ = read_layer(file)
            except (Bad, ProfileError):
                continue
            found[file.source] = way
            later += [(str(value.value), file.path, (*way, file.source)) for value in layer.extends]
        work = later
    return found
