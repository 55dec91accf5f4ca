#include "extractor/linux_core.h"

#include <algorithm>

#include "base/text.h"
#include "extractor/gdb_script.h"
#include "formats/elf_core/layout.h"
#include "formats/elf_core/notes.h"
#include "formats/memory_file.h"
#include "guest/linux/crash.h"
#include "guest/linux/kernel.h"
#include "guest/linux/tasks.h"

namespace hvd {
namespace {

using elf::LoadSegment;
using linux_guest::Kernel;

// The kernel half of the address space; user space belongs to processes, not to the core file of a
// machine.
constexpr VirtAddr kKernelBegin{0xff00000000000000};
constexpr VirtAddr kKernelEnd{0xffffffffffffffff};
// "%esp fixup stacks" (Documentation/arch/x86/x86_64/mm.rst): a few pages per CPU, each mapped tens
// of thousands of times. Nobody debugs them, and they alone would be more program headers than all
// the rest.
constexpr VirtAddr kEspFixBegin{0xffffff0000000000};
constexpr VirtAddr kEspFixEnd{0xffffff7fffffffff};
// ELF can say 2^32; debuggers search these linearly. A guest that maps more scattered pages is told
// so.
constexpr std::size_t kMaxMappings = 60000;

// The parts of a mapping that the file holds.
void add_loads(const PageMapping& mapping, const std::vector<PhysRange>& pieces,
               std::vector<LoadSegment>& loads) {
  auto piece = std::upper_bound(pieces.begin(), pieces.end(), mapping.phys,
                                [](PhysAddr at, const PhysRange& p) { return at < p.begin; });
  if (piece != pieces.begin()) --piece;
  const std::uint64_t begin = mapping.phys.value, end = begin + mapping.size;
  for (; piece != pieces.end() && piece->begin.value < end; ++piece) {
    const std::uint64_t from = std::max(begin, piece->begin.value);
    const std::uint64_t to = std::min(end, piece->begin.value + piece->size);
    if (from >= to) continue;
    loads.push_back({{PhysAddr{from}, to - from}, mapping.virt.value + (from - begin), from});
  }
}

// RAM that no mapping shows still has to be found by physical address.
void add_unmapped(const std::vector<PhysRange>& pieces, std::vector<LoadSegment>& loads) {
  std::vector<PhysRange> shown;
  for (const LoadSegment& load : loads) shown.push_back(load.memory);
  shown = normalised(std::move(shown));
  auto cover = shown.begin();
  for (const PhysRange& piece : pieces) {
    std::uint64_t at = piece.begin.value;
    const std::uint64_t end = at + piece.size;
    while (at < end) {
      while (cover != shown.end() && cover->begin.value + cover->size <= at) ++cover;
      if (cover != shown.end() && cover->begin.value <= at) {
        at = std::min(end, cover->begin.value + cover->size);
        continue;
      }
      const std::uint64_t to = cover == shown.end() ? end : std::min(end, cover->begin.value);
      loads.push_back({{PhysAddr{at}, to - at}, 0, at});
      at = to;
    }
  }
}

void add_cpus(const Kernel& kernel, std::vector<Note>& notes) {
  std::vector<Note> qemu;
  std::vector<Registers> written;
  for (unsigned cpu = 0; cpu < kernel.cpu_count(); ++cpu) {
    const Registers* registers = kernel.registers_of(cpu);
    if (!registers) continue;
    // As /proc/vmcore has it: drgn finds a running task's registers by this pid.
    const auto task = linux_guest::current_task(kernel, cpu);
    const auto info =
        task ? linux_guest::read_task(kernel, *task) : Result<linux_guest::Task>(task.error());
    notes.push_back(
        elf::prstatus_note(*registers, info ? static_cast<std::uint32_t>(info->pid) : cpu + 1));
    qemu.push_back(elf::qemu_note(*registers));
    written.push_back(*registers);
  }
  notes.insert(notes.end(), qemu.begin(), qemu.end());
  if (!written.empty()) notes.push_back(elf::known_note(written));
}

void plain_loads(const std::vector<PhysRange>& pieces, std::vector<LoadSegment>& loads) {
  for (const PhysRange& piece : pieces) loads.push_back({piece, 0, piece.begin.value});
}

}  // namespace

GuestCore plan_guest_core(const Image& image, const std::string& output) {
  GuestCore core;
  core.plan.pieces = readable_pieces(*image.memory);
  const auto kernel = Kernel::open(image);
  if (!kernel) {
    core.problems.push_back(
        "no Linux kernel was recognised, so memory is given by physical address only: " +
        kernel.error().message);
    plain_loads(core.plan.pieces, core.plan.loads);
    for (const Registers& registers : image.registers) {
      core.plan.notes.push_back(elf::prstatus_note(registers, registers.id + 1));
    }
    for (const Registers& registers : image.registers)
      core.plan.notes.push_back(elf::qemu_note(registers));
    if (!image.registers.empty()) core.plan.notes.push_back(elf::known_note(image.registers));
    for (const Note& note : image.notes) core.plan.notes.push_back(note);
    return core;
  }
  std::size_t unreadable = 0;
  const PageTables& tables = (*kernel)->memory().tables();
  auto mappings = tables.mappings(kKernelBegin, kEspFixBegin - 1, kMaxMappings, unreadable);
  const auto above = tables.mappings(kEspFixEnd + 1, kKernelEnd, kMaxMappings, unreadable);
  mappings.insert(mappings.end(), above.begin(), above.end());
  if (unreadable > 0)
    core.problems.emplace_back(
        "some kernel page tables are missing or too scattered; what they map is given by physical "
        "address only");
  for (const PageMapping& mapping : mappings) add_loads(mapping, core.plan.pieces, core.plan.loads);
  add_unmapped(core.plan.pieces, core.plan.loads);
  add_cpus(**kernel, core.plan.notes);
  core.plan.notes.push_back((*kernel)->info_note());

  std::vector<std::string> ignored;
  const auto log = linux_guest::read_log(**kernel, ignored);
  const auto crash =
      linux_guest::find_crash(**kernel, log ? *log : std::vector<linux_guest::LogRecord>());
  core.gdb_script = gdb_script(**kernel, crash, output);
  return core;
}

GuestCore plan_process_core(const Image& image) {
  GuestCore core;
  core.plan.pieces = readable_pieces(*image.memory);
  for (const PhysRange& piece : core.plan.pieces)
    core.plan.loads.push_back({piece, piece.begin.value, 0});
  for (const Registers& registers : image.registers)
    core.plan.notes.push_back(elf::prstatus_note(registers, registers.id));
  for (const Note& note : image.notes) core.plan.notes.push_back(note);
  // What the agent knew (versions, command line, device tree) goes along; debuggers skip a note
  // they do not know.
  const std::string facts = to_json(image.facts);
  core.plan.notes.push_back({"HVDUMP", 1, Bytes(as_bytes(facts).begin(), as_bytes(facts).end())});
  return core;
}

}  // namespace hvd
