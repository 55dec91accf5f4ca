// ByteWriter: builds a byte string out of wire structs.
#pragma once

#include "base/bytes.h"

namespace hvd {

class ByteWriter {
 public:
  template <WireStruct T>
  ByteWriter& put(const T& value) {
    append(bytes_, bytes_of(value));
    return *this;
  }
  ByteWriter& put(ByteView bytes) {
    append(bytes_, bytes);
    return *this;
  }
  ByteWriter& u8(std::uint8_t value) {
    bytes_.push_back(std::byte{value});
    return *this;
  }
  ByteWriter& u16(std::uint16_t value) { return put(le16(value)); }
  ByteWriter& u32(std::uint32_t value) { return put(le32(value)); }
  ByteWriter& u64(std::uint64_t value) { return put(le64(value)); }
  ByteWriter& zeros(std::size_t count) {
    bytes_.resize(bytes_.size() + count);
    return *this;
  }
  std::size_t size() const { return bytes_.size(); }
  ByteView view() const { return bytes_; }
  Bytes take() { return std::move(bytes_); }

 private:
  Bytes bytes_;
};

}  // namespace hvd
