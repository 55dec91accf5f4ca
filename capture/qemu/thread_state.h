// The threads of a QEMU process: names, registers and the live part of each stack, and what a
// debugger needs to find the shared libraries.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/registers.h"
#include "base/result.h"
#include "capture/qemu/process.h"

namespace hvd {

struct ThreadState {
  int tid = 0;
  std::string name;
  Registers registers;
};

/// Pieces of a process's address space, exact to the byte.
struct ProcessPieces {
  std::map<std::uint64_t, Bytes> pieces;  // by address; not overlapping
};

struct ProcessState {
  std::vector<ThreadState> threads;
  ProcessPieces memory;
  Bytes auxv;
  std::vector<Mapping> mappings;
  std::vector<std::string> problems;
};

enum class Values { kPointersOnly, kAll };

/// Stops each thread for a moment, one after the other, and reads it. With kPointersOnly nothing a
/// guest may have left on a stack is taken: of each stack only the part behind the stack pointer,
/// and of that only words that point into code or into the stacks themselves; the others read as
/// zero. The same holds for registers. A backtrace needs no more. Fails only when the process
/// cannot be looked at at all.
Result<ProcessState> read_process_state(int pid, Values values);

}  // namespace hvd
