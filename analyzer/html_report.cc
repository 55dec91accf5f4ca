#include "analyzer/triage.h"

namespace hvd {
namespace {

using nlohmann::json;

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace

// The text report is the report; HTML gives it a title, a summary table and a frame that browsers
// and ticket systems show. It loads nothing.
std::string html_report(const json& report) {
  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>hvdump "
      "triage</title>\n"
      "<style>body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}td,th{border:"
      "1px solid #999;"
      "padding:.3em "
      ".6em;text-align:left}pre{background:#f4f4f4;padding:1em;overflow-x:auto}</style></"
      "head><body>\n"
      "<h1>hvdump "
      "triage</h1>\n<table><tr><th>Partition</th><th>Role</th><th>State</th><th>System</"
      "th><th>Crash</th>"
      "<th>Bucket</th></tr>\n";
  for (const json& partition : report["partitions"]) {
    const auto cell = [&out](const std::string& text) { out += "<td>" + escaped(text) + "</td>"; };
    out += "<tr>";
    cell(partition["name"].get<std::string>());
    cell(partition["role"].get<std::string>());
    cell(partition["state"].get<std::string>());
    cell(partition["os"]["release"].get<std::string>());
    cell(partition["crash"]["kind"].get<std::string>() + " " +
         partition["crash"]["reason"].get<std::string>());
    cell(partition["crash"]["bucket"].get<std::string>());
    out += "</tr>\n";
  }
  return out + "</table>\n<pre>" + escaped(text_report(report)) + "</pre>\n</body></html>\n";
}

}  // namespace hvd
