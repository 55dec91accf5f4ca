// WrittenSpace: virtual memory that has what was written to it, and nothing else.
#pragma once

#include <map>

#include "guest/address_space.h"
#include "tests/support/arm64_functions.h"

namespace hvd {

class WrittenSpace final : public AddressSpace {
 public:
  using AddressSpace::read;
  Result<void> read(VirtAddr at, MutableBytes out) const override {
    for (std::byte& byte : out) {
      const auto found = bytes_.find(at.value);
      if (found == bytes_.end()) return Error{ErrorCode::kNotMapped, "not mapped"};
      byte = found->second;
      at = at + 1;
    }
    return {};
  }
  void write(VirtAddr at, ByteView bytes) {
    for (const std::byte byte : bytes) bytes_[at.value] = byte, at = at + 1;
  }
  void write_u64(std::uint64_t at, std::uint64_t value) {
    write(VirtAddr{at}, bytes_of(le64(value)));
  }

 private:
  std::map<std::uint64_t, std::byte> bytes_;
};

inline void load_arm64_functions(WrittenSpace& space, VirtAddr base) {
  for (const ImagePiece& piece : arm64_functions()) {
    for (std::size_t i = 0; i < piece.words.size(); ++i)
      space.write(base + piece.rva + i * 4, bytes_of(le32(piece.words[i])));
  }
}

}  // namespace hvd
