// Writes triage dumps (type 4), the small kind that Windows keeps for every crash.
#pragma once

#include <string>
#include <vector>

#include "base/address.h"
#include "base/result.h"
#include "formats/windows_dump/layout.h"

namespace hvd::windows {

struct TriagePlan {
  Header64 header{};
  Bytes prcb, process, thread;  // KPRCB, EPROCESS, ETHREAD of the crash
  VirtAddr stack_at;
  Bytes stack;  // from the stack pointer on
  Bytes debugger_data;
  struct Driver {
    std::string name;
    VirtAddr base;
    std::uint32_t size = 0, checksum = 0, timestamp = 0;
  };
  std::vector<Driver> drivers;
  struct Unloaded {
    std::string name;
    VirtAddr begin, end;
  };
  std::vector<Unloaded> unloaded;
  struct Block {
    VirtAddr at;
    Bytes bytes;
  };
  std::vector<Block> blocks;
};

/// The file; kInvalidArgument when it would be larger than its 32-bit offsets reach.
Result<Bytes> triage_dump(const TriagePlan& plan);

}  // namespace hvd::windows
