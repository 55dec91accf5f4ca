#include "guest/windows/function_table.h"

#include "base/windows_header.h"

namespace hvd::windows {
namespace {

// RUNTIME_FUNCTION of x64: begin, end, place of the unwind data.
Result<Function> read_entry(const AddressSpace& space, VirtAddr at) {
  struct Entry {
    le32 begin, end, info;
  };
  const auto entry = HVD_TRY(space.read<Entry>(at));
  return Function{entry.begin, entry.end, entry.info};
}

// Of ARM64: begin, and either the place of the unwind data or, packed in the word, the data. Either
// begins with the length in words of code.
Result<Function> read_arm64_entry(const AddressSpace& space, VirtAddr image, VirtAddr at) {
  struct Entry {
    le32 begin, info;
  };
  const auto entry = HVD_TRY(space.read<Entry>(at));
  const std::uint32_t info = entry.info;
  std::uint32_t words = info >> 2 & 0x7ff;
  if ((info & 3) == 0) {
    const std::uint64_t head = HVD_TRY(space.read_u32(image + info));
    words = static_cast<std::uint32_t>(head & 0x3ffff);
  }
  return Function{entry.begin, entry.begin + words * 4, info};
}

std::uint32_t entry_size(const PeImage& image) { return image.machine() == kMachineArm64 ? 8 : 12; }

Result<Function> entry_at(const AddressSpace& space, const PeImage& image, std::uint32_t index) {
  const VirtAddr at =
      image.base() + image.unwind_table().rva + std::uint64_t{index} * entry_size(image);
  if (image.machine() == kMachineArm64) return read_arm64_entry(space, image.base(), at);
  return read_entry(space, at);
}

// The number of entries that begin at `rva` or before.
Result<std::uint32_t> entries_up_to(const AddressSpace& space, const PeImage& image,
                                    std::uint32_t rva) {
  std::uint32_t low = 0, high = image.unwind_table().size / entry_size(image);
  while (low < high) {
    const std::uint32_t middle = low + (high - low) / 2;
    // All entries begin with where the function does.
    const std::uint64_t begin = HVD_TRY(space.read_u32(image.base() + image.unwind_table().rva +
                                                       std::uint64_t{middle} * entry_size(image)));
    if (rva < begin) high = middle;
    else low = middle + 1;
  }
  return low;
}

}  // namespace

Result<std::optional<Function>> find_function(const AddressSpace& space, const PeImage& image,
                                              std::uint32_t rva) {
  const std::uint32_t count = HVD_TRY(entries_up_to(space, image, rva));
  if (count == 0) return std::optional<Function>();
  Function out = HVD_TRY(entry_at(space, image, count - 1));
  if (rva >= out.end) return std::optional<Function>();
  // The low bit leads to another entry.
  if (image.machine() == kMachineAmd64 && out.info & 1) {
    const Function other = HVD_TRY(read_entry(space, image.base() + (out.info & ~1u)));
    out.info = other.info;
  }
  return std::optional(out);
}

Result<std::optional<Function>> chained_function(const AddressSpace& space, const PeImage& image,
                                                 std::uint32_t info) {
  constexpr std::uint32_t kChainInfo = 4;  // UNW_FLAG_CHAININFO
  const VirtAddr at = image.base() + info;
  const std::uint64_t head = HVD_TRY(space.read_u32(at));
  const std::uint64_t flags = head >> 3 & 0x1f, count = head >> 16 & 0xff;
  if (!(flags & kChainInfo)) return std::optional<Function>();
  // Behind the codes, of which there is an even number, comes the function it belongs to.
  const Function next = HVD_TRY(read_entry(space, at + 4 + (count + 1) / 2 * 4));
  return std::optional(next);
}

bool may_be_named(const AddressSpace& space, const PeImage& image, std::uint32_t name_at,
                  std::uint32_t rva) {
  const auto count = entries_up_to(space, image, rva);
  if (!count || *count == 0) return true;
  const auto entry = entry_at(space, image, *count - 1);
  if (!entry) return true;
  if (rva >= entry->end) return name_at >= entry->end;  // a leaf
  if (name_at >= entry->begin) return true;
  if (image.machine() == kMachineArm64) return false;
  // A part of a function, perhaps far from it: then the name is that of its first part.
  const auto found = find_function(space, image, rva);
  Function primary = found && *found ? **found : *entry;
  for (int chain = 0; chain < kMaxChained; ++chain) {
    const auto next = chained_function(space, image, primary.info);
    if (!next || !*next) break;
    primary = **next;
  }
  return name_at >= primary.begin && name_at < primary.end;
}

}  // namespace hvd::windows
