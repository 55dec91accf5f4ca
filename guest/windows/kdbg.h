// KDDEBUGGER_DATA64 (WDBGEXTS.H): where a Windows kernel's variables are and what its structures
// look like, written by the kernel itself for debuggers. Newer kernels keep it encoded until a
// debugger is attached or a dump is written.
#pragma once

#include <functional>
#include <string>

#include "guest/windows/pe.h"

namespace hvd::windows {

class DebuggerData {
 public:
  /// From decoded bytes; kCorrupt when they are no such block of the kernel at `kernel_base`.
  static Result<DebuggerData> parse(Bytes block, VirtAddr kernel_base);

  // Addresses of the kernel's variables; null when the block is too short to have them.
  VirtAddr kernel_base() const { return address(0x18); }
  VirtAddr loaded_modules() const { return address(0x48); }
  VirtAddr active_processes() const { return address(0x50); }
  VirtAddr bugcheck_data() const { return address(0x88); }
  VirtAddr pfn_database() const { return address(0xc0); }
  VirtAddr build_lab() const { return address(0x208); }
  VirtAddr processor_block() const { return address(0x218); }
  VirtAddr unloaded_drivers() const { return address(0x220); }

  // Offsets in structures, in bytes; 0 when not known.
  std::uint16_t thread_kernel_stack() const { return offset(0x29c); }
  std::uint16_t thread_process() const { return offset(0x2a0); }
  std::uint16_t thread_state() const { return offset(0x2a2); }
  std::uint16_t thread_size() const { return offset(0x2c0); }
  std::uint16_t process_size() const { return offset(0x2a8); }
  std::uint16_t process_parent() const { return offset(0x2ac); }
  std::uint16_t process_page_table() const { return offset(0x2ae); }
  std::uint16_t prcb_size() const { return offset(0x2b0); }
  std::uint16_t prcb_current_thread() const { return offset(0x2b4); }
  std::uint16_t prcb_number() const { return offset(0x2be); }
  std::uint16_t pcr_prcb() const { return offset(0x2e6); }
  std::uint16_t prcb_context() const { return offset(0x338); }

  const Bytes& bytes() const { return bytes_; }

 private:
  explicit DebuggerData(Bytes bytes) : bytes_(std::move(bytes)) {}
  VirtAddr address(std::size_t at) const;
  std::uint16_t offset(std::size_t at) const;
  Bytes bytes_;
};

struct FoundDebuggerData {
  VirtAddr at;  // of the block in memory, encoded or not
  bool encoded = false;
  std::string how;  // for people
  DebuggerData data;
};

/// The address of a kernel variable by its name, out of symbols; null when there are none.
using SymbolAddress = std::function<Result<VirtAddr>(std::string_view name)>;

/// The block at `at`, in the clear or, decoded with symbols, encoded.
Result<FoundDebuggerData> read_debugger_data(const AddressSpace& space, const PeImage& kernel,
                                             VirtAddr at, const SymbolAddress& symbols);

/// Searches the kernel's writable sections. An encoded block is found and decoded without symbols
/// by what must be in it: its tag, and the kernel's own base (kdbg.cc says how).
Result<FoundDebuggerData> search_debugger_data(const AddressSpace& space, const PeImage& kernel,
                                               const SymbolAddress& symbols);

}  // namespace hvd::windows
