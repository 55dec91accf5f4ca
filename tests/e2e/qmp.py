"""A small QMP client: one command at a time, events skipped."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any


class QmpError(RuntimeError):
    """QEMU refused a command, or closed the connection."""


class Qmp:
    """A connection to a QMP socket.

    QEMU serves one client at a time: while this is open, another one hangs, so close it before
    handing the guest to a program that wants the socket for itself.
    """

    def __init__(self, path: Path, timeout: float = 600) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._socket.connect(str(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                # QEMU has not got that far yet.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self._lines = self._socket.makefile("r", encoding="utf-8")
        self._receive()  # the greeting
        self.execute("qmp_capabilities")

    def _receive(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise QmpError("QEMU closed the QMP connection")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def execute(self, command: str, **arguments: Any) -> Any:
        """The command's result; its arguments are named as in QMP, with _ for - ."""
        renamed = {name.rstrip("_").replace("_", "-"): value for name, value in arguments.items()}
        message = {"execute": command, "arguments": renamed}
        self._socket.sendall(json.dumps(message).encode() + b"\n")
        while True:
            reply = self._receive()
            if "error" in reply:
                raise QmpError(f"{command}: {reply['error']['desc']}")
            if "return" in reply:
                return reply["return"]

    def close(self) -> None:
        self._lines.close()
        self._socket.close()
