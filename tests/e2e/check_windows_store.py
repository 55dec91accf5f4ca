"""Checks: PDBs out of symbol stores."""

from __future__ import annotations

import functools
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from check_windows_report import check_cpus
from comparison import Comparison
from product import run
from windows_guest import IMAGES
from windows_product import Windows, tenant_of


def check_store(windows: Windows, compared: Comparison) -> None:
    """PDBs out of symbol stores: a folder, and HTTP on this machine, which has what a folder has."""
    store, images = windows.folder / "store", Path(windows.facts["images"])
    for image, (pdb, _) in IMAGES.items():
        place = store / pdb / windows.truth.image_facts(image)["pdb"]["key"] / pdb
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((images / pdb).read_bytes())
    guest, _ = _analyze(windows, f"srv*{store}")
    check_cpus(windows, compared, guest, True)

    files = sorted(store.glob("*/*/*.pdb"))
    with serve(store) as (address, asked):
        cache = windows.folder / "cache"
        guest, said = _analyze(windows, f"{windows.folder / 'nothing'};srv*{cache}*{address}/")
        check_cpus(windows, compared, guest, True)
        compared.equal((_missing(guest), said), ([], ""), "complaints")
        compared.equal(sorted(asked), sorted(f"/{p.relative_to(store)}" for p in files), "asked for, once each")
        compared.that(all((cache / p.relative_to(store)).read_bytes() == p.read_bytes() for p in files),
                      "the folder in front of the server has them now")
        asked.clear()
        guest, _ = _analyze(windows, f"srv*{cache}*{address}")
        check_cpus(windows, compared, guest, True)
        compared.equal(asked, [], "asked for when they are in the folder")
        # One that the server does not have, and one that is another build's, or none.
        lost = next(p for p in files if p.name == "archive.pdb")
        lost.unlink()
        next(p for p in files if p.name == "tapebus.pdb").write_bytes(b"nothing like a PDB")
        guest, _ = _analyze(windows, f"srv*{windows.folder / 'other'}*{address}")
        names = [f.get("symbol") for f in guest["cpus"][-1 if not windows.crashes else 1]["stack"]]
        compared.that("KeBugCheck2" in names or not windows.crashes, "the kernel's are used", names)
        compared.that("ArchiveFlush" not in names, "the lost ones are not", names)
        compared.that(len(_missing(guest)) == 1 and "tapebus" in _missing(guest)[0], "the wrong one is told", _missing(guest))
        kept = [p.name for p in (windows.folder / "other").glob("*/*/*")]
        compared.equal(kept, ["ntkrnlmp.pdb"], "kept of what was fetched")
    # The server is gone now.
    guest, _ = _analyze(windows, f"srv*{windows.folder / 'third'}*{address}")
    compared.that(len(_missing(guest)) == 1 and address in _missing(guest)[0], "an absent server is told, once", _missing(guest))
    left = [p for p in (windows.folder / "third").rglob("*") if p.is_file()]
    compared.equal(left, [], "half files")


def _analyze(windows: Windows, path: str, *arguments: str) -> tuple[Any, str]:
    """The tenant's part of the report with that _NT_SYMBOL_PATH, and what went to standard error."""
    done = run("hvdump-analyze", "triage", windows.hvd, "--identity", windows.key, *arguments,
               env=os.environ | {"_NT_SYMBOL_PATH": path, "NO_PROXY": "*"})
    return tenant_of(json.loads(done.stdout)), done.stderr.decode()


def _missing(guest: Any) -> list[str]:
    return [f["text"] for f in guest["findings"] if f["rule"] == "symbols-missing"]


@contextmanager
def serve(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """An HTTP server of the folder on loopback: its address, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_: Any) -> None:
            asked.append(self.path)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()
