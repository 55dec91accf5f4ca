// VMCOREINFO text.
#include "guest/linux/vmcoreinfo.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hvd;
  const auto info = linux_guest::VmcoreInfo::parse(to_string(fuzz::bytes_of_input(data, size)));
  if (!info) return 0;
  (void)info->page_table_root();
  (void)info->kaslr_offset();
  (void)info->offset("uts_namespace.name");
  (void)info->size("prb_desc");
  return 0;
}
