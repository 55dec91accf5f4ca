/* What is true, for the test: lines of a word and numbers. */
#include "kernel.h"

static volatile char Lock;

static void Acquire(void) {
  while (__atomic_test_and_set(&Lock, __ATOMIC_ACQUIRE)) pause();
}

static void End(const u64* values, int count) {
  for (int i = 0; i < count; ++i) put_hex(values[i]);
  put_char('\n');
  __atomic_clear(&Lock, __ATOMIC_RELEASE);
}

void TestLine(const char* what, const u64* values, int count) {
  Acquire();
  put_text(what);
  End(values, count);
}

void TestNamed(const char* what, const char* name, const u64* values, int count) {
  Acquire();
  put_text(what);
  put_char(' ');
  put_text(name);
  End(values, count);
}

void TestReturnsTo(const void* address) {
  const u64 truth[] = {(u64)KeGetCurrentThread(), (u64)address};
  TestLine("returns", truth, 2);
}

void TestStackIsEmpty(void) {
  const u64 truth[] = {(u64)KeGetCurrentThread()};
  TestLine("empty", truth, 1);
}
