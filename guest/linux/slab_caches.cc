#include "guest/linux/slab_caches.h"

#include "guest/linux/list_walk.h"

namespace hvd::linux_guest {
namespace {

constexpr std::size_t kMaxCaches = 16384;
constexpr std::size_t kMaxName = 128;
constexpr std::uint64_t kMaxObject = 4u << 20;

}  // namespace

std::unordered_map<std::uint64_t, SlabCache> read_slab_caches(const Kernel& kernel,
                                                              std::vector<std::string>& problems) {
  std::unordered_map<std::uint64_t, SlabCache> caches;
  const auto read_all = [&]() -> Result<void> {
    const Types& types = *HVD_TRY(kernel.need_types());
    const VirtAddr head = HVD_TRY(kernel.symbol("slab_caches"));
    const Member list = HVD_TRY(types.member("kmem_cache", "list"));
    const Member name = HVD_TRY(types.member("kmem_cache", "name"));
    const Member size = HVD_TRY(types.member("kmem_cache", "size"));
    const Member count = HVD_TRY(types.member("kmem_cache", "refcount"));
    const auto pad = types.member("kmem_cache", "red_left_pad");  // with CONFIG_SLUB_DEBUG only
    const auto read_one = [&](VirtAddr at) -> Result<SlabCache> {
      SlabCache cache;
      const VirtAddr text{HVD_TRY(kernel.field(at, name))};
      cache.name = HVD_TRY(kernel.memory().read_string(text, kMaxName));
      cache.stride = HVD_TRY(kernel.field(at, size)) & 0xffffffff;
      cache.merged = static_cast<std::int32_t>(HVD_TRY(kernel.field(at, count))) > 1;
      if (pad) cache.first = HVD_TRY(kernel.field(at, *pad));
      if (cache.stride == 0 || cache.stride > kMaxObject || cache.first > kMaxObject)
        return Error{ErrorCode::kCorrupt, "it has no valid size"};
      return cache;
    };
    return walk_list(kernel.memory(), head, kMaxCaches, [&](VirtAddr node) {
      const VirtAddr at = node - list.offset;
      auto cache = read_one(at);
      if (cache) caches[at.value] = std::move(*cache);
      else
        problems.push_back("the object cache at " + hex(at.value) + ": " + cache.error().message);
      return true;
    });
  };
  if (auto done = read_all(); !done) problems.push_back("object caches: " + done.error().message);
  return caches;
}

}  // namespace hvd::linux_guest
