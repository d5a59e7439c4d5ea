"""Keep of a package-lock.json what decides what is installed: versions and hashes, no address."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ADDRESSES = ("resolved", "funding")

if __name__ == "__main__":
    for file in map(Path, sys.argv[1:]):
        lock = json.loads(file.read_text())
        for package in lock["packages"].values():
            for name in ADDRESSES:
                package.pop(name, None)
        file.write_text(json.dumps(lock, indent=2) + "\n")
