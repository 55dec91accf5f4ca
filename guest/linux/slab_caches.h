// The kernel's object caches (struct kmem_cache, include/linux/slub_def.h, since v6.8 mm/slab.h).
#pragma once

#include <optional>
#include <string>
#include <unordered_map>

#include "guest/linux/kernel.h"

namespace hvd::linux_guest {

struct SlabCache {
  std::string name;
  std::uint64_t stride = 0;  // bytes from one object to the next
  std::uint64_t first = 0;   // bytes before the first object of a slab
  bool merged = false;       // holds objects of other caches too: the name is that of the first
};

/// All of slab_caches by the address of their struct kmem_cache; what cannot be read is told in
/// `problems` and left out.
std::unordered_map<std::uint64_t, SlabCache> read_slab_caches(const Kernel& kernel,
                                                              std::vector<std::string>& problems);

}  // namespace hvd::linux_guest
