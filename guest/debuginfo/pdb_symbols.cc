#include "guest/debuginfo/pdb_symbols.h"

#include <map>
#include <mutex>
#include <unordered_map>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "guest/debuginfo/own_process.h"
#include "guest/debuginfo/pdb_reader.h"

namespace hvd {
namespace {

using windows::NameAt;
using Members = std::map<std::string, std::uint32_t>;

// What the reader's process answers to the first question, which is empty: a byte that says what
// came of opening the file, and then the names or the error's text. Every later question is a
// type's name, and its answer the type's members.
constexpr std::uint8_t kOpened = 0, kOtherBuild = 1, kDamaged = 2;

struct Named {
  le32 number, name_size;
};

void put_named(ByteWriter& out, std::uint32_t number, const std::string& name) {
  out.put(Named{number, static_cast<std::uint32_t>(name.size())}).put(as_bytes(name));
}

template <typename Take>
Result<void> parse_named(ByteView bytes, Take take) {
  ByteReader in(bytes, "what a PDB holds");
  while (in.remaining() != 0) {
    const auto head = in.read<Named>();
    const std::string name = to_string(in.bytes(head.name_size));
    if (in.ok()) take(head.number, name);
  }
  return in.finish();
}

// Runs in the reader's process.
class Answering {
 public:
  Answering(std::string path, windows::PdbId id) : path_(std::move(path)), id_(std::move(id)) {}

  Bytes operator()(ByteView question) {
    ByteWriter out;
    if (reader_) {
      for (const auto& [name, offset] : reader_->members_of(to_string(question)))
        put_named(out, offset, name);
      return out.take();
    }
    auto opened = PdbReader::open(path_, id_);
    if (!opened) {
      const bool other = opened.error().code == ErrorCode::kNotFound;
      return out.u8(other ? kOtherBuild : kDamaged).put(as_bytes(opened.error().message)).take();
    }
    reader_ = std::move(*opened);
    out.u8(kOpened);
    for (const auto& [rva, name] : reader_->names()) put_named(out, rva, name);
    return out.take();
  }

 private:
  std::string path_;
  windows::PdbId id_;
  std::shared_ptr<PdbReader> reader_;
};

class PdbSymbols final : public windows::ImageSymbols {
 public:
  PdbSymbols(std::unique_ptr<OwnProcess> process, std::map<std::uint32_t, std::string> names)
      : process_(std::move(process)), names_(std::move(names)) {
    for (const auto& [rva, name] : names_) places_.emplace(name, rva);
  }

  Result<std::uint32_t> place_of(std::string_view name) const override {
    const auto found = places_.find(std::string(name));
    if (found == places_.end())
      return Error{ErrorCode::kNotFound, "the PDB has no symbol " + std::string(name)};
    return found->second;
  }

  std::optional<NameAt> at(std::uint32_t rva) const override {
    auto behind = names_.upper_bound(rva);
    if (behind == names_.begin()) return std::nullopt;
    --behind;
    return NameAt{behind->second, rva - behind->first};
  }

  Result<std::uint32_t> member(std::string_view type, std::string_view name) const override {
    const std::lock_guard lock(mutex_);
    const Members& members = members_of(std::string(type));
    const auto found = members.find(std::string(name));
    if (found == members.end()) {
      return Error{ErrorCode::kNotFound,
                   "the PDB has no " + std::string(type) + "." + std::string(name)};
    }
    return found->second;
  }

 private:
  const Members& members_of(const std::string& type) const {
    const auto [entry, is_new] = types_.try_emplace(type);
    if (!is_new) return entry->second;
    const auto answer = process_->ask(as_bytes(type));
    const auto take = [&members = entry->second](std::uint32_t offset, const std::string& name) {
      members.emplace(name, offset);
    };
    // Types that cannot be read are as if they were not there: others may do without.
    if (answer && !parse_named(*answer, take)) entry->second.clear();
    return entry->second;
  }

  const std::unique_ptr<OwnProcess> process_;
  const std::map<std::uint32_t, std::string> names_;
  std::unordered_map<std::string, std::uint32_t> places_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, Members> types_;
};

}  // namespace

Result<std::shared_ptr<const windows::ImageSymbols>> open_pdb(const std::string& path,
                                                              const windows::PdbId& id) {
  auto process = HVD_TRY(OwnProcess::start(path, Answering(path, id)));
  const Bytes answer = HVD_TRY(process->ask({}));
  const ByteView rest = ByteView(answer).subspan(std::min<std::size_t>(1, answer.size()));
  const auto status = answer.empty() ? kDamaged : std::to_integer<std::uint8_t>(answer[0]);
  if (status != kOpened)
    return Error{status == kOtherBuild ? ErrorCode::kNotFound : ErrorCode::kCorrupt,
                 to_string(rest)};
  std::map<std::uint32_t, std::string> names;
  HVD_TRY(parse_named(
      rest, [&names](std::uint32_t rva, const std::string& name) { names.emplace(rva, name); }));
  return std::shared_ptr<const windows::ImageSymbols>(
      std::make_shared<PdbSymbols>(std::move(process), std::move(names)));
}

}  // namespace hvd
