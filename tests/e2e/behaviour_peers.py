"""Cases: QMP sockets that are absent, busy, or served by somebody who is no QEMU."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable

from behaviour import World, capture, partitions, told
from comparison import Comparison
from product import run

GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}}


def _serve(world: World, talk: Callable[[socket.socket], None]) -> str:
    """A peer for one connection; the path of its socket."""
    path = str(world.running.qmp_path.parent / "peer")
    world.running.qmp_path.with_name("peer").unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(1)

    def run_once() -> None:
        try:
            connection = server.accept()[0]
            with connection:
                talk(connection)
        except OSError:
            pass  # it hung up on us
        finally:
            server.close()

    threading.Thread(target=run_once, daemon=True).start()
    return path


def _line(connection: socket.socket, value: object) -> None:
    connection.sendall(json.dumps(value).encode() + b"\n")


def _answer(connection: socket.socket, answers: dict[str, object]) -> None:
    """A QEMU of few words: greets, and answers what it is asked from a table."""
    _line(connection, GREETING)
    with connection.makefile("r") as lines:
        for line in lines:
            asked = json.loads(line)
            value = answers.get(asked["execute"], {})
            _line(connection, {"return": value} | ({"id": asked["id"]} if "id" in asked else {}))


def _flood(connection: socket.socket) -> None:
    for _ in range(1 << 12):
        connection.sendall(b"x" * (1 << 18))


def _chatter(connection: socket.socket) -> None:
    _line(connection, GREETING)
    for _ in range(1 << 22):
        _line(connection, {"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 1}})


_LAYOUT = "FlatView #0\n AS \"memory\", root: system\n  0000000000000000-ffffffffffffefff (prio 0, ram): ram\n"
PEERS: dict[str, Callable[[socket.socket], None]] = {
    "hangs up": lambda c: None,
    "garbage": lambda c: c.sendall(b"\x00\xff{]\n" * 100),
    "endless line": _flood,
    "endless events": _chatter,
    "deep nesting": lambda c: c.sendall(b"[" * 1000000 + b"\n"),
    "greets and hangs up": lambda c: _line(c, GREETING),
    "answers nonsense": lambda c: _answer(c, {"query-name": [1, 2], "query-uuid": 7, "query-status": "x"}),
    "no QEMU": lambda c: _answer(c, {
        "query-status": {"status": "running", "running": True}, "query-name": {"name": "x"},
        "query-uuid": {"UUID": "00000000-0000-0000-0000-000000000000"}, "query-version": GREETING["QMP"]["version"],  # type: ignore[index]
        "human-monitor-command": _LAYOUT, "query-cpus-fast": [], "query-memdev": []}),
}


def _with_bad(world: World, compared: Comparison, what: str, path: str) -> None:
    """A capture of a bad guest and a good one: the good one is captured."""
    dump = world.folder / "peer.hvd"
    started = time.monotonic()
    recipients = ["--recipient", f"*={world.recipients['other']}"]
    done = capture("qemu", "--vm", f"bad={path}", *world.vm("running"), *recipients, "-o", dump, expect=None,
                   timeout=900)
    seconds = time.monotonic() - started
    found = partitions(dump)
    compared.equal((done.returncode, found["bad"]["state"], found["running"]["state"]), (3, "failed", "captured"),
                   f"{what}, {seconds:.1f} s: exit, state, the other's state ({told(done)[:200]})")
    compared.that(found["bad"]["reason"], f"reason in the dump: {found['bad']['reason'][:200]}")
    world.goes_on(compared, what)
    dump.unlink()


def case_absent(world: World, compared: Comparison) -> None:
    """A socket that is not there, or is no socket."""
    _with_bad(world, compared, "absent", "/none/qmp")
    _with_bad(world, compared, "a file", str(world.keys["other"]))


def case_busy(world: World, compared: Comparison) -> None:
    """Somebody else holds the QMP socket."""
    world.crashed.status()  # and stay connected
    try:
        _with_bad(world, compared, "busy", str(world.crashed.qmp_path))
    finally:
        world.crashed.release_qmp()


def case_peers(world: World, compared: Comparison) -> None:
    """Peers that speak no QMP, or lie."""
    for what, talk in PEERS.items():
        _with_bad(world, compared, what, _serve(world, talk))


def case_passphrase(world: World, compared: Comparison) -> None:
    """A passphrase instead of a key."""
    words, wrong = world.folder / "words", world.folder / "wrong-words"
    words.write_text("correct horse battery staple\n")
    wrong.write_text("incorrect horse\n")
    dump = world.folder / "passphrase.hvd"
    capture("qemu", *world.vm("crashed"), "--passphrase", f"crashed={words}", "-o", dump)
    report = json.loads(run("hvdump-analyze", "triage", dump, "--passphrase-file", words).stdout)
    compared.equal(report["partitions"][0]["crash"]["kind"], "panic", "triage with the passphrase")
    done = run("hvdump-analyze", "log", dump, "--passphrase-file", wrong, expect=None)
    compared.equal((done.returncode, done.stdout), (4, b""), f"with another one: exit, output ({told(done)})")
    done = run("hvdump-analyze", "log", dump, "--identity", world.keys["crashed"], expect=None)
    compared.equal((done.returncode, done.stdout), (4, b""), f"with a key: exit, output ({told(done)})")
    dump.unlink()
