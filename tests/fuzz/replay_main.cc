// Runs a fuzz entry without libFuzzer: every file of a corpus folder as it is, then mutated in a
// fixed order, so that the everyday build and its sanitizers meet damage too.
//
// usage: PROGRAM CORPUS_FOLDER [MUTATIONS_PER_SEED]
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz.h"

namespace {

// A buffer of exactly the input's size on the heap: a read behind it is one that AddressSanitizer
// sees.
void run(const std::string& input) {
  const std::unique_ptr<std::uint8_t[]> exact(new std::uint8_t[input.size()]);
  std::memcpy(exact.get(), input.data(), input.size());
  LLVMFuzzerTestOneInput(exact.get(), input.size());
}

std::string mutated(std::string input, const std::vector<std::string>& seeds,
                    std::mt19937& random) {
  static constexpr std::uint64_t kInteresting[] = {0,
                                                   1,
                                                   2,
                                                   7,
                                                   8,
                                                   0x7f,
                                                   0x80,
                                                   0xff,
                                                   0x100,
                                                   0x7fff,
                                                   0xffff,
                                                   0x10000,
                                                   0x7fffffff,
                                                   0x80000000,
                                                   0xffffffff,
                                                   0x100000000,
                                                   0x7fffffffffffffff,
                                                   0xfffffffffffffff8,
                                                   0xffffffffffffffff};
  const auto below = [&random](std::size_t bound) { return bound == 0 ? 0 : random() % bound; };
  for (std::size_t change = 0, changes = 1 + below(4); change < changes; ++change) {
    const std::size_t at = below(input.size() + 1);
    switch (below(8)) {
      case 0:
      case 1:
        if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << below(8)));
        break;
      case 2:
        if (at < input.size()) input[at] = static_cast<char>(random());
        break;
      case 3: {
        const std::uint64_t value = kInteresting[below(std::size(kInteresting))];
        const std::size_t width =
            std::min<std::size_t>(std::size_t{1} << below(4), input.size() - at);
        std::memcpy(input.data() + at, &value, width);
        break;
      }
      case 4: input.resize(at); break;
      case 5: input.insert(at, std::string(1 + below(16), static_cast<char>(random()))); break;
      case 6: input.erase(at, 1 + below(16)); break;
      default: {
        const std::string& other = seeds[below(seeds.size())];
        const std::size_t from = below(other.size() + 1);
        input.insert(at, other, from, 1 + below(64));
        break;
      }
    }
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s CORPUS_FOLDER [MUTATIONS_PER_SEED]\n", argv[0]);
    return 2;
  }
  const unsigned mutations = argc > 2 ? static_cast<unsigned>(std::stoul(argv[2])) : 2000;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1]))
    files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  std::vector<std::string> seeds;
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  if (seeds.empty()) {
    std::fprintf(stderr, "%s holds no seeds\n", argv[1]);
    return 1;
  }
  for (const std::string& seed : seeds) run(seed);
  run("");
  std::mt19937 random(20240229);
  const char* keep =
      std::getenv("HVD_KEEP_INPUT");  // a file for the input at hand, to find what crashed
  for (const std::string& seed : seeds) {
    for (unsigned i = 0; i < mutations; ++i) {
      const std::string input = mutated(seed, seeds, random);
      if (keep) std::ofstream(keep, std::ios::binary) << input;
      run(input);
    }
  }
  std::printf("%zu seeds, %u mutations each\n", seeds.size(), mutations);
  return 0;
}
