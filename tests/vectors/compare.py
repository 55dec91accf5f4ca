#!/usr/bin/python3
"""Run a tool on every vector of a directory and compare what it prints with the expectations (README.md)."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from vector_outcome import differences, expectations, page_numbers


def run(tool: Path, dump: Path, expect: dict, salvage: bool, seconds: float) -> dict | str:
    """The tool's outcome, or why there is none."""
    pages = page_numbers(expect)
    command = [str(tool), str(dump)]
    command += ["--pages", ",".join(map(str, pages))] if pages else []
    command += ["--partition-key", expect["key"]] if expect["key"] else []
    command += ["--identity", str(dump.parent / expect["identity"])] if "identity" in expect else []
    command += ["--salvage"] if salvage else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"not done after {seconds} s"
    if done.returncode < 0:
        return f"died of signal {-done.returncode}"
    try:
        value = json.loads(done.stdout)
    except ValueError:
        return f"exit {done.returncode}, no JSON: {done.stdout[:100]!r} {done.stderr[:300]!r}"
    return value if isinstance(value, dict) else "the JSON is no object"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--tool", type=Path, required=True)
    parser.add_argument("--only", default="*", help="a pattern of names")
    parser.add_argument("--no-identities", action="store_true", help="leave out vectors that need an identity file")
    parser.add_argument("--salvage", action="store_true", help="run the tool with --salvage too; it must agree")
    parser.add_argument("--seconds", type=float, default=20)
    args = parser.parse_args()
    count = wrong = 0
    for name, dump, expect in expectations(args.directory, args.only):
        if args.no_identities and "identity" in expect:
            continue
        for salvage in (False, True) if args.salvage else (False,):
            count += 1
            outcome = run(args.tool, dump, expect, salvage, args.seconds)
            found = [outcome] if isinstance(outcome, str) else differences(expect, outcome)
            wrong += bool(found)
            if found:
                print(f"{name}{' (--salvage)' if salvage else ''}: {expect['why']}")
                print("".join(f"    {line}\n" for line in found), end="")
    print(f"{count} readings, {wrong} wrong")
    return 1 if wrong or not count else 0


if __name__ == "__main__":
    sys.exit(main())
