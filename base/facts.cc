#include "base/facts.h"

#include <concepts>
#include <limits>
#include <string_view>
#include <utility>

#include "base/json.h"

namespace hvd {
namespace {

using nlohmann::json;

constexpr std::pair<AddressKind, std::string_view> kSpaces[] = {
    {AddressKind::kPhysical, "physical"},
    {AddressKind::kProcess, "process"},
    {AddressKind::kFile, "file"},
    {AddressKind::kVirtual, "virtual"}};

// The members of each structure by their names: once, for reading and for writing. `Of<T>` takes T
// as it is read and as it is written.
template <typename Fact, typename T>
concept Of = std::same_as<std::remove_const_t<Fact>, T>;

void members(Of<ThreadFact> auto& fact, auto apply) {
  apply("tid", fact.tid);
  apply("name", fact.name);
}
void members(Of<VmFact> auto& fact, auto apply) {
  apply("name", fact.name);
  apply("uuid", fact.uuid);
  apply("pid", fact.pid);
}
void members(Of<RestrictedFact> auto& fact, auto apply) {
  apply("begin", fact.range.begin.value);
  apply("size", fact.range.size);
  apply("action", fact.action);
}
void members(Of<ImportedFact> auto& fact, auto apply) {
  apply("file", fact.file);
  apply("kind", fact.kind);
}
void members(Of<KvmPart> auto& fact, auto apply) {
  apply("type", fact.type);
  apply("vcpu", fact.vcpu);
  apply("address", fact.address.value);
  apply("size", fact.size);
}
void members(Of<VcpuFact> auto& fact, auto apply) {
  apply("vcpu", fact.vcpu);
  apply("tid", fact.tid);
  apply("in_guest", fact.in_guest);
  apply("host_cpu", fact.host_cpu);
}
void members(Of<VmmFacts> auto& fact, auto apply) {
  apply("pid", fact.pid);
  apply("base", fact.base);
  apply("kvm", fact.kvm);
  apply("command_line", fact.command_line);
  apply("vcpus", fact.vcpus);
}
void members(Of<DriverFact> auto& fact, auto apply) {
  apply("name", fact.name);
  apply("base", fact.base);
  apply("size", fact.size);
  apply("checksum", fact.checksum);
  apply("timestamp", fact.timestamp);
}
void members(Of<UnloadedDriverFact> auto& fact, auto apply) {
  apply("name", fact.name);
  apply("begin", fact.begin);
  apply("end", fact.end);
}
void members(Of<SecondaryDataFact> auto& fact, auto apply) {
  apply("guid", fact.guid);
  apply("size", fact.size);
}
// But for those that are not what they are in JSON: address_space, ranges, encrypted.
void members(Of<Facts> auto& facts, auto apply) {
  apply("uuid", facts.uuid);
  apply("level", facts.level);
  apply("contents", facts.contents);
  apply("restricted", facts.restricted);
  apply("imported", facts.imported);
  apply("file_bytes", facts.file_bytes);
  apply("run_state", facts.run_state);
  apply("qemu_name", facts.qemu_name);
  apply("cpus", facts.cpus);
  apply("panic", facts.panic);
  apply("pid", facts.pid);
  apply("qemu_version", facts.qemu_version);
  apply("device_tree", facts.device_tree);
  apply("host_kernel", facts.host_kernel);
  apply("build_id", facts.build_id);
  apply("command_line", facts.command_line);
  apply("threads", facts.threads);
  apply("vms", facts.vms);
  apply("vmm", facts.vmm);
  apply("windows_dump", facts.windows_dump);
  apply("data_blocks", facts.data_blocks);
  apply("drivers", facts.drivers);
  apply("unloaded_drivers", facts.unloaded_drivers);
  apply("secondary_data", facts.secondary_data);
}

// A member that is not there, or not of its type, leaves what it is read into as it is.
struct Read {
  static const json* find(const json& object, const char* name) {
    if (!object.is_object()) return nullptr;
    const auto at = object.find(name);
    return at == object.end() ? nullptr : &*at;
  }

  template <typename T>
  static void get(const json& object, const char* name, T& out) {
    if (const json* value = find(object, name)) read(*value, out);
  }

  static void read(const json& value, std::string& out) {
    if (value.is_string()) out = value.get<std::string>();
  }
  static void read(const json& value, bool& out) {
    if (value.is_boolean()) out = value.get<bool>();
  }
  static void read(const json& value, std::uint64_t& out) {
    if (value.is_number_unsigned()) out = value.get<std::uint64_t>();
  }
  static void read(const json& value, std::uint32_t& out) {
    std::uint64_t wide = std::numeric_limits<std::uint64_t>::max();
    read(value, wide);
    if (wide <= std::numeric_limits<std::uint32_t>::max()) out = static_cast<std::uint32_t>(wide);
  }
  static void read(const json& value, std::int64_t& out) {
    if (value.is_number_integer()) out = value.get<std::int64_t>();
  }

  template <typename Fact>
  static void read(const json& value, Fact& out) {
    members(out, [&value](const char* name, auto& member) { get(value, name, member); });
  }

  template <typename T>
  static void read(const json& value, std::optional<T>& out) {
    const bool fits = std::is_arithmetic_v<T> ? value.is_number_integer() : value.is_object();
    if (!fits || (std::is_unsigned_v<T> && !value.is_number_unsigned())) return;
    T inner{};
    read(value, inner);
    out = std::move(inner);
  }

  template <typename T>
  static void read(const json& value, std::vector<T>& out) {
    if (!value.is_array()) return;
    for (const json& item : value) {
      if (std::is_same_v<T, std::string> ? !item.is_string() : !item.is_object()) continue;
      read(item, out.emplace_back());
    }
  }

  // As QMP's query-version has it.
  static void read(const json& value, QemuVersion& out) {
    if (const json* numbers = find(value, "qemu")) {
      get(*numbers, "major", out.major);
      get(*numbers, "minor", out.minor);
      get(*numbers, "micro", out.micro);
    }
    get(value, "package", out.package);
  }

  static void read(const json& value, PanicReport& out) {
    get(value, "cpu", out.cpu);
    const json* information = find(value, "information");
    if (!information || information->is_null()) return;
    out.information = to_text(*information);
    std::string type;
    get(*information, "type", type);
    if (type != "hyper-v") return;
    out.hyper_v.emplace();
    for (std::size_t i = 0; i < out.hyper_v->size(); ++i) {
      const json* word = find(*information, ("arg" + std::to_string(i + 1)).c_str());
      // QMP has no unsigned numbers above 2^63.
      if (word && word->is_number_integer()) (*out.hyper_v)[i] = word->get<std::uint64_t>();
    }
  }

  // [begin, size] or [begin, size, kind] or [begin, size, kind, region].
  static void read_ranges(const json& list, std::vector<FactRange>& out) {
    if (!list.is_array()) return;
    for (const json& item : list) {
      if (!item.is_array() || item.size() < 2 || !item[0].is_number_unsigned() ||
          !item[1].is_number_unsigned())
        continue;
      FactRange& range = out.emplace_back();
      read(item[0], range.range.begin.value);
      read(item[1], range.range.size);
      if (item.size() > 2) read(item[2], range.kind);
      if (item.size() > 3) read(item[3], range.region);
    }
  }
};

struct Write {
  template <typename T>
    requires std::same_as<T, std::string> || std::is_arithmetic_v<T>
  static json value_of(const T& value) {
    return value;
  }

  template <typename Fact>
  static json value_of(const Fact& fact) {
    json out = json::object();
    members(fact, [&out](const char* name, const auto& member) { put_always(out, name, member); });
    return out;
  }

  static json value_of(const QemuVersion& version) {
    return {
        {"qemu", {{"major", version.major}, {"minor", version.minor}, {"micro", version.micro}}},
        {"package", version.package}};
  }
  static json value_of(const PanicReport& report) {
    json out{{"cpu", nullptr}, {"information", nullptr}};
    if (report.cpu) out["cpu"] = *report.cpu;
    if (!report.information.empty())
      out["information"] = json::parse(report.information, nullptr, false);
    return out;
  }
  static json value_of(const FactRange& range) {
    json out{range.range.begin.value, range.range.size, range.kind};
    if (!range.region.empty()) out.push_back(range.region);
    return out;
  }

  template <typename T>
  static json value_of(const std::vector<T>& list) {
    json out = json::array();
    for (const T& item : list) out.push_back(value_of(item));
    return out;
  }

  // Within a structure all members are written but those that are not known.
  template <typename T>
  static void put_always(json& object, const char* name, const T& value) {
    object[name] = value_of(value);
  }
  template <typename T>
  static void put_always(json& object, const char* name, const std::optional<T>& value) {
    if (value) object[name] = value_of(*value);
  }

  // Of the facts themselves those that are empty are not written either.
  template <typename T>
  static void put(json& object, const char* name, const T& value) {
    if (!value.empty()) object[name] = value_of(value);
  }
  template <typename T>
  static void put(json& object, const char* name, const std::optional<T>& value) {
    put_always(object, name, value);
  }
};

}  // namespace

Result<Facts> parse_facts(ByteView bytes) {
  const json object = parse_json_object(bytes);
  if (object.is_discarded()) return Error{ErrorCode::kCorrupt, "the facts are not a JSON object"};
  Facts out;
  std::string space;
  Read::get(object, "address_space", space);
  for (const auto& [value, name] : kSpaces)
    if (space == name) out.address_space = value;
  if (const json* ranges = Read::find(object, "ranges")) Read::read_ranges(*ranges, out.ranges);
  Read::get(object, "encrypted", out.encrypted);
  json rest = object;
  for (const char* name : {"address_space", "ranges", "encrypted"}) rest.erase(name);
  members(out, [&](const char* name, auto& value) {
    Read::get(object, name, value);
    rest.erase(name);
  });
  if (!rest.empty()) out.unknown = to_text(rest);
  return out;
}

std::string to_json(const Facts& facts) {
  json out = parse_json_object(as_bytes(facts.unknown));
  if (out.is_discarded()) out = json::object();
  for (const auto& [value, name] : kSpaces)
    if (facts.address_space == value) out["address_space"] = name;
  out["ranges"] = Write::value_of(facts.ranges);
  if (facts.encrypted) out["encrypted"] = true;
  members(facts, [&](const char* name, const auto& value) { Write::put(out, name, value); });
  return to_text(out);
}

}  // namespace hvd
