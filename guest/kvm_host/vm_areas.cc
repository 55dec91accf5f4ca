#include "guest/kvm_host/vm_areas.h"

#include "base/text.h"
#include "guest/linux/maple_tree.h"

namespace hvd::linux_guest {
namespace {

constexpr std::size_t kMaxAreas = 1u << 20;  // vm.max_map_count is 65530 unless raised

struct Layout {
  Member start, end, flags, file, offset, anon_vma;

  static Result<Layout> from(const Types& types) {
    Layout out;
    out.start = HVD_TRY(types.member("vm_area_struct", "vm_start"));
    out.end = HVD_TRY(types.member("vm_area_struct", "vm_end"));
    out.flags = HVD_TRY(types.member("vm_area_struct", "vm_flags"));
    out.file = HVD_TRY(types.member("vm_area_struct", "vm_file"));
    out.anon_vma = HVD_TRY(types.member("vm_area_struct", "anon_vma"));
    out.offset = HVD_TRY(types.member("vm_area_struct", "vm_pgoff"));
    return out;
  }
};

Result<VmArea> read_area(const Kernel& kernel, const Layout& layout, VirtAddr at) {
  VmArea area;
  area.begin = VirtAddr{HVD_TRY(kernel.field(at, layout.start))};
  area.end = VirtAddr{HVD_TRY(kernel.field(at, layout.end))};
  area.flags = HVD_TRY(kernel.field(at, layout.flags));
  area.file = VirtAddr{HVD_TRY(kernel.field(at, layout.file))};
  area.anon_vma = VirtAddr{HVD_TRY(kernel.field(at, layout.anon_vma))};
  area.file_offset = HVD_TRY(kernel.field(at, layout.offset)) * kPageSize;
  if (area.end <= area.begin || (area.begin.value | area.end.value) % kPageSize != 0)
    return Error{ErrorCode::kCorrupt, "the memory area at " + hex(at.value) + " has no valid size"};
  return area;
}

}  // namespace

Result<std::vector<VmArea>> read_vm_areas(const Kernel& kernel, VirtAddr mm) {
  const Types& types = *HVD_TRY(kernel.need_types());
  const Layout layout = HVD_TRY(Layout::from(types));
  std::vector<VmArea> areas;
  std::optional<Error> failed;
  const auto add = [&](VirtAddr at) {
    auto area = read_area(kernel, layout, at);
    if (area && !areas.empty() && area->begin < areas.back().end)
      area = Error{ErrorCode::kCorrupt, "the memory areas of a process are out of order"};
    if (area) areas.push_back(*area);
    else failed = area.error();
    return !failed;
  };
  if (const auto tree = types.member("mm_struct", "mm_mt")) {
    HVD_TRY(walk_maple_tree(kernel, mm + tree->offset, kMaxAreas,
                            [&](std::uint64_t entry) { return add(VirtAddr{entry}); }));
  } else {
    const Member first = HVD_TRY(types.member("mm_struct", "mmap"));
    const Member next = HVD_TRY(types.member("vm_area_struct", "vm_next"));
    // Each must lie above the one before, so that the list ends.
    std::uint64_t at = HVD_TRY(kernel.field(mm, first));
    while (at != 0 && add(VirtAddr{at})) {
      if (areas.size() > kMaxAreas)
        return Error{ErrorCode::kCorrupt, "a process has too many memory areas"};
      at = HVD_TRY(kernel.field(VirtAddr{at}, next));
    }
  }
  if (failed) return *failed;
  return areas;
}

}  // namespace hvd::linux_guest
