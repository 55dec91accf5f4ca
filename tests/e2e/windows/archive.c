/* archive.sys: packs what processes give it, and has tapebus.sys write it to tape. */
#include "nt.h"

__declspec(dllimport) void TapeWaitForMedia(const void* tape);
__declspec(dllimport) u64 TapeWrite(u64 request, const void* data);

DEFINE_MEMORY_FUNCTIONS

static u64 Archive[64];

NOINLINE static void ArchiveScan(void* context) {
  ON_STACK();
  (void)context;
  TapeWaitForMedia(Archive);
  KeBugCheckEx(0xe, 3, 0, 0, 0);
}

NOINLINE static void ArchivePack(volatile u64* block) {
  ON_STACK();
  TestCpuIsBusy();
  for (;;) block[block[0] % 64] = block[1]++, pause();
}

NOINLINE static void ArchivePackThread(void* context) {
  ON_STACK();
  (void)context;
  ArchivePack(Archive);
  KeBugCheckEx(0xe, 4, 0, 0, 0);
}

/* A frame too large for the short unwind code, and whose size only the caller knows. */
NOINLINE static u64 ArchiveFlush(u64 request, u64 size) {
  ON_STACK();
  u8 header[0x300];
  for (u64 i = 0; i < sizeof header; ++i) ((volatile u8*)header)[i] = (u8)i;
  volatile u8* data = __builtin_alloca(size);
  for (u64 i = 0; i < size; ++i) data[i] = header[i % sizeof header];
  return TapeWrite(request, (const void*)data) + data[0];
}

NOINLINE static u64 ArchiveDispatch(u64 request) {
  ON_STACK();
  return ArchiveFlush(request, 0x140 + request * 8) + 1;
}

/* What it offers: routines of its threads, and requests by number. */
u64 ArchiveEntry(u64 what) {
  if (what == 1) return (u64)&ArchiveScan;
  if (what == 2) return (u64)&ArchivePackThread;
  ON_STACK();
  return IofCallDriver(ArchiveDispatch, what);
}
