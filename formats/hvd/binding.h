// What a sealed piece is bound to, and its nonce (SPEC.md, "Sealing").
#pragma once

#include "base/envelope.h"
#include "formats/hvd/integrity.h"
#include "formats/hvd/layout.h"

namespace hvd::format {

/// Where a sealed piece stands. `part` tells a chunk's descriptor (0) from its data (1); class and
/// codec are bound for chunk data and zero elsewhere.
struct Place {
  Hash file{};  // H(file header)
  RecordType type = RecordType::kChunk;
  std::uint32_t partition = 0;
  std::uint64_t sequence = 0;
  std::uint16_t part = 0;
  std::uint8_t page_class = 0;
  std::uint8_t codec = 0;
};

SealedPiece piece_at(const Place& place, KeyName key);

/// The key that seals a record type other than chunk data.
KeyName key_for(RecordType type);

}  // namespace hvd::format
