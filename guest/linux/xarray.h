// XArrays: the kernel's sparse arrays of pointers (include/linux/xarray.h, lib/xarray.c).
//
// xa_head is an entry. An entry whose two lowest bits are 2 and whose value is above 4096 is a
// pointer to a struct xa_node, which has the entries of 2^6 (CONFIG_BASE_SMALL: 2^4) equal parts of
// its range; a smaller one is a sibling, which says in which slot of its node the entry is that
// also stands here; any other internal entry (a retry) holds nothing. An entry with the lowest bit
// set is an integer, as the page cache keeps for a page that was swapped out; everything else is a
// pointer, null for nothing.
#pragma once

#include <functional>

#include "guest/linux/kernel.h"

namespace hvd::linux_guest {

struct XarrayEntry {
  std::uint64_t index = 0;  // the first it stands for here
  std::uint64_t count = 1;  // of indices
  std::uint64_t head = 0;   // where it begins: a large folio is several runs of one entry
  std::uint64_t value = 0;
};

/// Calls `visit` with each entry for an index in [first, last] that is neither null nor internal,
/// in order, until it returns false. kCorrupt for nodes that loop or nest too deep, or beyond
/// `limit` entries.
Result<void> walk_xarray(const Kernel& kernel, VirtAddr xarray, std::uint64_t first,
                         std::uint64_t last, std::size_t limit,
                         const std::function<bool(const XarrayEntry&)>& visit);

}  // namespace hvd::linux_guest
