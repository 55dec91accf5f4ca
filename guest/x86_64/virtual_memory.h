// VirtualMemory: memory as a CPU with given page tables sees it.
#pragma once

#include <string>
#include <unordered_map>

#include "guest/x86_64/paging.h"

namespace hvd {

class VirtualMemory {
 public:
  /// `memory` must outlive the object. Not safe to use from several threads: translations are
  /// remembered.
  VirtualMemory(const PhysicalMemory& memory, PageTables tables)
      : memory_(&memory), tables_(tables) {}

  /// All or nothing. kNotMapped, or what the physical memory says.
  Result<void> read(VirtAddr at, MutableBytes out) const;

  template <WireStruct T>
  Result<T> read(VirtAddr at) const {
    T out{};
    HVD_TRY(read(at, MutableBytes(reinterpret_cast<std::byte*>(&out), sizeof out)));
    return out;
  }
  Result<std::uint64_t> read_u64(VirtAddr at) const { return widened<le64>(at); }
  Result<std::uint64_t> read_u32(VirtAddr at) const { return widened<le32>(at); }
  /// `size` 1, 2, 4 or 8 bytes, little-endian.
  Result<std::uint64_t> read_unsigned(VirtAddr at, std::size_t size) const;

  /// The bytes up to a NUL or `limit`.
  Result<std::string> read_string(VirtAddr at, std::size_t limit) const;

  /// `size` must have been bounded by the caller.
  Result<Bytes> read_bytes(VirtAddr at, std::size_t size) const;

  const PageTables& tables() const { return tables_; }
  const PhysicalMemory& physical() const { return *memory_; }

 private:
  template <WireStruct T>
  Result<std::uint64_t> widened(VirtAddr at) const {
    const T value = HVD_TRY(read<T>(at));
    return std::uint64_t{value};
  }
  Result<PhysAddr> translate(VirtAddr at) const;
  const PhysicalMemory* memory_;
  PageTables tables_;
  mutable std::unordered_map<std::uint64_t, std::uint64_t> known_;  // page by page
};

}  // namespace hvd
