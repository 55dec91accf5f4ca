"""Compare a reader's outcome with what a vector expects; README.md has the vocabulary."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path


def expectations(directory: Path, pattern: str = "*") -> Iterator[tuple[str, Path, dict]]:
    """Name, dump and expectation of each vector."""
    for path in sorted(directory.glob(f"{pattern}.expect.json")):
        name = path.name.removesuffix(".expect.json")
        yield name, directory / f"{name}.hvd", json.loads(path.read_text())


def page_numbers(expect: dict) -> list[int]:
    return sorted({int(n) for partition in expect.get("partitions", []) for n in partition["pages"]})


def allowed(want: object, have: object) -> bool:
    return have in want if isinstance(want, list) else have == want


def differences(expect: dict, outcome: dict) -> list[str]:
    out = [f"{name}: {outcome.get(name)!r}, not {expect[name]!r}" for name in ("open", "complete", "verify")
           if name in expect and not allowed(expect[name], outcome.get(name))]
    # A tool need not tell whether it reported damage.
    if "damage" in expect and outcome.get("damage", expect["damage"]) != expect["damage"]:
        out.append(f"damage: {outcome['damage']}, not {expect['damage']}")
    if expect["open"] == "refused" or "partitions" not in expect:
        return out
    want, have = expect["partitions"], outcome.get("partitions", [])
    if [p["name"] for p in want] != [p["name"] for p in have]:
        return [*out, f"partitions: {[p['name'] for p in have]}, not {[p['name'] for p in want]}"]
    for w, p in zip(want, have):
        out += [f"{w['name']}: {key} {p.get(key)!r}, not {w[key]!r}" for key in ("state", "sealed")
                if not allowed(w[key], p.get(key))]
        for number, page in w["pages"].items():
            got = p["pages"].get(number, {})
            if not allowed(page["state"], got.get("state")):
                out.append(f"{w['name']}: page {number}: {got.get('state')}, not {page['state']}")
            elif got["state"] == "stored" and got.get("sha256") != page["sha256"]:
                out.append(f"{w['name']}: page {number}: OTHER CONTENTS")
    return out
