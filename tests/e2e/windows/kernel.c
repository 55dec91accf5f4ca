/* A kernel that a debugger takes for Windows': it starts all CPUs, has processes, threads and
 * drivers, and dies of a bug check some frames deep in a driver. What a debugger should find it
 * tells the test by the debug console. */
#include "kernel.h"

DEFINE_MEMORY_FUNCTIONS

LOADER_BLOCK* KeLoaderBlock;
LIST_ENTRY PsLoadedModuleList, PsActiveProcessHead;
u64 KiBugCheckData[5];
KPRCB* KiProcessorBlock[PROCESSORS];
static KLDR_DATA_TABLE_ENTRY Modules[IMAGES];
static UNLOADED_DRIVERS Unloaded[50];
UNLOADED_DRIVERS* MmUnloadedDrivers = Unloaded;
static EPROCESS* KiInitialProcess; /* "Idle", on no list */
static EPROCESS* Processes[PROCESSES];
static ETHREAD *IdleThreads[PROCESSORS], *BusyThreads[PROCESSORS];
static u8 Contexts[PROCESSORS][0x4d0] __attribute__((aligned(16)));
static volatile u64 ReadyProcessors, BusyProcessors, Go;

static const u64 kBegan = 0x01dc5d0000000000; /* FILETIME, late in 2025 */

/* ---- lists and objects ---- */

static void InitializeListHead(LIST_ENTRY* head) { head->Flink = head->Blink = head; }
static void InsertTailList(LIST_ENTRY* head, LIST_ENTRY* entry) {
  entry->Flink = head;
  entry->Blink = head->Blink;
  head->Blink->Flink = entry;
  head->Blink = entry;
}

static void* ExAllocatePool(u64 size) {
  static u64 used;
  const u64 at = KeLoaderBlock->pool + used + 0x40; /* objects have headers before them */
  used += (size + 0x40 + 0xff) & ~0xffull;
  if (used > POOL_PAGES * PAGE) KeBugCheckEx(0xc2, used, 0, 0, 0);
  return (void*)at;
}

static UNICODE_STRING Unicode(const u16* text) {
  u16 length = 0;
  while (text[length]) ++length;
  const UNICODE_STRING out = {(u16)(length * 2), (u16)(length * 2 + 2), 0, text};
  return out;
}

static EPROCESS* CreateProcess(u64 id, u64 parent, const char* name, const ADDRESS_SPACE* space) {
  EPROCESS* process = ExAllocatePool(sizeof(EPROCESS));
  process->Pcb.Type = ProcessObject;
  process->Pcb.DirectoryTableBase = space->page_tables;
  process->Pcb.UserDirectoryTableBase = space->user_page_tables;
  InitializeListHead(&process->Pcb.ThreadListHead);
  InitializeListHead(&process->ThreadListHead);
  process->UniqueProcessId = id;
  process->InheritedFromUniqueProcessId = parent;
  process->CreateTime = kBegan;
  for (int i = 0; name[i]; ++i) process->ImageFileName[i] = name[i];
  if (space->user_page) process->Peb = USER_PAGE + 0x400;
  return process;
}

static ETHREAD* CreateThread(EPROCESS* process, u64 id, void (*routine)(void*), void* argument) {
  static u64 stacks;
  ETHREAD* thread = ExAllocatePool(sizeof(ETHREAD));
  const u64 end = KeLoaderBlock->stacks[stacks++];
  thread->Tcb.Type = ThreadObject;
  thread->Tcb.StackBase = thread->Tcb.InitialStack = end;
  thread->Tcb.StackLimit = end - STACK_SIZE;
  thread->Tcb.Process = thread->Tcb.ApcProcess = process;
  thread->Tcb.State = Running;
  thread->Cid.UniqueProcess = process->UniqueProcessId;
  thread->Cid.UniqueThread = id;
  thread->CreateTime = kBegan;
  thread->StartAddress = (u64)routine;
  InsertTailList(&process->Pcb.ThreadListHead, &thread->Tcb.ThreadListEntry);
  InsertTailList(&process->ThreadListHead, &thread->ThreadListEntry);
  ++process->ActiveThreads;
  const u64 truth[] = {(u64)thread, process->UniqueProcessId, id};
  TestLine("thread", truth, 3);
  if (process == KiInitialProcess) return thread; /* is what its CPU begins with */
  /* A KSWITCH_FRAME, and what KiStartSystemThread expects above it. */
  u64* frame = (u64*)(end - 0x80);
  frame[7] = (u64)&KiStartSystemThread;
  frame[8] = (u64)routine;
  frame[9] = (u64)argument;
  thread->Tcb.KernelStack = (u64)frame;
  return thread;
}

/* ---- threads ---- */

NOINLINE void PspSystemThreadStartup(void (*routine)(void*), void* argument) {
  ON_STACK();
  routine(argument);
  KeBugCheckEx(0xe, (u64)routine, 0, 0, 0);
}

NOINLINE static void KiSwapThread(ETHREAD* thread) {
  ON_STACK();
  thread->Tcb.State = Waiting;
  KiSwapContext(thread, KeGetPcr()->Prcb.IdleThread);
}

NOINLINE void KeWaitForSingleObject(const void* object) {
  ON_STACK();
  (void)object;
  KiSwapThread(KeGetCurrentThread());
}

NOINLINE static void ExpWorkerThread(void* argument) {
  ON_STACK();
  KeWaitForSingleObject(argument);
  KeBugCheckEx(0xe, 1, 0, 0, 0);
}

/* Of processes other than System. */
static void PspUserThreadStartup(void* space) {
  const ADDRESS_SPACE* its = space;
  TestStackIsEmpty();
  KeGetPcr()->Prcb.KernelDirectoryTableBase = its->page_tables;
  KiExitToUser(USER_PAGE, its->user_page_tables);
}

/* ---- requests to drivers ---- */

NOINLINE u64 IofCallDriver(u64 (*driver)(u64), u64 request) {
  ON_STACK();
  return driver(request);
}

NOINLINE static void NtDeviceIoControlFile(u64 request) {
  ON_STACK();
  /* Until all others are where they stay: one idle, one in a driver, one in user mode. */
  const volatile u64* spinning = (const u64*)(KeLoaderBlock->spaces[2].kernel_view + WORDS_AT + 8);
  while (BusyProcessors != 2 || !*spinning) pause();
  u64 (*dispatch)(u64) = (u64(*)(u64))(KeLoaderBlock->images[1].entry);
  IofCallDriver(dispatch, request);
  KeBugCheckEx(0xe, 2, 0, 0, 0);
}

NOINLINE void KiSystemServiceHandler(u64 request) {
  ON_STACK();
  NtDeviceIoControlFile(request);
}

void TestCpuIsBusy(void) { __atomic_fetch_add(&BusyProcessors, 1, __ATOMIC_SEQ_CST); }

/* ---- the end ---- */

NOINLINE __attribute__((noreturn)) static void KeBugCheck2(void) {
  ON_STACK();
  TestLine("bugcheck", KiBugCheckData, 5);
  outb(0x505, 1); /* pvpanic: QEMU stops the guest */
  for (;;) __asm__ volatile("cli; hlt");
}

NOINLINE void KeBugCheckEx(u32 code, u64 p1, u64 p2, u64 p3, u64 p4) {
  ON_STACK();
  KiBugCheckData[0] = code;
  KiBugCheckData[1] = p1, KiBugCheckData[2] = p2, KiBugCheckData[3] = p3, KiBugCheckData[4] = p4;
  KeBugCheck2();
}

NOINLINE __attribute__((noreturn)) void KiBugCheckDispatch(const void* rip, u64 error) {
  const u64 truth[] = {(u64)KeGetCurrentThread(), (u64)rip};
  TestLine("fault", truth, 2);
  ON_STACK();
  KeBugCheckEx(0xd1, read_cr2(), 2, error >> 1 & 1, (u64)rip);
}

NOINLINE __attribute__((noreturn)) void KiUnexpected(void) { KeBugCheckEx(0x7f, 0, 0, 0, 0); }

/* ---- CPUs ---- */

static void InitializeProcessor(u32 number) {
  const u64 block = KeLoaderBlock->processors[number];
  KPCR* pcr = (KPCR*)block;
  u64* gdt = (u64*)(block + 0xc000);
  gdt[2] = 0x00209a0000000000, gdt[3] = 0x00cf920000000000; /* the kernel's code and data */
  gdt[4] = 0x00cffa000000ffff, gdt[5] = 0x00cff2000000ffff, gdt[6] = 0x0020fa0000000000;
  u64* idt = (u64*)(block + 0xd000);
  for (int i = 0; i < 256; ++i) {
    const u64 handler = i == 14 ? (u64)&KiPageFault : (u64)&KiUnexpectedInterrupt;
    idt[2 * i] = (handler & 0xffff) | 0x10ull << 16 | 0x8e00ull << 32 | (handler >> 16 & 0xffff) << 48;
    idt[2 * i + 1] = handler >> 32;
  }
  const struct {
    u16 limit;
    u64 base;
  } __attribute__((packed)) gdtr = {0x7f, (u64)gdt}, idtr = {0xfff, (u64)idt};
  KiLoadSegments(&gdtr, &idtr);
  wrmsr(0xc0000101, block); /* the base of GS in the kernel, and what user mode gets */
  wrmsr(0xc0000102, USER_PAGE + 0x600);
  wrmsr(0xc0000081, 0x0023001000000000);
  const int shadow = (KeLoaderBlock->options & SHADOW) != 0;
  wrmsr(0xc0000082, shadow ? (u64)&KiSystemCall64Shadow : (u64)&KiSystemCall64);
  wrmsr(0xc0000084, 0x4700);
  pcr->GdtBase = (u64)gdt;
  pcr->IdtBase = (u64)idt;
  pcr->Self = pcr;
  pcr->CurrentPrcb = &pcr->Prcb;
  pcr->Prcb.Number = number;
  pcr->Prcb.CurrentThread = pcr->Prcb.IdleThread = IdleThreads[number];
  pcr->Prcb.KernelDirectoryTableBase = pcr->Prcb.ProcessorState.Cr3 = read_cr3();
  pcr->Prcb.Context = Contexts[number];
  KiProcessorBlock[number] = &pcr->Prcb;
}

static void KiProcessorStart(u64 number) {
  InitializeProcessor((u32)number);
  ReadyProcessors = number;
  while (!Go) pause();
  KiSwapContext(IdleThreads[number], BusyThreads[number]);
}

/* One after another: they share the start block. */
static void KeStartAllProcessors(void) {
  START_BLOCK* start = KeLoaderBlock->start_block;
  volatile u32* command = (volatile u32*)(KeLoaderBlock->local_apic + 0x300);
  for (u64 i = 1; i < PROCESSORS; ++i) {
    start->target = (u64)&KiProcessorStart;
    start->stack = KeLoaderBlock->stacks[i] - 0x40;
    start->argument = i;
    command[4] = (u32)i << 24; /* to that CPU: INIT, then begin at the start block's page */
    command[0] = 0x4500;
    for (int k = 0; k < 100000; ++k) pause();
    command[4] = (u32)i << 24;
    command[0] = 0x4600 | START_BLOCK_AT / PAGE;
    while (ReadyProcessors != i) pause();
  }
}

NOINLINE static void KiIdleLoop(void) {
  TestStackIsEmpty();
  ON_STACK();
  TestCpuIsBusy();
  for (;;) __asm__ volatile("cli; hlt");
}

/* ---- startup ---- */

static void LoadModules(void) {
  static const u16* const paths[IMAGES] = {u"\\SystemRoot\\system32\\ntoskrnl.exe",
                                           u"\\SystemRoot\\System32\\drivers\\archive.sys",
                                           u"\\SystemRoot\\System32\\drivers\\tapebus.sys"};
  InitializeListHead(&PsLoadedModuleList);
  for (int i = 0; i < IMAGES; ++i) {
    const LOADED_IMAGE* image = &KeLoaderBlock->images[i];
    KLDR_DATA_TABLE_ENTRY* module = &Modules[i];
    module->DllBase = image->base;
    module->SizeOfImage = (u32)image->size;
    module->EntryPoint = image->entry;
    module->FullDllName = Unicode(paths[i]);
    const u16* name = paths[i];
    for (const u16* at = name; *at; ++at)
      if (*at == '\\') name = at + 1;
    module->BaseDllName = Unicode(name);
    module->LoadCount = 1;
    module->CoverageSection = (u64)&Modules; /* where older builds had the time */
    module->TimeDateStamp = image->timestamp;
    InsertTailList(&PsLoadedModuleList, &module->InLoadOrderLinks);
    const u64 truth[] = {image->base, image->size};
    TestLine("module", truth, 2);
  }
  Unloaded[0].Name = Unicode(u"dump_archive.sys");
  Unloaded[0].StartAddress = KeLoaderBlock->images[1].base + 0x800000;
  Unloaded[0].EndAddress = Unloaded[0].StartAddress + 0x9000;
  Unloaded[0].CurrentTime = kBegan;
}

static void CreateProcesses(void) {
  static const char* const names[PROCESSES] = {"System", "archiver.exe", "editor.exe"};
  InitializeListHead(&PsActiveProcessHead);
  KiInitialProcess = CreateProcess(0, 0, "Idle", &KeLoaderBlock->spaces[0]);
  for (u64 i = 0; i < PROCESSES; ++i) {
    const u64 id = i ? 1100 + 104 * i : 4;
    Processes[i] = CreateProcess(id, i ? 4 : 0, names[i], &KeLoaderBlock->spaces[i]);
    InsertTailList(&PsActiveProcessHead, &Processes[i]->ActiveProcessLinks);
    const u64 truth[] = {(u64)Processes[i], id, i ? 4 : 0};
    TestNamed("process", names[i], truth, 3);
  }
  for (u64 i = 0; i < PROCESSORS; ++i) IdleThreads[i] = CreateThread(KiInitialProcess, 0, 0, 0);
}

void KiSystemStartup(LOADER_BLOCK* loader) {
  KeLoaderBlock = loader;
  KdInitialize();
  LoadModules();
  CreateProcesses();
  InitializeProcessor(0);
  KUSER_SHARED_DATA* shared = (KUSER_SHARED_DATA*)SHARED_DATA;
  shared->NtMajorVersion = 10;
  shared->NtBuildNumber = 19041;
  shared->NtProductType = 3; /* server */
  shared->SuiteMask = 0x110;
  shared->SystemTime = kBegan + 42 * 10000000ull;
  shared->InterruptTime = 42 * 10000000ull;
  shared->ActiveProcessorCount = PROCESSORS;

  /* These run until they wait. */
  void (*scan)(void*) = (void (*)(void*))((u64(*)(u64))loader->images[1].entry)(1);
  void (*pack)(void*) = (void (*)(void*))((u64(*)(u64))loader->images[1].entry)(2);
  ETHREAD* waiting[] = {CreateThread(Processes[0], 12, ExpWorkerThread, &Modules),
                        CreateThread(Processes[0], 16, scan, 0)};
  for (int i = 0; i < 2; ++i) KiSwapContext(IdleThreads[0], waiting[i]);

  BusyThreads[1] = CreateThread(Processes[1], 1208, PspUserThreadStartup, &loader->spaces[1]);
  BusyThreads[2] = CreateThread(Processes[0], 20, pack, 0);
  BusyThreads[3] = CreateThread(Processes[2], 1312, PspUserThreadStartup, &loader->spaces[2]);
  u64* request = (u64*)(loader->spaces[1].kernel_view + WORDS_AT);
  *request = loader->options & STALL ? 4 : 3;
  if (loader->options & ENCODED) KdEncode();
  else if (loader->options & NOTE) FwCfgSendHeader(0);
  put_text("ready\n");
  if (loader->options & LIVE) KiSwapContext(IdleThreads[0], BusyThreads[3]);
  KeStartAllProcessors();
  Go = 1;
  KiIdleLoop();
}
