// What a dump of a Windows guest holds, by what the guest's own structures say.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/image.h"
#include "formats/windows_dump/triage_writer.h"
#include "formats/windows_dump/writer.h"
#include "guest/windows/symbolizer.h"

namespace hvd::windows {

/// All arguments of the constructor must outlive it; what a plan lacks is added to `problems`.
class DumpMaker {
 public:
  DumpMaker(const Image& image, const Kernel& kernel, const std::vector<Module>& modules,
            const SymbolFinder& finder, std::vector<std::string>& problems);

  /// Of all memory, or of what the kernel maps. kUnsupported when the image is a triage dump.
  Result<MemoryDumpPlan> memory_plan(bool kernel_only) const;
  /// `touched`: what a triage of the guest read, by address.
  TriagePlan triage_plan(const std::map<std::uint64_t, std::uint64_t>& touched) const;

 private:
  Header64 header() const;
  void fill(Header64& out) const;
  std::vector<TriagePlan::Block> corrections() const;
  ExceptionRecord64 exception(const Registers& registers) const;
  std::vector<PhysRange> kernel_pages() const;
  void parts(TriagePlan& plan) const;

  const Image& image_;
  const Kernel& kernel_;
  const std::vector<Module>& modules_;
  const Unwinder unwinder_;
  const Symbolizer symbolizer_;
  const Cpu* crashed_ = nullptr;
  std::vector<std::string>& problems_;
};

}  // namespace hvd::windows
