#include "guest/windows/kernel.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/text.h"
#include "guest/windows/find_space.h"

namespace hvd::windows {
namespace {

constexpr std::size_t kMaxCpus = 2048;

bool is_header(ByteView bytes) {
  return bytes.size() >= sizeof(Header64) &&
         to_string(bytes.first(kHeaderSignature.size())) == kHeaderSignature;
}

// Fields that nobody filled in hold "PAGE".
std::uint64_t filled(std::uint64_t value) {
  const std::uint64_t unused = std::uint64_t{kUnused32} << 32 | kUnused32;
  return value == unused ? 0 : value;
}

}  // namespace

class KernelFinder {
 public:
  KernelFinder(Kernel& out, const SymbolFinder& finder, ReadObserver observer)
      : out_(out), finder_(finder), observer_(std::move(observer)) {}

  Result<void> run() {
    read_header();
    const bool pieces = out_.image_.facts.address_space == AddressKind::kVirtual;
    if (pieces) out_.space_ = std::make_unique<PieceSpace>(*out_.image_.memory);
    else HVD_TRY(find_in_memory());
    if (observer_)
      out_.space_ = std::make_unique<ObservedSpace>(std::move(out_.space_), std::move(observer_));
    find_debugger_data();
    if (out_.base_.value == 0 && out_.data_) out_.base_ = out_.data_->data.kernel_base();
    read_release();
    read_shared_data();
    read_cpus();
    read_bugcheck();
    return {};
  }

 private:
  void tell(const std::string& what, const std::string& how) {
    out_.found_.emplace_back(what, how);
  }

  void read_header() {
    for (const Note& note : out_.image_.notes) {
      // QEMU passes on what the guest's driver gave it as a VMCOREINFO note.
      if (!is_header(note.contents)) continue;
      Header64 header{};
      std::memcpy(&header, note.contents.data(), sizeof header);
      out_.header_ = header;
      out_.header_from_driver_ = note.name != kHeaderNote;
      tell("header", out_.header_from_driver_ ? "from the guest's driver" : "the dump's own");
      return;
    }
  }

  Result<void> find_in_memory() {
    const Header64* header = out_.header();
    const auto hint =
        header ? std::optional(PhysAddr{header->directory_table_base}) : std::optional<PhysAddr>();
    FoundSpace found = HVD_TRY(find_space(out_.image_, hint, out_.is_arm64()));
    out_.space_ = std::move(found.space);
    out_.paging_ = found.paging;
    tell("page tables", found.how);
    auto kernel = find_kernel_image(*out_.space_, out_.image_, found.entry, header_places());
    if (!kernel) return kernel.error();
    out_.pe_ = std::move(kernel->pe);
    out_.base_ = out_.pe_->base();
    tell("kernel", kernel->how);
    const auto pdb = out_.pe_->pdb(*out_.space_);
    if (pdb && finder_) out_.symbols_ = finder_(*pdb);
    if (out_.symbols_) tell("symbols", "PDB " + printable(pdb->file) + " " + pdb->key());
    return {};
  }

  // Addresses within the kernel's data.
  std::vector<VirtAddr> header_places() const {
    std::vector<VirtAddr> out;
    if (const Header64* header = out_.header()) {
      for (const std::uint64_t place :
           {std::uint64_t{header->loaded_modules}, std::uint64_t{header->active_processes},
            std::uint64_t{header->debugger_data}})
        if (filled(place) != 0) out.push_back(VirtAddr{place});
    }
    return out;
  }

  void find_debugger_data() {
    const SymbolAddress symbols =
        out_.symbols_ ? SymbolAddress([this](std::string_view name) { return out_.symbol(name); })
                      : SymbolAddress();
    const VirtAddr base = out_.pe_ ? out_.pe_->base() : VirtAddr{};
    const auto keep = [&](Result<FoundDebuggerData> found) {
      if (!found) return false;
      tell("debugger data", found->how);
      out_.data_ = std::move(*found);
      return true;
    };
    if (const Header64* header = out_.header()) {
      // The driver leaves a decoded copy's address where the bug check has its first parameter.
      const std::uint64_t copy = header->bugcheck_parameters[0];
      if (out_.header_from_driver_ && filled(copy) != 0 && keep(copied(VirtAddr{copy}, base))) {
        out_.data_->at = VirtAddr{header->debugger_data};
        return;
      }
      if (filled(header->debugger_data) != 0 && keep(copied(VirtAddr{header->debugger_data}, base)))
        return;
    }
    if (!out_.pe_) {
      out_.problems_.emplace_back("the dump holds no debugger data block");
      return;
    }
    if (const auto at = by_version_block();
        at && keep(read_debugger_data(*out_.space_, *out_.pe_, *at, symbols)))
      return;
    auto searched = search_debugger_data(*out_.space_, *out_.pe_, symbols);
    if (!searched) out_.problems_.push_back(searched.error().message);
    else keep(std::move(searched));
  }

  Result<FoundDebuggerData> copied(VirtAddr at, VirtAddr base) const {
    constexpr std::uint64_t kMostSize = 0x800;
    const std::uint64_t size = HVD_TRY(out_.space_->read_u32(at + 0x14));
    if (size > kMostSize) return Error{ErrorCode::kCorrupt, "the block claims too many bytes"};
    Bytes block = HVD_TRY(out_.space_->read_bytes(at, static_cast<std::size_t>(size)));
    DebuggerData data = HVD_TRY(DebuggerData::parse(std::move(block), base));
    return FoundDebuggerData{at, false, "where the header says", std::move(data)};
  }

  // KPCR.KdVersionBlock (DBGKD_GET_VERSION64) leads to the list that the block begins.
  std::optional<VirtAddr> by_version_block() const {
    constexpr std::uint64_t kVersionBlock = 0x108, kDataList = 0x20;
    for (const Registers& cpu : out_.image_.registers) {
      for (const Reg reg : {Reg::kGsBase, Reg::kKernelGsBase}) {
        if (cpu[reg] >> 63 == 0) continue;
        const auto version = out_.space_->read_u64(VirtAddr{cpu[reg]} + kVersionBlock);
        const auto list = version ? out_.space_->read_u64(VirtAddr{*version} + kDataList) : version;
        const auto block = list ? out_.space_->read_u64(VirtAddr{*list}) : list;
        if (block && *block >> 63) return VirtAddr{*block};
      }
    }
    return std::nullopt;
  }

  void read_release() {
    std::uint32_t build = out_.header_ ? std::uint32_t{out_.header_->build} : 0;
    if (out_.data_) {
      // "19041.1.amd64fre.vb_release.191206-1406"
      const auto lab = out_.space_->read_string(out_.data_->data.build_lab(), 128);
      if (lab) build = static_cast<std::uint32_t>(std::strtoul(lab->c_str(), nullptr, 10));
    }
    const auto major = out_.space_->read_u32(kSharedUserData + 0x26c);
    const auto minor = out_.space_->read_u32(kSharedUserData + 0x270);
    build &= 0x0fffffff;
    // From 10240 on every version is 10.0; before that SharedUserData has to say.
    if (major && minor) out_.release_ = std::to_string(*major) + "." + std::to_string(*minor);
    else if (build >= 10240) out_.release_ = "10.0";
    if (build != 0) out_.release_ += (out_.release_.empty() ? "" : ".") + std::to_string(build);
  }

  // KUSER_SHARED_DATA; the header says the same in a dump.
  void read_shared_data() {
    const AddressSpace& space = *out_.space_;
    const auto product = space.read_u32(kSharedUserData + 0x264);
    const auto suite = space.read_u32(kSharedUserData + 0x2d0);
    const auto time = space.read_u64(kSharedUserData + 0x14),
               up = space.read_u64(kSharedUserData + 8);
    if (product) out_.product_type_ = static_cast<std::uint32_t>(*product);
    if (suite) out_.suite_mask_ = static_cast<std::uint32_t>(*suite);
    if (time && *time != 0) out_.system_time_ = *time;
    if (up && *up != 0) out_.up_time_ = *up;
    const Header64* header = out_.header();
    if (!header) return;
    if (!product && header->product_type != kUnused32) out_.product_type_ = header->product_type;
    if (!suite && header->suite_mask != kUnused32) out_.suite_mask_ = header->suite_mask;
    if (!out_.system_time_ && filled(header->system_time) != 0)
      out_.system_time_ = header->system_time;
    if (!out_.up_time_ && filled(header->up_time) != 0) out_.up_time_ = header->up_time;
  }

  void read_cpus() {
    const std::vector<Registers>& registers = out_.image_.registers;
    const bool own_dump = out_.is_dump();
    if (out_.data_) read_processor_block();
    if (out_.cpus_.empty()) {
      for (const Registers& each : registers) {
        Cpu& cpu = out_.cpus_.emplace_back();
        cpu.id = each.id, cpu.registers = &each;
      }
      if (own_dump && out_.is_arm64() && registers.empty()) {
        Cpu cpu;
        cpu.arm64 = header_registers();
        out_.cpus_.push_back(cpu);
      }
      const auto part = triage_prcb();
      if (part && !out_.cpus_.empty()) {
        out_.cpus_.front().crashed = true;
        out_.cpus_.front().id = part->first;
        out_.cpus_.front().thread = part->second;
      }
      return;
    }
    for (Cpu& cpu : out_.cpus_) {
      const VirtAddr pcr = cpu.prcb - out_.data_->data.pcr_prcb();
      for (const Registers& each : registers) {
        const bool its = each[Reg::kGsBase] == pcr.value || each[Reg::kKernelGsBase] == pcr.value;
        if (its) cpu.registers = &each;
      }
      // A capture numbers CPUs as the machine does; a dump of Windows' own has one set of
      // registers, the crashing CPU's.
      if (!cpu.registers && !own_dump && cpu.id < registers.size() && !matched(registers[cpu.id]))
        cpu.registers = &registers[cpu.id];
    }
    if (own_dump && out_.is_arm64()) crashing_arm64_cpu();
    else if (own_dump && !registers.empty()) crashing_cpu(registers.front());
  }

  bool matched(const Registers& registers) const {
    return std::any_of(out_.cpus_.begin(), out_.cpus_.end(),
                       [&](const Cpu& cpu) { return cpu.registers == &registers; });
  }

  // The one whose saved context has the same stack. A triage dump keeps the crashing CPU's own
  // block, with its number. The header's registers may be those of an exception that led to the bug
  // check: what the CPU itself was in is what is saved.
  void crashing_cpu(const Registers& registers) {
    const auto choose = [&](auto is_it) {
      const auto cpu = std::find_if(out_.cpus_.begin(), out_.cpus_.end(), is_it);
      if (cpu == out_.cpus_.end()) return false;
      if (!cpu->saved) cpu->registers = &registers;
      cpu->crashed = true;
      return true;
    };
    const auto part = triage_prcb();
    if (part && choose([&](const Cpu& cpu) { return cpu.id == part->first; })) return;
    if (choose([&](const Cpu& cpu) {
          return cpu.saved && (*cpu.saved)[Reg::kRsp] == registers[Reg::kRsp];
        }))
      return;
    choose([](const Cpu& cpu) { return !cpu.saved; });
  }

  // As above, of an ARM64 system.
  void crashing_arm64_cpu() {
    const auto its = header_registers();
    const auto part = triage_prcb();
    for (Cpu& cpu : out_.cpus_) {
      const bool same = its && cpu.arm64 && cpu.arm64->sp == its->sp;
      if (part ? cpu.id != part->first : !same) continue;
      cpu.crashed = true;
      if (!cpu.arm64) cpu.arm64 = its;
      return;
    }
    const auto bare = std::find_if(out_.cpus_.begin(), out_.cpus_.end(),
                                   [](const Cpu& cpu) { return !cpu.arm64; });
    if (!its || bare == out_.cpus_.end()) return;
    bare->crashed = true;
    bare->arm64 = its;
  }

  std::optional<Arm64Registers> header_registers() const {
    ContextArm64 context{};
    std::memcpy(&context, out_.header()->context, sizeof context);
    return registers_of(context);
  }

  void read_processor_block() {
    const DebuggerData& data = out_.data_->data;
    std::size_t expected = out_.image_.registers.size();
    if (out_.header_ && out_.header_->processors <= kMaxCpus)
      expected = std::max<std::size_t>(expected, out_.header_->processors);
    std::set<std::uint64_t> seen;
    for (std::size_t i = 0; i < std::min(expected, kMaxCpus); ++i) {
      const auto prcb = out_.space_->read_u64(data.processor_block() + i * 8);
      if (!prcb || *prcb >> 63 == 0 || !seen.insert(*prcb).second) break;
      Cpu cpu;
      cpu.id = static_cast<std::uint32_t>(i);
      cpu.prcb = VirtAddr{*prcb};
      if (const auto thread = out_.space_->read_u64(cpu.prcb + data.prcb_current_thread()))
        cpu.thread = VirtAddr{*thread};
      const auto context_at = out_.space_->read_u64(cpu.prcb + data.prcb_context());
      if (context_at && data.prcb_context() != 0) read_context(cpu, VirtAddr{*context_at});
      out_.cpus_.push_back(cpu);
    }
  }

  void read_context(Cpu& cpu, VirtAddr at) const {
    if (out_.is_arm64()) {
      const auto context = out_.space_->read<ContextArm64>(at);
      if (context) cpu.arm64 = registers_of(*context);
      if (cpu.arm64 && cpu.arm64->pc == 0) cpu.arm64.reset();
      return;
    }
    const auto context = out_.space_->read<Context64>(at);
    const Registers saved = context ? registers_of(*context) : Registers();
    if (!saved.knows(Reg::kRip) || saved[Reg::kRip] == 0) return;
    cpu.saved = saved;
    cpu.saved->id = cpu.id;
  }

  // The number and the thread of the CPU whose block a triage dump keeps.
  std::optional<std::pair<std::uint32_t, VirtAddr>> triage_prcb() const {
    const Bytes* part = note_of(out_.image_, "TRIAGE_PRCB");
    if (!out_.data_ || !part) return std::nullopt;
    const auto at = [&](std::size_t offset, std::size_t size) -> std::uint64_t {
      le64 value = 0;
      if (offset + size > part->size()) return 0;
      std::memcpy(&value, part->data() + offset, size);
      return value;
    };
    const DebuggerData& data = out_.data_->data;
    return std::pair{static_cast<std::uint32_t>(at(data.prcb_number(), 4)),
                     VirtAddr{at(data.prcb_current_thread(), 8)}};
  }

  void read_bugcheck() {
    if (out_.data_) {
      std::array<std::uint64_t, 5> words{};
      bool all = true;
      for (std::size_t i = 0; i < words.size(); ++i) {
        const auto word = out_.space_->read_u64(out_.data_->data.bugcheck_data() + i * 8);
        all = all && word;
        if (word) words[i] = *word;
      }
      if (all && words[0] != 0) return found_bugcheck(words, "KiBugCheckData");
    }
    const Header64* header = out_.header();
    if (header && !out_.header_from_driver_ && header->bugcheck_code != kUnused32 &&
        header->bugcheck_code != 0) {
      std::array<std::uint64_t, 5> words{header->bugcheck_code};
      for (std::size_t i = 0; i < 4; ++i) words[i + 1] = header->bugcheck_parameters[i];
      return found_bugcheck(words, "the dump's header");
    }
    told_to_hypervisor();
  }

  // Hyper-V's crash registers, as QEMU passes them on.
  void told_to_hypervisor() {
    for (const PanicReport& report : out_.image_.facts.panic) {
      if (report.hyper_v && report.hyper_v->front() != 0)
        return found_bugcheck(*report.hyper_v, "Hyper-V's crash registers");
    }
  }

  void found_bugcheck(const std::array<std::uint64_t, 5>& words, const char* source) {
    BugCheck bugcheck;
    bugcheck.code = static_cast<std::uint32_t>(words[0]);
    std::copy(words.begin() + 1, words.end(), bugcheck.parameters.begin());
    bugcheck.source = source;
    out_.bugcheck_ = bugcheck;
  }

  Kernel& out_;
  const SymbolFinder& finder_;
  ReadObserver observer_;
};

Result<std::unique_ptr<Kernel>> Kernel::open(const Image& image, const SymbolFinder& finder,
                                             ReadObserver observer) {
  if (!image.memory) return Error{ErrorCode::kNotFound, "there is no memory to look at"};
  std::unique_ptr<Kernel> kernel(new Kernel(image));
  HVD_TRY(KernelFinder(*kernel, finder, std::move(observer)).run());
  return kernel;
}

VirtAddr Kernel::loaded_modules() const {
  if (data_) return data_->data.loaded_modules();
  return header_ ? VirtAddr{filled(header_->loaded_modules)} : VirtAddr{};
}

VirtAddr Kernel::active_processes() const {
  if (data_) return data_->data.active_processes();
  return header_ ? VirtAddr{filled(header_->active_processes)} : VirtAddr{};
}

Result<VirtAddr> Kernel::symbol(std::string_view name) const {
  if (!symbols_) return Error{ErrorCode::kNotFound, "there are no symbols of the kernel"};
  const std::uint32_t rva = HVD_TRY(symbols_->place_of(name));
  return base_ + rva;
}

}  // namespace hvd::windows
