/* tapebus.sys: a bus with a tape that is not there. */
#include "nt.h"

DEFINE_MEMORY_FUNCTIONS

u64 TapeTransfer(u64 request, const void* data); /* transfer.S */

u64 TapeBusEntry(u64 what) { return what; }

__declspec(dllexport) NOINLINE void TapeWaitForMedia(const void* tape) {
  ON_STACK();
  KeWaitForSingleObject(tape);
  KeBugCheckEx(0xe, 5, 0, 0, 0);
}

__declspec(dllexport) NOINLINE u64 TapeWrite(u64 request, const void* data) {
  ON_STACK();
  if (request == 4) KeBugCheckEx(0x9f, 3, (u64)data, (u64)&TapeWrite, request); /* a request that was never done */
  return TapeTransfer(request, data) * 2;
}
