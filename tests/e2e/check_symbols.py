"""Source lines and inlined frames by --symbols, against binutils' addr2line; code, against its objdump."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from comparison import Comparison
from product import Product

Line = tuple[str, str, int]


def _tail(path: str) -> str:
    """The last two parts of a source's path, since who prints it joins folders in another way."""
    parts = re.sub(r"/\./", "/", path).split("/")
    return "/".join(parts[-2:])


def addr2line(file: Path, address: int, section: str | None = None) -> list[Line]:
    """Function, file and line of each frame at an address as linked, innermost first."""
    where = ["-j", section] if section else []
    said = subprocess.run(["addr2line", "-i", "-f", *where, "-e", file, hex(address)], capture_output=True,
                          text=True, check=True).stdout.split("\n")
    out = []
    for function, place in zip(said[::2], said[1::2]):
        path, _, line = place.partition(" ")[0].rpartition(":")
        out.append((function, _tail(path), int(line) if line.isdigit() else 0))
    return out


class ModuleFile:
    """A module's file with DWARF: relocatable, so that addresses count from a section's beginning."""

    def __init__(self, path: Path) -> None:
        self.path = path
        listing = subprocess.run(["readelf", "-SsW", path], capture_output=True, text=True, check=True).stdout
        sections = dict(re.findall(r"^ *\[ *(\d+)\] (\S+)", listing, re.MULTILINE))
        self._functions = {m[3]: (int(m[1], 16), sections[m[2]]) for m in re.finditer(
            r"^ *\d+: ([0-9a-f]+) +\S+ FUNC +\S+ +\S+ +(\d+) (\S+)$", listing, re.MULTILINE)}

    @property
    def build_id(self) -> str:
        notes = subprocess.run(["readelf", "-nW", self.path], capture_output=True, text=True, check=True).stdout
        return re.search(r"Build ID: ([0-9a-f]+)", notes)[1]  # type: ignore[index]

    def lines(self, symbol: str, offset: int) -> list[Line]:
        begin, section = self._functions[symbol]
        return addr2line(self.path, begin + offset, section)


def module_files(product: Product) -> dict[str, ModuleFile]:
    return {path.stem.replace("-", "_"): ModuleFile(path) for path in product.modules}


def check_lines(product: Product, compared: Comparison) -> None:
    vmlinux = product.vmlinux
    files = module_files(product)
    folders = {path.parent for path in product.modules}
    symbols = [word for place in (vmlinux, *folders) for word in ("--symbols", place)]
    cpus = json.loads(product.analyze("bt", *symbols, "--json"))
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
    checked = inlined = in_modules = 0
    for number, group in enumerate(groups):
        frame = group[-1]
        exact = number == 0 or groups[number - 1][-1]["symbol"].startswith("asm_")
        back = 0 if exact else 1
        if frame.get("module"):
            theirs = files[frame["module"]].lines(frame["symbol"], frame["offset"] - back)
            in_modules += 1
        else:
            theirs = addr2line(vmlinux, int(frame["address"], 16) - offset - back)
        ours = [(f["symbol"] if f.get("inlined") else theirs[-1][0], _tail(f.get("file") or ""), f.get("line") or 0)
                for f in group]
        compared.equal(ours, theirs, f"{frame['symbol']}+{frame['offset']:#x}")
        checked += 1
        inlined += len(group) - 1
    _check_code(product, offset, compared)
    for module in product.guest["modules"]:
        if module["name"] in files:
            compared.equal(module["build_id"], files[module["name"]].build_id, f"build id of {module['name']}")
    compared.that(checked > 2 or product.scenario == "idle",
                  f"{checked} frames, {in_modules} in modules, {inlined} inlined ones")
    if checked == 0:
        compared.note("no CPU was in the kernel proper")


def _check_code(product: Product, offset: int, compared: Comparison) -> None:
    """Instructions begin where objdump, which goes by the functions of the vmlinux, has them."""
    for cpu in product.guest["cpus"]:
        frame = cpu["stack"][0] if cpu["stack"] else {}
        if frame.get("module") or "symbol" not in frame:
            continue
        first = int(frame["address"], 16) - offset - frame["offset"]
        # Up to RIP: behind it the running kernel may be patched, as its return thunks are.
        ours = [at for at in (int(i["address"], 16) - offset for i in cpu["code"]) if at <= first + frame["offset"]]
        listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", f"--start-address={first:#x}",
                                  f"--stop-address={max(ours) + 1:#x}", product.vmlinux], capture_output=True,
                                 text=True, check=True).stdout
        theirs = [int(m[1], 16) for m in re.finditer(r"^([0-9a-f]{16}):\t", listing, re.MULTILINE)]
        compared.equal(ours, theirs[-len(ours):], f"where CPU {cpu['id']}'s instructions begin, in {frame['symbol']}")
        compared.that(frame["offset"] == 0 or ours[0] < int(frame["address"], 16) - offset, "code before RIP is shown")
