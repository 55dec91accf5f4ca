#include "formats/open_dump.h"

#include <cstring>

#include "base/byte_source.h"
#include "formats/elf_core/reader.h"
#include "formats/hvd/dump.h"
#include "formats/import/kdumpfile.h"
#include "formats/imported_file.h"
#include "formats/windows_dump/reader.h"

namespace hvd {
namespace {

constexpr std::string_view kElfMagic =
    "\x7f"
    "ELF";

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

Result<OpenedDump> open_hvd(const std::string& path, const KeyProvider& keys,
                            const std::string& only) {
  const format::Dump dump = HVD_TRY(format::Dump::open(path));
  OpenedDump out;
  out.id = format::text_of(dump.id());
  out.created_ns = dump.created_ns();
  out.agent = dump.agent();
  out.complete = dump.complete();
  out.problems = dump.problems();
  if (!only.empty()) {
    const format::DumpPartition* partition = HVD_TRY(dump.find(only));
    const auto opener = HVD_TRY(dump.unlock(*partition, keys));
    Image image = HVD_TRY(dump.image(*partition, opener));
    out.partitions.push_back(opened_file(std::move(image)));
    return out;
  }
  for (const format::DumpPartition& partition : dump.partitions()) {
    auto image = dump.image(partition, keys);
    if (image) out.partitions.push_back(opened_file(std::move(*image)));
    else out.problems.push_back(image.error().message);
  }
  return out;
}

}  // namespace

Result<OpenedDump> open_dump(const std::string& path, const KeyProvider& keys,
                             const std::string& only) {
  std::shared_ptr<const ByteSource> source = HVD_TRY(FileSource::open(path));
  std::array<unsigned char, 8> magic{};
  const std::size_t size = std::min<std::size_t>(magic.size(), source->size());
  HVD_TRY(
      with_context(source->read(0, std::as_writable_bytes(std::span(magic)).first(size)), path));
  if (std::memcmp(magic.data(), format::kFileMagic.data(), format::kFileMagic.size()) == 0) {
    return open_hvd(path, keys, only);
  }
  const auto open_one = [&]() -> Result<Image> {
    if (std::memcmp(magic.data(), kElfMagic.data(), kElfMagic.size()) == 0)
      return elf::open_core(source, base_name(path));
    if (windows::is_windows_dump(std::as_bytes(std::span(magic))))
      return windows::open_windows_dump(source, base_name(path));
    return open_kdumpfile(path, base_name(path));
  };
  auto image = open_one();
  if (!image) return std::move(image).error().in(path);
  if (!only.empty() && only != image->name) {
    return Error{ErrorCode::kNotFound,
                 path + " holds one machine, " + image->name + ", and no partition " + only};
  }
  OpenedDump out;
  out.complete = image->problems.empty();
  out.problems = image->problems;
  out.partitions.push_back(std::move(*image));
  return out;
}

}  // namespace hvd
