// Dumps in other formats, through libkdumpfile.
#include <sys/mman.h>
#include <unistd.h>

#include "base/file_descriptor.h"
#include "formats/import/kdumpfile.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hvd;
  const FileDescriptor file(::memfd_create("input", MFD_CLOEXEC));
  if (!file || ::write(file.get(), data, size) != static_cast<ssize_t>(size)) return 0;
  const auto image = open_kdumpfile("/proc/self/fd/" + std::to_string(file.get()), "dump");
  if (image) fuzz::walk(*image->memory);
  return 0;
}
