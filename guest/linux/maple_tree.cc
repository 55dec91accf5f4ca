#include "guest/linux/maple_tree.h"

#include "base/text.h"

namespace hvd::linux_guest {
namespace {

constexpr std::uint64_t kNodeMask = 0xff;
constexpr std::uint64_t kMaxInternal = 4096;
constexpr unsigned kMaxDepth = 32;  // MAPLE_HEIGHT_MAX is 31
constexpr std::uint64_t kMaxSlots = 64;
enum NodeType : std::uint64_t { kLeaf = 1, kRange = 2, kArange = 3 };

class Walk {
 public:
  using Visit = std::function<bool(std::uint64_t)>;
  Walk(const Kernel& kernel, std::size_t limit, const Visit& visit)
      : kernel_(kernel), left_(limit), nodes_left_(limit * 2 + kMaxDepth), visit_(visit) {}

  Result<void> run(VirtAddr tree) {
    const Types& types = *HVD_TRY(kernel_.need_types());
    const Member root = HVD_TRY(types.member("maple_tree", "ma_root"));
    for (const auto& [shape, name] :
         {std::pair{&range_, "maple_range_64"}, std::pair{&arange_, "maple_arange_64"}}) {
      shape->pivots = HVD_TRY(types.member(name, "pivot"));
      shape->slots = HVD_TRY(types.member(name, "slot"));
      if (shape->slots.elements == 0 || shape->slots.elements > kMaxSlots ||
          shape->pivots.elements >= shape->slots.elements)
        return Error{ErrorCode::kUnsupported, std::string(name) + " has an unknown layout"};
    }
    const std::uint64_t entry = HVD_TRY(kernel_.field(tree, root));
    if ((entry & 3) != 2 || entry <= kMaxInternal) return leaf(entry);
    return node(entry, ~std::uint64_t{0}, 0);
  }

 private:
  struct Shape {
    Member pivots, slots;
  };

  Result<void> leaf(std::uint64_t entry) {
    if (entry == 0 || done_) return {};
    if (left_-- == 0) return Error{ErrorCode::kCorrupt, "a maple tree has too many entries"};
    done_ = !visit_(entry);
    return {};
  }

  Result<void> node(std::uint64_t encoded, std::uint64_t end, unsigned depth) {
    if (depth > kMaxDepth || nodes_left_-- == 0)
      return Error{ErrorCode::kCorrupt, "a maple tree does not end"};
    const std::uint64_t type = (encoded >> 3) & 0xf;
    if (type < kLeaf || type > kArange) {
      return Error{ErrorCode::kCorrupt,
                   "the maple tree node " + hex(encoded) + " has no known type"};
    }
    const VirtAddr at{encoded & ~kNodeMask};
    const Shape& shape = type == kArange ? arange_ : range_;
    std::uint64_t before = 0;
    for (std::uint64_t i = 0; i < shape.slots.elements && !done_; ++i) {
      std::uint64_t pivot = 0;
      if (i < shape.pivots.elements)
        pivot = HVD_TRY(kernel_.memory().read_u64(at + shape.pivots.offset + i * 8));
      if (pivot == 0 || pivot > end) pivot = end;  // the last one in use
      if (i > 0 && pivot < before)
        return Error{ErrorCode::kCorrupt, "a maple tree is out of order"};
      const std::uint64_t entry =
          HVD_TRY(kernel_.memory().read_u64(at + shape.slots.offset + i * 8));
      if (type == kLeaf) HVD_TRY(leaf(entry));
      else if (entry != 0) HVD_TRY(node(entry, pivot, depth + 1));
      if (pivot == end) break;
      before = pivot;
    }
    return {};
  }

  const Kernel& kernel_;
  std::size_t left_;
  std::size_t nodes_left_;
  const Visit& visit_;
  Shape range_, arange_;
  bool done_ = false;
};

}  // namespace

Result<void> walk_maple_tree(const Kernel& kernel, VirtAddr maple_tree, std::size_t limit,
                             const std::function<bool(std::uint64_t)>& visit) {
  return Walk(kernel, limit, visit).run(maple_tree);
}

}  // namespace hvd::linux_guest
