// A policy file.
#include "capture/policy.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hvd;
  const auto policy = Policy::parse(to_string(fuzz::bytes_of_input(data, size)));
  if (!policy) return 0;
  for (const char* name : {"web-1", "db", ""}) (void)refusal(policy->for_guest(name, "0123-4567"));
  return 0;
}
