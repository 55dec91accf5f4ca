// A Windows dump of any kind.
#include "formats/windows_dump/reader.h"
#include "guest/windows/processes.h"
#include "guest/windows/symbolizer.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hvd;
  const ByteView input = fuzz::bytes_of_input(data, size);
  const auto image = windows::open_windows_dump(
      std::make_shared<BufferSource>(Bytes(input.begin(), input.end())), "dump");
  if (!image) return 0;
  fuzz::walk(*image->memory);
  const auto kernel = windows::Kernel::open(*image, {});
  if (!kernel) return 0;
  std::vector<std::string> problems;
  const auto modules = windows::read_modules(**kernel, problems);
  (void)windows::read_processes(**kernel, problems);
  (void)windows::read_unloaded_modules(**kernel);
  return 0;
}
