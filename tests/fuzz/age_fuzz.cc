// An age file, opened with a key that fits the seeds. Passphrases are left out: each try costs a
// second by design.
#include "envelope/age.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_keys.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hvd;
  const std::vector<Identity> identities{fuzz::identity()};
  (void)age_decrypt(fuzz::bytes_of_input(data, size), identities).has_value();
  return 0;
}
