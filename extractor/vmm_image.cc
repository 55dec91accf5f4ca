#include "extractor/vmm_image.h"

#include "base/byte_writer.h"
#include "base/json.h"
#include "base/shifted_memory.h"

namespace hvd {
namespace {

using nlohmann::json;

// What KVM had of the guest, each part a note: its type says what it is (SPEC.md, "FACTS").
std::vector<Note> kvm_notes(const PhysicalMemory& memory, const json& list,
                            std::vector<std::string>& problems) {
  constexpr std::uint64_t kMaxPart = 128u << 10, kMaxAll = 64u << 20;
  std::vector<Note> out;
  std::uint64_t all = 0;
  for (const json& part : list.is_array() ? list : json::array()) {
    const auto number = [&](const char* name) {
      const json value = part.is_object() ? part.value(name, json()) : json();
      return value.is_number_unsigned() ? value.get<std::uint64_t>() : ~std::uint64_t{0};
    };
    const std::uint64_t type = number("type"), cpu = number("vcpu"), size = number("size");
    if (type >> 32 || cpu >> 32 || size > kMaxPart || all > kMaxAll) {
      problems.emplace_back("what KVM had of the guest is not described well");
      break;
    }
    all += size;
    Bytes bytes(static_cast<std::size_t>(size));
    if (const auto read = memory.read(PhysAddr{number("address")}, bytes); !read) {
      problems.push_back("what KVM had of vCPU " + std::to_string(cpu) + ": " +
                         read.error().message);
      continue;
    }
    ByteWriter contents;
    contents.u32(static_cast<std::uint32_t>(cpu)).u32(0).put(bytes);
    out.push_back({"HVDUMP-KVM", static_cast<std::uint32_t>(type), contents.take()});
  }
  return out;
}

}  // namespace

Result<Image> vmm_image(const Image& partition) {
  const Error none{ErrorCode::kNotFound,
                   "partition " + partition.name + " holds no memory of its VMM"};
  const json facts = parse_json_object(as_bytes(partition.facts));
  if (!facts.is_object() || !partition.memory) return none;
  const json vmm = facts.value("vmm", json()), list = facts.value("ranges", json());
  const json base = vmm.is_object() ? vmm.value("base", json()) : json();
  if (!base.is_number_unsigned() || !list.is_array()) return none;
  const auto from = base.get<std::uint64_t>();
  std::vector<PhysRange> ranges;
  for (const json& item : list) {
    if (!item.is_array() || item.size() != 3 || item[2] != "vmm" || !item[0].is_number_unsigned() ||
        !item[1].is_number_unsigned() || item[0].get<std::uint64_t>() < from)
      continue;
    ranges.push_back({PhysAddr{item[0].get<std::uint64_t>() - from}, item[1].get<std::uint64_t>()});
  }
  if (ranges.empty()) return none;
  Image image;
  image.name = partition.name + "'s VMM";
  image.facts = to_text(json{{"address_space", "process"}, {"vmm", vmm}});
  image.notes = kvm_notes(*partition.memory, vmm.value("kvm", json()), image.problems);
  image.memory =
      std::make_shared<ShiftedMemory>(*partition.memory, from, normalised(std::move(ranges)));
  return image;
}

}  // namespace hvd
