// Walking the kernel's circular lists (struct list_head), which a guest may have tied into loops.
#pragma once

#include <string>
#include <unordered_set>

#include "base/text.h"
#include "guest/x86_64/virtual_memory.h"

namespace hvd::linux_guest {

/// Calls `visit` with each node's address until it returns false, the head comes round, a node
/// comes twice or `limit` nodes were seen (kCorrupt), or one cannot be read.
template <typename Visit>
Result<void> walk_list(const VirtualMemory& memory, VirtAddr head, std::size_t limit, Visit visit) {
  std::unordered_set<std::uint64_t> seen;
  std::uint64_t at = HVD_TRY(memory.read_u64(head));
  while (at != head.value) {
    if (!seen.insert(at).second)
      return Error{ErrorCode::kCorrupt, "the list at " + hex(head.value) + " runs in a loop"};
    if (seen.size() > limit) {
      return Error{ErrorCode::kCorrupt, "the list at " + hex(head.value) + " has more than " +
                                            std::to_string(limit) + " entries"};
    }
    if (!visit(VirtAddr{at})) return {};
    at = HVD_TRY(with_context(memory.read_u64(VirtAddr{at}),
                              "the list at " + hex(head.value) + " is broken"));
  }
  return {};
}

}  // namespace hvd::linux_guest
