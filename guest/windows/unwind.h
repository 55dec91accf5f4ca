// Unwinding Windows stacks by the unwind data of PE images (Microsoft's "x64 exception handling"
// and "ARM64 exception handling"): .pdata has a RUNTIME_FUNCTION for each function that uses the
// stack, whose unwind data list what its prolog did.
#pragma once

#include <string>
#include <vector>

#include "guest/windows/modules.h"

namespace hvd::windows {

struct Frame {
  VirtAddr address;  // a return address, or where the CPU or an interrupt stopped
  VirtAddr lookup;   // to name it by: one less for return addresses
  VirtAddr sp;       // when the frame below returns
  bool interrupted = false;
  bool reliable = true;
};

struct Stack {
  std::vector<Frame> frames;
  bool complete = false;   // ended at user mode or at the thread's first function
  std::string end_reason;  // why it ended otherwise
};

class Unwinder {
 public:
  /// Both must outlive the object.
  Unwinder(const AddressSpace& space, const std::vector<Module>& modules)
      : space_(space), modules_(modules) {}

  /// From a CPU's registers; one in user mode gives its one frame. Where there is no unwind data,
  /// as in triage dumps, return addresses are picked off the stack, unreliable.
  Stack from_cpu(const Cpu& cpu) const;
  /// A thread that does not run, of an x64 system: KTHREAD.KernelStack leads to what KiSwapContext
  /// left, of which only the return address matters: SwapContext's frame is unwound from there.
  Stack from_stack(VirtAddr kernel_stack) const;

 private:
  template <typename State>
  void unwind(State state, Stack& stack) const;
  template <typename State>
  Result<bool> step_from(State& state) const;
  void scan(VirtAddr sp, Stack& stack) const;
  bool is_code(VirtAddr at) const;

  const AddressSpace& space_;
  const std::vector<Module>& modules_;
};

}  // namespace hvd::windows
