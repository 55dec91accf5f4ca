/* The structures of a Windows kernel, as far as the test guest fills them, where build 19041 has
 * them (its public symbols); and what the kernel exports to its drivers. */
#pragma once

#include "machine.h"

/* A member at a given offset: all of a structure's members are in one union. A debugger sees a
 * structure with these members, at these places. */
#define MEMBER(offset, declaration) \
  struct {                          \
    u8 before_##offset[offset];     \
    declaration;                    \
  }
/* As for offset 0, which has nothing before it. */
#define FIRST(declaration) \
  struct {                 \
    declaration;           \
  }
#define SIZE(bytes) u8 whole_structure[bytes]

#pragma pack(push, 1)

typedef struct _LIST_ENTRY {
  struct _LIST_ENTRY *Flink, *Blink;
} LIST_ENTRY;

typedef struct _UNICODE_STRING {
  u16 Length, MaximumLength; /* in bytes */
  u32 Padding;
  const u16* Buffer;
} UNICODE_STRING;

typedef struct _CLIENT_ID {
  u64 UniqueProcess, UniqueThread;
} CLIENT_ID;

enum { ProcessObject = 3, ThreadObject = 6 }; /* DISPATCHER_HEADER.Type */

typedef struct _KPROCESS {
  union {
    SIZE(0x438);
    FIRST(u8 Type);
    MEMBER(0x28, u64 DirectoryTableBase);
    MEMBER(0x30, LIST_ENTRY ThreadListHead);
    MEMBER(0x388, u64 UserDirectoryTableBase);
  };
} KPROCESS;

typedef struct _EPROCESS {
  union {
    SIZE(0xa40);
    FIRST(KPROCESS Pcb);
    MEMBER(0x440, u64 UniqueProcessId);
    MEMBER(0x448, LIST_ENTRY ActiveProcessLinks);
    MEMBER(0x468, u64 CreateTime);
    MEMBER(0x540, u64 InheritedFromUniqueProcessId);
    MEMBER(0x550, u64 Peb);
    MEMBER(0x5a8, char ImageFileName[15]);
    MEMBER(0x5e0, LIST_ENTRY ThreadListHead);
    MEMBER(0x5f0, u32 ActiveThreads);
  };
} EPROCESS;

enum { Running = 2, Waiting = 5 }; /* KTHREAD_STATE */

typedef struct _KTHREAD {
  union {
    SIZE(0x430);
    FIRST(u8 Type);
    MEMBER(0x28, u64 InitialStack);
    MEMBER(0x30, u64 StackLimit);
    MEMBER(0x38, u64 StackBase);
    MEMBER(0x58, u64 KernelStack);
    MEMBER(0xb8, struct _EPROCESS* ApcProcess); /* ApcState.Process */
    MEMBER(0xf0, u64 Teb);
    MEMBER(0x184, u8 State);
    MEMBER(0x220, struct _EPROCESS* Process);
    MEMBER(0x2f8, LIST_ENTRY ThreadListEntry);
  };
} KTHREAD;

typedef struct _ETHREAD {
  union {
    SIZE(0x898);
    FIRST(KTHREAD Tcb);
    MEMBER(0x430, u64 CreateTime);
    MEMBER(0x450, u64 StartAddress);
    MEMBER(0x478, CLIENT_ID Cid);
    MEMBER(0x4e8, LIST_ENTRY ThreadListEntry);
  };
} ETHREAD;

typedef struct _KLDR_DATA_TABLE_ENTRY {
  LIST_ENTRY InLoadOrderLinks;
  u64 ExceptionTable, ExceptionTableSize, GpValue, NonPagedDebugInfo;
  u64 DllBase, EntryPoint;
  u32 SizeOfImage, Padding;
  UNICODE_STRING FullDllName, BaseDllName;
  u32 Flags;
  u16 LoadCount, u1;
  u64 SectionPointer;
  u32 CheckSum, CoverageSectionSize;
  u64 CoverageSection, LoadedImports, Spare;
  u32 SizeOfImageNotRounded, TimeDateStamp;
} KLDR_DATA_TABLE_ENTRY;
_Static_assert(sizeof(KLDR_DATA_TABLE_ENTRY) == 0xa0, "KLDR_DATA_TABLE_ENTRY");

typedef struct _UNLOADED_DRIVERS {
  UNICODE_STRING Name;
  u64 StartAddress, EndAddress, CurrentTime;
} UNLOADED_DRIVERS;

typedef struct _KPROCESSOR_STATE {
  union {
    SIZE(0x5c0);
    MEMBER(0x10, u64 Cr3); /* SpecialRegisters.Cr3 */
  };
} KPROCESSOR_STATE;

typedef struct _KPRCB {
  union {
    SIZE(0xaf00);
    MEMBER(0x8, ETHREAD* CurrentThread);
    MEMBER(0x18, ETHREAD* IdleThread);
    MEMBER(0x24, u32 Number);
    MEMBER(0x28, u64 RspBase); /* the kernel stack that a system call begins on */
    MEMBER(0x100, KPROCESSOR_STATE ProcessorState);
    MEMBER(0x85c0, void* Context);
    MEMBER(0x8e80, u64 KernelDirectoryTableBase);
    MEMBER(0x8e90, u64 UserRspShadow);
  };
} KPRCB;

typedef struct _KPCR {
  union {
    SIZE(0xb080);
    FIRST(u64 GdtBase);
    MEMBER(0x10, u64 UserRsp);
    MEMBER(0x18, struct _KPCR* Self);
    MEMBER(0x20, KPRCB* CurrentPrcb);
    MEMBER(0x38, u64 IdtBase);
    MEMBER(0x108, struct _DBGKD_GET_VERSION64* KdVersionBlock);
    MEMBER(0x180, KPRCB Prcb);
  };
} KPCR;

typedef struct _DBGKD_GET_VERSION64 {
  u16 MajorVersion, MinorVersion;
  u8 ProtocolVersion, KdSecondaryVersion;
  u16 Flags, MachineType;
  u8 MaxPacketType, MaxStateChange, MaxManipulate, Simulation;
  u16 Unused;
  u64 KernBase, PsLoadedModuleList, DebuggerDataList;
} DBGKD_GET_VERSION64;

typedef struct _KUSER_SHARED_DATA {
  union {
    SIZE(0x720);
    MEMBER(0x8, u64 InterruptTime);
    MEMBER(0x14, u64 SystemTime);
    MEMBER(0x30, u16 NtSystemRoot[260]);
    MEMBER(0x260, u32 NtBuildNumber);
    MEMBER(0x264, u32 NtProductType);
    MEMBER(0x26c, u32 NtMajorVersion);
    MEMBER(0x270, u32 NtMinorVersion);
    MEMBER(0x2d0, u32 SuiteMask);
    MEMBER(0x3c0, u32 ActiveProcessorCount);
  };
} KUSER_SHARED_DATA;

/* KDDEBUGGER_DATA64 (WDBGEXTS.H). */
typedef struct _KDDEBUGGER_DATA64 {
  union {
    SIZE(0x380);
    FIRST(LIST_ENTRY List);
    MEMBER(0x10, char OwnerTag[4]);
    MEMBER(0x14, u32 Size);
    MEMBER(0x18, u64 KernBase);
    MEMBER(0x48, u64 PsLoadedModuleList);
    MEMBER(0x50, u64 PsActiveProcessHead);
    MEMBER(0x88, u64 KiBugcheckData);
    MEMBER(0xc0, u64 MmPfnDatabase);
    MEMBER(0x208, u64 NtBuildLab);
    MEMBER(0x218, u64 KiProcessorBlock);
    MEMBER(0x220, u64 MmUnloadedDrivers);
    MEMBER(0x268, u64 CmNtCSDVersion);
    MEMBER(0x29a, u16 OffsetKThreadTeb);
    MEMBER(0x29c, u16 OffsetKThreadKernelStack);
    MEMBER(0x29e, u16 OffsetKThreadInitialStack);
    MEMBER(0x2a0, u16 OffsetKThreadApcProcess);
    MEMBER(0x2a2, u16 OffsetKThreadState);
    MEMBER(0x2a8, u16 SizeEProcess);
    MEMBER(0x2aa, u16 OffsetEprocessPeb);
    MEMBER(0x2ac, u16 OffsetEprocessParentCID);
    MEMBER(0x2ae, u16 OffsetEprocessDirectoryTableBase);
    MEMBER(0x2b0, u16 SizePrcb);
    MEMBER(0x2b4, u16 OffsetPrcbCurrentThread);
    MEMBER(0x2bc, u16 OffsetPrcbProcStateContext);
    MEMBER(0x2be, u16 OffsetPrcbNumber);
    MEMBER(0x2c0, u16 SizeEThread);
    MEMBER(0x2e0, u16 SizePcr);
    MEMBER(0x2e6, u16 OffsetPcrContainedPrcb);
    MEMBER(0x338, u16 OffsetPrcbContext);
    MEMBER(0x360, u64 PteBase);
  };
} KDDEBUGGER_DATA64;

#pragma pack(pop)

#ifdef BUILDING_KERNEL
#define NTKERNEL __declspec(dllexport)
#else
#define NTKERNEL __declspec(dllimport)
#endif

NTKERNEL __attribute__((noreturn)) void KeBugCheckEx(u32 code, u64 p1, u64 p2, u64 p3, u64 p4);
NTKERNEL void KeWaitForSingleObject(const void* object);
/* Passes a request on to the driver's routine. */
NTKERNEL u64 IofCallDriver(u64 (*driver)(u64 request), u64 request);
/* Tells the test where the caller of this call's caller goes on, which a walk of this thread's
 * stack has to find. */
NTKERNEL void TestReturnsTo(const void* address);
/* Tells the test that a CPU has come where it stays until the crash. */
NTKERNEL void TestCpuIsBusy(void);

/* At the beginning of each function that is in the way when the guest stops. */
#define ON_STACK() TestReturnsTo(__builtin_return_address(0))
