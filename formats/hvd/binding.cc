#include "formats/hvd/binding.h"

#include <cstring>

#include "base/byte_writer.h"

namespace hvd::format {

SealedPiece piece_at(const Place& place, KeyName key) {
  SealedPiece piece;
  piece.key = key;
  ByteWriter nonce;
  nonce.u16(static_cast<std::uint16_t>(place.type)).u16(place.part).u64(place.sequence);
  std::memcpy(piece.nonce.data(), nonce.view().data(), nonce.size());

  ByteWriter bound;
  bound.put(as_bytes("hvd1")).put(std::as_bytes(std::span(place.file)));
  bound.u16(static_cast<std::uint16_t>(place.type))
      .u16(place.part)
      .u32(place.partition)
      .u64(place.sequence);
  bound.u8(place.page_class).u8(place.codec).u16(0);
  piece.associated_data = bound.take();
  return piece;
}

KeyName key_for(RecordType type) {
  switch (type) {
    case RecordType::kNote: return KeyName::of(PageClass::kKernel);
    case RecordType::kRegisters: return KeyName::of(PageClass::kRegisters);
    default: return KeyName::map();
  }
}

}  // namespace hvd::format
