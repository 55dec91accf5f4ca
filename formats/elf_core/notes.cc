#include "formats/elf_core/notes.h"

#include <cstring>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "formats/elf_core/layout.h"

namespace hvd::elf {
namespace {

// Far from the types that debuggers know, since some look at no more than the type.
constexpr std::string_view kKnownOwner = "HVDUMP";
constexpr std::uint32_t kKnownType = 0x100;

constexpr std::size_t align4(std::size_t size) { return (size + 3) & ~std::size_t{3}; }

template <WireStruct T>
T prefix_of(ByteView bytes) {
  T out{};
  std::memcpy(&out, bytes.data(), std::min(bytes.size(), sizeof out));
  return out;
}

void set_from_prstatus(Registers& out, const UserRegisters& in) {
  for (std::size_t i = 0; i < kUserOrder.size(); ++i) out.set(kUserOrder[i], in.words[i]);
  // Zero where nobody filled them in. A kernel that dies saves as gs base the one that is swapped
  // out (ELF_CORE_COPY_REGS, arch/x86/include/asm/elf.h).
  const std::uint64_t gs_base = out[Reg::kGsBase];
  if (out[Reg::kFsBase] == 0) out.forget(Reg::kFsBase);
  out.forget(Reg::kGsBase);
  if (gs_base != 0) out.set((out[Reg::kCs] & 3) != 0 ? Reg::kGsBase : Reg::kKernelGsBase, gs_base);
}

// Where the "QEMU" note has each register.
struct QemuWord {
  Reg reg;
  le64 QemuCpuState::* place;
};
constexpr QemuWord kQemuWords[] = {
    // clang-format off
    {Reg::kRax, &QemuCpuState::rax}, {Reg::kRbx, &QemuCpuState::rbx}, {Reg::kRcx, &QemuCpuState::rcx},
    {Reg::kRdx, &QemuCpuState::rdx}, {Reg::kRsi, &QemuCpuState::rsi}, {Reg::kRdi, &QemuCpuState::rdi},
    {Reg::kRsp, &QemuCpuState::rsp}, {Reg::kRbp, &QemuCpuState::rbp}, {Reg::kR8, &QemuCpuState::r8},
    {Reg::kR9, &QemuCpuState::r9}, {Reg::kR10, &QemuCpuState::r10}, {Reg::kR11, &QemuCpuState::r11},
    {Reg::kR12, &QemuCpuState::r12}, {Reg::kR13, &QemuCpuState::r13}, {Reg::kR14, &QemuCpuState::r14},
    {Reg::kR15, &QemuCpuState::r15}, {Reg::kRip, &QemuCpuState::rip},
    {Reg::kRflags, &QemuCpuState::rflags}, {Reg::kKernelGsBase, &QemuCpuState::kernel_gs_base}};
// clang-format on
constexpr std::pair<Reg, std::size_t> kQemuControl[] = {
    {Reg::kCr0, 0}, {Reg::kCr2, 2}, {Reg::kCr3, 3}, {Reg::kCr4, 4}};
// Of a segment register as much as Registers keep.
struct QemuSegmentPlace {
  QemuSegment QemuCpuState::* place;
  std::optional<Reg> selector, base, limit;
};
constexpr QemuSegmentPlace kQemuSegments[] = {
    {&QemuCpuState::cs, Reg::kCs, {}, {}},
    {&QemuCpuState::ss, Reg::kSs, {}, {}},
    {&QemuCpuState::ds, Reg::kDs, {}, {}},
    {&QemuCpuState::es, Reg::kEs, {}, {}},
    {&QemuCpuState::fs, Reg::kFs, Reg::kFsBase, {}},
    {&QemuCpuState::gs, Reg::kGs, Reg::kGsBase, {}},
    {&QemuCpuState::ldt, Reg::kLdtr, Reg::kLdtrBase, {}},
    {&QemuCpuState::tr, Reg::kTr, Reg::kTrBase, {}},
    {&QemuCpuState::gdt, {}, Reg::kGdtrBase, Reg::kGdtrLimit},
    {&QemuCpuState::idt, {}, Reg::kIdtrBase, Reg::kIdtrLimit}};

void set_from_qemu(Registers& out, const QemuCpuState& in, std::size_t present) {
  for (const auto& [reg, place] : kQemuWords) {
    if (reg != Reg::kKernelGsBase || present >= sizeof in) out.set(reg, in.*place);
  }
  for (const auto& [reg, number] : kQemuControl) out.set(reg, in.cr[number]);
  for (const auto& [place, selector, base, limit] : kQemuSegments) {
    const QemuSegment& segment = in.*place;
    if (selector) out.set(*selector, segment.selector);
    if (base) out.set(*base, segment.base);
    if (limit) out.set(*limit, segment.limit);
  }
}

}  // namespace

Result<std::vector<Note>> parse_notes(ByteView segment) {
  std::vector<Note> notes;
  ByteReader in(segment, "ELF notes");
  while (in.remaining() >= sizeof(NoteHeader)) {
    const auto header = in.read<NoteHeader>();
    const ByteView name = in.bytes(align4(header.namesz));
    const ByteView contents = in.bytes(header.descsz);
    in.bytes(std::min(align4(header.descsz) - header.descsz,
                      in.remaining()));  // the last padding may be missing
    if (!in.ok()) break;
    Note note;
    note.type = header.type;
    note.name = to_string(name.first(std::min<std::size_t>(name.size(), header.namesz)));
    while (!note.name.empty() && note.name.back() == '\0') note.name.pop_back();
    note.contents.assign(contents.begin(), contents.end());
    notes.push_back(std::move(note));
  }
  HVD_TRY(in.finish());
  return notes;
}

void append_note(Bytes& to, const Note& note) {
  NoteHeader header{};
  header.namesz = static_cast<std::uint32_t>(note.name.size() + 1);
  header.descsz = static_cast<std::uint32_t>(note.contents.size());
  header.type = note.type;
  append(to, bytes_of(header));
  append(to, as_bytes(note.name));
  to.resize(to.size() + align4(note.name.size() + 1) - note.name.size());
  append(to, note.contents);
  to.resize(align4(to.size()));
}

Note prstatus_note(const Registers& in, std::uint32_t pid) {
  Prstatus status{};
  status.pid = pid;
  for (std::size_t i = 0; i < kUserOrder.size(); ++i) {
    // -1 says that it is in no system call.
    const std::uint64_t unknown = kUserOrder[i] == Reg::kOrigRax ? ~std::uint64_t{0} : 0;
    status.registers.words[i] = in.get(kUserOrder[i]).value_or(unknown);
  }
  const ByteView bytes = bytes_of(status);
  return {"CORE", kNotePrstatus, Bytes(bytes.begin(), bytes.end())};
}

Note qemu_note(const Registers& in) {
  QemuCpuState state{};
  state.version = 1;
  state.size = sizeof state;
  for (const auto& [reg, place] : kQemuWords) state.*place = in[reg];
  for (const auto& [reg, number] : kQemuControl) state.cr[number] = in[reg];
  for (const auto& [place, selector, base, limit] : kQemuSegments) {
    QemuSegment& segment = state.*place;
    if (selector) segment.selector = static_cast<std::uint32_t>(in[*selector]);
    if (base) segment.base = in[*base];
    if (limit) segment.limit = static_cast<std::uint32_t>(in[*limit]);
  }
  const ByteView bytes = bytes_of(state);
  return {"QEMU", 0, Bytes(bytes.begin(), bytes.end())};
}

Note known_note(const std::vector<Registers>& cpus) {
  ByteWriter out;
  for (const Registers& cpu : cpus) out.u64(cpu.known());
  return {std::string(kKnownOwner), kKnownType, out.take()};
}

std::vector<Registers> registers_from(const std::vector<Note>& notes) {
  std::vector<Registers> cpus;
  std::size_t qemu_notes = 0;
  for (const Note& note : notes) {
    if (note.name == "CORE" && note.type == kNotePrstatus &&
        note.contents.size() >= sizeof(Prstatus)) {
      Registers registers;
      registers.id = static_cast<std::uint32_t>(cpus.size());
      set_from_prstatus(registers, prefix_of<Prstatus>(note.contents).registers);
      cpus.push_back(registers);
    }
  }
  for (const Note& note : notes) {
    if (note.name != "QEMU" || note.contents.size() < sizeof(QemuCpuState) - sizeof(le64)) continue;
    const auto state = prefix_of<QemuCpuState>(note.contents);
    if (state.version != 1 || qemu_notes >= cpus.size()) continue;
    set_from_qemu(cpus[qemu_notes++], state, note.contents.size());
  }
  for (const Note& note : notes) {
    if (note.name != kKnownOwner || note.type != kKnownType ||
        note.contents.size() != cpus.size() * sizeof(le64))
      continue;
    for (std::size_t i = 0; i < cpus.size(); ++i) {
      le64 known{};
      std::memcpy(&known, note.contents.data() + i * sizeof known, sizeof known);
      for (std::size_t reg = 0; reg < kRegCount; ++reg) {
        if (((known >> reg) & 1) == 0) cpus[i].forget(static_cast<Reg>(reg));
      }
    }
  }
  return cpus;
}

}  // namespace hvd::elf
