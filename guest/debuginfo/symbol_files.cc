#include "guest/debuginfo/symbol_files.h"

#include <llvm/Object/BuildID.h>
#include <llvm/Object/ObjectFile.h>

#include <filesystem>

#include "base/bytes.h"
#include "base/text.h"

namespace hvd {

std::optional<std::string> build_id_of(const std::string& path) {
  auto file = llvm::object::ObjectFile::createObjectFile(path);
  if (!file) {
    llvm::consumeError(file.takeError());
    return std::nullopt;
  }
  const auto id = llvm::object::getBuildID(file->getBinary());
  if (id.empty()) return std::nullopt;
  return hex_bytes(std::as_bytes(std::span(id.data(), id.size())));
}

Result<std::string> find_vmlinux(const std::vector<std::string>& places, const std::string& release,
                                 const std::string& build_id) {
  std::string rejected;
  for (const std::string& place : places) {
    std::vector<std::string> names{place};
    std::error_code ignored;
    if (std::filesystem::is_directory(place, ignored)) {
      names = {place + "/vmlinux",
               place + "/vmlinux-" + release,
               place + "/boot/vmlinux-" + release,
               place + "/usr/lib/debug/boot/vmlinux-" + release,
               place + "/lib/modules/" + release + "/vmlinux",
               place + "/usr/lib/debug/lib/modules/" + release + "/vmlinux"};
      if (build_id.size() > 2) {
        names.push_back(place + "/.build-id/" + build_id.substr(0, 2) + "/" + build_id.substr(2) +
                        ".debug");
      }
    }
    for (const std::string& name : names) {
      if (!std::filesystem::is_regular_file(name, ignored)) continue;
      const auto id = build_id_of(name);
      if (build_id.empty() || id == build_id) return name;
      rejected += "; " + name + " is of build " + id.value_or("unknown");
    }
  }
  return Error{ErrorCode::kNotFound,
               "no vmlinux of " + release + " (build " + build_id + ") found" + rejected};
}

}  // namespace hvd
