/* Between the files of the kernel image. */
#pragma once

#define BUILDING_KERNEL
#include "loader.h"
#include "nt.h"

extern LOADER_BLOCK* KeLoaderBlock;
extern KDDEBUGGER_DATA64 KdDebuggerDataBlock;
extern u64 KiBugCheckData[5];
extern LIST_ENTRY PsLoadedModuleList, PsActiveProcessHead;
extern u64 MmPfnDatabase;
extern KPRCB* KiProcessorBlock[PROCESSORS];
extern const char __ImageBase[];

/* traps.S */
void KiSwapContext(ETHREAD* from, ETHREAD* to);
void KiStartSystemThread(void);
void KiSystemCall64(void);
void KiSystemCall64Shadow(void);
void KiPageFault(void);
void KiUnexpectedInterrupt(void);
void KiLoadSegments(const void* gdtr, const void* idtr);
__attribute__((noreturn)) void KiExitToUser(u64 rip, u64 page_tables);

/* debug.c */
void KdInitialize(void);
void KdEncode(void);
/* fwcfg.c */
void FwCfgSendHeader(const KDDEBUGGER_DATA64* decoded);
/* truth.c */
/* Of what this thread has called so far nothing is on its stack any more. */
void TestStackIsEmpty(void);
void TestLine(const char* what, const u64* values, int count);
void TestNamed(const char* what, const char* name, const u64* values, int count);

static inline KPCR* KeGetPcr(void) {
  KPCR* pcr;
  __asm__ volatile("mov %%gs:0x18, %0" : "=r"(pcr));
  return pcr;
}
static inline ETHREAD* KeGetCurrentThread(void) { return KeGetPcr()->Prcb.CurrentThread; }
