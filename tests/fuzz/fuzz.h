// What every fuzz entry shares.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/physical_memory.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace hvd::fuzz {

inline ByteView bytes_of_input(const std::uint8_t* data, std::size_t size) {
  return ByteView(reinterpret_cast<const std::byte*>(data), size);
}

/// A promise that was broken: the same for libFuzzer and for the replay.
inline void require(bool holds) {
  if (!holds) std::abort();
}

/// Walks and reads a memory as everything behind the readers does, within a bound.
inline void walk(const PhysicalMemory& memory) {
  Bytes page(kPageSize);
  int steps = 0;
  for (const PhysRange& range : memory.ranges()) {
    for (std::uint64_t offset = 0; offset < range.size;) {
      if (++steps > 64) return;
      const PhysAddr at = range.begin + offset;
      const Extent extent = memory.extent_at(at);
      require(extent.range.begin == at && extent.range.size > 0);
      const std::size_t size = static_cast<std::size_t>(
          std::min<std::uint64_t>({page.size(), extent.range.size, range.size - offset}));
      const bool readable = memory.read(at, MutableBytes(page).first(size)).has_value();
      if (readable)
        require(extent.kind == Extent::Kind::kStored || extent.kind == Extent::Kind::kZero);
      offset += extent.range.size;
    }
  }
}

/// Writes over `memory` what the input says, for up to 64 patches: a place in its `pages` (u32), a
/// length (u8), the bytes.
template <typename Memory>
void patch(Memory& memory, const std::vector<PhysAddr>& pages, ByteView input) {
  for (int i = 0; i < 64 && input.size() >= 5; ++i) {
    le32 place = 0;
    std::memcpy(&place, input.data(), sizeof place);
    const std::size_t size =
        std::min<std::size_t>(std::to_integer<std::size_t>(input[4]) % 64, input.size() - 5);
    const std::uint64_t at = place % (pages.size() * kPageSize);
    const std::size_t fits = std::min<std::size_t>(size, kPageSize - at % kPageSize);
    memory.write(pages[at / kPageSize] + at % kPageSize, input.subspan(5, fits));
    input = input.subspan(5 + size);
  }
}

}  // namespace hvd::fuzz
