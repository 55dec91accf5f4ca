// AddressSpace: virtual memory of a machine, whatever gives it: page tables, or the pieces of it
// that a dump holds.
#pragma once

#include <string>

#include "base/address.h"
#include "base/bytes.h"
#include "base/result.h"

namespace hvd {

class PageTables;

class AddressSpace {
 public:
  virtual ~AddressSpace() = default;

  /// All or nothing. kNotMapped, or what the memory below says.
  virtual Result<void> read(VirtAddr at, MutableBytes out) const = 0;
  /// Null when there are only pieces of memory, without page tables.
  virtual const PageTables* page_tables() const { return nullptr; }

  template <WireStruct T>
  Result<T> read(VirtAddr at) const {
    T out{};
    HVD_TRY(read(at, MutableBytes(reinterpret_cast<std::byte*>(&out), sizeof out)));
    return out;
  }
  Result<std::uint64_t> read_u64(VirtAddr at) const { return widened<le64>(at); }
  Result<std::uint64_t> read_u32(VirtAddr at) const { return widened<le32>(at); }
  Result<std::uint64_t> read_u16(VirtAddr at) const { return widened<le16>(at); }
  /// `size` 1, 2, 4 or 8 bytes, little-endian.
  Result<std::uint64_t> read_unsigned(VirtAddr at, std::size_t size) const;

  /// The bytes up to a NUL or `limit`.
  Result<std::string> read_string(VirtAddr at, std::size_t limit) const;

  /// `size` must have been bounded by the caller.
  Result<Bytes> read_bytes(VirtAddr at, std::size_t size) const;
  /// As much of [at, at + size) as can be read from its beginning on, page by page.
  Bytes read_up_to(VirtAddr at, std::size_t size) const;

 private:
  template <WireStruct T>
  Result<std::uint64_t> widened(VirtAddr at) const {
    const T value = HVD_TRY(read<T>(at));
    return std::uint64_t{value};
  }
};

}  // namespace hvd
