// HostPages: which pages of a KVM host's memory belong to the kernel itself and may be seen by
// whoever debugs it, and what in them must not be.
//
// An allow-list: a page is kept only where something says what it is and that this holds no data of
// a tenant or of another process. Everything else is left out, so that what this code does not know
// cannot leak. Level full keeps every page of the kernel's but for a deny-list; of those that may
// hold anybody's data only what is an address in the kernel, so that lists and trees can be walked.
// host_survey.cc asks the kernel where its structures are.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "guest/kvm_host/host_cpus.h"
#include "guest/linux/page_structs.h"
#include "guest/linux/slab_caches.h"

namespace hvd::linux_guest {

enum class HostKind : std::uint8_t {
  // kept
  kImage,       // the kernel's text and data
  kModules,     // the modules'
  kPerCpu,      // per-CPU variables of the kernel
  kMemoryMap,   // struct page and what leads to it
  kPageTables,  // the kernel's and its processes'
  kLog,         // kernel log
  kObjects,     // object caches that hold the kernel's own structures
  // kept in part
  kTasks,            // struct task_struct without FPU state
  kStacks,           // kernel stacks without what is stale and without user registers; of VMMs only
                     // addresses in the kernel and in the stack
  kVirtualMachines,  // of KVM's structures only what says which VM, vCPU and memory there are
  kAddressesOnly,    // level full: of what may hold anybody's data only addresses in the kernel
  // left out
  kGuestState,    // what KVM has of guests in pages of its own: VMCB, FPU state, kvm_run ...
  kOtherObjects,  // buffers, sockets, keys, inodes: may hold anybody's data
  kProcesses,     // anonymous memory
  kPageCache,
  kFree,      // what was there before is still in it
  kPoisoned,  // must not be read
  kOther,     // in use, but nothing says for what
};
inline constexpr std::size_t kHostKindCount = static_cast<std::size_t>(HostKind::kOther) + 1;

std::string_view name_of(HostKind kind);
/// One line on what the kind is and why it is kept or left out.
std::string_view meaning_of(HostKind kind);
inline bool is_kept(HostKind kind) { return kind <= HostKind::kAddressesOnly; }

enum class HostDetail {
  kSecure,  // what is on the allow-list
  kFull,    // every page of the kernel's but for a deny-list
};

class HostPages {
 public:
  /// Looks the whole host over; keeps nothing of `host` but its memory, which must outlive the
  /// result. Memory in use grows with the number of tasks, not of pages. kNotFound when the kernel
  /// cannot be understood well enough: then nothing of it may be kept.
  static Result<HostPages> open(const Host& host, HostDetail detail,
                                std::vector<std::string>& problems);

  /// Of the pages [first, first + count). Safe to call from several threads.
  std::vector<HostKind> kinds(std::uint64_t first, std::size_t count) const;

  /// Blanks what must not be seen in a page of a kept kind (4096 bytes) and returns how many bytes
  /// that were. Safe to call from several threads.
  std::size_t redact(std::uint64_t page, HostKind kind, MutableBytes bytes) const;

 private:
  struct StackPage {
    std::uint64_t page = 0;
    VirtAddr at;          // of the page's first byte
    VirtAddr begin, end;  // of the stack
    VirtAddr live;        // what lies below is stale
    bool user = false;    // of a process: user registers at its end
    bool addresses_only = false;
  };
  class Builder;
  explicit HostPages(const PageStructs& pages) : pages_(pages) {}
  HostKind kind_of(const PageFacts& facts) const;
  std::size_t redact_tasks(std::uint64_t page, MutableBytes bytes) const;
  std::size_t redact_stack(const StackPage& stack, MutableBytes bytes) const;
  std::size_t redact_unknown(std::uint64_t page, MutableBytes bytes) const;
  bool is_address(std::uint64_t word) const;
  // Calls `apply` with the first and the end address of what is not kept_bytes_ in the page at
  // `begin`.
  template <typename Apply>
  void between_kept(std::uint64_t begin, Apply apply) const;

  PageStructs pages_;
  std::unordered_map<std::uint64_t, SlabCache> caches_;
  std::unordered_map<std::uint64_t, HostKind> cache_kinds_;
  // By kind, the ranges that lead to it; of kImage, kPerCpu, kMemoryMap and kLog only where the
  // page is the kernel's by its struct page as well.
  std::array<std::vector<PhysRange>, kHostKindCount> ranges_;
  std::vector<PhysRange> kept_bytes_;      // in pages of kVirtualMachines and kAddressesOnly
  std::vector<PhysRange> secret_;          // bytes to blank wherever they are: bounce buffers, keys
  std::vector<PhysRange> addresses_only_;  // as secret_, but for addresses of code and of stacks
  std::vector<StackPage> stacks_;          // by page
  std::vector<ModuleRange> stack_ranges_;  // where the stacks of tasks are, by address
  std::vector<ModuleRange> code_;          // where return addresses lead
  std::vector<ModuleRange> kernel_;        // where pointers of the kernel's lead, by address
  bool addresses_of_unknown_ = false;      // kAddressesOnly rather than leaving out
  std::uint64_t user_registers_ = 0;       // size of struct pt_regs
  std::uint64_t fpu_at_ = 0;               // in task_struct; what follows is FPU state
};

}  // namespace hvd::linux_guest
