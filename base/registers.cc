#include "base/registers.h"

namespace hvd {

std::string_view name_of(Reg reg) {
  static constexpr std::array<std::string_view, kRegCount> kNames{
      "rax", "rbx",       "rcx",     "rdx",       "rsi",        "rdi",       "rbp",
      "rsp", "r8",        "r9",      "r10",       "r11",        "r12",       "r13",
      "r14", "r15",       "rip",     "rflags",    "orig_rax",   "cr0",       "cr2",
      "cr3", "cr4",       "cr8",     "efer",      "fs_base",    "gs_base",   "kernel_gs_base",
      "cs",  "ss",        "ds",      "es",        "fs",         "gs",        "ldtr",
      "tr",  "ldtr_base", "tr_base", "gdtr_base", "gdtr_limit", "idtr_base", "idtr_limit"};
  return kNames[static_cast<std::size_t>(reg)];
}

}  // namespace hvd
