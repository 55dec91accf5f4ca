"""Checks: a dump that is cut off or sent over the network, and vmcores of other formats."""

from __future__ import annotations

import filecmp
import json
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from check_memory import mapped
from comparison import Comparison
from host import GUESTS, STATELESS
from machine_pieces import Split, recipients_of
from product import program, run, run_json
from vmcore import ElfDump


def check_torn(folder: Path, split: Split, compared: Comparison) -> None:
    """Power off in the middle: what was complete by then is there."""
    torn = folder / "torn.hvd"
    whole = split.dump.read_bytes()
    torn.write_bytes(whole[:len(whole) * 4 // 5])
    states = {p["name"]: p["state"] for p in run_json("hvdump-extract", "list", torn, "--json",
                                                      expect=3)["partitions"]}
    complete = [name for name, state in states.items() if state == "captured"]
    compared.that("hypervisor" in complete and len(complete) == 2 and "incomplete" in states.values(),
                  f"partitions of a dump cut off at four fifths: {states}")
    image = folder / "torn.elf"
    run("hvdump-extract", "hypervisor", torn, "-o", image, expect=(0, 3))
    compared.that(image.read_bytes() == split.hypervisor.read_bytes(), "the torn dump's hypervisor image is the same")
    torn.unlink()
    image.unlink()


def check_network(folder: Path, keys: dict[str, Path], compared: Comparison) -> None:
    """Over TCP, and what the sender is told when the receiver goes away."""
    recipients = [word for name, key in recipients_of(keys).items() if name in GUESTS
                  for word in ("--recipient", f"{name}={key}")]
    command = ["machine", folder / "vmcore", *recipients, "--stateless", "gamma", "--stateless", "delta"]
    for kill in (False, True):
        arrived = folder / "arrived.hvd"
        receiver = subprocess.Popen([program("hvdump-capture"), "receive", "--listen", "127.0.0.1:0", "-o", arrived],
                                    stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert receiver.stderr is not None
        port = receiver.stderr.readline().split()[-1]
        if kill:
            sender = subprocess.Popen([program("hvdump-capture"), *map(str, command), "-o", f"tcp://127.0.0.1:{port}"],
                                      stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            while sender.poll() is None and (not arrived.exists() or arrived.stat().st_size < 4 << 20):
                time.sleep(0.01)
            receiver.kill()
            said = sender.communicate(timeout=3000)[1]
            compared.that(sender.returncode == 1 and "tcp://127.0.0.1" in said, f"the receiver died: {said.strip()}")
            receiver.wait()
            listed = run("hvdump-extract", "list", arrived, expect=3).stdout.decode()
            compared.that("hypervisor" in listed, "what had come by then is there")
        else:
            run("hvdump-capture", *command, "-o", f"tcp://127.0.0.1:{port}")
            compared.equal(receiver.wait(timeout=300), 0, "the receiver's exit")
            compared.equal(run("hvdump-extract", "verify", arrived).returncode, 0, "verify of what came")
        receiver.stderr.close()
        arrived.unlink()
    # Nobody listens: Ctrl-C ends the wait.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        waiting = subprocess.Popen([program("hvdump-capture"), *map(str, command), "-o",
                                    f"tcp://127.0.0.1:{free.getsockname()[1]}"], stdin=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        time.sleep(2)
        compared.that(waiting.poll() is None, "for some time the receiver may come late")
        waiting.send_signal(signal.SIGINT)
        said = waiting.communicate(timeout=120)[1]
        compared.that(waiting.returncode > 0 and "interrupted" in said, f"Ctrl-C: {waiting.returncode}, {said.strip()}")
    said = run("hvdump-capture", "receive", "--listen", "nowhere", "-o", folder / "no", expect=2).stderr.decode()
    compared.that("expected HOST:PORT" in said, f"a wrong address: {said.strip()}")


def check_inputs(folder: Path, keys: dict[str, Path], split: Split, compared: Comparison) -> None:
    """The same host out of other files: as makedumpfile compresses it, and as a guest in an .hvd."""
    recipient = recipients_of(keys)
    policy = folder / "inputs.json"
    policy.write_text(json.dumps({"vms": [{"match": n, "recipients": [recipient[n]]} for n in GUESTS] + STATELESS}))
    wholly = folder / "host.hvd"
    run("hvdump-capture", "import", folder / "vmcore", "--name", "host", "--recipient", f"host={recipient['alpha']}",
        "-o", wholly)
    inputs: dict[str, list[str | Path]] = {".hvd": [wholly, "--partition", "host", "--identity", keys["alpha"]]}
    if shutil.which("makedumpfile"):
        compressed = folder / "host.kdump"
        compressed.unlink(missing_ok=True)
        subprocess.run(["makedumpfile", "-l", "-d", "0", folder / "vmcore", compressed], check=True, capture_output=True)
        inputs["kdump-compressed"] = [compressed]
    else:
        compared.note("no kdump-compressed input: makedumpfile is not installed")
    for kind, words in inputs.items():
        dump = folder / "inputs.hvd"
        run("hvdump-capture", "machine", *words, "--policy", policy, "-o", dump)
        again = Split(folder, dump, "inputs", keys)
        # Of a kdump-compressed file VMCOREINFO comes without the time of the crash: notes may differ.
        begin = [min(load.offset for load in ElfDump(image).loads) for image in (again.hypervisor, split.hypervisor)]
        with mapped(again.hypervisor) as mine, mapped(split.hypervisor) as whole:
            compared.that(mine[begin[0]:] == whole[begin[1]:], f"{kind}: the hypervisor's memory is the same")
        again.hypervisor.unlink()
        for ours, theirs in (pair for guest in GUESTS for pair in zip(again.of[guest], split.of[guest])):
            # The raw file has what the core has, and gigabytes of holes.
            if ours.suffix != ".raw":
                compared.that(filecmp.cmp(ours, theirs, shallow=False), f"{kind}: {theirs.name} is the same")
            ours.unlink()
        dump.unlink()
        Path(words[0]).unlink()
