#include "guest/linux/xarray.h"

#include "base/text.h"

namespace hvd::linux_guest {
namespace {

constexpr unsigned kMaxShift = 60;  // of a node: 64 bits of index in steps of 6
constexpr std::uint64_t kMaxInternal = 4096;
constexpr std::uint64_t kMaxSlots = 64;
constexpr std::size_t kMaxLevels = 11;

bool is_node(std::uint64_t entry) { return (entry & 3) == 2 && entry > kMaxInternal; }
bool is_internal(std::uint64_t entry) { return (entry & 3) == 2; }
bool is_sibling(std::uint64_t entry) { return is_internal(entry) && entry >> 2 < kMaxSlots; }

class Walk {
 public:
  using Visit = std::function<bool(const XarrayEntry&)>;
  Walk(const Kernel& kernel, std::uint64_t first, std::uint64_t last, std::size_t limit,
       const Visit& visit)
      : kernel_(kernel),
        first_(first),
        last_(last),
        left_(limit),
        nodes_left_(limit * kMaxLevels + 1),
        visit_(visit) {}

  Result<void> run(VirtAddr xarray) {
    const Types& types = *HVD_TRY(kernel_.need_types());
    const Member head = HVD_TRY(types.member("xarray", "xa_head"));
    shift_ = HVD_TRY(types.member("xa_node", "shift"));
    slots_ = HVD_TRY(types.member("xa_node", "slots"));
    if (slots_.elements == 0 || slots_.elements > kMaxSlots)
      return Error{ErrorCode::kUnsupported, "xa_node has an unknown layout"};
    const std::uint64_t entry = HVD_TRY(kernel_.field(xarray, head));
    if (!is_node(entry)) return first_ == 0 ? leaf({0, 1, 0, entry}) : Result<void>{};
    return node(VirtAddr{entry - 2}, 0, kMaxShift + 1);
  }

 private:
  Result<void> leaf(const XarrayEntry& entry) {
    if (entry.value == 0 || is_internal(entry.value) || done_) return {};
    if (left_-- == 0) return Error{ErrorCode::kCorrupt, "an xarray has too many entries"};
    done_ = !visit_(entry);
    return {};
  }

  Result<std::uint64_t> slot(VirtAddr node, std::uint64_t i) const {
    return kernel_.memory().read_u64(node + slots_.offset + i * 8);
  }

  // A node's shift is below its parent's, so that no loop is endless; many slots may lead to one
  // node all the same.
  Result<void> node(VirtAddr at, std::uint64_t base, std::uint64_t parent_shift) {
    if (nodes_left_-- == 0) return Error{ErrorCode::kCorrupt, "an xarray has too many nodes"};
    const std::uint64_t shift = HVD_TRY(kernel_.field(at, shift_));
    if (shift >= parent_shift || shift > kMaxShift) {
      return Error{ErrorCode::kCorrupt,
                   "the xarray node at " + hex(at.value) + " is not a child of its parent"};
    }
    const std::uint64_t span = std::uint64_t{1} << shift;
    for (std::uint64_t i = 0; i < slots_.elements && !done_; ++i) {
      const std::uint64_t index = base + (i << shift);
      if (index > last_ || index + (span - 1) < first_) continue;
      std::uint64_t entry = HVD_TRY(slot(at, i));
      if (shift > 0 && is_node(entry)) {
        HVD_TRY(node(VirtAddr{entry - 2}, index, shift));
        continue;
      }
      std::uint64_t head = index;
      if (is_sibling(entry) && entry >> 2 < i) {
        head = base + ((entry >> 2) << shift);
        entry = HVD_TRY(slot(at, entry >> 2));
        if (is_node(entry)) continue;
      }
      HVD_TRY(leaf({index, span, head, entry}));
    }
    return {};
  }

  const Kernel& kernel_;
  const std::uint64_t first_, last_;
  std::size_t left_;
  std::size_t nodes_left_;
  const Visit& visit_;
  Member shift_, slots_;
  bool done_ = false;
};

}  // namespace

Result<void> walk_xarray(const Kernel& kernel, VirtAddr xarray, std::uint64_t first,
                         std::uint64_t last, std::size_t limit,
                         const std::function<bool(const XarrayEntry&)>& visit) {
  return Walk(kernel, first, last, limit, visit).run(xarray);
}

}  // namespace hvd::linux_guest
