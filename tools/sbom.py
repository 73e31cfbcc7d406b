"""Write dist/sandrun.cdx.json, a CycloneDX list of what an installation of sandrun consists of, and print it as a table.

sandrun ships no code of others: its wheel requires the packages of requirements/run.txt, whose versions and hashes are
listed from there, and their licences from what is installed. Usage: sbom.py, after a build into dist/.
"""

from __future__ import annotations

import hashlib
import json
import re
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

TOP = Path(__file__).parent.parent
OUTPUT = TOP / "dist" / "sandrun.cdx.json"
LICENCES = {"python-prctl": "GPL-3.0-or-later"}
"""Where the package's metadata says less than its files: COPYING and every source file say so."""


def locked() -> dict[str, tuple[str, list[str]]]:
    """Name → (version, SHA-256 of each file of that release), from the lock file."""
    text = (TOP / "requirements" / "run.txt").read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        match = re.match(r"([A-Za-z0-9._-]+)==(\S+)", line)
        if match:
            found[match[1]] = (match[2], re.findall(r"--hash=sha256:([0-9a-f]{64})", line))
    return found


def licence(name: str) -> str:
    """The licence that an installed package declares."""
    if name in LICENCES:
        return LICENCES[name]
    about = metadata(name)
    declared = about.get("License-Expression") or about.get("License") or ""
    if "\n" not in declared.strip() and declared not in ("", "UNKNOWN"):
        return declared.strip()
    classifiers = [row.rpartition(" :: ")[2] for row in about.get_all("Classifier", []) if row.startswith("License ::")]
    return ", ".join(classifiers) or "unknown"


def component(name: str, version: str, hashes: list[str]) -> dict[str, Any]:
    """One CycloneDX component; several hashes are those of the several files of one release."""
    purl = f"pkg:pypi/{name}@{version}"
    return {
        "type": "library" if name != "sandrun" else "application",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "licenses": [{"license": {"name": licence(name)}}],
        "hashes": [{"alg": "SHA-256", "content": value} for value in hashes],
    }


def document() -> dict[str, Any]:
    """The whole list; the same input gives the same bytes."""
    version = metadata("sandrun")["Version"]
    files = sorted((TOP / "dist").glob(f"sandrun-{version}*"))
    own = component("sandrun", version, [hashlib.sha256(path.read_bytes()).hexdigest() for path in files])
    others = [component(name, *rest) for name, rest in sorted(locked().items())]
    refs = [row["bom-ref"] for row in others]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": own},
        "components": others,
        "dependencies": [{"ref": own["bom-ref"], "dependsOn": refs}, *({"ref": ref} for ref in refs)],
    }


def main() -> None:
    """Write the file and print the table."""
    made = document()
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(made, indent=2) + "\n")
    for row in (made["metadata"]["component"], *made["components"]):
        first = row["hashes"][0]["content"][:16] if row["hashes"] else "not built"
        more = f" and {len(row['hashes']) - 1} more" if len(row["hashes"]) > 1 else ""
        print(f"{row['name']:14} {row['version']:12} {row['licenses'][0]['license']['name']:42} sha256 {first}…{more}")
    print(f"written: {OUTPUT.relative_to(TOP)}")


if __name__ == "__main__":
    main()
