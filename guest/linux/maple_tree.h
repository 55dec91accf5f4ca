// Maple trees: the kernel's trees of ranges (include/linux/maple_tree.h, lib/maple_tree.c).
//
// A node is 256 bytes and aligned to that; a pointer to one has its type in bits 3 to 6. Node
// types: 1 a leaf and 2 an inner node (struct maple_range_64), 3 an inner node with gaps (struct
// maple_arange_64). Slot i is for what lies above pivot i - 1, up to pivot i; the last one in use
// has no pivot, or zero, and goes to the node's own end. The root pointer has bit 1 set when it
// leads to a node.
#pragma once

#include <functional>

#include "guest/linux/kernel.h"

namespace hvd::linux_guest {

/// Calls `visit` with each entry that is not null, in order, until it returns false. kCorrupt for
/// nodes that nest too deep, or beyond `limit` entries.
Result<void> walk_maple_tree(const Kernel& kernel, VirtAddr maple_tree, std::size_t limit,
                             const std::function<bool(std::uint64_t entry)>& visit);

}  // namespace hvd::linux_guest
