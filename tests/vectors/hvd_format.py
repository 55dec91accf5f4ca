"""Constants, hashes and codecs of the .hvd format, as formats/hvd/SPEC.md words them."""

from __future__ import annotations

import hashlib
import io
import json
import struct

import lz4.block
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from blake3 import blake3

FILE_MAGIC, RECORD_MAGIC = bytes.fromhex("89485644554d500a"), b"HVDR"
DUMP, PARTITION, KEY_SLOT, FACTS, NOTE, REGISTERS, CHUNK, MAP, MAP_INDEX, SUMMARY, PARTITION_END = range(1, 12)
CHECKPOINT, INDEX, FOOTER = 12, 13, 14
SEALABLE = range(FACTS, SUMMARY + 1)
NOBODY = 0xFFFFFFFF
PAGE, SEGMENT_PAGES, LIMIT = 4096, 16384, 16 << 20
SUITE, X86_64 = 1, 62
CLASSES = ["kernel", "user", "page-cache", "vmm", "registers", "unclassified"]
REASONS = ["zero", "stateless", "filtered-free", "filtered-class", "restricted", "unreadable", "redacted", "budget",
           "swapped"]
REGISTER_NAMES = (
    "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags orig_rax cr0 cr2 cr3 cr4 cr8 efer "
    "fs_base gs_base kernel_gs_base cs ss ds es fs gs ldtr tr ldtr_base tr_base gdtr_base gdtr_limit idtr_base "
    "idtr_limit").split()


class Refused(Exception):
    """The file as a whole cannot be read."""


class Damaged(Exception):
    """One record or piece cannot be used; the rest goes on."""


class Sealed(Exception):
    """The key for this piece was not given."""


def h(data: bytes) -> bytes:
    return blake3(data)


def hk(dump_id: bytes, data: bytes) -> bytes:
    return blake3(data, dump_id + bytes(16))


def gcm_seal(data: bytes, bound: bytes, nonce: bytes, key: bytes) -> bytes:
    return AESGCM(key).encrypt(nonce, data, bound)


def gcm_open(sealed: bytes, bound: bytes, nonce: bytes, key: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(nonce, sealed, bound)
    except InvalidTag:
        raise Damaged("does not authenticate") from None


def commitment(name: str, key: bytes) -> str:
    """What a PARTITION record says of the key "map", or of that of a class."""
    text = b"hvdump key commitment v1 " + name.encode() + b"\0" + key
    return hashlib.blake2b(text, digest_size=32).hexdigest()


def derive(key: bytes, number: int, context: bytes) -> bytes:
    """libsodium's crypto_kdf_derive_from_key."""
    return hashlib.blake2b(b"", digest_size=32, key=key, salt=number.to_bytes(16, "little"),
                           person=context.ljust(16, b"\0")).digest()


def parse_json(data: bytes) -> dict:
    def reject(word: str) -> None:
        raise ValueError(word)
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=reject)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"JSON: {error}") from None
    if not isinstance(value, dict):
        raise Damaged("JSON payload is no object")
    return value


def unpack(layout: str, data: bytes, at: int = 0) -> tuple:
    try:
        return struct.unpack_from("<" + layout, data, at)
    except struct.error:
        raise Damaged("too short") from None


def decompress(codec: int, data: bytes, size: int) -> bytes:
    """The caller has bounded `size`; nothing larger is ever produced."""
    try:
        if codec == 0:
            out = data
        elif codec == 1:
            out = lz4.block.decompress(data, uncompressed_size=size)
        elif codec == 2:
            out = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read(size + 1)
            if len(out) == size:  # Now known to be small: is it one whole frame and nothing else?
                frame = zstandard.ZstdDecompressor().decompressobj()
                if frame.decompress(data) != out or not frame.eof or frame.unused_data:
                    raise Damaged("not one Zstandard frame")
        else:
            raise Damaged(f"unknown codec {codec}")
    except (lz4.block.LZ4BlockError, zstandard.ZstdError) as error:
        raise Damaged(f"codec {codec}: {error}") from None
    if len(out) != size:
        raise Damaged(f"{len(out)} bytes where {size} were promised")
    return out
