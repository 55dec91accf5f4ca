#include "extractor/windows_dump.h"

#include <algorithm>
#include <map>

#include "base/text.h"
#include "extractor/windows_dump_plan.h"
#include "guest/debuginfo/pdb_symbols.h"
#include "guest/windows/processes.h"

namespace hvd {
namespace {

using namespace windows;

// Ranges of addresses, joined where they are close.
class Touched {
 public:
  void add(VirtAddr at, std::size_t size) {
    constexpr std::uint64_t kClose = 64;
    if (size == 0 || at.value > ~std::uint64_t{0} - size - kClose) return;
    std::uint64_t begin = at.value, end = at.value + size;
    auto next = ranges_.upper_bound(end + kClose);
    while (next != ranges_.begin()) {
      const auto before = std::prev(next);
      if (before->second + kClose < begin) break;
      begin = std::min(begin, before->first);
      end = std::max(end, before->second);
      next = ranges_.erase(before);
    }
    ranges_.emplace(begin, end);
  }
  const std::map<std::uint64_t, std::uint64_t>& ranges() const { return ranges_; }

 private:
  std::map<std::uint64_t, std::uint64_t> ranges_;
};

Result<std::unique_ptr<Kernel>> open_kernel(const Image& image, const SymbolFinder& finder,
                                            ReadObserver observer = {}) {
  auto kernel = Kernel::open(image, finder, std::move(observer));
  if (!kernel)
    return std::move(kernel.error()).in(printable(image.name) + " is no Windows that can be read");
  if ((*kernel)->is_arm64())
    return Error{ErrorCode::kUnsupported, "dumps of ARM64 systems can be read, but not written"};
  return kernel;
}

Result<void> write_triage(const Image& image, const SymbolFinder& finder, const std::string& output,
                          const std::string& input, std::vector<std::string>& problems) {
  // What a triage reads is what the dump is for.
  Touched touched;
  const auto kernel = HVD_TRY(
      open_kernel(image, finder, [&](VirtAddr at, std::size_t size) { touched.add(at, size); }));
  std::vector<std::string> unread;
  const std::vector<Module> modules = read_modules(*kernel, unread);
  (void)read_processes(*kernel, unread);
  const Unwinder unwinder(kernel->space(), modules);
  const Symbolizer symbolizer(kernel->space(), modules, finder);
  for (const Cpu& cpu : kernel->cpus()) {
    if (!cpu.best() || !cpu.best()->knows(Reg::kRip)) continue;
    for (const Frame& frame : unwinder.from_cpu(cpu).frames) (void)symbolizer.at(frame.lookup);
    constexpr std::uint64_t kCode = 256;
    (void)kernel->space().read_up_to(VirtAddr{(*cpu.best())[Reg::kRip]} - kCode, 2 * kCode);
  }
  // The pieces of a triage dump are kept as they are.
  if (!kernel->paging()) {
    for (const PhysRange& range : image.memory->ranges())
      touched.add(VirtAddr{range.begin.value}, static_cast<std::size_t>(range.size));
  }
  const auto ranges = touched.ranges();
  const DumpMaker maker(image, *kernel, modules, finder, problems);
  const Bytes file = HVD_TRY(triage_dump(maker.triage_plan(ranges)));
  return write_whole_file(output, file, input);
}

}  // namespace

Result<void> write_windows_dump(const Image& image, WindowsDumpType type,
                                const std::vector<std::string>& symbols, const std::string& output,
                                const std::string& input, std::vector<std::string>& problems) {
  // The dump is whole without them.
  const SymbolFinder finder = find_pdbs(symbols, [](const std::string& problem) {
    std::fprintf(stderr, "%s\n", printable(problem).c_str());
  });
  if (type == WindowsDumpType::kTriage) return write_triage(image, finder, output, input, problems);
  const auto kernel = HVD_TRY(open_kernel(image, finder));
  problems.insert(problems.end(), kernel->problems().begin(), kernel->problems().end());
  const std::vector<Module> modules = read_modules(*kernel, problems);
  const DumpMaker maker(image, *kernel, modules, finder, problems);
  const bool only_kernel = type == WindowsDumpType::kKernel;
  const MemoryDumpPlan plan = HVD_TRY(maker.memory_plan(only_kernel));
  OutputFile file = HVD_TRY(OutputFile::create(output, input));
  Progress progress("Extracting " + printable(image.name), total_size(plan.pieces));
  const bool runs = type == WindowsDumpType::kFull && fits_full(plan);
  if (type == WindowsDumpType::kFull && !runs) {
    problems.push_back("memory has " + std::to_string(plan.pieces.size()) +
                       " runs, more than a full dump's header has room for: a bitmap dump was "
                       "written");
  }
  if (runs) HVD_TRY(write_full_dump(plan, *image.memory, file, progress, problems));
  else HVD_TRY(write_bitmap_dump(plan, only_kernel, *image.memory, file, progress, problems));
  return file.commit();
}

}  // namespace hvd
