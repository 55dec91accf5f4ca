#include "analyzer/linux_lines.h"

#include "guest/debuginfo/symbol_files.h"

namespace hvd {

using namespace linux_guest;

namespace {

Result<std::unique_ptr<LineTable>> open_vmlinux(const VmcoreInfo& info,
                                                const std::vector<std::string>& places) {
  const std::string file = HVD_TRY(find_vmlinux(places, info.release(), info.build_id()));
  return LineTable::open(file, info.kaslr_offset().value_or(0));
}

}  // namespace

LinuxLines::LinuxLines(const Kernel& kernel, const std::vector<std::string>& places,
                       std::vector<std::string>& problems)
    : kernel_(kernel), problems_(problems) {
  auto vmlinux = open_vmlinux(kernel.info(), places);
  if (vmlinux) vmlinux_ = std::move(*vmlinux);
  else problems.push_back("no source lines: " + vmlinux.error().message);
  module_files_ = find_modules(places, kernel.info().release());
}

std::unique_ptr<LineTable> LinuxLines::open_module(const Module& module) const {
  const auto [first, last] = module_files_.equal_range(module.name);
  if (first == last) return nullptr;
  std::vector<LoadedSection> sections;
  for (const ModuleSection& section : read_module_sections(kernel_, module))
    sections.push_back({section.name, section.address});
  for (auto file = first; file != last; ++file) {
    // Another build's lines would be plausible and wrong.
    if (!module.build_id.empty() && build_id_of(file->second) != module.build_id) continue;
    if (auto table = LineTable::open_relocatable(file->second, sections)) return std::move(*table);
  }
  return nullptr;
}

std::vector<SourceFrame> LinuxLines::look_up(std::unique_ptr<LineTable>& table, VirtAddr at) const {
  if (!table) return {};
  auto frames = table->at(at);
  if (frames) return std::move(*frames);
  problems_.push_back("no source lines: " + frames.error().message);
  table.reset();
  return {};
}

std::vector<SourceFrame> LinuxLines::at(VirtAddr at, const Module* module) const {
  if (!module) return look_up(vmlinux_, at);
  const auto [entry, is_new] = modules_.try_emplace(module);
  if (is_new) entry->second = open_module(*module);
  return look_up(entry->second, at);
}

}  // namespace hvd
