#include "analyzer/linux_report.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/debuginfo/symbol_files.h"
#include "guest/kvm_host/slot_memory.h"

namespace hvd {

using namespace linux_guest;
using nlohmann::json;

Result<std::unique_ptr<LinuxGuest>> LinuxGuest::open(const Image& image) {
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
  return guest;
}

void LinuxGuest::use_symbols(const std::vector<std::string>& places) {
  if (places.empty()) return;
  const auto open = [&]() -> Result<void> {
    const VmcoreInfo& info = kernel_->info();
    const std::string file = HVD_TRY(find_vmlinux(places, info.release(), info.build_id()));
    lines_ = HVD_TRY(LineTable::open(file, info.kaslr_offset().value_or(0)));
    return {};
  };
  if (auto done = open(); !done) problems_.push_back("no source lines: " + done.error().message);
  module_files_ = find_modules(places, kernel_->info().release());
}

const LineTable* LinuxGuest::lines_of(VirtAddr at) const {
  if (!lines_ && module_files_.empty()) return nullptr;  // as for most: nothing to look for
  const Module* module = symbolizer_->module_of(at);
  if (!module) return lines_.get();
  const auto [entry, is_new] = module_lines_.try_emplace(module);
  if (!is_new) return entry->second.get();
  std::vector<LoadedSection> sections;
  for (const ModuleSection& section : read_module_sections(*kernel_, *module))
    sections.push_back({section.name, section.address});
  const auto [first, last] = module_files_.equal_range(module->name);
  for (auto file = first; file != last && !entry->second; ++file) {
    // Another build's lines would be plausible and wrong.
    if (!module->build_id.empty() && build_id_of(file->second) != module->build_id) continue;
    if (auto table = LineTable::open_relocatable(file->second, sections))
      entry->second = std::move(*table);
  }
  return entry->second.get();
}

const std::vector<LogRecord>& LinuxGuest::log() {
  if (!log_) {
    auto records = read_log(*kernel_, problems_);
    if (!records) problems_.push_back("no kernel log: " + records.error().message);
    log_ = records ? std::move(*records) : std::vector<LogRecord>();
  }
  return *log_;
}

const std::vector<Task>& LinuxGuest::tasks() {
  if (!tasks_) tasks_ = read_tasks(*kernel_, problems_);
  return *tasks_;
}

const std::vector<VirtualMachine>& LinuxGuest::virtual_machines() {
  if (virtual_machines_) return *virtual_machines_;
  virtual_machines_ = read_virtual_machines(*kernel_, modules_, problems_);
  // A hypervisor image lacks the VMMs' command lines, which are the tenants'; whoever split it says
  // who they were.
  const json facts = parse_json_object(as_bytes(kernel_->image().facts));
  const json told = facts.is_object() ? facts.value("vms", json()) : json();
  for (const json& vm : told.is_array() ? told : json::array()) {
    for (VirtualMachine& machine : *virtual_machines_) {
      if (!vm.is_object() || !machine.name.empty() || vm.value("pid", json()) != machine.pid)
        continue;
      const json name = vm.value("name", json()), uuid = vm.value("uuid", json());
      if (name.is_string()) machine.name = name.get<std::string>();
      if (uuid.is_string()) machine.uuid = uuid.get<std::string>();
    }
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
    image.facts = json{{"uuid", machine.uuid}}.dump(-1, ' ', false, json::error_handler_t::replace);
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

Stack LinuxGuest::task_stack(const Task& task) const {
  if (task.on_cpu && task.cpu) return cpu_stack(*task.cpu);
  if (!task.has_stack) {
    Stack none;
    none.end_reason = "the task is dead and its stack freed";
    return none;
  }
  return unwinder_->from_sleeping(task.saved_sp);
}

Result<Task> LinuxGuest::task_on(unsigned cpu) const {
  const VirtAddr at = HVD_TRY(current_task(*kernel_, cpu));
  return read_task(*kernel_, at);
}

json LinuxGuest::stack_json(const Stack& stack) const {
  json out = json::array();
  for (const Frame& frame : stack.frames) {
    const auto symbol = symbolizer_->at(frame.lookup);
    json entry{{"address", hex(frame.address.value)}, {"reliable", frame.reliable}};
    if (symbol && !symbol->name.empty()) {
      entry["symbol"] = printable(symbol->name);
      entry["offset"] = symbol->offset + (frame.address - frame.lookup);
    }
    if (symbol && !symbol->module.empty()) entry["module"] = printable(symbol->module);
    if (const LineTable* lines = symbol ? lines_of(frame.lookup) : nullptr) {
      const auto sources = lines->at(frame.lookup);
      for (const SourceFrame& source : sources) {
        if (source.inlined) {
          out.push_back({{"address", hex(frame.address.value)},
                         {"reliable", frame.reliable},
                         {"symbol", source.function},
                         {"file", source.file},
                         {"line", source.line},
                         {"inlined", true}});
          if (entry.contains("module")) out.back()["module"] = entry["module"];
        } else {
          entry["file"] = source.file;
          entry["line"] = source.line;
        }
      }
    }
    out.push_back(std::move(entry));
  }
  return out;
}

}  // namespace hvd
