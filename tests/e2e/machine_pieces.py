"""The pieces that a dead host's dump is split into, and the secrets that are searched for in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from check_memory import data_ranges, find, mapped
from host import GUESTS
from product import run


def recipients_of(keys: dict[str, Path]) -> dict[str, str]:
    """As the key files' comments name them."""
    return {name: re.findall(r"age1[0-9a-z]+", path.read_text())[0] for name, path in keys.items()}


class Split:
    """The pieces of a dump, in files."""

    def __init__(self, folder: Path, dump: Path, name: str, keys: dict[str, Path]) -> None:
        self.dump = dump
        self.hypervisor = folder / f"{name}.hypervisor.elf"
        run("hvdump-extract", "hypervisor", dump, "-o", self.hypervisor, "--identity", keys["alpha"])
        self.of: dict[str, list[Path]] = {}
        for guest in GUESTS:
            self.of[guest] = [folder / f"{name}.{guest}.{kind}" for kind in ("elf", "raw", "vmm")]
            for path, options in zip(self.of[guest], ([], ["--format", "raw"], ["--vmm"])):
                run("hvdump-extract", "partition", dump, guest, "-o", path, "--identity", keys[guest], *options,
                    expect=(0, 3))


def secrets_of(facts: dict[str, Any]) -> list[tuple[str, str, bytes]]:
    """Owner, what it is, its bytes."""
    found = []
    for owner, canary in facts["canaries"].items():
        found += [(owner, "environment", canary["env"].encode()), (owner, "file", canary["file"].encode()),
                  (owner, "kernel", canary["kernel"].encode()),
                  (owner, "register", canary["register"].to_bytes(8, "little"))]
    for owner, more in facts["more"].items():
        found += [(owner, what, text.encode()) for what, text in more.items()]
    return found


def contained(path: Path, canaries: list[tuple[str, str, bytes]]) -> set[bytes]:
    """Those of the secrets that are somewhere in the file."""
    text = re.compile(rb"hvd-[a-z]+-[0-9a-f]{32}")
    with mapped(path) as data:
        words = {found[0] for begin, end in data_ranges(path, 64) for found in text.finditer(data, begin, end)}
    return {secret for _, _, secret in canaries if secret in words or len(secret) == 8 and find(path, secret) >= 0}
