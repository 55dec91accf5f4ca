"""The triage report and the other commands of hvdump-analyze, for a guest without debug packages."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from comparison import Comparison
from images import GUEST_MODULES
from product import Product, run

SCHEMA = Path(__file__).parents[2] / "analyzer" / "schema" / "hvdump-triage-1.json"
# What guest/init provokes.  A BUG and a NULL dereference panic because of panic_on_oops.
REASONS = {"sysrq": "sysrq triggered crash", "null": "BUG: kernel NULL pointer dereference, address: 0000000000000040",
           "bug": "kernel BUG at .*crashme.c:", "softlockup": "softlockup: hung tasks",
           "oom": "Out of memory: compulsory panic_on_oom", "irq": "crashme: panic in hard interrupt context"}
# By guest/init: name and state.
STATES = {("crashme-sleeps", "S"), ("crashme-waits", "D"), ("sleep", "S"), ("cat", "S"), ("hvd-env", "S"), ("sh", "T"),
          ("sh", "Z"), ("kthreadd", "S"), ("hvd-registers", "R")}
_PRINTED = re.compile(r"^\[ *(\d+\.\d{6})\] ?(.*)$")


def check_report(product: Product, compared: Comparison) -> None:
    report, guest = product.report, product.guest
    validate(report, compared)
    compared.equal(report["schema"], "hvdump-triage/1", "schema")
    compared.equal((report["dump"]["complete"], report["dump"]["problems"]), (True, []), "complete, problems")
    system = guest["os"]
    compared.equal((system["family"], system["release"]), ("linux", product.facts["release"]), "system, release")
    info = product.vmcoreinfo
    compared.equal(int(system["kaslr_offset"] or "0", 16), int(info["KERNELOFFSET"], 16), "KASLR's offset")
    compared.equal(system["build_id"], info["BUILD-ID"], "build id as in VMCOREINFO")
    if product.kernel.has_debug_info:
        notes = subprocess.run(["readelf", "-n", product.kernel.vmlinux], capture_output=True, text=True, check=True)
        compared.equal(system["build_id"], re.findall(r"Build ID: (\w+)", notes.stdout)[0], "build id as in vmlinux")
    _crash(product, compared)
    _log(product, compared)
    tasks = guest["tasks"]
    compared.that(STATES <= {(t["comm"], t["state"]) for t in tasks}, f"{len(tasks)} tasks, each provoked state there",
                  sorted(STATES - {(t["comm"], t["state"]) for t in tasks}))
    pids = [t["pid"] for t in tasks if t["pid"]]  # each CPU's idle task has 0
    compared.equal(len(set(pids)), len(pids), "pids, all different")
    modules = {m["name"]: m for m in guest["modules"]}
    compared.equal(sorted(modules), sorted({m.replace("-", "_") for m in GUEST_MODULES} | {"crashme"}), "modules")
    for cpu in guest["cpus"]:
        for frame in (f for f in cpu["stack"] if f.get("module")):
            module = modules[frame["module"]]
            inside = int(frame["address"], 16) - int(module["base"], 16)
            compared.that(0 <= inside < module["size"], f"{frame['symbol']} is inside {frame['module']}", module)
    memory = guest["memory"]
    listing = json.loads(run("hvdump-extract", "list", product.hvd, "--json").stdout)
    total = next(p["total_bytes"] for p in listing["partitions"] if p["name"] == product.facts["name"])
    compared.equal(memory["total_bytes"], total, "memory in all")
    compared.equal(sum(memory["by_class"].values()) + sum(memory["absent"].values()), total, "memory by kind adds up")


def validate(report: Any, compared: Comparison) -> None:
    try:
        import jsonschema
    except ImportError:
        compared.note("not validated: python3-jsonschema is not installed")
        return
    if not SCHEMA.exists():
        compared.note(f"not validated: there is no {SCHEMA.name}")
        return
    errors = [f"{'/'.join(map(str, e.path))}: {e.message[:200]}"
              for e in jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(report)]
    compared.equal(errors[:5], [], "what the JSON Schema finds wrong")


def _crash(product: Product, compared: Comparison) -> None:
    crash = product.guest["crash"]
    if product.scenario == "idle":
        compared.equal((crash["kind"], crash["cpu"]), ("none", None), "crash")
        return
    compared.equal((crash["kind"], crash["cpu"]), ("panic", 0), "kind and CPU")
    wanted = REASONS[product.scenario]
    compared.that(re.search(wanted, crash["reason"]), f"reason: {crash['reason']}", wanted)
    compared.that(re.fullmatch(r"linux-[0-9a-f]{16}", crash["bucket"]) and crash["bucket_frames"],
                  f"bucket {crash['bucket']} of {crash['bucket_frames']}")
    told = next(f for f in product.guest["findings"] if f["rule"] == "panic-reported")
    compared.equal(told["evidence"], ["CPU 0"], "who told QEMU of the panic; pvpanic says no more")
    panic = next(m for m in map(_PRINTED.match, product.console.split("\n")) if m and "Kernel panic" in m[2])
    compared.equal(crash["time"], float(panic[1]), "time of the panic")
    task = product.crashing_cpu["task"]
    told = re.findall(r"CPU: (\d+) (?:UID: \d+ )?PID: (\d+) Comm: (\S+)", product.console)[-1]
    compared.equal(("0", str(task["pid"]), task["comm"]), told, "CPU, pid and name as printed")


def _log(product: Product, compared: Comparison) -> None:
    """All that the console shows of the kernel, in the same order; the log has more, of lower levels."""
    ours = [(f"{r['time']:.6f}", line, r["level"]) for r in product.guest["log"] for line in r["text"].split("\n")]
    printed = [(m[1], m[2]) for m in map(_PRINTED.match, product.console.split("\n")) if m]
    missing, at = [], 0
    for entry in printed:
        found = next((i for i in range(at, len(ours)) if ours[i][:2] == entry), None)
        if found is None:
            missing.append(entry)
        else:
            at = found + 1
    # A process may write to the console while the kernel does; its own text is not in the log.
    torn = [m for m in missing if any(word in m[1] for word in ("READY", "random"))]
    compared.equal([m for m in missing if m not in torn], [], f"of {len(printed)} lines of the console, not in the log")
    compared.that(len(printed) > 200 and len(ours) >= len(printed), f"{len(ours)} lines in the log")
    shown = {entry for entry in printed}
    loud = [o for o in ours if o[2] < 7 and o[:2] not in shown]
    compared.equal(loud, [], "lines of the log that the console should have shown and did not")


def check_commands(product: Product, compared: Comparison) -> None:
    """log, ps, modules, bt, read say what the report says."""
    guest = product.guest
    log = product.analyze("log").decode()
    compared.that(log.count("\n") >= len(guest["log"]) and guest["log"][-1]["text"].split("\n")[-1] in log,
                  f"log: {log.count(chr(10))} lines")
    for command, key in (("ps", "tasks"), ("modules", "modules"), ("log", "log")):
        said = json.loads(product.analyze(command, "--json"))
        compared.equal(len(said), len(guest[key]), f"{command} --json: entries")
        text = product.analyze(command).decode()
        compared.that(text.count("\n") >= len(guest[key]), f"{command}: {text.count(chr(10))} lines")
    if product.scenario != "idle":
        bt = product.analyze("bt").decode()
        compared.that(all(f["symbol"] in bt for f in product.crashing_cpu["stack"]), f"bt: {bt.count(chr(10))} lines")
    waits = next(t for t in guest["tasks"] if t["comm"] == "crashme-waits")
    bt = product.analyze("bt", "--pid", str(waits["pid"])).decode()
    compared.that("crashme_sleep_here" in bt and "ret_from_fork" in bt, "bt --pid of crashme-waits", bt)
    banner = json.loads(product.analyze("read", "linux_banner", "64", "--json"))
    text = bytes.fromhex(banner["bytes"]).decode("ascii", "replace")
    compared.that(text.startswith(f"Linux version {product.facts['release']}"), f"read linux_banner: {text!r}")
    done = run("hvdump-analyze", "read", product.hvd, "0xdead000000000000", "--identity", product.key, expect=None)
    compared.that(done.returncode == 1 and done.stderr.strip(), f"read of an unmapped address: {done.stderr.decode().strip()}")
    html = product.analyze("triage", "--format", "html").decode()
    compared.that("<html" in html and product.facts["release"] in html, f"html: {len(html)} characters")
    plain = product.analyze("triage", "--format", "text").decode()
    compared.that(product.facts["release"] in plain and guest["crash"]["reason"] in plain,
                  f"text: {plain.count(chr(10))} lines")


def check_locked(product: Product, compared: Comparison) -> None:
    """Without the key the guest's partition is there, and says nothing of the guest."""
    report = json.loads(run("hvdump-analyze", "triage", product.hvd).stdout)
    validate(report, compared)
    guest = next(p for p in report["partitions"] if p["name"] == product.facts["name"])
    compared.equal((guest["role"], guest["state"]), ("guest", "captured"), "role and state")
    for key in ("cpus", "tasks", "modules", "log"):
        compared.equal(guest[key], [], key)
    compared.equal((guest["crash"]["kind"], guest["crash"]["reason"], guest["crash"]["bucket"]), ("unknown", "", ""),
                   "crash")
    compared.that(any(f["rule"] == "sealed" for f in guest["findings"]), "a finding says that it is sealed")
    compared.that(product.facts["release"] not in json.dumps(guest), "not even the release")
    for command in ("log", "bt", "ps", "modules"):
        done = run("hvdump-analyze", command, product.hvd, expect=None)
        compared.equal((done.returncode, done.stdout), (4, b""), f"{command} without the key: exit and output")
        compared.that(done.stderr.strip(), f"it says: {done.stderr.decode().strip()}")
    out = product.folder / "locked.elf"
    done = run("hvdump-extract", "partition", product.hvd, product.facts["name"], "-o", out, expect=None)
    compared.equal((done.returncode, out.exists()), (4, False), "partition without the key: exit, file left")
