#include "capture/triage_reads.h"

#include "guest/kvm_host/virtual_machines.h"
#include "guest/linux/crash.h"
#include "guest/linux/tasks.h"

namespace hvd::linux_guest {
namespace {

// Instructions shown before and behind where a CPU stopped: of its function at most this much.
constexpr std::uint64_t kMaxFunction = 64u << 10;
constexpr std::uint64_t kCodeAfter = 64;

class Reads {
 public:
  explicit Reads(const Kernel& kernel) : kernel_(kernel) {}

  void run() {
    modules_ = read_modules(kernel_, problems_);
    for (const Module& module : modules_) (void)read_module_sections(kernel_, module);
    const Symbolizer symbols(kernel_, modules_);
    const auto orc = OrcTables::open(kernel_, modules_);
    if (orc) (void)orc->stack_switches().has_value();
    const Unwinder unwinder(kernel_, orc ? &*orc : nullptr, symbols);
    const auto log = read_log(kernel_, problems_);
    (void)find_crash(kernel_, log ? *log : std::vector<LogRecord>());
    for (unsigned cpu = 0; cpu < kernel_.cpu_count(); ++cpu) {
      if (const auto task = current_task(kernel_, cpu)) (void)read_task(kernel_, *task).has_value();
      const Registers* registers = kernel_.registers_of(cpu);
      if (!registers) continue;
      stack(unwinder.from_registers(*registers), symbols);
      if (const auto rip = registers->get(Reg::kRip)) code(VirtAddr{*rip}, symbols);
    }
    for (const Task& task : read_tasks(kernel_, problems_)) {
      if (task.has_stack && !task.on_cpu) stack(unwinder.from_sleeping(task.saved_sp), symbols);
    }
    (void)read_virtual_machines(kernel_, modules_, problems_);
  }

 private:
  static void stack(const Stack& stack, const Symbolizer& symbols) {
    for (const Frame& frame : stack.frames) (void)symbols.at(frame.lookup);
  }
  void code(VirtAddr at, const Symbolizer& symbols) const {
    const auto symbol = symbols.at(at);
    const std::uint64_t before = symbol && symbol->offset <= kMaxFunction ? symbol->offset : 0;
    if (!kernel_.memory().read_bytes(at - before, before + kCodeAfter))
      (void)kernel_.memory().read_bytes(at, kPageSize - at.value % kPageSize).has_value();
  }

  const Kernel& kernel_;
  std::vector<Module> modules_;
  std::vector<std::string> problems_;
};

}  // namespace

void read_for_triage(const Image& image) {
  if (const auto kernel = Kernel::open(image)) Reads(**kernel).run();
}

}  // namespace hvd::linux_guest
