// QemuGuest: one running QEMU seen through QMP: its state, layout, registers, and the power to stop
// and resume it.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/facts.h"
#include "base/partition.h"
#include "base/registers.h"
#include "capture/qemu/memory_tree.h"
#include "capture/qemu/qemu_memory.h"
#include "capture/qemu/qmp.h"

namespace hvd {

/// What is told apart in the guest's physical address space.
struct GuestLayout {
  std::vector<RamBlock> ram;
  std::vector<FlatRange> other;  // ROM, VGA memory and other devices' memory
};

struct CpuState {
  std::vector<Registers> registers;
  std::vector<Note> notes;  // VMCOREINFO and what else QEMU passes on
};

class QemuGuest {
 public:
  static Result<std::unique_ptr<QemuGuest>> connect(const std::string& socket_path);
  /// Resumes the guest if this object stopped it; a failure of that is told on standard error,
  /// since it is the worst thing a capture can leave behind.
  ~QemuGuest();

  /// Stops the guest unless it is already stopped.
  Result<void> stop();
  /// Undoes stop(), and nothing else.
  Result<void> resume();

  int pid() const { return pid_; }
  /// "running", "paused", "guest-panicked" ... before stop().
  const std::string& run_state() const { return run_state_; }

  /// Name, uuid, run state, number of CPUs, what the guest reported of a panic: for its own
  /// partition.
  Result<Facts> machine_facts();
  /// QEMU's own, for the hypervisor partition: process, version, device tree.
  Result<Facts> hypervisor_facts();

  /// Requires a stopped guest, as the next two do.
  Result<GuestLayout> layout();
  Result<CpuState> cpu_state();

 private:
  explicit QemuGuest(QmpClient client) : qmp_(std::move(client)) {}
  Result<std::vector<std::string>> memory_backends();
  std::vector<PanicReport> panic_reports(const nlohmann::json& cpus);
  Result<std::uint64_t> host_address(PhysAddr at);

  QmpClient qmp_;
  int pid_ = 0;
  std::string run_state_;
  bool stopped_by_us_ = false;
};

}  // namespace hvd
