"""Source lines and inlined frames by --symbols, against binutils' addr2line."""

from __future__ import annotations

import json
import re
import subprocess

from comparison import Comparison
from product import Product, Skip

Line = tuple[str, str, int]


def _tail(path: str) -> str:
    """The last two parts of a source's path, since who prints it joins folders in another way."""
    parts = re.sub(r"/\./", "/", path).split("/")
    return "/".join(parts[-2:])


def addr2line(product: Product, address: int) -> list[Line]:
    """Function, file and line of each frame at an address as linked, innermost first."""
    said = subprocess.run(["addr2line", "-i", "-f", "-e", product.vmlinux, hex(address)], capture_output=True,
                          text=True, check=True).stdout.split("\n")
    out = []
    for function, place in zip(said[::2], said[1::2]):
        path, _, line = place.partition(" ")[0].rpartition(":")
        out.append((function, _tail(path), int(line) if line.isdigit() else 0))
    return out


def check_lines(product: Product, compared: Comparison) -> None:
    vmlinux = product.vmlinux
    cpus = json.loads(product.analyze("bt", "--symbols", vmlinux, "--json"))
    offset = int(product.guest["os"]["kaslr_offset"], 16)
    cpu = next(c for c in cpus if c["id"] == (product.guest["crash"]["cpu"] or 0))
    without = [f["symbol"] for f in next(c for c in product.guest["cpus"] if c["id"] == cpu["id"])["stack"]]
    stack = cpu["stack"]
    compared.equal([f["symbol"] for f in stack if not f.get("inlined")], without, "the same frames as without symbols")
    # Inlined frames come before the function that they are inlined in, at one address.
    groups: list[list[dict]] = []  # type: ignore[type-arg]
    for frame in stack:
        if not groups or not groups[-1][-1].get("inlined"):
            groups.append([])
        groups[-1].append(frame)
    checked = inlined = 0
    for number, group in enumerate(groups):
        frame = group[-1]
        if frame.get("module"):
            continue
        address = int(frame["address"], 16) - offset
        exact = number == 0 or groups[number - 1][-1]["symbol"].startswith("asm_")
        theirs = addr2line(product, address if exact else address - 1)
        ours = [(f["symbol"] if f.get("inlined") else theirs[-1][0], _tail(f.get("file") or ""), f.get("line") or 0)
                for f in group]
        compared.equal(ours, theirs, f"{frame['symbol']}+{frame['offset']:#x}")
        checked += 1
        inlined += len(group) - 1
    compared.that(checked > 2 or product.scenario == "idle", f"{checked} frames, {inlined} inlined ones")
    if checked == 0:
        raise Skip("no CPU was in the kernel proper")
