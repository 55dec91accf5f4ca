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
  const std::pair<Reg, std::uint64_t> values[] = {{Reg::kRax, in.rax},
                                                  {Reg::kRbx, in.rbx},
                                                  {Reg::kRcx, in.rcx},
                                                  {Reg::kRdx, in.rdx},
                                                  {Reg::kRsi, in.rsi},
                                                  {Reg::kRdi, in.rdi},
                                                  {Reg::kRbp, in.rbp},
                                                  {Reg::kRsp, in.rsp},
                                                  {Reg::kR8, in.r8},
                                                  {Reg::kR9, in.r9},
                                                  {Reg::kR10, in.r10},
                                                  {Reg::kR11, in.r11},
                                                  {Reg::kR12, in.r12},
                                                  {Reg::kR13, in.r13},
                                                  {Reg::kR14, in.r14},
                                                  {Reg::kR15, in.r15},
                                                  {Reg::kRip, in.rip},
                                                  {Reg::kRflags, in.rflags},
                                                  {Reg::kOrigRax, in.orig_rax},
                                                  {Reg::kCs, in.cs},
                                                  {Reg::kSs, in.ss},
                                                  {Reg::kDs, in.ds},
                                                  {Reg::kEs, in.es},
                                                  {Reg::kFs, in.fs},
                                                  {Reg::kGs, in.gs}};
  for (const auto& [reg, value] : values) out.set(reg, value);
  // Zero where nobody filled them in. A kernel that dies saves as gs base the one that is swapped
  // out (ELF_CORE_COPY_REGS, arch/x86/include/asm/elf.h).
  if (in.fs_base != 0) out.set(Reg::kFsBase, in.fs_base);
  if (in.gs_base != 0) out.set((in.cs & 3) != 0 ? Reg::kGsBase : Reg::kKernelGsBase, in.gs_base);
}

void set_from_qemu(Registers& out, const QemuCpuState& in, std::size_t present) {
  const std::pair<Reg, std::uint64_t> values[] = {{Reg::kRax, in.rax},
                                                  {Reg::kRbx, in.rbx},
                                                  {Reg::kRcx, in.rcx},
                                                  {Reg::kRdx, in.rdx},
                                                  {Reg::kRsi, in.rsi},
                                                  {Reg::kRdi, in.rdi},
                                                  {Reg::kRbp, in.rbp},
                                                  {Reg::kRsp, in.rsp},
                                                  {Reg::kR8, in.r8},
                                                  {Reg::kR9, in.r9},
                                                  {Reg::kR10, in.r10},
                                                  {Reg::kR11, in.r11},
                                                  {Reg::kR12, in.r12},
                                                  {Reg::kR13, in.r13},
                                                  {Reg::kR14, in.r14},
                                                  {Reg::kR15, in.r15},
                                                  {Reg::kRip, in.rip},
                                                  {Reg::kRflags, in.rflags},
                                                  {Reg::kCr0, in.cr[0]},
                                                  {Reg::kCr2, in.cr[2]},
                                                  {Reg::kCr3, in.cr[3]},
                                                  {Reg::kCr4, in.cr[4]},
                                                  {Reg::kCs, in.cs.selector},
                                                  {Reg::kSs, in.ss.selector},
                                                  {Reg::kDs, in.ds.selector},
                                                  {Reg::kEs, in.es.selector},
                                                  {Reg::kFs, in.fs.selector},
                                                  {Reg::kGs, in.gs.selector},
                                                  {Reg::kLdtr, in.ldt.selector},
                                                  {Reg::kTr, in.tr.selector},
                                                  {Reg::kFsBase, in.fs.base},
                                                  {Reg::kGsBase, in.gs.base},
                                                  {Reg::kLdtrBase, in.ldt.base},
                                                  {Reg::kTrBase, in.tr.base},
                                                  {Reg::kGdtrBase, in.gdt.base},
                                                  {Reg::kGdtrLimit, in.gdt.limit},
                                                  {Reg::kIdtrBase, in.idt.base},
                                                  {Reg::kIdtrLimit, in.idt.limit}};
  for (const auto& [reg, value] : values) out.set(reg, value);
  if (present >= sizeof in) out.set(Reg::kKernelGsBase, in.kernel_gs_base);
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
  UserRegisters& out = status.registers;
  out.rax = in[Reg::kRax], out.rbx = in[Reg::kRbx], out.rcx = in[Reg::kRcx],
  out.rdx = in[Reg::kRdx];
  out.rsi = in[Reg::kRsi], out.rdi = in[Reg::kRdi], out.rbp = in[Reg::kRbp],
  out.rsp = in[Reg::kRsp];
  out.r8 = in[Reg::kR8], out.r9 = in[Reg::kR9], out.r10 = in[Reg::kR10], out.r11 = in[Reg::kR11];
  out.r12 = in[Reg::kR12], out.r13 = in[Reg::kR13], out.r14 = in[Reg::kR14],
  out.r15 = in[Reg::kR15];
  out.rip = in[Reg::kRip], out.rflags = in[Reg::kRflags];
  out.orig_rax = in.get(Reg::kOrigRax).value_or(~std::uint64_t{0});
  out.cs = in[Reg::kCs], out.ss = in[Reg::kSs], out.ds = in[Reg::kDs], out.es = in[Reg::kEs];
  out.fs = in[Reg::kFs], out.gs = in[Reg::kGs], out.fs_base = in[Reg::kFsBase],
  out.gs_base = in[Reg::kGsBase];
  const ByteView bytes = bytes_of(status);
  return {"CORE", kNotePrstatus, Bytes(bytes.begin(), bytes.end())};
}

Note qemu_note(const Registers& in) {
  QemuCpuState state{};
  state.version = 1;
  state.size = sizeof state;
  state.rax = in[Reg::kRax], state.rbx = in[Reg::kRbx], state.rcx = in[Reg::kRcx],
  state.rdx = in[Reg::kRdx];
  state.rsi = in[Reg::kRsi], state.rdi = in[Reg::kRdi], state.rsp = in[Reg::kRsp],
  state.rbp = in[Reg::kRbp];
  state.r8 = in[Reg::kR8], state.r9 = in[Reg::kR9], state.r10 = in[Reg::kR10],
  state.r11 = in[Reg::kR11];
  state.r12 = in[Reg::kR12], state.r13 = in[Reg::kR13], state.r14 = in[Reg::kR14],
  state.r15 = in[Reg::kR15];
  state.rip = in[Reg::kRip], state.rflags = in[Reg::kRflags];
  const auto segment = [&in](QemuSegment& out, Reg selector, std::optional<Reg> base) {
    out.selector = static_cast<std::uint32_t>(in[selector]);
    if (base) out.base = in[*base];
  };
  segment(state.cs, Reg::kCs, std::nullopt), segment(state.ss, Reg::kSs, std::nullopt);
  segment(state.ds, Reg::kDs, std::nullopt), segment(state.es, Reg::kEs, std::nullopt);
  segment(state.fs, Reg::kFs, Reg::kFsBase), segment(state.gs, Reg::kGs, Reg::kGsBase);
  segment(state.ldt, Reg::kLdtr, Reg::kLdtrBase), segment(state.tr, Reg::kTr, Reg::kTrBase);
  state.gdt.base = in[Reg::kGdtrBase],
  state.gdt.limit = static_cast<std::uint32_t>(in[Reg::kGdtrLimit]);
  state.idt.base = in[Reg::kIdtrBase],
  state.idt.limit = static_cast<std::uint32_t>(in[Reg::kIdtrLimit]);
  state.cr[0] = in[Reg::kCr0], state.cr[2] = in[Reg::kCr2], state.cr[3] = in[Reg::kCr3],
  state.cr[4] = in[Reg::kCr4];
  state.kernel_gs_base = in[Reg::kKernelGsBase];
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
