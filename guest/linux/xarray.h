// XArrays: the kernel's sparse arrays of pointers (include/linux/xarray.h, lib/xarray.c).
//
// xa_head is an entry. An entry whose two lowest bits are 2 and whose value is above 4096 is a
// pointer to a struct xa_node, which has the entries of 2^6 (CONFIG_BASE_SMALL: 2^4) equal parts of
// its range; any other internal entry (a retry, a sibling) holds nothing. An entry with the lowest
// bit set is an integer, as the page cache keeps for a page that was swapped out; everything else
// is a pointer, null for nothing.
#pragma once

#include <functional>

#include "guest/linux/kernel.h"

namespace hvd::linux_guest {

/// Calls `visit` with each index and entry that is neither null nor internal, in order, until it
/// returns false. kCorrupt for nodes that loop or nest too deep, or beyond `limit` entries.
Result<void> walk_xarray(
    const Kernel& kernel, VirtAddr xarray, std::size_t limit,
    const std::function<bool(std::uint64_t index, std::uint64_t entry)>& visit);

}  // namespace hvd::linux_guest
