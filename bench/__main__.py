"""Run the suite, or parts of it: `python -m bench [--quick] [PART...]`.

Each part leaves bench/results/PART.json, with the facts of the machine, and plots beside it. Numbers of one run are to be
compared with each other only. `--quick` runs a round or two, to see that the suite works: its numbers mean nothing, and
stay below build/.
"""

from __future__ import annotations

import importlib
import json
import sys
import time

from bench import machine
from bench.timing import BUILD, RESULTS, TOP, rounded

PARTS = ("startup", "inside", "syscalls", "scale", "cost", "relay", "observe", "overlay", "library")


def run(part: str, quick: bool) -> None:
    """One part: measure, show, keep."""
    module = importlib.import_module(f"bench.{part}")
    began = time.monotonic()
    facts = machine.facts()
    result = module.run(quick)
    took = round(time.monotonic() - began)
    result = {"machine": facts, "took_seconds": took, **rounded(result)}
    module.show(result)
    folder = BUILD / "quick" if quick else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{part}.json").write_text(json.dumps(result, indent=1) + "\n")
    for name, svg in (module.plots(result) if hasattr(module, "plots") else {}).items():
        (folder / f"{name}.svg").write_text(svg)
    print(f"\nwritten: {folder.relative_to(TOP)}/{part}.json ({took} s)\n", flush=True)


def main() -> None:
    """Run the named parts, or all."""
    words = sys.argv[1:]
    quick = "--quick" in words
    parts = [word for word in words if word != "--quick"] or list(PARTS)
    if unknown := [part for part in parts if part not in PARTS]:
        sys.exit(f"bench: no such part: {unknown[0]}; there are: {', '.join(PARTS)}")
    for part in parts:
        run(part, quick)


if __name__ == "__main__":
    main()
