// Reading: the kernel and, when first asked for, its log, tasks, virtual machines and stacks.
// linux_report.cc makes reports of them.
#include "analyzer/linux_guest.h"

#include "guest/kvm_host/slot_memory.h"

namespace hvd {

using namespace linux_guest;

Result<std::unique_ptr<LinuxGuest>> LinuxGuest::open(const Image& image,
                                                     const std::vector<std::string>& symbols) {
  std::unique_ptr<Kernel> kernel = HVD_TRY(Kernel::open(image));
  std::unique_ptr<LinuxGuest> guest(new LinuxGuest(std::move(kernel)));
  guest->problems_ = guest->kernel_->problems();
  guest->modules_ = read_modules(*guest->kernel_, guest->problems_);
  guest->symbolizer_ = std::make_unique<Symbolizer>(*guest->kernel_, guest->modules_);
  auto orc = OrcTables::open(*guest->kernel_, guest->modules_);
  if (orc) guest->orc_ = *orc;
  else guest->problems_.push_back("stacks are guessed: " + orc.error().message);
  guest->unwinder_ = std::make_unique<Unwinder>(
      *guest->kernel_, guest->orc_ ? &*guest->orc_ : nullptr, *guest->symbolizer_);
  if (!symbols.empty())
    guest->lines_ = std::make_unique<LinuxLines>(*guest->kernel_, symbols, guest->problems_);
  return guest;
}

Result<VirtAddr> LinuxGuest::symbol(const std::string& name) const { return kernel_->symbol(name); }

Result<void> LinuxGuest::read(VirtAddr at, MutableBytes out) const {
  return kernel_->memory().read(at, out);
}

const std::vector<LogRecord>& LinuxGuest::log_records() {
  if (!log_) {
    auto records = read_log(*kernel_, problems_);
    if (!records) problems_.push_back("no kernel log: " + records.error().message);
    log_ = records ? std::move(*records) : std::vector<LogRecord>();
  }
  return *log_;
}

const std::vector<Task>& LinuxGuest::task_list() {
  if (!tasks_) tasks_ = read_tasks(*kernel_, problems_);
  return *tasks_;
}

const std::vector<VirtualMachine>& LinuxGuest::virtual_machines() {
  if (!virtual_machines_) {
    virtual_machines_ = read_virtual_machines(*kernel_, modules_, problems_);
    name_machines(kernel_->image().facts, *virtual_machines_);
  }
  return *virtual_machines_;
}

std::vector<Image> LinuxGuest::vm_images() {
  std::vector<Image> images;
  for (const VirtualMachine& machine : virtual_machines()) {
    Image image;
    image.name = machine.name.empty() ? "pid-" + std::to_string(machine.pid) : machine.name;
    image.memory = SlotMemory::open(*kernel_, machine, image.problems);
    for (const VirtualCpu& cpu : machine.cpus) image.registers.push_back(cpu.registers);
    image.facts.uuid = machine.uuid;
    images.push_back(std::move(image));
  }
  return images;
}

Stack LinuxGuest::cpu_stack(unsigned cpu) const {
  const Registers* registers = kernel_->registers_of(cpu);
  if (registers) return unwinder_->from_registers(*registers);
  Stack stack;
  stack.end_reason = "the dump holds no registers of this CPU";
  return stack;
}

std::vector<Stack> LinuxGuest::cpu_stacks() const {
  std::vector<Stack> stacks;
  for (unsigned cpu = 0; cpu < kernel_->cpu_count(); ++cpu) {
    // Possible CPUs that were never there have no registers and no task.
    if (!kernel_->registers_of(cpu) && cpu >= kernel_->image().registers.size()) break;
    stacks.push_back(cpu_stack(cpu));
  }
  return stacks;
}

Stack LinuxGuest::task_stack(const Task& task) const {
  if (task.on_cpu && task.cpu) return cpu_stack(*task.cpu);
  if (!task.has_stack) {
    Stack none;
    none.end_reason = "the task is dead and its stack freed";
    return none;
  }
  return unwinder_->from_sleeping(task.saved_sp);
}

}  // namespace hvd
