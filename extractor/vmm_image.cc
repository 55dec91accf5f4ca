#include "extractor/vmm_image.h"

#include "base/json.h"
#include "formats/hvd/layout.h"

namespace hvd {
namespace {

using nlohmann::json;

class VmmMemory final : public PhysicalMemory {
 public:
  VmmMemory(const PhysicalMemory& partition, std::uint64_t base, std::vector<PhysRange> ranges)
      : partition_(partition), base_(base), ranges_(std::move(ranges)) {}
  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  Extent extent_at(PhysAddr at) const override {
    Extent extent = partition_.extent_at(at + base_);
    extent.range.begin = at;
    return extent;
  }

 private:
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override {
    HVD_TRY(partition_.read(at + base_, out));
    return out.size();
  }
  const PhysicalMemory& partition_;
  const std::uint64_t base_;
  const std::vector<PhysRange> ranges_;
};

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
  image.facts = json{{"address_space", "process"}, {"vmm", vmm}}.dump(
      -1, ' ', false, json::error_handler_t::replace);
  for (const Note& note : partition.notes) {
    if (note.name == format::kKvmNote) image.notes.push_back(note);
  }
  image.memory =
      std::make_shared<VmmMemory>(*partition.memory, from, normalised(std::move(ranges)));
  return image;
}

}  // namespace hvd
