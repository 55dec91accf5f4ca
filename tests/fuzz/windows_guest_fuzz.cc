// The memory of a Windows guest, of x64 or by the first byte of ARM64, with patches over it:
// kernel, modules, processes, stacks.
#include "guest/windows/processes.h"
#include "guest/windows/symbolizer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/windows_builder.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hvd;
  using namespace hvd::windows;
  static WindowsBuilder x64, arm64(true);
  if (size == 0) return 0;
  WindowsBuilder& builder = data[0] % 2 ? arm64 : x64;
  auto memory = std::make_shared<FakeMemory>(builder.memory());
  fuzz::patch(*memory, builder.memory().written(), fuzz::bytes_of_input(data + 1, size - 1));
  Image image = builder.build();
  image.memory = memory;
  const auto kernel = Kernel::open(image, {});
  if (!kernel) return 0;
  std::vector<std::string> problems;
  const auto modules = read_modules(**kernel, problems);
  const auto processes = read_processes(**kernel, problems);
  (void)read_unloaded_modules(**kernel);
  const Unwinder unwinder((*kernel)->space(), modules);
  const SymbolFinder none;
  const Symbolizer symbols((*kernel)->space(), modules, none);
  (void)crashed_cpu(**kernel, unwinder, symbols);
  for (const Cpu& cpu : (*kernel)->cpus()) (void)unwinder.from_cpu(cpu);
  for (const Process& process : processes) {
    for (std::size_t i = 0; i < std::min<std::size_t>(process.threads.size(), 4); ++i)
      (void)unwinder.from_stack(process.threads[i].kernel_stack);
  }
  return 0;
}
