// A Linux guest's memory. The input is a list of patches on a small synthetic kernel: {le32 place,
// u8 size, bytes}, `place` counted over the pages that the kernel uses, so that mutations meet page
// tables, symbols, types, log, tasks, modules and stacks.
#include "capture/triage_reads.h"
#include "guest/kvm_host/host_pages.h"
#include "guest/kvm_host/kvm_state.h"
#include "guest/kvm_host/process_pages.h"
#include "guest/kvm_host/virtual_machines.h"
#include "guest/kvm_host/vm_areas.h"
#include "guest/linux/crash.h"
#include "guest/linux/maple_tree.h"
#include "guest/linux/tasks.h"
#include "guest/linux/xarray.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_guest.h"

namespace {

using namespace hvd;
using namespace hvd::linux_guest;

Image patched(ByteView input) {
  static const fuzz::SyntheticGuest guest;
  static const std::vector<PhysAddr> pages = guest.memory->written();
  auto memory = std::make_shared<FakeMemory>(*guest.memory);
  fuzz::patch(*memory, pages, input);
  Image image = guest.image;
  image.notes.clear();  // the copy in memory is the one that is patched
  image.memory = memory;
  return image;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Image image = patched(fuzz::bytes_of_input(data, size));
  const auto kernel = Kernel::open(image);
  if (!kernel) return 0;
  std::vector<std::string> problems;
  const auto log = read_log(**kernel, problems);
  const auto crash = find_crash(**kernel, log.value_or(std::vector<LogRecord>()));
  const std::vector<Task> tasks = read_tasks(**kernel, problems);
  const std::vector<Module> modules = read_modules(**kernel, problems);
  const Symbolizer symbols(**kernel, modules);
  const auto orc = OrcTables::open(**kernel, modules);
  const Unwinder unwinder(**kernel, orc ? &*orc : nullptr, symbols);
  for (const Registers& cpu : image.registers)
    (void)bucket_name(crash, bucket_frames(unwinder.from_registers(cpu), symbols));
  for (std::size_t i = 0; i < std::min<std::size_t>(tasks.size(), 8); ++i)
    (void)unwinder.from_sleeping(tasks[i].saved_sp);
  if (!tasks.empty()) {
    // Any memory may be taken for an xarray, and a hostile one must not hold a walk up.
    (void)
        walk_xarray(**kernel, tasks.front().struct_at, 0, ~std::uint64_t{0}, 1000, [](const auto&) {
          return true;
        }).has_value();
    (void)walk_maple_tree(**kernel, tasks.front().struct_at, 1000, [](auto) {
      return true;
    }).has_value();
    (void)read_vm_areas(**kernel, tasks.front().struct_at).has_value();
  }
  const Host host = Host::read(**kernel, problems);
  (void)visible_registers(host, 0);
  for (const HostDetail detail : {HostDetail::kSecure, HostDetail::kFull}) {
    const auto pages = HostPages::open(host, detail, problems);
    if (!pages) break;
    Bytes page(kPageSize);
    const auto kinds = pages->kinds(480, 600);
    for (std::size_t i = 0; i < kinds.size(); i += 7)
      if (is_kept(kinds[i])) (void)pages->redact(480 + i, kinds[i], page);
  }
  if (const auto types = KvmTypes::open(**kernel, modules); types && *types) {
    for (const VirtualMachine& machine : host.machines)
      (void)read_kvm_state(**kernel, **types, machine).has_value();
  }
  for (const HostFiles which : {HostFiles::kOfProcesses, HostFiles::kAll}) {
    if (const auto pages = ProcessPages::open(host, which)) (void)pages->classify(480, 600);
  }
  for (std::size_t i = 0; i < std::min<std::size_t>(modules.size(), 4); ++i) {
    (void)read_module_symbols(**kernel, modules[i]);
    (void)read_module_types(**kernel, modules[i]).has_value();
  }
  return 0;
}
