"""Checks: the report on a guest that is like Windows, against what is true of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from check_triage import validate
from comparison import Comparison
from windows_guest import IMAGES, VARIANTS, Truth
from windows_product import Windows, tenant_of

# What the report has to say of how Windows was found.
FOUND = {
    "plain": ["page tables: CR3 of CPU 0", "debugger data: in the clear at"],
    "note": ["header: from the guest's driver", "debugger data: where the header says"],
    "kaslr": ["kernel: by an interrupt's handler", "debugger data: in the clear at"],
    "encoded": ["debugger data: decoded with a key derived from the block itself"],
    "encoded-note": ["header: from the guest's driver", "debugger data: where the header says"],
    "shadow": ["debugger data: decoded with a key derived from the block itself"],
    "large": ["debugger data: decoded with a key derived from the block itself"],
    "la57": ["debugger data: in the clear at"],
    "live": ["page tables: those that the KPCR of CPU 0 names", "debugger data: in the clear at"],
}
SHORT = {"ntoskrnl.exe": "nt", "archive.sys": "archive", "tapebus.sys": "tapebus"}
# What a Windows dump's CONTEXT has no room for.
NOT_IN_A_CONTEXT = frozenset({"cr0", "cr2", "cr3", "cr4", "fs_base", "gs_base"})


def check_triage(windows: Windows, compared: Comparison) -> None:
    """The sealed dump, without and with PDBs."""
    report = json.loads(windows.analyze("triage"))
    validate(report, compared)
    guest = tenant_of(report)
    found = next(f for f in guest["findings"] if f["rule"] == "windows-found")["evidence"]
    for start in FOUND[windows.scenario]:
        compared.that(any(line.startswith(start) for line in found), f"found: {start}", found)
    if windows.crashes:
        told = next(f for f in guest["findings"] if f["rule"] == "panic-reported")["evidence"]
        compared.that(len(told) == 1 and told[0].startswith("CPU 1") and ("hyper-v" in told[0]) == (windows.scenario == "kaslr"),
                      "what QEMU was told", told)
    damage = [f for f in guest["findings"] if f["rule"] == "damage"]
    compared.equal(damage, [], "complaints")
    check_report(windows, compared, guest, False)
    images = windows.facts["images"]
    guest = tenant_of(json.loads(windows.analyze("triage", "--symbols", images)))
    check_report(windows, compared, guest, True)
    if "encoded" in VARIANTS[windows.scenario] and "note" not in VARIANTS[windows.scenario]:
        found = next(f for f in guest["findings"] if f["rule"] == "windows-found")["evidence"]
        compared.that("debugger data: decoded with the kernel's symbols" in found, "PDBs come before derived keys", found)


def check_report(windows: Windows, compared: Comparison, guest: Any, with_symbols: bool,
                 untold: frozenset[str] = frozenset()) -> None:
    """One partition of a report, with or without PDBs; `untold` are registers that its source does not keep."""
    truth = windows.truth
    compared.equal(guest["os"]["family"], "windows", "family")
    compared.equal(guest["os"]["release"], "10.0.19041", "release")
    crash = guest["crash"]
    if windows.crashes:
        compared.equal((crash["kind"], crash["cpu"]), ("bugcheck", 1), "kind of crash, CPU")
        name = {0xD1: "DRIVER_IRQL_NOT_LESS_OR_EQUAL", 0x9F: "DRIVER_POWER_STATE_FAILURE"}[truth.bugcheck[0]]
        told = f"{truth.bugcheck[0]:#X} {name} ({', '.join(f'{p:#x}' for p in truth.bugcheck[1:])})".replace("0X", "0x")
        compared.equal(crash["reason"], told, "bug check")
        guilty = "tapebus" if with_symbols or truth.bugcheck[0] == 0x9F else "tapebus+"
        function = {0xD1: "!TapeCopyBlock", 0x9F: "!TapeWrite"}[truth.bugcheck[0]] if guilty == "tapebus" else "0x1"
        compared.that(crash["bucket_frames"][1].startswith(guilty + function), f"bucket of {crash['bucket_frames']}",
                      guilty + function)
    else:
        compared.equal((crash["kind"], crash["cpu"]), ("none", None), "kind of crash, CPU")
    compared.equal(crash["time"], 42.0, "up time")
    for module, image in zip(guest["modules"], IMAGES, strict=True):
        base, size = truth.modules[image]
        compared.equal(module, {"name": image, "base": f"{base:#x}", "size": size, "version": IMAGES[image][1],
                                "build_id": module["build_id"]} | truth.image_facts(image), f"module {image}")
    tasks = sorted((t["tgid"], t["pid"], t["comm"]) for t in guest["tasks"])
    compared.equal(tasks, sorted((p, t, _name(truth, p)) for p, t in truth.threads.values() if p), "processes and threads")
    check_cpus(windows, compared, guest, with_symbols, untold)
    unloaded = next(f for f in guest["findings"] if f["rule"] == "unloaded-modules")
    begin = truth.modules["archive.sys"][0] + 0x800000
    compared.equal(unloaded["evidence"], [f"dump_archive.sys {begin:#x}-{begin + 0x9000:#x}"], "unloaded drivers")


def check_cpus(windows: Windows, compared: Comparison, guest: Any, with_symbols: bool,
                untold: frozenset[str] = frozenset()) -> None:
    truth = windows.truth
    registers = truth.cpu_registers()
    compared.equal([c["id"] for c in guest["cpus"]], list(range(windows.cpu_count)), "CPUs")
    running = {truth.crashed_thread(): 1} if windows.crashes else {}
    for at, (_, number) in truth.threads.items():
        if number in (20, 1312) and windows.crashes:
            running[at] = {20: 2, 1312: 3}[number]
        elif number == 1312:
            running[at] = 0
        elif number == 0 and at == next(iter(truth.threads)) and windows.crashes:
            running[at] = 0
    for cpu in guest["cpus"]:
        own = registers[cpu["id"]]
        ours = {name: int(value, 16) for name, value in cpu["registers"].items()}
        names = {"rfl": "rflags"}
        # Of flat segments nobody keeps the base.
        compared.equal({n for n in own if names.get(n, n) not in ours},
                       ({"cs_base", "ds_base", "es_base", "ss_base"} | untold) & set(own),
                       f"CPU {cpu['id']}: registers not told")
        compared.equal({n: ours[names.get(n, n)] for n in own if names.get(n, n) in ours}, {n: v for n, v in own.items()
                       if names.get(n, n) in ours}, f"CPU {cpu['id']}: {len(own)} registers")
        thread = next(at for at, where in running.items() if where == cpu["id"])
        check_stack(windows, compared, f"CPU {cpu['id']}", cpu["stack"], thread, own["rip"], with_symbols)
        process, number = truth.threads[thread]
        task = {"pid": number, "comm": _name(truth, process)} if process else None
        compared.equal(cpu["task"], task, f"CPU {cpu['id']}: what it runs")
    for task in guest["tasks"]:
        at = next(at for at, ids in truth.threads.items() if ids == (task["tgid"], task["pid"]))
        if at in running:
            compared.equal((task["state"], task["cpu"]), ("R", running[at]), f"thread {task['pid']} runs")
            continue
        if not truth.calls.get(at):
            compared.equal([f.get("symbol", "KiStartSystemThread") for f in task["stack"]], ["KiStartSystemThread"],
                           f"thread {task['pid']}, which never ran")
            continue
        compared.equal((task["state"], task["cpu"]), ("S", None), f"thread {task['pid']} waits")
        check_stack(windows, compared, f"thread {task['pid']}", task["stack"], at, None, with_symbols)


def check_stack(windows: Windows, compared: Comparison, what: str, stack: Any, thread: int, rip: int | None,
                 with_symbols: bool) -> None:
    expected = windows.expected_stack(thread, rip)
    compared.equal([int(f["address"], 16) for f in stack], [at for at, _ in expected], f"{what}: addresses of frames")
    compared.that(all(f["reliable"] for f in stack), f"{what}: none of them a guess")
    wrong, unnamed = [], 0
    for frame, (at, returns) in zip(stack, expected):
        if at >> 63 == 0:  # user mode: no module there
            continue
        symbol = windows.truth.symbol(at, returns)
        named = SHORT[symbol.image], symbol.name, symbol.offset
        if "symbol" in frame:
            if (frame["module"], frame["symbol"], frame["offset"]) != named:
                wrong.append((frame, named))
        else:
            unnamed += 1
            base = windows.truth.modules[symbol.image][0]
            if with_symbols or (frame["module"], frame["offset"]) != (named[0], at - base):
                wrong.append((frame, named))
    compared.equal(wrong, [], f"{what}: names that are not true")
    if not with_symbols and len(stack) > 8:
        compared.that(0 < unnamed < len(stack), f"{what}: {unnamed} of {len(stack)} frames have a module only")


def _name(truth: Truth, process: int) -> str:
    return next(name for name, number, _ in truth.processes if number == process)


def check_commands(windows: Windows, compared: Comparison) -> None:
    """bt, ps, modules and read say what the report says."""
    guest = tenant_of(json.loads(windows.analyze("triage")))
    for command, key in (("ps", "tasks"), ("modules", "modules")):
        said = json.loads(windows.analyze(command, "--json"))
        said = said if isinstance(said, list) else said.get(key, said)
        compared.equal(len(said), len(guest[key]), f"{command}: how many")
    base, _ = windows.truth.modules["archive.sys"]
    shown = json.loads(windows.analyze("read", f"{base:#x}", "64", "--json"))
    header = (Path(windows.facts["images"]) / "archive.sys").read_bytes()[:64]
    compared.that(header.hex() in json.dumps(shown), "read: the driver's header", shown)
    text = windows.analyze("bt").decode()
    compared.that("KeBugCheckEx" in text or not windows.crashes, "bt names KeBugCheckEx", text)
