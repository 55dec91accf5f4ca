#include "guest/windows/kernel.h"

#include <cstring>

#include "base/text.h"
#include "guest/windows/find_bugcheck.h"
#include "guest/windows/find_space.h"
#include "guest/windows/read_cpus.h"

namespace hvd::windows {
namespace {

bool is_header(ByteView bytes) {
  return bytes.size() >= sizeof(Header64) &&
         to_string(bytes.first(kHeaderSignature.size())) == kHeaderSignature;
}

// Fields that nobody filled in hold "PAGE".
std::uint64_t filled(std::uint64_t value) {
  const std::uint64_t unused = std::uint64_t{kUnused32} << 32 | kUnused32;
  return value == unused ? 0 : value;
}

}  // namespace

class KernelFinder {
 public:
  KernelFinder(Kernel& out, const SymbolFinder& finder, ReadObserver observer)
      : out_(out), finder_(finder), observer_(std::move(observer)) {}

  Result<void> run() {
    read_header();
    const bool pieces = out_.image_.facts.address_space == AddressKind::kVirtual;
    if (pieces) out_.space_ = std::make_unique<PieceSpace>(*out_.image_.memory);
    else HVD_TRY(find_in_memory());
    if (observer_)
      out_.space_ = std::make_unique<ObservedSpace>(std::move(out_.space_), std::move(observer_));
    find_debugger_data();
    if (out_.base_.value == 0 && out_.data_) out_.base_ = out_.data_->data.kernel_base();
    read_release();
    read_shared_data();
    out_.cpus_ = read_cpus(out_);
    out_.bugcheck_ = find_bugcheck(out_);
    return {};
  }

 private:
  void tell(const std::string& what, const std::string& how) {
    out_.found_.emplace_back(what, how);
  }

  void read_header() {
    for (const Note& note : out_.image_.notes) {
      // QEMU passes on what the guest's driver gave it as a VMCOREINFO note.
      if (!is_header(note.contents)) continue;
      Header64 header{};
      std::memcpy(&header, note.contents.data(), sizeof header);
      out_.header_ = header;
      out_.header_from_driver_ = note.name != kHeaderNote;
      tell("header", out_.header_from_driver_ ? "from the guest's driver" : "the dump's own");
      return;
    }
  }

  Result<void> find_in_memory() {
    const Header64* header = out_.header();
    const auto hint =
        header ? std::optional(PhysAddr{header->directory_table_base}) : std::optional<PhysAddr>();
    FoundSpace found = HVD_TRY(find_space(out_.image_, hint, out_.is_arm64()));
    out_.space_ = std::move(found.space);
    out_.paging_ = found.paging;
    tell("page tables", found.how);
    auto kernel = find_kernel_image(*out_.space_, out_.image_, found.entry, header_places());
    if (!kernel) return kernel.error();
    out_.pe_ = std::move(kernel->pe);
    out_.base_ = out_.pe_->base();
    tell("kernel", kernel->how);
    const auto pdb = out_.pe_->pdb(*out_.space_);
    if (pdb && finder_) out_.symbols_ = finder_(*pdb);
    if (out_.symbols_) tell("symbols", "PDB " + printable(pdb->file) + " " + pdb->key());
    return {};
  }

  // Addresses within the kernel's data.
  std::vector<VirtAddr> header_places() const {
    std::vector<VirtAddr> out;
    if (const Header64* header = out_.header()) {
      for (const std::uint64_t place :
           {std::uint64_t{header->loaded_modules}, std::uint64_t{header->active_processes},
            std::uint64_t{header->debugger_data}})
        if (filled(place) != 0) out.push_back(VirtAddr{place});
    }
    return out;
  }

  void find_debugger_data() {
    const SymbolAddress symbols =
        out_.symbols_ ? SymbolAddress([this](std::string_view name) { return out_.symbol(name); })
                      : SymbolAddress();
    const VirtAddr base = out_.pe_ ? out_.pe_->base() : VirtAddr{};
    const auto keep = [&](Result<FoundDebuggerData> found) {
      if (!found) return false;
      tell("debugger data", found->how);
      out_.data_ = std::move(*found);
      return true;
    };
    if (const Header64* header = out_.header()) {
      // The driver leaves a decoded copy's address where the bug check has its first parameter.
      const std::uint64_t copy = header->bugcheck_parameters[0];
      if (out_.header_from_driver_ && filled(copy) != 0 && keep(copied(VirtAddr{copy}, base))) {
        out_.data_->at = VirtAddr{header->debugger_data};
        return;
      }
      if (filled(header->debugger_data) != 0 && keep(copied(VirtAddr{header->debugger_data}, base)))
        return;
    }
    if (!out_.pe_) {
      out_.problems_.emplace_back("the dump holds no debugger data block");
      return;
    }
    if (const auto at = by_version_block();
        at && keep(read_debugger_data(*out_.space_, *out_.pe_, *at, symbols)))
      return;
    auto searched = search_debugger_data(*out_.space_, *out_.pe_, symbols);
    if (!searched) out_.problems_.push_back(searched.error().message);
    else keep(std::move(searched));
  }

  Result<FoundDebuggerData> copied(VirtAddr at, VirtAddr base) const {
    constexpr std::uint64_t kMostSize = 0x800;
    const std::uint64_t size = HVD_TRY(out_.space_->read_u32(at + 0x14));
    if (size > kMostSize) return Error{ErrorCode::kCorrupt, "the block claims too many bytes"};
    Bytes block = HVD_TRY(out_.space_->read_bytes(at, static_cast<std::size_t>(size)));
    DebuggerData data = HVD_TRY(DebuggerData::parse(std::move(block), base));
    return FoundDebuggerData{at, false, "where the header says", std::move(data)};
  }

  // KPCR.KdVersionBlock (DBGKD_GET_VERSION64) leads to the list that the block begins.
  std::optional<VirtAddr> by_version_block() const {
    constexpr std::uint64_t kVersionBlock = 0x108, kDataList = 0x20;
    for (const Registers& cpu : out_.image_.registers) {
      for (const Reg reg : {Reg::kGsBase, Reg::kKernelGsBase}) {
        if (cpu[reg] >> 63 == 0) continue;
        const auto version = out_.space_->read_u64(VirtAddr{cpu[reg]} + kVersionBlock);
        const auto list = version ? out_.space_->read_u64(VirtAddr{*version} + kDataList) : version;
        const auto block = list ? out_.space_->read_u64(VirtAddr{*list}) : list;
        if (block && *block >> 63) return VirtAddr{*block};
      }
    }
    return std::nullopt;
  }

  void read_release() {
    std::uint32_t build = out_.header_ ? std::uint32_t{out_.header_->build} : 0;
    if (out_.data_) {
      // "19041.1.amd64fre.vb_release.191206-1406"
      const auto lab = out_.space_->read_string(out_.data_->data.build_lab(), 128);
      if (lab) build = static_cast<std::uint32_t>(std::strtoul(lab->c_str(), nullptr, 10));
    }
    const auto major = out_.space_->read_u32(kSharedUserData + 0x26c);
    const auto minor = out_.space_->read_u32(kSharedUserData + 0x270);
    build &= 0x0fffffff;
    // From 10240 on every version is 10.0; before that SharedUserData has to say.
    if (major && minor) out_.release_ = std::to_string(*major) + "." + std::to_string(*minor);
    else if (build >= 10240) out_.release_ = "10.0";
    if (build != 0) out_.release_ += (out_.release_.empty() ? "" : ".") + std::to_string(build);
  }

  // KUSER_SHARED_DATA; the header says the same in a dump.
  void read_shared_data() {
    const AddressSpace& space = *out_.space_;
    const auto product = space.read_u32(kSharedUserData + 0x264);
    const auto suite = space.read_u32(kSharedUserData + 0x2d0);
    const auto time = space.read_u64(kSharedUserData + 0x14),
               up = space.read_u64(kSharedUserData + 8);
    if (product) out_.product_type_ = static_cast<std::uint32_t>(*product);
    if (suite) out_.suite_mask_ = static_cast<std::uint32_t>(*suite);
    if (time && *time != 0) out_.system_time_ = *time;
    if (up && *up != 0) out_.up_time_ = *up;
    const Header64* header = out_.header();
    if (!header) return;
    if (!product && header->product_type != kUnused32) out_.product_type_ = header->product_type;
    if (!suite && header->suite_mask != kUnused32) out_.suite_mask_ = header->suite_mask;
    if (!out_.system_time_ && filled(header->system_time) != 0)
      out_.system_time_ = header->system_time;
    if (!out_.up_time_ && filled(header->up_time) != 0) out_.up_time_ = header->up_time;
  }

  Kernel& out_;
  const SymbolFinder& finder_;
  ReadObserver observer_;
};

Result<std::unique_ptr<Kernel>> Kernel::open(const Image& image, const SymbolFinder& finder,
                                             ReadObserver observer) {
  if (!image.memory) return Error{ErrorCode::kNotFound, "there is no memory to look at"};
  std::unique_ptr<Kernel> kernel(new Kernel(image));
  HVD_TRY(KernelFinder(*kernel, finder, std::move(observer)).run());
  return kernel;
}

VirtAddr Kernel::loaded_modules() const {
  if (data_) return data_->data.loaded_modules();
  return header_ ? VirtAddr{filled(header_->loaded_modules)} : VirtAddr{};
}

VirtAddr Kernel::active_processes() const {
  if (data_) return data_->data.active_processes();
  return header_ ? VirtAddr{filled(header_->active_processes)} : VirtAddr{};
}

Result<VirtAddr> Kernel::symbol(std::string_view name) const {
  if (!symbols_) return Error{ErrorCode::kNotFound, "there are no symbols of the kernel"};
  const std::uint32_t rva = HVD_TRY(symbols_->place_of(name));
  return base_ + rva;
}

}  // namespace hvd::windows
