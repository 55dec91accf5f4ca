"""Cases: what hvdump-capture writes for whom, and how it ends when it is stopped."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

from behaviour import World, capture, full_device, partitions, told
from comparison import Comparison
from product import program, run


def case_two_guests(world: World, compared: Comparison) -> None:
    """Two guests in one dump, each for its own key."""
    dump = world.both()
    found = partitions(dump, 0)
    compared.equal({n: (p["role"], p["state"], p["sealed"]) for n, p in found.items()},
                   {"crashed": ("guest", "captured", True), "hypervisor:crashed": ("hypervisor", "captured", False),
                    "running": ("guest", "captured", True), "hypervisor:running": ("hypervisor", "captured", False)},
                   "partitions")
    kinds = {"crashed": "panic", "running": "none"}
    for name, kind in kinds.items():
        report = json.loads(run("hvdump-analyze", "triage", dump, "--identity", world.keys[name]).stdout)
        guests = {p["name"]: p for p in report["partitions"] if p["role"] == "guest"}
        compared.equal({n: g["crash"]["kind"] for n, g in guests.items()},
                       {n: k if n == name else "unknown" for n, k in kinds.items()}, f"what {name}'s key tells")
        log = json.dumps(guests[name]["log"])
        compared.that(f"hvd.scenario={getattr(world, name).scenario}" in log, f"{name}'s log is {name}'s")


def case_paused(world: World, compared: Comparison) -> None:
    """A guest that somebody has paused stays paused."""
    world.running.pause()
    world.running.release_qmp()
    dump = world.folder / "paused.hvd"
    capture("qemu", *world.vm("running"), *world.to("running"), "-o", dump)
    compared.equal(world.running.status(), "paused", "run state after the capture")
    world.running.resume()
    compared.equal(partitions(dump, 0)["running"]["state"], "captured", "state")
    dump.unlink()


def case_stateless(world: World, compared: Comparison) -> None:
    """A stateless guest is recorded and not dumped."""
    dump = world.folder / "stateless.hvd"
    done = capture("qemu", *world.vm("crashed", "running"), *world.to("crashed", "running"), "--stateless", "running",
                   "-o", dump)
    compared.equal(done.returncode, 0, "exit")
    found = partitions(dump, 0)
    compared.equal((found["running"]["state"], found["running"]["stored_bytes"], found["crashed"]["state"]),
                   ("stateless", 0, "captured"), "state, stored, and the other's state")
    compared.equal(world.secrets_in(dump, world.running), [], "its canaries")
    out = world.folder / "stateless.elf"
    done = run("hvdump-extract", "partition", dump, "running", "-o", out, "--identity", world.keys["running"], expect=None)
    compared.that(done.returncode == 1 and not out.exists(), f"partition says: {told(done)}", done.returncode)
    dump.unlink()


def case_no_recipient(world: World, compared: Comparison) -> None:
    """A guest that nobody may read is not written."""
    dump = world.folder / "unsealed.hvd"
    done = capture("qemu", *world.vm("crashed", "running"), *world.to("crashed"), "-o", dump, expect=3)
    compared.that("recipient" in told(done), f"it says: {told(done)}")
    found = partitions(dump)
    compared.equal((found["running"]["state"], found["running"]["stored_bytes"], found["running"]["total_bytes"],
                    found["crashed"]["state"]), ("failed", 0, 0, "captured"), "state, sizes, and the other's state")
    compared.equal(world.secrets_in(dump, world.running), [], "its canaries")
    compared.that(found["running"]["reason"], f"reason in the dump: {found['running']['reason']}")
    dump.unlink()


def _policy(world: World, policy: object) -> Path:
    path = world.folder / "policy.json"
    path.write_text(json.dumps(policy))
    return path


def case_plaintext(world: World, compared: Comparison) -> None:
    """Only a policy that says so has a guest written in clear."""
    dump = world.folder / "plain.hvd"
    policy = _policy(world, {"vms": [{"match": "running", "plaintext": True, "compression": "none"}]})
    capture("qemu", *world.vm("running"), "--policy", policy, "-o", dump)
    compared.equal([(p["state"], p["sealed"]) for n, p in partitions(dump, 0).items() if n == "running"],
                   [("captured", False)], "state, sealed")
    compared.that({"env", "file"} <= set(world.secrets_in(dump, world.running)), "canaries are in the dump in clear")
    report = json.loads(run("hvdump-analyze", "triage", dump).stdout)
    compared.equal(report["partitions"][0]["os"]["release"], world.running.kernel.release, "triage needs no key")
    # The same search that finds nothing in a sealed dump finds these: it is able to.
    compared.equal(world.secrets_in(world.both(), world.running), [], "canaries in the sealed dump")
    dump.unlink()
    policy = _policy(world, {"vms": [{"match": "running", "plain": True}]})
    done = capture("qemu", *world.vm("running"), "--policy", policy, "-o", dump, expect=2)
    compared.that(not dump.exists(), f"a mistyped policy is refused: {told(done)}")


def case_guest_levels(world: World, compared: Comparison) -> None:
    """A part of a crashed guest, and memory of it that must not be read."""
    dump, whole, raw = (world.folder / name for name in ("level.hvd", "whole.hvd", "level.raw"))
    key = world.keys["crashed"]

    def taken(policy: dict[str, object], path: Path, expect: int = 0) -> dict[str, object]:
        file = _policy(world, {"vms": [{"match": "crashed", **policy}]})
        capture("qemu", *world.vm("crashed"), *world.to("crashed"), "--policy", file, "-o", path, expect=expect)
        report = run("hvdump-analyze", "triage", path, "--partition", "crashed", "--identity", key,
                     expect=(0, 3)).stdout
        found: dict[str, object] = json.loads(report)["partitions"][0]
        return found
    full = taken({}, whole)
    for level, size in (("kernel", 256 << 20), ("mini", 24 << 20)):
        found = taken({"level": level}, dump)
        compared.equal({k: v for k, v in found.items() if k != "memory"},
                       {k: v for k, v in full.items() if k != "memory"}, f"level {level}: the report but for memory")
        present = found["memory"]["present_bytes"]  # type: ignore[index]
        compared.that(present < size, f"level {level}: {present} bytes of memory")
        run("hvdump-extract", "partition", dump, "crashed", "--identity", key, "--format", "raw", "-o", raw, expect=3)
        compared.equal(set(world.secrets_in(raw, world.crashed)) & {"env", "file"}, set(),
                       f"level {level}: user and file pages")
    pages = [{"begin": "0x100000", "size": 4096, "action": "substitute"}, {"begin": "0x101000", "size": 4096}]
    found = taken({"restricted": pages}, dump)
    compared.equal(found["memory"]["absent"].get("restricted"), 4096, "a page to be skipped")  # type: ignore[index]
    run("hvdump-extract", "partition", dump, "crashed", "--identity", key, "--format", "raw", "-o", raw, expect=3)
    with raw.open("rb") as file:
        file.seek(0x100000)
        compared.equal(file.read(18), b"hvdump: restricted", "a page to be substituted")
    for path in (dump, whole, raw):
        path.unlink()


def case_level_full(world: World, compared: Comparison) -> None:
    """Level full: QEMU's memory, without guest RAM, and only for somebody's key."""
    dump = world.folder / "full.hvd"
    policy = _policy(world, {"hypervisor": {"level": "full"}})
    done = capture("qemu", *world.vm("running"), *world.to("running"), "--policy", policy, "-o", dump, expect=3)
    found = partitions(dump)
    compared.equal((found["hypervisor:running"]["state"], found["running"]["state"]), ("failed", "captured"),
                   f"without a recipient ({told(done)})")
    capture("qemu", *world.vm("running"), *world.to("running"), "--policy", policy, "--recipient",
            f"hypervisor={world.recipients['other']}", "-o", dump)
    found = partitions(dump, 0)
    compared.equal((found["hypervisor:running"]["state"], found["hypervisor:running"]["sealed"]), ("captured", True),
                   "with a recipient: state, sealed")
    image = world.folder / "full.core"
    done = run("hvdump-extract", "hypervisor", dump, "-o", image, expect=None)
    compared.equal((done.returncode, image.exists()), (4, False), "image without the key: exit, file left")
    run("hvdump-extract", "hypervisor", dump, "-o", image, "--identity", world.keys["other"])
    compared.that(image.stat().st_size > 2 << 20, f"image of {image.stat().st_size >> 20} MiB")
    # A register canary may be in QEMU's own CPU state: level full is for those who may see the guest's registers.
    secrets = set(world.secrets_in(image, world.running)) - {"register"}
    compared.equal(secrets, set(), "guest memory in the image")
    image.unlink()
    dump.unlink()


def _start(world: World, *output: str, **options: object) -> subprocess.Popen[bytes]:
    command = [program("hvdump-capture"), "qemu", *world.vm("running"), *world.to("running"), *output]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload,no-any-return]


def case_interrupted(world: World, compared: Comparison) -> None:
    """Ctrl-C: the guest goes on, and what was written can be read."""
    for number in (signal.SIGINT, signal.SIGTERM):
        dump = world.folder / "interrupted.hvd"
        # Nobody reads the pipe, so the capture waits in the middle of it.
        process = _start(world, "-o", "-", stdout=subprocess.PIPE)
        assert process.stdout and process.stderr
        head = process.stdout.read(4 << 20)
        time.sleep(0.5)
        process.send_signal(number)
        time.sleep(0.2)
        rest = process.stdout.read()
        said = process.stderr.read().decode()
        code = process.wait(timeout=300)
        dump.write_bytes(head + rest)
        compared.that(code > 0, f"{number.name}: exit {code}, {said.strip()}", code)
        world.goes_on(compared, number.name)
        found = partitions(dump)
        compared.equal(found["running"]["state"], "incomplete", f"state, {len(head + rest) >> 20} MiB written")
        done = run("hvdump-analyze", "triage", dump, "--identity", world.keys["running"], expect=(0, 3))
        compared.equal(json.loads(done.stdout)["partitions"][0]["state"], "incomplete", "triage opens it")
        dump.unlink()


def case_output_fails(world: World, compared: Comparison) -> None:
    """No room, a limit on file sizes, a reader that goes away: a clear error, and the guest goes on."""
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))

    dump = world.folder / "limited.hvd"
    process = _start(world, "-o", str(dump), stdout=subprocess.DEVNULL, preexec_fn=limit)
    said = process.communicate(timeout=300)[1].decode().strip()
    compared.that(process.returncode == 1 and said, f"limit on file sizes: exit {process.returncode}, {said}")
    world.goes_on(compared, "limit on file sizes")
    if dump.exists():
        compared.equal(partitions(dump).get("running", {}).get("state"), "incomplete", "limit: what was written reads")
        dump.unlink()

    full = full_device(world.folder)
    done = capture("qemu", *world.vm("running"), *world.to("running"), "-o", full, expect=1)
    compared.that("space" in told(done) and full.is_char_device(), f"no room: {told(done)}")
    world.goes_on(compared, "no room")

    process = _start(world, "-o", "-", stdout=subprocess.PIPE)
    assert process.stdout and process.stderr
    os.read(process.stdout.fileno(), 65536)
    process.stdout.close()
    said = process.stderr.read().decode().strip()
    compared.that(process.wait(timeout=300) == 1 and said, f"reader gone: exit {process.returncode}, {said}")
    world.goes_on(compared, "reader gone")

    for path in (world.folder / "none" / "x.hvd", world.folder):
        done = capture("qemu", *world.vm("running"), *world.to("running"), "-o", path, expect=None)
        compared.that(done.returncode in (1, 2) and told(done), f"output {path.name}: {told(done)}", done.returncode)


def case_pipe(world: World, compared: Comparison) -> None:
    """Into a pipe the dump is as good as in a file."""
    dump = world.folder / "pipe.hvd"
    with dump.open("wb") as out:
        process = _start(world, "-o", "-", stdout=subprocess.PIPE)
        subprocess.run(["cat"], stdin=process.stdout, stdout=out, check=True)
        compared.equal(process.wait(timeout=300), 0, "exit")
    compared.equal(partitions(dump, 0)["running"]["state"], "captured", "state")
    verdict = json.loads(run("hvdump-extract", "verify", dump, "--json").stdout)
    compared.equal((verdict["good"], verdict["complete"]), (True, True), "verify: good, complete")
    fifo = world.folder / "fifo"
    os.mkfifo(fifo)
    reader = subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE)
    process = _start(world, "-o", str(fifo))
    assert reader.stdout
    size = len(reader.stdout.read())
    compared.equal((process.wait(timeout=300), reader.wait(timeout=300)), (0, 0), f"a FIFO, {size >> 20} MiB: exits")
    compared.that(fifo.is_fifo() and size > 1 << 20, "it is still a FIFO")
    dump.unlink()


def case_usage(world: World, compared: Comparison) -> None:
    """A command that makes no sense is refused before any guest is stopped."""
    dump = world.folder / "usage.hvd"
    wrong = {"a key that is none": ["--recipient", "running=age1qqqq"], "no name": ["--recipient", "age1qqqq"],
             "a secret key as recipient": ["--recipient", "running=AGE-SECRET-KEY-1QQQ"], "an option": ["--frobnicate"],
             "a policy that is not there": ["--policy", "/none.json"], "the same name twice": world.vm("running")}
    for what, arguments in wrong.items():
        done = capture("qemu", *world.vm("running"), *arguments, "-o", dump, expect=None)
        compared.that(done.returncode in (1, 2) and told(done) and not dump.exists(),
                      f"{what}: exit {done.returncode}, {told(done).splitlines()[0] if told(done) else ''}")
