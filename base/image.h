// Image: one partition as everything behind the readers sees it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/facts.h"
#include "base/partition.h"
#include "base/physical_memory.h"
#include "base/registers.h"

namespace hvd {

struct Image {
  std::string name;
  Role role = Role::kGuest;
  PartitionState state = PartitionState::kCaptured;
  std::string state_reason;  // why the state is not `captured`
  bool locked = false;  // sealed, and no key for it was given: only the members above are known

  std::shared_ptr<const PhysicalMemory> memory;  // null when there is none to see
  std::vector<Registers> registers;              // one per vCPU (per thread in a process partition)
  std::vector<Note> notes;
  Facts facts;                        // what the agent knew of it
  std::vector<std::string> problems;  // damage met while opening
};

/// The partition of a dead host's processes that run no VM: pages of the same memory as the
/// hypervisor's, without a kernel.
inline constexpr const char* kHostUserName = "host-user";

/// The contents of the first note of that owner, or null.
const Bytes* note_of(const Image& image, std::string_view owner);

/// Whether it is the memory of a process, by process addresses, rather than that of a machine.
bool is_process(const Image& image);

}  // namespace hvd
