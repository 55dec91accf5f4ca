#include "guest/debuginfo/symbol_files.h"

#include <llvm/Object/BuildID.h>
#include <llvm/Object/ObjectFile.h>

#include <algorithm>
#include <filesystem>

#include "base/bytes.h"
#include "base/text.h"
#include "guest/debuginfo/own_process.h"

namespace hvd {

namespace {

// By LLVM, in a process of its own; nothing when there is none.
Bytes read_build_id(const std::string& path) {
  auto file = llvm::object::ObjectFile::createObjectFile(path);
  if (!file) {
    llvm::consumeError(file.takeError());
    return {};
  }
  if (const auto id = llvm::object::getBuildID(file->getBinary()); !id.empty()) {
    const ByteView bytes = std::as_bytes(std::span(id.data(), id.size()));
    return Bytes(bytes.begin(), bytes.end());
  }
  // LLVM looks in segments only, which a relocatable file has none of. A note is a header of three
  // words, the name, and the contents (gABI, "Note Section").
  constexpr std::size_t kBefore = 12 + sizeof "GNU";
  for (const llvm::object::SectionRef& section : file->getBinary()->sections()) {
    auto name = section.getName();
    auto note = section.getContents();
    const bool is_id = name && note && *name == ".note.gnu.build-id" && note->size() > kBefore;
    if (is_id) {
      const ByteView bytes = as_bytes(*note).subspan(kBefore);
      return Bytes(bytes.begin(), bytes.end());
    }
    if (!name) llvm::consumeError(name.takeError());
    if (!note) llvm::consumeError(note.takeError());
  }
  return {};
}

}  // namespace

std::optional<std::string> build_id_of(const std::string& path) {
  const auto id = ask_own_process(path, [&] { return read_build_id(path); });
  if (!id || id->empty()) return std::nullopt;
  return hex_bytes(*id);
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

namespace {

constexpr std::size_t kMaxModuleFiles = 100000;

// "kvm-amd.ko.debug" is module kvm_amd: the kernel has underscores where files may have dashes.
std::optional<std::string> module_name(const std::filesystem::path& file) {
  std::string name = file.filename().string();
  const std::size_t end = name.find(".ko");
  if (end == std::string::npos || end == 0) return std::nullopt;
  if (const std::string rest = name.substr(end); rest != ".ko" && rest != ".ko.debug")
    return std::nullopt;
  name.resize(end);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

}  // namespace

std::multimap<std::string, std::string> find_modules(const std::vector<std::string>& places,
                                                     const std::string& release) {
  namespace fs = std::filesystem;
  std::multimap<std::string, std::string> found;
  const auto add = [&found](const fs::path& file) {
    const auto name = module_name(file);
    if (!name || found.size() >= kMaxModuleFiles) return;
    const auto first =
        file.extension() == ".debug" ? found.lower_bound(*name) : found.upper_bound(*name);
    found.emplace_hint(first, *name, file.string());
  };
  std::error_code ignored;
  for (const std::string& place : places) {
    if (fs::is_regular_file(place, ignored)) add(place);
    for (fs::directory_iterator at(place, ignored), end; at != end; at.increment(ignored))
      add(at->path());
    for (const char* tree : {"/lib/modules/", "/usr/lib/debug/lib/modules/"}) {
      for (fs::recursive_directory_iterator at(place + tree + release, ignored), end; at != end;
           at.increment(ignored))
        add(at->path());
    }
  }
  return found;
}

}  // namespace hvd
