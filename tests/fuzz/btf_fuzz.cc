// A kernel's BTF, and the questions that are asked of it.
#include "guest/linux/types.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hvd;
  const auto types = linux_guest::Types::parse(fuzz::bytes_of_input(data, size));
  if (!types) return 0;
  for (const auto& [name, path] : {std::pair{"task_struct", "thread.sp"},
                                   {"task_struct", "thread_info.cpu"},
                                   {"module", "mem"},
                                   {"orc_entry", "type"},
                                   {"list_head", "absent"},
                                   {"module", "arch.absent"}}) {
    (void)types->member(name, path).has_value();
    (void)types->size_of(name).has_value();
  }
  (void)types->enumerator("X").has_value();
  return 0;
}
