#include "extractor/windows_dump_plan.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/text.h"
#include "formats/memory_file.h"
#include "guest/windows/bugcheck.h"

namespace hvd::windows {
namespace {

constexpr VirtAddr kKernelBegin{0xffff800000000000}, kKernelEnd{~std::uint64_t{0}};
constexpr std::size_t kMaxMappings = 4u << 20;
constexpr std::uint32_t kBreakpoint = 0x80000003;  // what Windows writes when there is no exception
constexpr std::uint64_t kStackBytes = 24u << 10;   // of a kernel thread at most

// Whole pages only: a page of which a part is missing is not there.
std::vector<PhysRange> whole_pages(const std::vector<PhysRange>& pieces) {
  std::vector<PhysRange> out;
  for (const PhysRange& piece : pieces) {
    const std::uint64_t begin = (piece.begin.value + kPageSize - 1) / kPageSize * kPageSize;
    const std::uint64_t end = (piece.begin.value + piece.size) / kPageSize * kPageSize;
    if (end > begin) out.push_back({PhysAddr{begin}, end - begin});
  }
  return out;
}

// What both have.
std::vector<PhysRange> common(const std::vector<PhysRange>& a, const std::vector<PhysRange>& b) {
  std::vector<PhysRange> out;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const std::uint64_t begin = std::max(a[i].begin.value, b[j].begin.value);
    const std::uint64_t a_end = a[i].begin.value + a[i].size, b_end = b[j].begin.value + b[j].size;
    if (std::min(a_end, b_end) > begin)
      out.push_back({PhysAddr{begin}, std::min(a_end, b_end) - begin});
    if (a_end < b_end) ++i;
    else ++j;
  }
  return out;
}

void overlay(TriagePlan::Block& block, const TriagePlan::Block& right) {
  const std::uint64_t begin = std::max(block.at.value, right.at.value);
  const std::uint64_t end =
      std::min(block.at.value + block.bytes.size(), right.at.value + right.bytes.size());
  if (begin >= end) return;
  std::memcpy(block.bytes.data() + (begin - block.at.value),
              right.bytes.data() + (begin - right.at.value), end - begin);
}

}  // namespace

DumpMaker::DumpMaker(const Image& image, const Kernel& kernel, const std::vector<Module>& modules,
                     const SymbolFinder& finder, std::vector<std::string>& problems)
    : image_(image),
      kernel_(kernel),
      modules_(modules),
      unwinder_(kernel.space(), modules),
      symbolizer_(kernel.space(), modules, finder),
      problems_(problems) {
  if (const auto crashed = crashed_cpu(kernel, unwinder_, symbolizer_))
    crashed_ = &kernel.cpus()[*crashed];
  else if (!kernel.cpus().empty()) crashed_ = &kernel.cpus().front();
}

Header64 DumpMaker::header() const {
  Header64 out{};
  const le32 unused = kUnused32;
  for (std::size_t at = 0; at < sizeof out; at += sizeof unused)
    std::memcpy(reinterpret_cast<char*>(&out) + at, &unused, sizeof unused);
  // What the guest's driver, or Windows itself, filled in is true; only this crash's own facts
  // were not known then.
  if (const Header64* own = kernel_.header()) out = *own;
  else fill(out);
  const auto& bugcheck = kernel_.bugcheck();
  out.bugcheck_code = bugcheck ? bugcheck->code : 0;
  for (std::size_t i = 0; i < 4; ++i)
    out.bugcheck_parameters[i] = bugcheck ? bugcheck->parameters[i] : 0;
  if (kernel_.debugger_data()) out.debugger_data = kernel_.debugger_data()->at.value;
  const Registers* registers = crashed_ ? crashed_->best() : nullptr;
  if (registers && !kernel_.is_dump()) {
    std::memset(out.context, 0, sizeof out.context);
    const Context64 context = context_of(*registers);
    std::memcpy(out.context, &context, sizeof context);
    out.exception = exception(*registers);
  }
  if (const auto time = kernel_.system_time()) out.system_time = *time;
  if (const auto up = kernel_.up_time()) out.up_time = *up;
  return out;
}

// What debuggers expect in memory that a running system has otherwise: the debugger data block in
// the clear, and each CPU's registers where its control block points.
std::vector<TriagePlan::Block> DumpMaker::corrections() const {
  std::vector<TriagePlan::Block> out;
  if (!kernel_.debugger_data()) {
    problems_.emplace_back("the debugger data block was not found: WinDbg cannot open the dump");
    return out;
  }
  const DebuggerData& data = kernel_.debugger_data()->data;
  out.push_back({kernel_.debugger_data()->at, data.bytes()});
  if (const auto encoded = kernel_.symbol("KdpDataBlockEncoded"))
    out.push_back({*encoded, Bytes(1)});
  for (const Cpu& cpu : kernel_.cpus()) {
    if (!cpu.registers || data.prcb_context() == 0) continue;
    const auto at = kernel_.space().read_u64(cpu.prcb + data.prcb_context());
    if (!at || *at == 0) continue;
    const Context64 context = context_of(*cpu.registers);
    const ByteView bytes = bytes_of(context);
    out.push_back({VirtAddr{*at}, Bytes(bytes.begin(), bytes.end())});
  }
  return out;
}

Result<MemoryDumpPlan> DumpMaker::memory_plan(bool kernel_only) const {
  MemoryDumpPlan plan;
  plan.header = header();
  plan.pieces = whole_pages(readable_pieces(*image_.memory));
  if (kernel_only) plan.pieces = common(plan.pieces, kernel_pages());
  const PageTables* tables = kernel_.space().page_tables();
  if (!tables)
    return Error{ErrorCode::kUnsupported, "only a triage dump can be made of a triage dump"};
  for (const TriagePlan::Block& block : corrections()) {
    for (std::size_t done = 0; done < block.bytes.size();) {
      const VirtAddr at = block.at + done;
      const std::size_t size =
          std::min<std::size_t>(block.bytes.size() - done, kPageSize - at.value % kPageSize);
      const auto phys = tables->translate(at);
      if (!phys) {
        problems_.push_back(hex(at.value) + " is not mapped, and cannot be set right");
        break;
      }
      const std::uint64_t number = phys->value / kPageSize;
      Bytes& page = plan.replaced[number];
      if (page.empty()) {
        page.resize(kPageSize);
        HVD_TRY(image_.memory->read(PhysAddr{number * kPageSize}, page));
      }
      std::memcpy(page.data() + phys->value % kPageSize, block.bytes.data() + done, size);
      done += size;
    }
  }
  return plan;
}

TriagePlan DumpMaker::triage_plan(const std::map<std::uint64_t, std::uint64_t>& touched) const {
  TriagePlan plan;
  plan.header = header();
  const AddressSpace& space = kernel_.space();
  if (kernel_.debugger_data()) parts(plan);
  const Registers* registers = crashed_ ? crashed_->best() : nullptr;
  if (registers && registers->knows(Reg::kRsp)) {
    plan.stack_at = VirtAddr{(*registers)[Reg::kRsp]};
    plan.stack = space.read_up_to(plan.stack_at, kStackBytes);
  }
  for (const Module& module : modules_)
    plan.drivers.push_back({module.name, module.base, static_cast<std::uint32_t>(module.size),
                            module.checksum, module.timestamp});
  for (const UnloadedModule& module : read_unloaded_modules(kernel_))
    plan.unloaded.push_back({module.name, module.begin, module.end});
  for (const auto& [begin, end] : touched) {
    Bytes bytes = space.read_up_to(VirtAddr{begin}, static_cast<std::size_t>(end - begin));
    if (!bytes.empty()) plan.blocks.push_back({VirtAddr{begin}, std::move(bytes)});
  }
  for (const TriagePlan::Block& right : corrections()) {
    for (TriagePlan::Block& block : plan.blocks) overlay(block, right);
    // Where nothing was read.
    plan.blocks.push_back(right);
  }
  return plan;
}

void DumpMaker::fill(Header64& out) const {
  std::memcpy(out.signature, kHeaderSignature.data(), sizeof out.signature);
  out.major = 15;
  const std::string& release = kernel_.release();
  out.build = static_cast<std::uint32_t>(
      std::strtoul(release.c_str() + release.rfind('.') + 1, nullptr, 10));
  if (const PageTables* tables = kernel_.space().page_tables())
    out.directory_table_base = tables->root().value;
  out.loaded_modules = kernel_.loaded_modules().value;
  out.active_processes = kernel_.active_processes().value;
  out.pfn_database =
      kernel_.debugger_data() ? kernel_.debugger_data()->data.pfn_database().value : 0;
  out.machine = kMachineAmd64;
  out.processors = static_cast<std::uint32_t>(kernel_.cpus().size());
  std::memset(out.version_user, 0, sizeof out.version_user);
  std::memset(out.comment, 0, sizeof out.comment);
  out.product_type = kernel_.product_type();
  out.suite_mask = kernel_.suite_mask();
  out.writer_status = 0;
}

// Where a parameter of the bug check leads to the exception itself, that one.
ExceptionRecord64 DumpMaker::exception(const Registers& registers) const {
  const auto& bugcheck = kernel_.bugcheck();
  const std::uint32_t code = bugcheck ? plain_bugcheck(bugcheck->code) : 0;
  if (code == 0x7e) {
    const auto record = kernel_.space().read<ExceptionRecord64>(VirtAddr{bugcheck->parameters[2]});
    if (record && record->parameter_count <= std::size(record->parameters)) return *record;
  }
  ExceptionRecord64 out{};
  out.code = kBreakpoint;
  out.address = registers[Reg::kRip];
  return out;
}

// What the kernel's half of the address space maps: images, pools, stacks, page tables (they map
// themselves), the file cache. Processes' own memory and free pages are mapped by none of it.
std::vector<PhysRange> DumpMaker::kernel_pages() const {
  std::vector<PhysRange> out;
  std::size_t unreadable = 0;
  const PageTables* tables = kernel_.space().page_tables();
  if (!tables) return out;
  for (const PageMapping& mapped :
       tables->mappings(kKernelBegin, kKernelEnd, kMaxMappings, unreadable))
    out.push_back({mapped.phys, mapped.size});
  if (unreadable > 0)
    problems_.emplace_back("some of the kernel's page tables are missing: so is what they map");
  const std::vector<PhysRange> own = tables->table_pages(kKernelBegin, kKernelEnd);
  out.insert(out.end(), own.begin(), own.end());
  return normalised(std::move(out));
}

void DumpMaker::parts(TriagePlan& plan) const {
  const DebuggerData& data = kernel_.debugger_data()->data;
  plan.debugger_data = data.bytes();
  const auto kept = [&](const char* name) {
    const Bytes* part = note_of(image_, name);
    return part ? *part : Bytes();
  };
  plan.prcb = kept("TRIAGE_PRCB"), plan.process = kept("TRIAGE_PROCESS"),
  plan.thread = kept("TRIAGE_THREAD");
  if (!crashed_ || !plan.prcb.empty()) return;
  const AddressSpace& space = kernel_.space();
  plan.prcb = space.read_up_to(crashed_->prcb, data.prcb_size());
  plan.thread = space.read_up_to(crashed_->thread, data.thread_size());
  if (const auto process = space.read_u64(crashed_->thread + data.thread_process()))
    plan.process = space.read_up_to(VirtAddr{*process}, data.process_size());
}

}  // namespace hvd::windows
