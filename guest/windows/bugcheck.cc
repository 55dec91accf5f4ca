#include "guest/windows/bugcheck.h"

#include <algorithm>
#include <iterator>

namespace hvd::windows {
namespace {

using Text = std::string_view;

struct Name {
  std::uint32_t code;
  Text name;
};

constexpr Name kNames[] = {
    {0x01, "APC_INDEX_MISMATCH"},
    {0x02, "DEVICE_QUEUE_NOT_BUSY"},
    {0x03, "INVALID_AFFINITY_SET"},
    {0x05, "INVALID_PROCESS_ATTACH_ATTEMPT"},
    {0x06, "INVALID_PROCESS_DETACH_ATTEMPT"},
    {0x07, "INVALID_SOFTWARE_INTERRUPT"},
    {0x08, "IRQL_NOT_DISPATCH_LEVEL"},
    {0x09, "IRQL_NOT_GREATER_OR_EQUAL"},
    {0x0a, "IRQL_NOT_LESS_OR_EQUAL"},
    {0x0b, "NO_EXCEPTION_HANDLING_SUPPORT"},
    {0x0c, "MAXIMUM_WAIT_OBJECTS_EXCEEDED"},
    {0x0d, "MUTEX_LEVEL_NUMBER_VIOLATION"},
    {0x0e, "NO_USER_MODE_CONTEXT"},
    {0x0f, "SPIN_LOCK_ALREADY_OWNED"},
    {0x10, "SPIN_LOCK_NOT_OWNED"},
    {0x11, "THREAD_NOT_MUTEX_OWNER"},
    {0x12, "TRAP_CAUSE_UNKNOWN"},
    {0x15, "LAST_CHANCE_CALLED_FROM_KMODE"},
    {0x18, "REFERENCE_BY_POINTER"},
    {0x19, "BAD_POOL_HEADER"},
    {0x1a, "MEMORY_MANAGEMENT"},
    {0x1c, "PFN_REFERENCE_COUNT"},
    {0x1e, "KMODE_EXCEPTION_NOT_HANDLED"},
    {0x20, "KERNEL_APC_PENDING_DURING_EXIT"},
    {0x21, "QUOTA_UNDERFLOW"},
    {0x22, "FILE_SYSTEM"},
    {0x23, "FAT_FILE_SYSTEM"},
    {0x24, "NTFS_FILE_SYSTEM"},
    {0x27, "RDR_FILE_SYSTEM"},
    {0x2b, "PANIC_STACK_SWITCH"},
    {0x2e, "DATA_BUS_ERROR"},
    {0x31, "PHASE0_INITIALIZATION_FAILED"},
    {0x32, "PHASE1_INITIALIZATION_FAILED"},
    {0x34, "CACHE_MANAGER"},
    {0x35, "NO_MORE_IRP_STACK_LOCATIONS"},
    {0x3b, "SYSTEM_SERVICE_EXCEPTION"},
    {0x3d, "INTERRUPT_EXCEPTION_NOT_HANDLED"},
    {0x3f, "NO_MORE_SYSTEM_PTES"},
    {0x41, "MUST_SUCCEED_POOL_EMPTY"},
    {0x44, "MULTIPLE_IRP_COMPLETE_REQUESTS"},
    {0x48, "CANCEL_STATE_IN_COMPLETED_IRP"},
    {0x4a, "IRQL_GT_ZERO_AT_SYSTEM_SERVICE"},
    {0x4c, "FATAL_UNHANDLED_HARD_ERROR"},
    {0x4d, "NO_PAGES_AVAILABLE"},
    {0x4e, "PFN_LIST_CORRUPT"},
    {0x50, "PAGE_FAULT_IN_NONPAGED_AREA"},
    {0x51, "REGISTRY_ERROR"},
    {0x5c, "HAL_INITIALIZATION_FAILED"},
    {0x5d, "UNSUPPORTED_PROCESSOR"},
    {0x67, "CONFIG_INITIALIZATION_FAILED"},
    {0x6b, "PROCESS1_INITIALIZATION_FAILED"},
    {0x71, "SESSION5_INITIALIZATION_FAILED"},
    {0x74, "BAD_SYSTEM_CONFIG_INFO"},
    {0x76, "PROCESS_HAS_LOCKED_PAGES"},
    {0x77, "KERNEL_STACK_INPAGE_ERROR"},
    {0x79, "MISMATCHED_HAL"},
    {0x7a, "KERNEL_DATA_INPAGE_ERROR"},
    {0x7b, "INACCESSIBLE_BOOT_DEVICE"},
    {0x7c, "BUGCODE_NDIS_DRIVER"},
    {0x7e, "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED"},
    {0x7f, "UNEXPECTED_KERNEL_MODE_TRAP"},
    {0x80, "NMI_HARDWARE_FAILURE"},
    {0x8e, "KERNEL_MODE_EXCEPTION_NOT_HANDLED"},
    {0x92, "UP_DRIVER_ON_MP_SYSTEM"},
    {0x93, "INVALID_KERNEL_HANDLE"},
    {0x96, "INVALID_WORK_QUEUE_ITEM"},
    {0x98, "END_OF_NT_EVALUATION_PERIOD"},
    {0x9a, "SYSTEM_LICENSE_VIOLATION"},
    {0x9c, "MACHINE_CHECK_EXCEPTION"},
    {0x9e, "USER_MODE_HEALTH_MONITOR"},
    {0x9f, "DRIVER_POWER_STATE_FAILURE"},
    {0xa0, "INTERNAL_POWER_ERROR"},
    {0xa1, "PCI_BUS_DRIVER_INTERNAL"},
    {0xa5, "ACPI_BIOS_ERROR"},
    {0xab, "SESSION_HAS_VALID_POOL_ON_EXIT"},
    {0xac, "HAL_MEMORY_ALLOCATION"},
    {0xb8, "ATTEMPTED_SWITCH_FROM_DPC"},
    {0xbe, "ATTEMPTED_WRITE_TO_READONLY_MEMORY"},
    {0xbf, "MUTEX_ALREADY_OWNED"},
    {0xc1, "SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION"},
    {0xc2, "BAD_POOL_CALLER"},
    {0xc4, "DRIVER_VERIFIER_DETECTED_VIOLATION"},
    {0xc5, "DRIVER_CORRUPTED_EXPOOL"},
    {0xc6, "DRIVER_CAUGHT_MODIFYING_FREED_POOL"},
    {0xc7, "TIMER_OR_DPC_INVALID"},
    {0xc8, "IRQL_UNEXPECTED_VALUE"},
    {0xc9, "DRIVER_VERIFIER_IOMANAGER_VIOLATION"},
    {0xca, "PNP_DETECTED_FATAL_ERROR"},
    {0xcb, "DRIVER_LEFT_LOCKED_PAGES_IN_PROCESS"},
    {0xcc, "PAGE_FAULT_IN_FREED_SPECIAL_POOL"},
    {0xcd, "PAGE_FAULT_BEYOND_END_OF_ALLOCATION"},
    {0xce, "DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS"},
    {0xcf, "TERMINAL_SERVER_DRIVER_MADE_INCORRECT_MEMORY_REFERENCE"},
    {0xd0, "DRIVER_CORRUPTED_MMPOOL"},
    {0xd1, "DRIVER_IRQL_NOT_LESS_OR_EQUAL"},
    {0xd3, "DRIVER_PORTION_MUST_BE_NONPAGED"},
    {0xd4, "SYSTEM_SCAN_AT_RAISED_IRQL_CAUGHT_IMPROPER_DRIVER_UNLOAD"},
    {0xd5, "DRIVER_PAGE_FAULT_IN_FREED_SPECIAL_POOL"},
    {0xd6, "DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION"},
    {0xd8, "DRIVER_USED_EXCESSIVE_PTES"},
    {0xda, "SYSTEM_PTE_MISUSE"},
    {0xdb, "DRIVER_CORRUPTED_SYSPTES"},
    {0xdc, "DRIVER_INVALID_STACK_ACCESS"},
    {0xde, "POOL_CORRUPTION_IN_FILE_AREA"},
    {0xe1, "WORKER_THREAD_RETURNED_AT_BAD_IRQL"},
    {0xe2, "MANUALLY_INITIATED_CRASH"},
    {0xe3, "RESOURCE_NOT_OWNED"},
    {0xe4, "WORKER_INVALID"},
    {0xe6, "DRIVER_VERIFIER_DMA_VIOLATION"},
    {0xe7, "INVALID_FLOATING_POINT_STATE"},
    {0xe8, "INVALID_CANCEL_OF_FILE_OPEN"},
    {0xe9, "ACTIVE_EX_WORKER_THREAD_TERMINATION"},
    {0xea, "THREAD_STUCK_IN_DEVICE_DRIVER"},
    {0xeb, "DIRTY_MAPPED_PAGES_CONGESTION"},
    {0xec, "SESSION_HAS_VALID_SPECIAL_POOL_ON_EXIT"},
    {0xed, "UNMOUNTABLE_BOOT_VOLUME"},
    {0xef, "CRITICAL_PROCESS_DIED"},
    {0xf1, "SCSI_VERIFIER_DETECTED_VIOLATION"},
    {0xf4, "CRITICAL_OBJECT_TERMINATION"},
    {0xf5, "FLTMGR_FILE_SYSTEM"},
    {0xf6, "PCI_VERIFIER_DETECTED_VIOLATION"},
    {0xf7, "DRIVER_OVERRAN_STACK_BUFFER"},
    {0xf8, "RAMDISK_BOOT_INITIALIZATION_FAILED"},
    {0xf9, "DRIVER_RETURNED_STATUS_REPARSE_FOR_VOLUME_OPEN"},
    {0xfa, "HTTP_DRIVER_CORRUPTED"},
    {0xfc, "ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY"},
    {0xfd, "DIRTY_NOWRITE_PAGES_CONGESTION"},
    {0xfe, "BUGCODE_USB_DRIVER"},
    {0x100, "LOADER_BLOCK_MISMATCH"},
    {0x101, "CLOCK_WATCHDOG_TIMEOUT"},
    {0x102, "DPC_WATCHDOG_TIMEOUT"},
    {0x103, "MUP_FILE_SYSTEM"},
    {0x104, "AGP_INVALID_ACCESS"},
    {0x109, "CRITICAL_STRUCTURE_CORRUPTION"},
    {0x10a, "APP_TAGGING_INITIALIZATION_FAILED"},
    {0x10c, "FSRTL_EXTRA_CREATE_PARAMETER_VIOLATION"},
    {0x10d, "WDF_VIOLATION"},
    {0x10e, "VIDEO_MEMORY_MANAGEMENT_INTERNAL"},
    {0x111, "RECURSIVE_NMI"},
    {0x112, "MSRPC_STATE_VIOLATION"},
    {0x113, "VIDEO_DXGKRNL_FATAL_ERROR"},
    {0x116, "VIDEO_TDR_FAILURE"},
    {0x117, "VIDEO_TDR_TIMEOUT_DETECTED"},
    {0x119, "VIDEO_SCHEDULER_INTERNAL_ERROR"},
    {0x11a, "EM_INITIALIZATION_FAILURE"},
    {0x11b, "DRIVER_RETURNED_HOLDING_CANCEL_LOCK"},
    {0x11c, "ATTEMPTED_WRITE_TO_CM_PROTECTED_STORAGE"},
    {0x11d, "EVENT_TRACING_FATAL_ERROR"},
    {0x120, "TARGET_MDL_TOO_SMALL"},
    {0x121, "DRIVER_VIOLATION"},
    {0x122, "WHEA_INTERNAL_ERROR"},
    {0x124, "WHEA_UNCORRECTABLE_ERROR"},
    {0x127, "PAGE_NOT_ZERO"},
    {0x12b, "FAULTY_HARDWARE_CORRUPTED_PAGE"},
    {0x12c, "EXFAT_FILE_SYSTEM"},
    {0x133, "DPC_WATCHDOG_VIOLATION"},
    {0x135, "REGISTRY_FILTER_DRIVER_EXCEPTION"},
    {0x139, "KERNEL_SECURITY_CHECK_FAILURE"},
    {0x13a, "KERNEL_MODE_HEAP_CORRUPTION"},
    {0x13b, "PASSIVE_INTERRUPT_ERROR"},
    {0x13c, "INVALID_IO_BOOST_STATE"},
    {0x144, "BUGCODE_USB3_DRIVER"},
    {0x149, "REFS_FILE_SYSTEM"},
    {0x14b, "SOC_SUBSYSTEM_FAILURE"},
    {0x14f, "PDC_WATCHDOG_TIMEOUT"},
    {0x153, "KERNEL_LOCK_ENTRY_LEAKED_ON_THREAD_TERMINATION"},
    {0x154, "UNEXPECTED_STORE_EXCEPTION"},
    {0x156, "WINSOCK_DETECTED_HUNG_CLOSESOCKET_LIVEDUMP"},
    {0x159, "KERNEL_AUTO_BOOST_LOCK_ACQUISITION_WITH_RAISED_IRQL"},
    {0x15f, "CONNECTED_STANDBY_WATCHDOG_TIMEOUT_LIVEDUMP"},
    {0x160, "WIN32K_ATOMIC_CHECK_FAILURE"},
    {0x161, "LIVE_SYSTEM_DUMP"},
    {0x162, "KERNEL_AUTO_BOOST_INVALID_LOCK_RELEASE"},
    {0x164, "WIN32K_CRITICAL_FAILURE"},
    {0x17e, "MICROCODE_REVISION_MISMATCH"},
    {0x18b, "SECURE_KERNEL_ERROR"},
    {0x192, "KERNEL_AUTO_BOOST_LOCK_ACQUISITION_WITH_RAISED_IRQL"},
    {0x193, "VIDEO_DXGKRNL_LIVEDUMP"},
    {0x19c, "WIN32K_POWER_WATCHDOG_TIMEOUT"},
    {0x1a1, "WIN32K_CALLOUT_WATCHDOG_LIVEDUMP"},
    {0x1c4, "DRIVER_VERIFIER_DETECTED_VIOLATION_LIVEDUMP"},
    {0x1ca, "SYNTHETIC_WATCHDOG_TIMEOUT"},
    {0x1d3, "FAST_ERESOURCE_PRECONDITION_VIOLATION"},
    {0x20001, "HYPERVISOR_ERROR"},
    {0xc0000218, "STATUS_CANNOT_LOAD_REGISTRY_FILE"},
    {0xc000021a, "WINLOGON_FATAL_ERROR"},
    {0xc0000221, "STATUS_IMAGE_CHECKSUM_MISMATCH"},
    {0xdeaddead, "MANUALLY_INITIATED_CRASH1"},
};

struct Parameters {
  std::uint32_t code;
  std::array<Text, 4> meanings;
  int address = -1;  // which one is the failing instruction's address
};

constexpr Parameters kParameters[] = {
    {0x0a, {"memory referenced", "IRQL", "0 read, 1 write, 8 execute", "instruction"}, 3},
    {0x1a, {"kind of violation", "depends on the kind", "depends on the kind", "reserved"}},
    {0x1e,
     {"exception code", "instruction", "first exception parameter", "second exception parameter"},
     1},
    {0x19, {"kind of violation", "pool entry", "depends on the kind", "reserved"}},
    {0x3b, {"exception code", "instruction", "context record", "0"}, 1},
    {0x50,
     {"memory referenced", "0 read, 2 or 1 write, 16 execute", "instruction", "kind of fault"},
     2},
    {0x77, {"status code", "I/O status code", "page file", "offset in the page file"}},
    {0x7a,
     {"lock type or page table entry", "error status", "page table entry or process",
      "memory referenced"}},
    {0x7e, {"exception code", "instruction", "exception record", "context record"}, 1},
    {0x7f, {"trap number", "0, or address of the trap frame", "0", "instruction or 0"}},
    {0x8e, {"exception code", "instruction", "trap frame", "0"}, 1},
    {0x9f, {"kind of violation", "physical device object", "depends on the kind", "blocked IRP"}},
    {0xbe, {"memory referenced", "its page table entry", "reserved", "reserved"}},
    {0xc2, {"kind of violation", "depends on the kind", "depends on the kind", "pool block"}},
    {0xc4,
     {"kind of violation", "depends on the kind", "depends on the kind", "depends on the kind"}},
    {0xc5, {"memory referenced", "IRQL", "0 read, 1 write", "instruction"}, 3},
    {0xce, {"memory referenced", "0 read, 1 write", "instruction", "reserved"}, 2},
    {0xd1, {"memory referenced", "IRQL", "0 read, 1 write, 8 execute", "instruction"}, 3},
    {0xd5, {"memory referenced", "0 read, 1 write", "instruction", "reserved"}, 2},
    {0xd6, {"memory referenced", "0 read, 1 write", "instruction", "reserved"}, 2},
    {0xe2, {"0", "0", "0", "0"}},
    {0xea,
     {"thread", "watchdog's deferred object", "context of the driver", "how often it was seen"}},
    {0xef, {"process or thread", "0 process, 1 thread", "reserved", "reserved"}},
    {0xf4, {"3 process, 6 thread", "object", "name of the process", "message"}},
    {0xf7, {"cookie found", "cookie expected", "its complement", "0"}},
    {0xfc, {"memory referenced", "its page table entry", "reserved", "reserved"}},
    {0x101, {"clock ticks waited", "0", "PRCB of the CPU that hangs", "number of that CPU"}},
    {0x109, {"reserved", "reserved", "reserved", "kind of corruption"}},
    {0x116,
     {"recovery context", "driver's instruction", "error of the last operation",
      "depends on the error"},
     1},
    {0x124,
     {"kind of error source", "WHEA_ERROR_RECORD", "high half of MCi_STATUS",
      "low half of MCi_STATUS"}},
    {0x133,
     {"0 single DPC, 1 all together", "time spent in ticks", "time allowed or 0",
      "depends on the first"}},
    {0x139, {"kind of corruption", "trap frame", "exception record", "reserved"}},
    {0x13a, {"kind of corruption", "heap", "address", "reserved"}},
    {0x154, {"store context", "exception information", "reserved", "reserved"}},
};

constexpr Name kStatuses[] = {
    {0x80000003, "STATUS_BREAKPOINT"},
    {0x80000004, "STATUS_SINGLE_STEP"},
    {0xc0000005, "STATUS_ACCESS_VIOLATION"},
    {0xc0000006, "STATUS_IN_PAGE_ERROR"},
    {0xc000001d, "STATUS_ILLEGAL_INSTRUCTION"},
    {0xc0000025, "STATUS_NONCONTINUABLE_EXCEPTION"},
    {0xc000008c, "STATUS_ARRAY_BOUNDS_EXCEEDED"},
    {0xc0000094, "STATUS_INTEGER_DIVIDE_BY_ZERO"},
    {0xc0000095, "STATUS_INTEGER_OVERFLOW"},
    {0xc0000096, "STATUS_PRIVILEGED_INSTRUCTION"},
    {0xc00000fd, "STATUS_STACK_OVERFLOW"},
    {0xc0000409, "STATUS_STACK_BUFFER_OVERRUN"},
    {0xc0000420, "STATUS_ASSERTION_FAILURE"},
};

template <typename Table>
const auto* find(const Table& table, std::uint32_t code) {
  const auto at = std::find_if(std::begin(table), std::end(table),
                               [&](const auto& each) { return each.code == code; });
  return at == std::end(table) ? nullptr : &*at;
}

}  // namespace

std::uint32_t plain_bugcheck(std::uint32_t code) {
  constexpr std::uint32_t kMinidump = 0x10000000;
  return (code & 0xff000000) == kMinidump ? code & ~kMinidump : code;
}

std::string bugcheck_name(std::uint32_t code) {
  const Name* name = find(kNames, plain_bugcheck(code));
  if (!name) return {};
  return std::string(name->name) + (plain_bugcheck(code) == code ? "" : "_M");
}

const std::array<std::string_view, 4>* bugcheck_parameters(std::uint32_t code) {
  const Parameters* parameters = find(kParameters, plain_bugcheck(code));
  return parameters ? &parameters->meanings : nullptr;
}

std::optional<std::size_t> faulting_address(std::uint32_t code) {
  const Parameters* parameters = find(kParameters, plain_bugcheck(code));
  if (!parameters || parameters->address < 0) return std::nullopt;
  return static_cast<std::size_t>(parameters->address);
}

std::string_view status_name(std::uint32_t status) {
  const Name* name = find(kStatuses, status);
  return name ? name->name : Text();
}

}  // namespace hvd::windows
