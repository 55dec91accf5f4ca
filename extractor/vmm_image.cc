#include "extractor/vmm_image.h"

#include "base/byte_writer.h"
#include "base/shifted_memory.h"

namespace hvd {
namespace {

// What KVM had of the guest, each part a note: its type says what it is (SPEC.md, "FACTS").
std::vector<Note> kvm_notes(const PhysicalMemory& memory, const std::vector<KvmPart>& list,
                            std::vector<std::string>& problems) {
  constexpr std::uint64_t kMaxPart = 128u << 10, kMaxAll = 64u << 20;
  std::vector<Note> out;
  std::uint64_t all = 0;
  for (const KvmPart& part : list) {
    if (part.size > kMaxPart || all > kMaxAll) {
      problems.emplace_back("what KVM had of the guest is not described well");
      break;
    }
    all += part.size;
    Bytes bytes(static_cast<std::size_t>(part.size));
    if (const auto read = memory.read(part.address, bytes); !read) {
      problems.push_back("what KVM had of vCPU " + std::to_string(part.vcpu) + ": " +
                         read.error().message);
      continue;
    }
    ByteWriter contents;
    contents.u32(part.vcpu).u32(0).put(bytes);
    out.push_back({"HVDUMP-KVM", part.type, contents.take()});
  }
  return out;
}

}  // namespace

Result<Image> vmm_image(const Image& partition) {
  const std::optional<VmmFacts>& vmm = partition.facts.vmm;
  std::vector<PhysRange> ranges;
  for (const FactRange& range : partition.facts.ranges) {
    if (vmm && range.kind == "vmm" && range.range.begin.value >= vmm->base)
      ranges.push_back({PhysAddr{range.range.begin.value - vmm->base}, range.range.size});
  }
  if (!partition.memory || ranges.empty()) {
    return Error{ErrorCode::kNotFound,
                 "partition " + partition.name + " holds no memory of its VMM"};
  }
  Image image;
  image.name = partition.name + "'s VMM";
  image.facts.address_space = AddressKind::kProcess;
  image.facts.vmm = vmm;
  image.notes = kvm_notes(*partition.memory, vmm->kvm, image.problems);
  image.memory =
      std::make_shared<ShiftedMemory>(*partition.memory, vmm->base, normalised(std::move(ranges)));
  return image;
}

}  // namespace hvd
