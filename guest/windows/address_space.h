// AddressSpace: virtual memory of a Windows system, by page tables or by the pieces that a triage
// dump holds.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "guest/x86_64/virtual_memory.h"

namespace hvd::windows {

class AddressSpace {
 public:
  virtual ~AddressSpace() = default;

  /// All or nothing; kNotMapped, or what the memory below says.
  Result<void> read(VirtAddr at, MutableBytes out) const;
  /// Null when there are only pieces of memory without page tables.
  virtual const PageTables* tables() const { return nullptr; }

  template <WireStruct T>
  Result<T> read(VirtAddr at) const {
    T out{};
    HVD_TRY(read(at, MutableBytes(reinterpret_cast<std::byte*>(&out), sizeof out)));
    return out;
  }
  Result<std::uint64_t> read_u64(VirtAddr at) const { return widened<le64>(at); }
  Result<std::uint64_t> read_u32(VirtAddr at) const { return widened<le32>(at); }
  Result<std::uint64_t> read_u16(VirtAddr at) const { return widened<le16>(at); }
  /// `size` must have been bounded by the caller.
  Result<Bytes> read_bytes(VirtAddr at, std::size_t size) const;
  /// As much of [at, at + size) as can be read from its beginning on, page by page.
  Bytes read_up_to(VirtAddr at, std::size_t size) const;
  /// The bytes up to a NUL or `limit`.
  Result<std::string> read_string(VirtAddr at, std::size_t limit) const;
  /// What a UNICODE_STRING at `at` holds, as UTF-8.
  Result<std::string> read_unicode_string(VirtAddr at) const;

  /// From now on told of everything that is read.
  using Observer = std::function<void(VirtAddr at, std::size_t size)>;
  void observe(Observer observer) { observer_ = std::move(observer); }

 private:
  virtual Result<void> read_all(VirtAddr at, MutableBytes out) const = 0;
  Observer observer_;

  template <WireStruct T>
  Result<std::uint64_t> widened(VirtAddr at) const {
    const T value = HVD_TRY(read<T>(at));
    return std::uint64_t{value};
  }
};

class PagedSpace final : public AddressSpace {
 public:
  /// `memory` must outlive the object.
  PagedSpace(const PhysicalMemory& memory, PageTables tables) : memory_(memory, tables) {}
  const PageTables* tables() const override { return &memory_.tables(); }

 private:
  Result<void> read_all(VirtAddr at, MutableBytes out) const override {
    return memory_.read(at, out);
  }
  const VirtualMemory memory_;
};

/// Memory that is by virtual address already.
class PieceSpace final : public AddressSpace {
 public:
  explicit PieceSpace(const PhysicalMemory& pieces) : pieces_(pieces) {}

 private:
  Result<void> read_all(VirtAddr at, MutableBytes out) const override {
    return pieces_.read(PhysAddr{at.value}, out);
  }
  const PhysicalMemory& pieces_;
};

}  // namespace hvd::windows
