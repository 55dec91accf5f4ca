#!/usr/bin/python3
"""Write every vector to a directory: NAME.hvd, NAME.expect.json and, for key slots, NAME.identity."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import vectors_attack
import vectors_bytes
import vectors_good
import vectors_rules


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: make_vectors.py OUTDIR", file=sys.stderr)
        return 2
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for kind in ("*.hvd", "*.expect.json", "*.identity"):  # an earlier version may have made others
        for stale in directory.glob(kind):
            stale.unlink()
    names: set[str] = set()
    for group in (vectors_good, vectors_bytes, vectors_rules, vectors_attack):
        for name, vector in group.vectors():
            if name in names:
                raise ValueError(f"two vectors are called {name}")
            names.add(name)
            expectation = vector.expectation()
            if vector.identity:
                expectation["identity"] = f"{name}.identity"
                (directory / f"{name}.identity").write_text(vector.identity)
            (directory / f"{name}.hvd").write_bytes(vector.data)
            (directory / f"{name}.expect.json").write_text(json.dumps(expectation, indent=1) + "\n")
    print(f"{len(names)} vectors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
