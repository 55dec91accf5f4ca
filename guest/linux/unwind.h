// Unwinding kernel stacks by ORC, through interrupts, exceptions and modules.
#pragma once

#include <vector>

#include "guest/linux/orc.h"
#include "guest/linux/symbolizer.h"

namespace hvd::linux_guest {

struct Frame {
  VirtAddr address;  // the instruction: a return address, or where the CPU or an interrupt stopped
  VirtAddr lookup;   // the address to name it by: one less for return addresses, which may be the
                     // next function's
  bool interrupted = false;  // the registers were saved here: the frames behind were interrupted
  bool reliable = true;
};

struct Stack {
  std::vector<Frame> frames;
  bool complete = false;   // ended at the entry from user mode or at the task's first function
  std::string end_reason;  // why it ended otherwise
};

class Unwinder {
 public:
  /// All must outlive the object. `orc` may be null: then return addresses are picked off the
  /// stack, unreliable.
  Unwinder(const Kernel& kernel, const OrcTables* orc, const Symbolizer& symbols)
      : kernel_(kernel), orc_(orc), symbols_(symbols) {}

  /// From a CPU's registers; a CPU in user mode gives its one user frame.
  Stack from_registers(const Registers& registers) const;
  /// A task that is not running: its saved stack pointer (thread.sp) leads to a struct
  /// inactive_task_frame.
  Stack from_sleeping(VirtAddr saved_sp) const;

 private:
  struct State;
  void unwind(State state, Stack& stack) const;
  void unwind(State state, Stack& stack, std::optional<std::size_t>& bridged) const;
  Result<bool> step(State& state) const;
  Result<VirtAddr> caller_sp(const OrcEntry& entry, const State& state) const;
  bool step_to_call(State& state) const;
  Result<void> load_pt_regs(State& state, VirtAddr at) const;
  void scan(VirtAddr sp, Stack& stack) const;
  bool is_text(VirtAddr at) const;

  const Kernel& kernel_;
  const OrcTables* orc_;
  const Symbolizer& symbols_;
};

}  // namespace hvd::linux_guest
