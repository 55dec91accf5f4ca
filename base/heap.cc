#include "base/heap.h"

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

namespace hvd {

void use_large_pages(std::size_t room) {
  constexpr std::size_t kLargePage = std::size_t{2} << 20;
  constexpr int kLargestThreshold = 32 << 20;  // glibc refuses a higher one
  mallopt(M_MMAP_THRESHOLD, kLargestThreshold);
  mallopt(M_TRIM_THRESHOLD, static_cast<int>(room));
  mallopt(M_TOP_PAD, static_cast<int>(room));
  const auto end_of_heap = [] { return reinterpret_cast<std::uintptr_t>(sbrk(0)); };
  const std::uintptr_t before = end_of_heap();
  // Larger than what is left of the heap's first pages, so that it grows now.
  void* volatile grown = std::malloc(kLargePage);
  std::free(grown);
  const std::uintptr_t begin = (before + kLargePage - 1) / kLargePage * kLargePage;
  const std::uintptr_t end = end_of_heap() / kLargePage * kLargePage;
  // Refused where the kernel has no large pages: nothing is lost then.
  if (end > begin) (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

// Setting it also ends glibc's habit of raising it to what was freed last.
void return_memory_early() { mallopt(M_MMAP_THRESHOLD, 128 << 10); }

}  // namespace hvd
