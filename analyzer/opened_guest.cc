#include "analyzer/opened_guest.h"

#include "analyzer/linux_guest.h"
#include "base/text.h"
#include "envelope/keyring.h"

namespace hvd {
namespace {

// Without --partition: the only guest there is.
Result<std::string> choose_partition(const AnalyzeOptions& options, const KeyProvider& keys) {
  if (!options.partition.empty()) return options.partition;
  const OpenedDump all = HVD_TRY(open_dump(options.dump, keys, ""));
  std::vector<std::string> guests;
  for (const Image& image : all.partitions) {
    if (image.role == Role::kGuest) guests.push_back(image.name);
  }
  if (guests.size() == 1) return all.id.empty() ? std::string() : guests.front();
  std::string names;
  for (const std::string& name : guests) names += " " + name;
  return Error{ErrorCode::kInvalidArgument,
               "the dump holds several guests; choose one with --partition:" + names};
}

}  // namespace

// A VM by its name in the dump of its host.
Result<void> OpenedGuest::open_vm(const AnalyzeOptions& options, const KeyProvider& keys) {
  dump_ = HVD_TRY(open_dump(options.dump, keys, ""));
  std::string names;
  if (dump_.partitions.size() == 1) {
    host_ = HVD_TRY(LinuxGuest::open(dump_.partitions.front(), {}));
    for (Image& image : host_->vm_images()) {
      names += " " + printable(image.name);
      if (image.name == options.partition) vm_ = std::move(image);
    }
  }
  if (vm_) return {};
  return Error{ErrorCode::kNotFound, options.dump + " holds no partition " + options.partition +
                                         (names.empty() ? "" : "; its host ran" + names)};
}

Result<std::unique_ptr<OpenedGuest>> OpenedGuest::open(const AnalyzeOptions& options) {
  const Keyring keys = HVD_TRY(Keyring::load(options.identities, options.passphrases));
  const std::string partition = HVD_TRY(choose_partition(options, keys));
  std::unique_ptr<OpenedGuest> opened(new OpenedGuest);
  auto dump = open_dump(options.dump, keys, partition);
  if (dump) opened->dump_ = std::move(*dump);
  else if (dump.error().code == ErrorCode::kNotFound && !options.partition.empty())
    HVD_TRY(opened->open_vm(options, keys));
  else return std::move(dump).error();
  opened->guest_ = HVD_TRY(open_guest(opened->image(), options.symbols));
  return opened;
}

std::vector<std::string> OpenedGuest::problems() const {
  std::vector<std::string> out = image().problems;
  for (std::string& problem : guest_->problems()) out.push_back(std::move(problem));
  return out;
}

}  // namespace hvd
