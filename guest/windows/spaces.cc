#include "guest/windows/spaces.h"

#include <algorithm>

#include "base/text.h"

namespace hvd::windows {
namespace {

// Arm Architecture Reference Manual, "VMSAv8-64 translation table format descriptors". Windows has
// TTBR1 point into the page that TTBR0 points to, so that one walk serves both.
class Arm64Space final : public AddressSpace {
 public:
  Arm64Space(const PhysicalMemory& memory, PhysAddr root) : memory_(memory), root_(root) {}

  using AddressSpace::read;
  Result<void> read(VirtAddr at, MutableBytes out) const override {
    while (!out.empty()) {
      const std::size_t room = kPageSize - static_cast<std::size_t>(at.value % kPageSize);
      const std::size_t size = std::min<std::size_t>(room, out.size());
      const PhysAddr phys = HVD_TRY(translate(at));
      HVD_TRY(memory_.read(phys, out.first(size)));
      out = out.subspan(size);
      at = at + size;
    }
    return {};
  }

 private:
  Result<PhysAddr> translate(VirtAddr at) const {
    constexpr std::uint64_t kAddress = 0x0000fffffffff000, kValid = 1, kTable = 2;
    std::uint64_t table = root_.value & kAddress;
    for (unsigned shift = 39;; shift -= 9) {
      const auto index = at.value >> shift & 511;
      const std::uint64_t entry = HVD_TRY(memory_.read<le64>(PhysAddr{table + index * 8}));
      const std::uint64_t within = (std::uint64_t{1} << shift) - 1;
      // A page has the bit that a table has, a block has not; the first level has no blocks.
      const bool leaf = shift == 12 || !(entry & kTable);
      const bool allowed = shift == 12 ? (entry & kTable) != 0 : !leaf || shift != 39;
      if (!(entry & kValid) || !allowed)
        return Error{ErrorCode::kNotMapped, hex(at.value) + " is not mapped"};
      if (leaf) return PhysAddr{(entry & kAddress & ~within) | (at.value & within)};
      table = entry & kAddress;
    }
  }

  const PhysicalMemory& memory_;
  const PhysAddr root_;
};

}  // namespace

std::unique_ptr<AddressSpace> open_space(const PhysicalMemory& memory, PhysAddr root,
                                         Paging paging) {
  root = PhysAddr{root.value & kFrameMask};
  if (paging == Paging::kArm64) return std::make_unique<Arm64Space>(memory, root);
  return std::make_unique<VirtualMemory>(memory,
                                         PageTables(memory, root, paging == Paging::kX64FiveLevel));
}

bool maps_shared_data(const AddressSpace& space) {
  // Its first words are the tick count and its multiplier.
  return space.read_u64(kSharedUserData).has_value();
}

Result<std::string> read_unicode_string(const AddressSpace& space, VirtAddr at) {
  constexpr std::uint64_t kMaxBytes = 2048;
  const std::uint64_t size = HVD_TRY(space.read_u16(at));
  const VirtAddr buffer{HVD_TRY(space.read_u64(at + 8))};
  if (size > kMaxBytes || size % 2 != 0)
    return Error{ErrorCode::kCorrupt,
                 "the string at " + hex(at.value) + " has " + std::to_string(size) + " bytes"};
  const Bytes text = HVD_TRY(space.read_bytes(buffer, static_cast<std::size_t>(size)));
  return from_utf16(text);
}

}  // namespace hvd::windows
