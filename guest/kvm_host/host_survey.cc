// HostPages::open: what the kernel itself says of where its structures are.
#include "guest/kvm_host/host_survey.h"

#include <algorithm>
#include <charconv>

namespace hvd::linux_guest {
namespace {

constexpr std::size_t kMaxModuleSections = 16384;

}  // namespace

Result<void> HostPages::Builder::run() {
  types_ = HVD_TRY(kernel_.need_types());
  HVD_TRY(image());
  HVD_TRY(caches());
  tell("page tables", page_tables());
  tell("the memory map", memory_map());
  tell("per-CPU areas", per_cpu());
  tell("the log", log());
  if (const auto line = variable("saved_command_line")) {
    const auto text = kernel_.memory().read_string(VirtAddr{*line}, 8192);
    if (text) keep(VirtAddr{*line}, text->size() + 1);
  }
  for (const Module& module : host_.modules) {
    for (const ModuleRange& range : module.ranges) add(HostKind::kModules, range.begin, range.size);
    if (!module.ranges.empty()) out_.code_.push_back(module.ranges.front());
  }
  tell("the modules' types", module_types());
  for (const Module& module : host_.modules) tell("a module's sections", module_attributes(module));
  HVD_TRY(with_context(tasks(), "tasks"));
  const auto virtual_machines_told = virtual_machines();
  tell("virtual machines", virtual_machines_told);
  if (!virtual_machines_told) guest_state_ = virtual_machines_told.error();
  if (detail_ == HostDetail::kFull) {
    const auto done = unknown_memory();
    if (!done) {
      problems_.push_back("level full excludes pages whose use cannot be determined: " +
                          done.error().message);
    }
    out_.addresses_of_unknown_ = done.has_value();
  }
  HVD_TRY(with_context(secrets(), "secrets in the kernel's data"));
  for (auto& ranges : out_.ranges_) ranges = normalised(std::move(ranges));
  out_.kept_bytes_ = normalised(std::move(out_.kept_bytes_));
  out_.secret_ = normalised(std::move(out_.secret_));
  out_.addresses_only_ = normalised(std::move(out_.addresses_only_));
  std::sort(out_.stack_ranges_.begin(), out_.stack_ranges_.end(),
            [](const ModuleRange& a, const ModuleRange& b) { return a.begin < b.begin; });
  std::sort(out_.stacks_.begin(), out_.stacks_.end(),
            [](const StackPage& a, const StackPage& b) { return a.page < b.page; });
  return {};
}

std::vector<PageMapping> HostPages::Builder::pieces(VirtAddr at, std::uint64_t size) const {
  constexpr std::size_t kMaxPieces = 1u << 20;
  if (size == 0 || size - 1 > ~at.value) return {};
  std::size_t unreadable = 0;
  return tables_.mappings(at, at + (size - 1), kMaxPieces, unreadable);
}

void HostPages::Builder::add(HostKind kind, VirtAddr at, std::uint64_t size) {
  const VirtAddr begin{at.value / kPageSize * kPageSize};
  const std::uint64_t whole = (at - begin + size + kPageSize - 1) / kPageSize * kPageSize;
  for (const PageMapping& piece : pieces(begin, whole))
    out_.ranges_[static_cast<std::size_t>(kind)].push_back({piece.phys, piece.size});
}

Result<std::uint64_t> HostPages::Builder::variable(const char* name) const {
  const VirtAddr at = HVD_TRY(kernel_.symbol(name));
  return kernel_.memory().read_u64(at);
}

// Of KVM's structures and the like, exactly these bytes.
void HostPages::Builder::keep(VirtAddr at, std::uint64_t size) {
  for (const PageMapping& piece : pieces(at, size)) {
    out_.kept_bytes_.push_back({piece.phys, piece.size});
    const std::uint64_t begin = piece.phys.value / kPageSize * kPageSize;
    const std::uint64_t last = (piece.phys.value + piece.size - 1) / kPageSize * kPageSize;
    out_.ranges_[static_cast<std::size_t>(HostKind::kVirtualMachines)].push_back(
        {PhysAddr{begin}, last - begin + kPageSize});
  }
}

void HostPages::Builder::blank(VirtAddr at, std::uint64_t size) {
  for (const PageMapping& piece : pieces(at, size))
    out_.secret_.push_back({piece.phys, piece.size});
}

Result<void> HostPages::Builder::image() {
  const VirtAddr text = HVD_TRY(kernel_.symbol("_text"));
  const VirtAddr end = HVD_TRY(kernel_.symbol("_end"));
  const VirtAddr stext = HVD_TRY(kernel_.symbol("_stext"));
  const VirtAddr etext = HVD_TRY(kernel_.symbol("_etext"));
  if (end <= text || end - text > (std::uint64_t{1} << 30) || etext <= stext)
    return Error{ErrorCode::kCorrupt, "the kernel image has no valid size"};
  add(HostKind::kImage, text, end - text);
  out_.code_.push_back({stext, etext - stext});
  return {};
}

Result<void> HostPages::Builder::page_tables() {
  constexpr VirtAddr kKernelHalf{0xff00000000000000};
  auto& ranges = out_.ranges_[static_cast<std::size_t>(HostKind::kPageTables)];
  ranges = tables_.table_pages(kKernelHalf, VirtAddr{~std::uint64_t{0}});
  return {};
}

Result<void> HostPages::Builder::memory_map() {
  const VirtAddr base{HVD_TRY(variable("vmemmap_base"))};
  const std::uint64_t page = HVD_TRY(types_->size_of("page"));
  const std::uint64_t count = HVD_TRY(variable("max_pfn"));
  if (count >= (std::uint64_t{1} << 40))
    return Error{ErrorCode::kCorrupt, "max_pfn is " + std::to_string(count)};
  add(HostKind::kMemoryMap, base, count * page);
  // SPARSEMEM_EXTREME: an array of pointers to pages of struct mem_section.
  if (const auto sections = kernel_.symbol("mem_section")) {
    const std::string length = kernel_.info().text("LENGTH(mem_section)").value_or("");
    std::uint64_t roots = 0;
    (void)std::from_chars(length.data(), length.data() + length.size(), roots);
    roots = std::min<std::uint64_t>(roots, 1u << 20);
    const VirtAddr array{HVD_TRY(kernel_.memory().read_u64(*sections))};
    add(HostKind::kMemoryMap, array, roots * 8);
    for (std::uint64_t i = 0; i < roots; ++i) {
      const auto root = kernel_.memory().read_u64(array + i * 8);
      if (root && *root != 0) add(HostKind::kMemoryMap, VirtAddr{*root}, kPageSize);
    }
  }
  const auto nodes = kernel_.symbol("node_data");
  const auto node_size = types_->size_of("pglist_data");
  if (!nodes || !node_size) return {};
  for (std::uint64_t i = 0; i < 64; ++i) {
    const auto node = kernel_.memory().read_u64(*nodes + i * 8);
    if (!node || *node >> 63 == 0) break;
    add(HostKind::kMemoryMap, VirtAddr{*node}, *node_size);
  }
  return {};
}

Result<void> HostPages::Builder::per_cpu() {
  const VirtAddr start = HVD_TRY(kernel_.symbol("__per_cpu_start"));
  const VirtAddr end = HVD_TRY(kernel_.symbol("__per_cpu_end"));
  std::uint64_t size = end - start;
  // The first chunk also has what modules and the kernel allocate.
  if (const auto unit = kernel_.symbol("pcpu_unit_size")) {
    const std::uint64_t bytes = HVD_TRY(kernel_.memory().read_u32(*unit));
    size = std::max(size, bytes);
  }
  if (size > (64u << 20)) return Error{ErrorCode::kCorrupt, "they have no valid size"};
  for (unsigned cpu = 0; cpu < kernel_.cpu_count(); ++cpu) {
    const auto at = kernel_.per_cpu("__per_cpu_start", cpu);
    if (at && at->value >> 63) add(HostKind::kPerCpu, *at, size);
  }
  return {};
}

Result<void> HostPages::Builder::log() {
  const VirtAddr ring{HVD_TRY(variable("prb"))};
  const auto field = [&](const char* path) -> Result<std::uint64_t> {
    const Member member = HVD_TRY(types_->member("printk_ringbuffer", path));
    return kernel_.field(ring, member);
  };
  const std::uint64_t count_bits = HVD_TRY(field("desc_ring.count_bits"));
  const std::uint64_t size_bits = HVD_TRY(field("text_data_ring.size_bits"));
  if (count_bits > 30 || size_bits > 34) return Error{ErrorCode::kCorrupt, "it has no valid size"};
  const std::uint64_t count = std::uint64_t{1} << count_bits;
  const std::uint64_t descriptors = HVD_TRY(field("desc_ring.descs"));
  const std::uint64_t infos = HVD_TRY(field("desc_ring.infos"));
  const std::uint64_t text = HVD_TRY(field("text_data_ring.data"));
  const std::uint64_t descriptor_size = HVD_TRY(types_->size_of("prb_desc"));
  const std::uint64_t info_size = HVD_TRY(types_->size_of("printk_info"));
  add(HostKind::kLog, VirtAddr{descriptors}, count * descriptor_size);
  add(HostKind::kLog, VirtAddr{infos}, count * info_size);
  add(HostKind::kLog, VirtAddr{text}, std::uint64_t{1} << size_bits);
  return {};
}

// So that read_module_types() finds them in what is kept.
Result<void> HostPages::Builder::module_types() {
  if (!kernel_.symbol("btf_modules")) return {};
  const std::uint64_t entry_size = HVD_TRY(types_->size_of("btf_module"));
  const std::uint64_t btf_size = HVD_TRY(types_->size_of("btf"));
  const std::vector<ModuleBtf> all = HVD_TRY(list_module_btfs(kernel_));
  for (const ModuleBtf& module : all) {
    keep(module.entry, entry_size);
    const auto data = btf_data(kernel_, module.btf);
    if (!data) continue;
    keep(module.btf, btf_size);
    keep(data->first, data->second);
  }
  return {};
}

// By these, debuggers find a module's file and place it (kernel/module/sysfs.c): structures and
// names in memory that otherwise holds anything.
Result<void> HostPages::Builder::module_attributes(const Module& module) {
  const auto table = [&](const char* member, const char* type, const char* count_name,
                         const char* entry, const char* name_path) -> Result<void> {
    const Member pointer = HVD_TRY(types_->member("module", member));
    const Member count = HVD_TRY(types_->member(type, count_name));
    const Member first = HVD_TRY(types_->member(type, "attrs"));
    const std::uint64_t stride = HVD_TRY(types_->size_of(entry));
    const Member name = HVD_TRY(types_->member(entry, name_path));
    const VirtAddr at{HVD_TRY(kernel_.field(module.struct_at, pointer))};
    if (at.value == 0) return {};  // it is not that far
    const std::uint64_t entries = HVD_TRY(kernel_.field(at, count));
    if (entries > kMaxModuleSections) return Error{ErrorCode::kCorrupt, "it has too many"};
    keep(at, first.offset + entries * stride);
    for (std::uint64_t i = 0; i < entries; ++i) {
      const VirtAddr text{HVD_TRY(kernel_.field(at + first.offset + i * stride, name))};
      const std::string said = HVD_TRY(kernel_.memory().read_string(text, 128));
      keep(text, said.size() + 1);
    }
    return {};
  };
  HVD_TRY(
      table("sect_attrs", "module_sect_attrs", "nsections", "module_sect_attr", "battr.attr.name"));
  return table("notes_attrs", "module_notes_attrs", "notes", "bin_attribute", "attr.name");
}

Result<HostPages> HostPages::open(const Host& host, HostDetail detail,
                                  std::vector<std::string>& problems) {
  const PageStructs pages = HVD_TRY(PageStructs::open(host.kernel));
  HostPages out(pages);
  HVD_TRY(Builder(host, detail, out, problems).run());
  return out;
}

}  // namespace hvd::linux_guest
