#include "guest/debuginfo/symbol_store.h"

#include <curl/curl.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "base/output_file.h"
#include "base/text.h"

namespace hvd {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLargestPdb = std::uint64_t{4} << 30;

std::string default_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::string base = cache && *cache ? std::string(cache)
                           : home          ? std::string(home) + "/.cache"
                                           : std::string();
  return base.empty() ? std::string() : base + "/hvdump/symbols";
}

std::vector<std::string> split(const std::string& text, char by) {
  std::vector<std::string> out;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(by, begin), text.size());
    out.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

bool is_url(const std::string& text) {
  const std::string start = lower(text.substr(0, 8));
  return start.starts_with("http://") || start.starts_with("https://");
}

struct Target {
  OutputFile& file;
  std::uint64_t size = 0;
  std::string failure;
};

std::size_t take(char* data, std::size_t one, std::size_t count, void* user) {
  Target& target = *static_cast<Target*>(user);
  const std::size_t size = one * count;
  if (target.size + size > kLargestPdb) {
    target.failure = "it is larger than any PDB";
    return 0;
  }
  const auto done =
      target.file.write_at(target.size, ByteView(reinterpret_cast<const std::byte*>(data), size));
  if (!done) {
    target.failure = done.error().message;
    return 0;
  }
  target.size += size;
  return size;
}

Result<void> get(const std::string& url, Target& target) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(
      ready == CURLE_OK ? curl_easy_init() : nullptr, curl_easy_cleanup);
  if (!curl) return Error{ErrorCode::kIo, "libcurl does not start"};
  const auto set = [&](CURLoption option, auto value) {
    return curl_easy_setopt(curl.get(), option, value) == CURLE_OK;
  };
  // What was asked for in secret is not answered in the clear.
  const char* redirects = lower(url).starts_with("https:") ? "https" : "http,https";
  const bool prepared =
      set(CURLOPT_URL, url.c_str()) && set(CURLOPT_PROTOCOLS_STR, "http,https") &&
      set(CURLOPT_REDIR_PROTOCOLS_STR, redirects) && set(CURLOPT_FOLLOWLOCATION, 1L) &&
      set(CURLOPT_MAXREDIRS, 5L) && set(CURLOPT_FAILONERROR, 1L) && set(CURLOPT_NOSIGNAL, 1L) &&
      // A server that says nothing is given up.
      set(CURLOPT_CONNECTTIMEOUT, 10L) && set(CURLOPT_LOW_SPEED_LIMIT, 4096L) &&
      set(CURLOPT_LOW_SPEED_TIME, 30L) &&
      // Stores answer to what they take for Microsoft's own client.
      set(CURLOPT_USERAGENT, "Microsoft-Symbol-Server/10.0.0.0") &&
      set(CURLOPT_WRITEFUNCTION, take) && set(CURLOPT_WRITEDATA, static_cast<void*>(&target));
  if (!prepared) return Error{ErrorCode::kUnsupported, "libcurl is too old, or has no HTTP"};
  const CURLcode done = curl_easy_perform(curl.get());
  if (done == CURLE_OK) return {};
  if (done == CURLE_HTTP_RETURNED_ERROR) {
    long status = 0;
    curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
    const std::string text =
        without_password(url) + ": the server answers " + std::to_string(status);
    const bool absent = status == 404 || status == 410;
    return Error{absent ? ErrorCode::kNotFound : ErrorCode::kIo, text};
  }
  return Error{ErrorCode::kIo,
               without_password(url) + ": " +
                   (target.failure.empty() ? curl_easy_strerror(done) : target.failure)};
}

// Leaves nothing at `path` when it fails.
Result<void> download(const std::string& url, const std::string& path) {
  OutputFile file = HVD_TRY(OutputFile::create(path, ""));
  Target target{.file = file, .size = 0, .failure = {}};
  HVD_TRY(get(url, target));
  return file.commit();
}

}  // namespace

std::vector<SymbolStore> parse_symbol_path(const std::string& text) {
  std::vector<SymbolStore> out;
  std::string cache;  // of "cache*FOLDER", for all that follow
  for (const std::string& element : split(text, ';')) {
    std::vector<std::string> parts = split(element, '*');
    const std::string word = lower(parts.front());
    const bool is_store = word == "srv" || word == "symsrv" || word == "cache";
    if (is_store) parts.erase(parts.begin());
    // "symsrv*symsrv.dll*...": the program that Windows' debuggers would ask.
    if (word == "symsrv" && !parts.empty()) parts.erase(parts.begin());
    SymbolStore store;
    if (!cache.empty()) store.folders.push_back(cache);
    for (const std::string& part : parts) {
      if (part.empty()) continue;
      if (is_url(part)) store.urls.push_back(part);
      else store.folders.push_back(part);
    }
    if (word == "cache" && !store.folders.empty()) cache = store.folders.back();
    if (!store.urls.empty() && store.folders.empty() && !default_folder().empty())
      store.folders.push_back(default_folder());
    if (!store.folders.empty()) out.push_back(std::move(store));
  }
  return out;
}

std::vector<std::string> candidates_in(const std::string& folder, const windows::PdbId& id) {
  const fs::path base = folder;
  return {folder, (base / id.file).string(), (base / id.file / id.key() / id.file).string()};
}

bool is_file_name(const std::string& file) {
  return !file.empty() && file != "." && file != ".." &&
         file.find_first_of(std::string("/\0", 2)) == std::string::npos;
}

std::string without_password(const std::string& url) {
  const std::size_t host = url.find("://");
  const std::size_t end = host == std::string::npos ? host : url.find('/', host + 3);
  const std::size_t at = url.rfind('@', end);
  if (host == std::string::npos || at == std::string::npos || at < host) return url;
  return url.substr(0, host + 3) + url.substr(at + 1);
}

bool is_plain_name(const std::string& file) {
  return !file.empty() && file.size() <= 128 && file.front() != '.' &&
         std::all_of(file.begin(), file.end(), [](unsigned char c) {
           return std::isalnum(c) || c == '.' || c == '_' || c == '-' || c == '+';
         });
}

Result<std::string> fetch_pdb(const std::string& url, const std::string& folder,
                              const windows::PdbId& id) {
  if (!is_plain_name(id.file))
    return Error{ErrorCode::kNotFound, "no PDB can be called " + printable(id.file)};
  const std::string path = candidates_in(folder, id).back();
  std::error_code failed;
  fs::create_directories(fs::path(path).parent_path(), failed);
  if (failed)
    return Error{ErrorCode::kIo, fs::path(path).parent_path().string() + ": " + failed.message()};
  const std::string base = url.substr(0, url.find_last_not_of('/') + 1);
  const auto got = download(base + "/" + id.file + "/" + id.key() + "/" + id.file, path);
  if (!got) {
    // Folders that were made for nothing go, if they are empty.
    fs::remove(fs::path(path).parent_path(), failed);
    fs::remove(fs::path(path).parent_path().parent_path(), failed);
    return got.error();
  }
  // Others may share the folder.
  fs::permissions(path,
                  fs::perms::owner_read | fs::perms::owner_write | fs::perms::group_read |
                      fs::perms::others_read,
                  failed);
  return path;
}

}  // namespace hvd
