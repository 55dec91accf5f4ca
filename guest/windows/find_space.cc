#include "guest/windows/find_space.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

#include "base/text.h"

namespace hvd::windows {
namespace {

constexpr std::uint64_t kLa57 = 1u << 12;  // CR4
constexpr std::uint64_t kLargestKpcr = 64u << 10;
constexpr std::uint64_t kLargestKernel = 64u << 20;

// What in a KPCR may be page tables. KPRCB.KernelDirectoryTableBase is among it, at a place that
// builds do not agree on, in a page that user mode's page tables have.
std::vector<std::uint64_t> table_roots(const AddressSpace& user, VirtAddr kpcr) {
  std::vector<std::uint64_t> out;
  for (std::uint64_t page = 0; page < kLargestKpcr; page += kPageSize) {
    const Bytes bytes = user.read_up_to(kpcr + page, kPageSize);
    for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
      le64 word;
      std::memcpy(&word, bytes.data() + at, sizeof word);
      // As CR3 has it: with an address space's number, and the word not to flush.
      constexpr std::uint64_t kNoFlush = std::uint64_t{1} << 63, kNumber = 0xfff;
      if ((word & kFrameMask) != 0 && (word & ~(kFrameMask | kNoFlush | kNumber)) == 0)
        out.push_back(word & kFrameMask);
    }
  }
  return out;
}

struct LowStub {
  PhysAddr tables;
  VirtAddr entry;
};

// PROCESSOR_START_BLOCK, which other CPUs start from: a jump, its length, the kernel's entry point
// and page tables (as LeechCore and MemProcFS find them).
std::optional<LowStub> find_low_stub(const PhysicalMemory& memory) {
  constexpr std::uint64_t kMask = 0xffffffffffff00ff, kBegin = 0x00000001000600e9;
  constexpr std::uint64_t kEnd = 1u << 20;
  for (std::uint64_t at = kPageSize; at < kEnd; at += kPageSize) {
    const auto begin = memory.read<le64>(PhysAddr{at});
    if (!begin || (*begin & kMask) != kBegin) continue;
    const auto entry = memory.read<le64>(PhysAddr{at + 0x70});
    const auto tables = memory.read<le64>(PhysAddr{at + 0xa0});
    if (!entry || !tables || !is_kernel_address(*entry) || *tables % kPageSize != 0) continue;
    return LowStub{PhysAddr{*tables}, VirtAddr{*entry}};
  }
  return std::nullopt;
}

// The first MZ header below `at` whose image reaches it and is the kernel by its names.
std::optional<PeImage> kernel_around(const AddressSpace& space, VirtAddr at) {
  if (!is_kernel_address(at.value)) return std::nullopt;
  const std::uint64_t top = at.value / kPageSize * kPageSize;
  for (std::uint64_t down = 0; down < kLargestKernel; down += kPageSize) {
    const VirtAddr base{top - down};
    const auto magic = space.read_u16(base);
    if (!magic || *magic != 0x5a4d) continue;
    auto pe = PeImage::open(space, base);
    if (!pe || !pe->contains(at)) continue;
    const auto pdb = pe->pdb(space);
    const auto name = pe->export_name(space);
    const bool kernel = (pdb && (pdb->file.starts_with("ntkr") || pdb->file.starts_with("ntos"))) ||
                        (name && *name == "ntoskrnl.exe");
    if (kernel) return *pe;
  }
  return std::nullopt;
}

// Gate 0 of the interrupt descriptor table (Intel SDM volume 3, 6.14.1).
Result<VirtAddr> interrupt_handler(const AddressSpace& space, VirtAddr table) {
  struct Gate {
    le16 low, selector;
    unsigned char stack, type;
    le16 middle;
    le32 high, unused;
  };
  const Gate gate = HVD_TRY(space.read<Gate>(table));
  return VirtAddr{std::uint64_t{gate.low} | std::uint64_t{gate.middle} << 16 |
                  std::uint64_t{gate.high} << 32};
}

}  // namespace

Result<FoundSpace> find_space(const Image& image, std::optional<PhysAddr> hint, bool arm64) {
  const PhysicalMemory& memory = *image.memory;
  std::set<std::pair<std::uint64_t, Paging>> tried;
  const auto attempt = [&](std::uint64_t root, Paging paging,
                           const std::string& how) -> std::optional<FoundSpace> {
    root &= kFrameMask;
    if (root == 0 || !tried.insert({root, paging}).second) return std::nullopt;
    auto space = open_space(memory, PhysAddr{root}, paging);
    if (!maps_shared_data(*space)) return std::nullopt;
    return FoundSpace{std::move(space), paging, how, std::nullopt};
  };
  if (arm64) {
    if (hint) {
      if (auto found = attempt(hint->value, Paging::kArm64, "where the header says"))
        return std::move(*found);
    }
    return Error{ErrorCode::kNotFound, "the header names no page tables of an ARM64 Windows"};
  }
  // A dump of Windows' own does not say how many levels its page tables have.
  const auto levels = [](const Registers& cpu) {
    return cpu[Reg::kCr4] & kLa57 ? Paging::kX64FiveLevel : Paging::kX64FourLevel;
  };
  // The CPUs' own first, where they say.
  std::array<Paging, 2> either{Paging::kX64FourLevel, Paging::kX64FiveLevel};
  if (std::any_of(image.registers.begin(), image.registers.end(),
                  [&](const Registers& cpu) { return levels(cpu) == Paging::kX64FiveLevel; }))
    std::swap(either[0], either[1]);
  if (hint) {
    for (const Paging paging : either) {
      if (auto found = attempt(hint->value, paging, "where the header says"))
        return std::move(*found);
    }
  }
  for (const Registers& cpu : image.registers) {
    if (!cpu.knows(Reg::kCr3)) continue;
    if (auto found = attempt(cpu[Reg::kCr3], levels(cpu), "CR3 of CPU " + std::to_string(cpu.id)))
      return std::move(*found);
  }
  for (const Registers& cpu : image.registers) {
    if (!cpu.knows(Reg::kCr3)) continue;
    const auto user = open_space(memory, PhysAddr{cpu[Reg::kCr3]}, levels(cpu));
    for (const Reg reg : {Reg::kGsBase, Reg::kKernelGsBase}) {
      if (!is_kernel_address(cpu[reg])) continue;
      for (const std::uint64_t root : table_roots(*user, VirtAddr{cpu[reg]})) {
        if (auto found = attempt(root, levels(cpu),
                                 "those that the KPCR of CPU " + std::to_string(cpu.id) + " names"))
          return std::move(*found);
      }
    }
  }
  if (const auto stub = find_low_stub(memory)) {
    for (const Paging paging : either) {
      auto found = attempt(stub->tables.value, paging, "the start block of other CPUs");
      if (!found) continue;
      found->entry = stub->entry;
      return std::move(*found);
    }
  }
  return Error{ErrorCode::kNotFound, "no CPU's page tables map what every Windows maps"};
}

Result<FoundKernel> find_kernel_image(const AddressSpace& space, const Image& image,
                                      std::optional<VirtAddr> entry,
                                      const std::vector<VirtAddr>& places) {
  for (const Registers& cpu : image.registers) {
    const auto handler = cpu.knows(Reg::kIdtrBase)
                             ? interrupt_handler(space, VirtAddr{cpu[Reg::kIdtrBase]})
                             : Result<VirtAddr>(VirtAddr{});
    if (!handler) continue;
    if (auto pe = kernel_around(space, *handler))
      return FoundKernel{std::move(*pe),
                         "by an interrupt's handler of CPU " + std::to_string(cpu.id)};
  }
  if (entry) {
    if (auto pe = kernel_around(space, *entry))
      return FoundKernel{std::move(*pe), "by its entry point"};
  }
  for (const VirtAddr place : places) {
    if (auto pe = kernel_around(space, place))
      return FoundKernel{std::move(*pe), "by what the header names"};
  }
  for (const Registers& cpu : image.registers) {
    if (auto pe = kernel_around(space, VirtAddr{cpu[Reg::kRip]}))
      return FoundKernel{std::move(*pe), "by where CPU " + std::to_string(cpu.id) + " is"};
  }
  return Error{ErrorCode::kNotFound, "no image of a Windows kernel was found"};
}

}  // namespace hvd::windows
