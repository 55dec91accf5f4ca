// The hypervisor partition of one QEMU process: what QEMU and the host were doing, without a
// guest's bytes.
#pragma once

#include <string>
#include <vector>

#include "base/facts.h"
#include "base/progress.h"
#include "capture/policy.h"
#include "capture/qemu/qemu_memory.h"
#include "capture/qemu/thread_state.h"
#include "formats/hvd/writer.h"

namespace hvd {

/// Taken while the guest is stopped; written later.
struct ProcessSnapshot {
  ProcessState state;
  Facts facts;
};

/// Adds host and process facts (kernel release, build id, command line without secrets, threads) to
/// QEMU's own.
Result<ProcessSnapshot> snapshot_process(int pid, HypervisorLevel level, Facts qemu);

/// Level secure: the snapshot. Nothing else of the process is read.
Result<void> write_secure(const ProcessSnapshot& snapshot, format::PartitionWriter& partition,
                          Progress& progress);

/// Level full: in addition all writable private memory of the process but for guest RAM. The guest
/// should still be stopped.
Result<void> write_full(int pid, const ProcessSnapshot& snapshot,
                        const std::vector<RamBlock>& guest_ram, format::PartitionWriter& partition,
                        Progress& progress);

}  // namespace hvd
