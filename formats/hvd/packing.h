// Compression of chunk data and of metadata blocks (SPEC.md, "Codecs" and "Packed blocks").
#pragma once

#include "base/bytes.h"
#include "base/result.h"
#include "formats/hvd/layout.h"

namespace hvd::format {

struct Compressed {
  Codec codec = Codec::kNone;
  ByteView data;  // of the room given, or of what was to be compressed
};

/// Compresses with `wanted` into `room`, which grows as needed and serves the next call too; leaves
/// `raw` as it is when that does not save at least one part in 32.
Compressed compress(Codec wanted, ByteView raw, Bytes& room);

/// Exactly `raw_size` bytes, or kCorrupt. The caller has bounded `raw_size`; kUnsupported for an
/// unknown codec.
Result<Bytes> decompress(std::uint8_t codec, ByteView data, std::size_t raw_size);

/// A metadata block: header, then the bytes, compressed when it pays.
Bytes pack(ByteView raw);
Result<Bytes> unpack(ByteView packed, const std::string& what);

}  // namespace hvd::format
