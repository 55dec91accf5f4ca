// What a Windows system's virtual memory comes from, and what is the same in every one of them.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "guest/x86_64/virtual_memory.h"

namespace hvd::windows {

/// KUSER_SHARED_DATA, which every address space of every Windows maps here.
inline constexpr VirtAddr kSharedUserData{0xfffff78000000000};

/// The part of a page table's address, or of CR3, that is an address.
inline constexpr std::uint64_t kFrameMask = 0x000ffffffffff000;

/// Whether an address is in the kernel's half, with 4-level page tables.
inline bool is_kernel_address(std::uint64_t address) { return address >> 47 == 0x1ffff; }

/// How a system's page tables are built.
enum class Paging {
  kX64FourLevel,
  kX64FiveLevel,
  kArm64,  // 4 KiB pages, 4 levels; both halves of the address space in one root
};

/// Memory as those page tables have it; `memory` must outlive the result.
std::unique_ptr<AddressSpace> open_space(const PhysicalMemory& memory, PhysAddr root,
                                         Paging paging);

/// Whether it is that of a Windows: what is there does not matter.
bool maps_shared_data(const AddressSpace& space);

/// Memory that is by virtual address already, as in a triage dump.
class PieceSpace final : public AddressSpace {
 public:
  explicit PieceSpace(const PhysicalMemory& pieces) : pieces_(pieces) {}
  using AddressSpace::read;
  Result<void> read(VirtAddr at, MutableBytes out) const override {
    return pieces_.read(PhysAddr{at.value}, out);
  }

 private:
  const PhysicalMemory& pieces_;
};

/// Told of everything that is read.
using ReadObserver = std::function<void(VirtAddr at, std::size_t size)>;

class ObservedSpace final : public AddressSpace {
 public:
  ObservedSpace(std::unique_ptr<const AddressSpace> space, ReadObserver observer)
      : space_(std::move(space)), observer_(std::move(observer)) {}
  using AddressSpace::read;
  Result<void> read(VirtAddr at, MutableBytes out) const override {
    observer_(at, out.size());
    return space_->read(at, out);
  }
  const PageTables* page_tables() const override { return space_->page_tables(); }

 private:
  const std::unique_ptr<const AddressSpace> space_;
  const ReadObserver observer_;
};

/// What a UNICODE_STRING at `at` holds, as UTF-8.
Result<std::string> read_unicode_string(const AddressSpace& space, VirtAddr at);

}  // namespace hvd::windows
