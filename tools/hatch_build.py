"""What a wheel holds besides the package's modules: the programs, the native executor where a C compiler is.

`SANDRUN_NATIVE` may say `off` (a wheel without it, for any system) or `require` (no wheel without it). Otherwise a wheel
is made either way, since the executor in Python does all that the native one does.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent))
import build_native

SCRIPT = "tools/sandrun-python"
BINARY = "sandrun/native/sandrun-exec"


class NativeBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Compile, and choose what `bin/sandrun` is.

    Both programs are files of the wheel and not entry points: what pip writes for an entry point imports `re` first.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add to `build_data` before the files are collected; for a wheel and for an editable install alike."""
        if not self._compile():
            build_data["shared_scripts"] = {SCRIPT: "sandrun"}
            return
        build_data["shared_scripts"] = {BINARY: "sandrun", SCRIPT: "sandrun-python"}
        build_data["pure_python"] = False
        if version == "standard":
            build_data["artifacts"].append(BINARY)
            build_data["tag"] = f"py3-none-{platform_tag(Path(self.root, BINARY))}"

    def _compile(self) -> bool:
        wish = os.environ.get("SANDRUN_NATIVE", "")
        if wish == "off":
            return False
        if build_native.compiler_works() and build_native.build_hardened(Path(self.root, BINARY), strict=False):
            return True
        if wish == "require":
            raise SystemExit("hatch_build: the native executor cannot be compiled, and SANDRUN_NATIVE=require")
        self.app.display_warning("the native executor cannot be compiled: the executor in Python serves")
        return False


def platform_tag(binary: Path) -> str:
    """The platforms that `binary` runs on, as the name of a wheel has them: a static one needs no libc at all."""
    machine = sysconfig.get_platform().removeprefix("linux-").replace("-", "_")
    if build_native.is_static(binary):
        return f"manylinux_2_17_{machine}.manylinux2014_{machine}.musllinux_1_1_{machine}"
    return f"linux_{machine}"
