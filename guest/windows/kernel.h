// Kernel: a Windows kernel in a captured memory or in a dump of Windows' own, found without a guest
// driver, a network or, where it can be, symbols.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/arm64_registers.h"
#include "base/image.h"
#include "base/windows_header.h"
#include "guest/windows/kdbg.h"
#include "guest/windows/symbols.h"

namespace hvd::windows {

struct BugCheck {
  std::uint32_t code = 0;
  std::array<std::uint64_t, 4> parameters{};
  std::string source;  // where it was found, for people
};

struct Cpu {
  std::uint32_t id = 0;
  VirtAddr prcb;                         // null when not known
  VirtAddr thread;                       // ETHREAD it was running; null when not known
  const Registers* registers = nullptr;  // of the image; null when there are none
  std::optional<Registers> saved;        // those that Windows itself kept for a dump
  bool crashed = false;                  // a dump of Windows' own says so
  std::optional<Arm64Registers> arm64;   // of an ARM64 system, instead of both
  const Registers* best() const { return registers ? registers : saved ? &*saved : nullptr; }
};

class Kernel {
 public:
  /// `image` must outlive the result. `finder` may be null; `observer` is told of all that is read
  /// of the kernel's memory, now and later. kNotFound when there is no Windows to be found; what is
  /// missing beyond that is in problems().
  static Result<std::unique_ptr<Kernel>> open(const Image& image, const SymbolFinder& finder,
                                              ReadObserver observer = {});

  const Image& image() const { return image_; }
  const AddressSpace& space() const { return *space_; }
  /// The image of ntoskrnl.exe; null when its headers are not at hand, as in triage dumps.
  const PeImage* pe() const { return pe_ ? &*pe_ : nullptr; }
  VirtAddr base() const { return base_; }
  /// Of the kernel; null without its PDB.
  const ImageSymbols* symbols() const { return symbols_.get(); }
  /// Null when it was not found: then structures beyond the header's facts stay unknown.
  const FoundDebuggerData* debugger_data() const { return data_ ? &*data_ : nullptr; }
  /// Of a dump of Windows' own, or as the guest's driver prepared it; else null.
  const Header64* header() const { return header_ ? &*header_ : nullptr; }
  bool is_arm64() const { return header_ && header_->machine == kMachineArm64; }
  /// Of systems whose page tables are at hand.
  std::optional<Paging> paging() const { return paging_; }
  /// Whether the image is a dump that Windows, or a program in its manner, wrote.
  bool is_dump() const { return header_ && !header_from_driver_; }
  /// What was found how: pairs for people.
  const std::vector<std::pair<std::string, std::string>>& found() const { return found_; }
  const std::optional<BugCheck>& bugcheck() const { return bugcheck_; }
  const std::vector<Cpu>& cpus() const { return cpus_; }
  /// "10.0.19041", as far as known.
  const std::string& release() const { return release_; }
  std::vector<std::string>& problems() { return problems_; }

  VirtAddr loaded_modules() const;
  VirtAddr active_processes() const;

  /// Of a guest with page tables: by SharedUserData.
  std::uint32_t product_type() const { return product_type_; }
  std::uint32_t suite_mask() const { return suite_mask_; }
  std::optional<std::uint64_t> system_time() const { return system_time_; }  // FILETIME
  std::optional<std::uint64_t> up_time() const { return up_time_; }          // 100 ns

  /// A kernel variable's address by its name; kNotFound without symbols.
  Result<VirtAddr> symbol(std::string_view name) const;

 private:
  explicit Kernel(const Image& image) : image_(image) {}
  friend class KernelFinder;
  const Image& image_;
  std::unique_ptr<AddressSpace> space_;
  std::optional<PeImage> pe_;
  VirtAddr base_;
  std::shared_ptr<const ImageSymbols> symbols_;
  std::optional<FoundDebuggerData> data_;
  std::optional<Header64> header_;
  bool header_from_driver_ = false;
  std::optional<Paging> paging_;
  std::vector<std::pair<std::string, std::string>> found_;
  std::optional<BugCheck> bugcheck_;
  std::vector<Cpu> cpus_;
  std::string release_;
  std::uint32_t product_type_ = 0, suite_mask_ = 0;
  std::optional<std::uint64_t> system_time_, up_time_;
  std::vector<std::string> problems_;
};

}  // namespace hvd::windows
