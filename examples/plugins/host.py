"""A program with plug-ins that anybody may have written: each call of one is a confined process of its own."""

import runpy
from pathlib import Path

import sandrun

PLUGINS = Path(__file__).resolve().parent / "plugins"
TEXT = "the quick brown fox"


@sandrun.sandboxed(profile="strict", read=[str(PLUGINS)], timeout=5)
def apply(name: str, text: str) -> str:
    """What the plug-in makes of a text. This runs in the sandbox: the plug-in is code of somebody else."""
    return runpy.run_path(str(PLUGINS / f"{name}.py"))["apply"](text)


def main() -> None:
    """Apply every plug-in, and say what came of it."""
    for path in sorted(PLUGINS.glob("*.py")):
        try:
            made = apply(path.stem, TEXT)
            if not isinstance(made, str):
                made = f"refused: not a text but {type(made).__name__}"
        except Exception as error:  # noqa: BLE001 (a plug-in may raise what it likes)
            made = f"{type(error).__name__}: {error}"
        print(f"{path.stem}: {made.splitlines()[0]}")


if __name__ == "__main__":
    main()
