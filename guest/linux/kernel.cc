#include "guest/linux/kernel.h"

#include <algorithm>

#include "base/text.h"
#include "guest/linux/kallsyms_search.h"

namespace hvd::linux_guest {
namespace {

constexpr unsigned kMaxCpus = 8192;
constexpr std::uint64_t kMaxBtf = 64u << 20;

}  // namespace

Result<std::unique_ptr<Kernel>> Kernel::open(const Image& image) {
  if (!image.memory) return Error{ErrorCode::kNotFound, "there is no memory to look at"};
  FoundVmcoreInfo found = HVD_TRY(find_vmcoreinfo(image));
  const PageTables tables(*image.memory, *found.info.page_table_root(), found.info.five_level());
  std::unique_ptr<Kernel> kernel(
      new Kernel(image, std::move(found), VirtualMemory(*image.memory, tables)));
  for (std::size_t i = 0; i < kernel->found_.rejected_notes; ++i)
    kernel->problems_.push_back("a VMCOREINFO was not believed: " + kernel->found_.rejected[i]);
  if (auto done = kernel->load_symbols(); !done)
    kernel->problems_.push_back("no symbols: " + done.error().message);
  if (auto done = kernel->load_types(); !done)
    kernel->problems_.push_back("no types: " + done.error().message);
  kernel->match_cpus();
  return kernel;
}

Result<void> Kernel::load_symbols() {
  const auto stext = found_.info.symbol("_stext");
  if (found_.symbols && (!stext || found_.symbols->find("_stext") == stext)) {
    symbols_ = std::move(*found_.symbols);
    found_.symbols.reset();
    return {};
  }
  if (auto place = Kallsyms::place_from(found_.info, memory_)) {
    auto symbols = Kallsyms::read(*place, memory_, stext);
    if (symbols) {
      symbols_ = std::move(*symbols);
      return {};
    }
    problems_.push_back("the kallsyms that VMCOREINFO names cannot be used: " +
                        symbols.error().message);
  }
  symbols_ = HVD_TRY(search_kallsyms(memory_, stext));
  return {};
}

Result<void> Kernel::load_types() {
  const VirtAddr begin = HVD_TRY(symbol("__start_BTF")), end = HVD_TRY(symbol("__stop_BTF"));
  if (end <= begin || end - begin > kMaxBtf)
    return Error{ErrorCode::kCorrupt, "the kernel's BTF has no valid size"};
  const Bytes bytes = HVD_TRY(memory_.read_bytes(begin, static_cast<std::size_t>(end - begin)));
  types_ = HVD_TRY(Types::parse(bytes));
  return {};
}

Result<VirtAddr> Kernel::symbol(std::string_view name) const {
  if (const auto at = symbols_.find(name)) return *at;
  return Error{ErrorCode::kNotFound, "the kernel has no symbol " + std::string(name)};
}

Note Kernel::info_note() const {
  const ByteView text = as_bytes(found_.text);
  return {"VMCOREINFO", 0, Bytes(text.begin(), text.end())};
}

Result<const Types*> Kernel::need_types() const {
  if (types_) return &*types_;
  return Error{ErrorCode::kNotFound, "the kernel carries no type information (BTF)"};
}

Result<std::uint64_t> Kernel::field(VirtAddr at, const Member& member) const {
  if (member.bit_size == 0)
    return memory_.read_unsigned(at + member.offset, member.size == 0 ? 8 : member.size);
  const std::size_t bytes = (member.bit_offset + member.bit_size + 7) / 8;
  const std::uint64_t raw = HVD_TRY(memory_.read_unsigned(at + member.offset, bytes));
  return member.bit_size >= 64
             ? raw
             : (raw >> member.bit_offset) & ((std::uint64_t{1} << member.bit_size) - 1);
}

void Kernel::match_cpus() {
  const auto count_at = symbols_.find("nr_cpu_ids");
  const auto count = count_at ? memory_.read_u32(*count_at)
                              : Result<std::uint64_t>(std::uint64_t{image_.registers.size()});
  cpu_count_ = static_cast<unsigned>(std::clamp<std::uint64_t>(count.value_or(1u), 1, kMaxCpus));
  const auto offsets = symbols_.find("__per_cpu_offset");
  for (unsigned cpu = 0; offsets && cpu < cpu_count_; ++cpu) {
    per_cpu_offsets_.push_back(memory_.read_u64(*offsets + cpu * std::uint64_t{8}).value_or(0u));
  }
  registers_.assign(cpu_count_, nullptr);
  for (const Registers& registers : image_.registers) {
    // In the kernel gs holds the per-CPU base, in user mode (and in the entry code's first steps)
    // the swapped-out one.
    for (unsigned cpu = 0; cpu < per_cpu_offsets_.size(); ++cpu) {
      const std::uint64_t base = per_cpu_offsets_[cpu];
      if (base != 0 && (registers[Reg::kGsBase] == base || registers[Reg::kKernelGsBase] == base)) {
        registers_[cpu] = &registers;
      }
    }
  }
  // Dumps whose registers lack the bases number CPUs as the kernel does.
  for (const Registers& registers : image_.registers) {
    const bool matched =
        std::find(registers_.begin(), registers_.end(), &registers) != registers_.end();
    if (!matched && registers.id < cpu_count_ && !registers_[registers.id])
      registers_[registers.id] = &registers;
  }
}

Result<VirtAddr> Kernel::per_cpu(std::string_view name, unsigned cpu) const {
  const VirtAddr at = HVD_TRY(symbol(name));
  if (cpu >= per_cpu_offsets_.size())
    return Error{ErrorCode::kNotFound, "CPU " + std::to_string(cpu) + " has no per-CPU area"};
  return at + per_cpu_offsets_[cpu];
}

const Registers* Kernel::registers_of(unsigned cpu) const {
  return cpu < registers_.size() ? registers_[cpu] : nullptr;
}

}  // namespace hvd::linux_guest
