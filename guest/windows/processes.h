// Processes and threads of a Windows kernel.
//
// The debugger data block tells only some members' places. The others are asked of the PDB where
// there is one, and else derived from what must be true: the System process has the name "System"
// and the id 4, ids lie before the list entries, the current thread is in its process's list.
#pragma once

#include <string>
#include <vector>

#include "guest/windows/kernel.h"

namespace hvd::windows {

struct Thread {
  VirtAddr at;  // ETHREAD
  std::uint64_t id = 0;
  std::uint8_t state = 0;            // KTHREAD_STATE
  VirtAddr kernel_stack;             // where its stack continues when it does not run
  std::optional<std::uint32_t> cpu;  // the one that runs it
};

struct Process {
  VirtAddr at;  // EPROCESS
  std::uint64_t id = 0, parent = 0;
  std::string name;  // at most 15 characters
  std::vector<Thread> threads;
};

/// All of PsActiveProcessHead; of a triage dump the crashing thread's own. What cannot be had is
/// told in `problems`.
std::vector<Process> read_processes(const Kernel& kernel, std::vector<std::string>& problems);

}  // namespace hvd::windows
