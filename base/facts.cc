#include "base/facts.h"

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

// A member that is not there, or not of its type, leaves what it is read into as it is.
struct Read {
  static const json* find(const json& object, const char* name) {
    if (!object.is_object()) return nullptr;
    const auto at = object.find(name);
    return at == object.end() ? nullptr : &*at;
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
  static void read(const json& value, PhysAddr& out) { read(value, out.value); }

  template <typename T>
  static void get(const json& object, const char* name, T& out) {
    if (const json* value = find(object, name)) read(*value, out);
  }

  static void read(const json& value, ThreadFact& out) {
    get(value, "tid", out.tid);
    get(value, "name", out.name);
  }
  static void read(const json& value, VmFact& out) {
    get(value, "name", out.name);
    get(value, "uuid", out.uuid);
    get(value, "pid", out.pid);
  }
  static void read(const json& value, RestrictedFact& out) {
    get(value, "begin", out.range.begin);
    get(value, "size", out.range.size);
    get(value, "action", out.action);
  }
  static void read(const json& value, ImportedFact& out) {
    get(value, "file", out.file);
    get(value, "kind", out.kind);
  }
  static void read(const json& value, QemuVersion& out) {
    if (const json* numbers = find(value, "qemu")) {
      get(*numbers, "major", out.major);
      get(*numbers, "minor", out.minor);
      get(*numbers, "micro", out.micro);
    }
    get(value, "package", out.package);
  }
  static void read(const json& value, KvmPart& out) {
    get(value, "type", out.type);
    get(value, "vcpu", out.vcpu);
    get(value, "address", out.address);
    get(value, "size", out.size);
  }
  static void read(const json& value, DriverFact& out) {
    get(value, "name", out.name);
    get(value, "base", out.base);
    get(value, "size", out.size);
    get(value, "checksum", out.checksum);
    get(value, "timestamp", out.timestamp);
  }
  static void read(const json& value, UnloadedDriverFact& out) {
    get(value, "name", out.name);
    get(value, "begin", out.begin);
    get(value, "end", out.end);
  }
  static void read(const json& value, SecondaryDataFact& out) {
    get(value, "guid", out.guid);
    get(value, "size", out.size);
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

  static void read(const json& value, VcpuFact& out) {
    get(value, "vcpu", out.vcpu);
    get(value, "tid", out.tid);
    get(value, "in_guest", out.in_guest);
    get(value, "host_cpu", out.host_cpu);
  }
  static void read(const json& value, VmmFacts& out) {
    get(value, "pid", out.pid);
    get(value, "base", out.base);
    get(value, "kvm", out.kvm);
    get(value, "command_line", out.command_line);
    get(value, "vcpus", out.vcpus);
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
      read(item[0], range.range.begin);
      read(item[1], range.range.size);
      if (item.size() > 2) read(item[2], range.kind);
      if (item.size() > 3) read(item[3], range.region);
    }
  }
};

struct Write {
  static json value_of(const std::string& value) { return value; }
  static json value_of(std::uint64_t value) { return value; }
  static json value_of(std::int64_t value) { return value; }
  static json value_of(const ThreadFact& fact) { return {{"tid", fact.tid}, {"name", fact.name}}; }
  static json value_of(const VmFact& fact) {
    return {{"name", fact.name}, {"uuid", fact.uuid}, {"pid", fact.pid}};
  }
  static json value_of(const RestrictedFact& fact) {
    return {{"begin", fact.range.begin.value}, {"size", fact.range.size}, {"action", fact.action}};
  }
  static json value_of(const ImportedFact& fact) {
    return {{"file", fact.file}, {"kind", fact.kind}};
  }
  static json value_of(const QemuVersion& version) {
    return {
        {"qemu", {{"major", version.major}, {"minor", version.minor}, {"micro", version.micro}}},
        {"package", version.package}};
  }
  static json value_of(const KvmPart& part) {
    return {{"type", part.type},
            {"vcpu", part.vcpu},
            {"address", part.address.value},
            {"size", part.size}};
  }
  static json value_of(const VcpuFact& fact) {
    json out{{"vcpu", fact.vcpu}, {"tid", fact.tid}, {"in_guest", fact.in_guest}};
    if (fact.host_cpu) out["host_cpu"] = *fact.host_cpu;
    return out;
  }
  static json value_of(const DriverFact& fact) {
    return {{"name", fact.name},
            {"base", fact.base},
            {"size", fact.size},
            {"checksum", fact.checksum},
            {"timestamp", fact.timestamp}};
  }
  static json value_of(const UnloadedDriverFact& fact) {
    return {{"name", fact.name}, {"begin", fact.begin}, {"end", fact.end}};
  }
  static json value_of(const SecondaryDataFact& fact) {
    return {{"guid", fact.guid}, {"size", fact.size}};
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
  static json list_of(const std::vector<T>& list) {
    json out = json::array();
    for (const T& item : list) out.push_back(value_of(item));
    return out;
  }

  static json value_of(const VmmFacts& vmm) {
    return {{"pid", vmm.pid},
            {"base", vmm.base},
            {"kvm", list_of(vmm.kvm)},
            {"command_line", list_of(vmm.command_line)},
            {"vcpus", list_of(vmm.vcpus)}};
  }

  static void put(json& object, const char* name, const std::string& value) {
    if (!value.empty()) object[name] = value;
  }
  template <typename T>
  static void put(json& object, const char* name, const std::optional<T>& value) {
    if (value) object[name] = value_of(*value);
  }
  template <typename T>
  static void put(json& object, const char* name, const std::vector<T>& value) {
    if (!value.empty()) object[name] = list_of(value);
  }
};

// Every member once, for both ways.
template <typename Apply, typename AnyFacts>
void for_each_member(AnyFacts& facts, Apply apply) {
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
  for_each_member(out, [&](const char* name, auto& value) {
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
  out["ranges"] = Write::list_of(facts.ranges);
  if (facts.encrypted) out["encrypted"] = true;
  for_each_member(facts,
                  [&](const char* name, const auto& value) { Write::put(out, name, value); });
  return to_text(out);
}

}  // namespace hvd
