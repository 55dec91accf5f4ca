/* What the kernel keeps for debuggers. */
#include "kernel.h"

KDDEBUGGER_DATA64 KdDebuggerDataBlock __attribute__((aligned(16)));
static LIST_ENTRY KdpDebuggerDataListHead;
static DBGKD_GET_VERSION64 KdVersionBlock;
u64 MmPfnDatabase = 0xffffde8000000000;
static const char NtBuildLab[] = "19041.1.amd64fre.hvdump_test.251125-1200";
extern void* MmUnloadedDrivers;
u64 CmNtCSDVersion;

/* Of the encoding; KdpDataBlockEncoded is 1 while the block is encoded. */
u64 KiWaitNever, KiWaitAlways;
u8 KdpDataBlockEncoded;

void KdInitialize(void) {
  const u64 base = (u64)__ImageBase;
  KDDEBUGGER_DATA64* block = &KdDebuggerDataBlock;
  KdpDebuggerDataListHead.Flink = KdpDebuggerDataListHead.Blink = &block->List;
  block->List.Flink = block->List.Blink = &KdpDebuggerDataListHead;
  memcpy(block->OwnerTag, "KDBG", 4);
  block->Size = sizeof *block;
  block->KernBase = base;
  block->PsLoadedModuleList = (u64)&PsLoadedModuleList;
  block->PsActiveProcessHead = (u64)&PsActiveProcessHead;
  block->KiBugcheckData = (u64)KiBugCheckData;
  block->MmPfnDatabase = (u64)&MmPfnDatabase;
  block->NtBuildLab = (u64)NtBuildLab;
  block->KiProcessorBlock = (u64)KiProcessorBlock;
  block->MmUnloadedDrivers = (u64)&MmUnloadedDrivers;
  block->CmNtCSDVersion = (u64)&CmNtCSDVersion;
  block->OffsetKThreadTeb = __builtin_offsetof(KTHREAD, Teb);
  block->OffsetKThreadKernelStack = __builtin_offsetof(KTHREAD, KernelStack);
  block->OffsetKThreadInitialStack = __builtin_offsetof(KTHREAD, InitialStack);
  block->OffsetKThreadApcProcess = __builtin_offsetof(KTHREAD, ApcProcess);
  block->OffsetKThreadState = __builtin_offsetof(KTHREAD, State);
  block->SizeEProcess = sizeof(EPROCESS);
  block->OffsetEprocessPeb = __builtin_offsetof(EPROCESS, Peb);
  block->OffsetEprocessParentCID = __builtin_offsetof(EPROCESS, InheritedFromUniqueProcessId);
  block->OffsetEprocessDirectoryTableBase = __builtin_offsetof(KPROCESS, DirectoryTableBase);
  block->SizePrcb = sizeof(KPRCB);
  block->OffsetPrcbCurrentThread = __builtin_offsetof(KPRCB, CurrentThread);
  block->OffsetPrcbProcStateContext = __builtin_offsetof(KPRCB, ProcessorState) + 0xf0;
  block->OffsetPrcbNumber = __builtin_offsetof(KPRCB, Number);
  block->SizeEThread = sizeof(ETHREAD);
  block->SizePcr = sizeof(KPCR);
  block->OffsetPcrContainedPrcb = __builtin_offsetof(KPCR, Prcb);
  block->OffsetPrcbContext = __builtin_offsetof(KPRCB, Context);
  block->PteBase = KeLoaderBlock->pte_base;
  KdVersionBlock.MajorVersion = 15;
  KdVersionBlock.MinorVersion = 19041;
  KdVersionBlock.ProtocolVersion = 6;
  KdVersionBlock.KdSecondaryVersion = 2;
  KdVersionBlock.MachineType = 0x8664;
  KdVersionBlock.KernBase = base;
  KdVersionBlock.PsLoadedModuleList = (u64)&PsLoadedModuleList;
  KdVersionBlock.DebuggerDataList = (u64)&KdpDebuggerDataListHead;
  ((KPCR*)KeLoaderBlock->processors[0])->KdVersionBlock = &KdVersionBlock;
}

static u64 rotate_right(u64 value, int by) { return by ? value >> by | value << (64 - by) : value; }

void KdEncode(void) {
  static KDDEBUGGER_DATA64 decoded;
  decoded = KdDebuggerDataBlock;
  if (KeLoaderBlock->options & NOTE) FwCfgSendHeader(&decoded);
  else memset(&decoded, 0, sizeof decoded);
  KiWaitNever = KeLoaderBlock->seed * 0x9e3779b97f4a7c15ull;
  KiWaitAlways = KeLoaderBlock->seed * 0xc2b2ae3d27d4eb4full + 1;
  u64* words = (u64*)&KdDebuggerDataBlock;
  for (u64 i = 0; i < sizeof KdDebuggerDataBlock / 8; ++i) {
    const u64 x = __builtin_bswap64(words[i] ^ KiWaitAlways) ^ (u64)&KdpDataBlockEncoded;
    words[i] = rotate_right(x, (int)(KiWaitNever & 63)) ^ KiWaitNever;
  }
  KdpDataBlockEncoded = 1;
}
