"""The keyless check of a whole dump: checkpoints, signatures, index and footer."""

from __future__ import annotations

import struct

import nacl.exceptions
import nacl.signing

from hvd_format import CHECKPOINT, CHUNK, FOOTER, INDEX, MAP, h
from hvd_reader import Dump


def problems(dump: Dump) -> list[str]:
    """What keeps this file from being proved whole; needs no key."""
    bad: list[str] = []
    key = nacl.signing.VerifyKey(dump.signer)
    node, open_records, all_records, at_node = h(dump.header), [], [], {}
    before, dump.problems = dump.problems, []
    for position, record in enumerate(dump.scan()):
        all_records.append(record)
        if record.number != position:
            bad.append(f"record {position} says it is number {record.number}")
        if record.type == CHECKPOINT:
            body = record.payload[:-64]
            own = struct.pack("<QII", open_records[0].number if open_records else record.number,
                              len(open_records), 0)
            want = own[:12] + body[12:16] + node + b"".join(r.leaf for r in open_records)
            if body != want or len(body) > 48 + (32 << 16) or body[:8] != record.sequence.to_bytes(8, "little"):
                bad.append(f"checkpoint at {record.offset}: not of the records before it")
            node, open_records = dump.hk(body), []
            at_node[record.offset] = node
            try:
                key.verify(b"hvdump checkpoint v1" + dump.id + node, record.payload[-64:])
            except (nacl.exceptions.CryptoError, ValueError):
                bad.append(f"checkpoint at {record.offset}: bad signature")
        elif record.type == FOOTER:
            bad += [f"{len(open_records)} records before a footer are not covered"] if open_records else []
        else:
            open_records.append(record)
    bad, dump.problems = dump.problems + bad, before
    if dump.footer is None:
        return bad + ["no good footer"]
    index = [r for r in all_records if r.offset == dump.footer["index_offset"] and r.type == INDEX]
    entries = b"".join(struct.pack("<HHIQQ", r.type, 0, r.partition, r.sequence, r.offset) for r in all_records
                       if r.type not in (CHUNK, MAP) and index and r.offset < index[0].offset)
    if not index or index[0].payload != struct.pack("<II", len(entries) // 24, 0) + entries:
        bad.append("the index does not name the records before it")
    last = max(at_node, default=None)
    if (last, at_node.get(last)) != (dump.footer["checkpoint_offset"], dump.footer["node"]):
        bad.append("the footer is not of the last checkpoint")
    if dump.footer["record_count"] != len(all_records):
        bad.append("the footer counts other records")
    return bad
