#include "analyzer/html_report.h"

#include "analyzer/text_report.h"
#include "base/text.h"

namespace hvd {
namespace {

constexpr std::string_view kBegin =
    R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>hvdump triage</title>
<style>body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}td,th{border:1px solid #999;padding:.3em .6em;text-align:left}pre{background:#f4f4f4;padding:1em;overflow-x:auto}</style></head><body>
<h1>hvdump triage</h1>
<table><tr><th>Partition</th><th>Role</th><th>State</th><th>System</th><th>Crash</th><th>Bucket</th></tr>
)";

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
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

std::string summary_row(const PartitionReport& partition) {
  std::string out = "<tr>";
  const auto cell = [&out](std::string_view text) {
    out += "<td>" + escaped(printable(text)) + "</td>";
  };
  cell(partition.name);
  cell(name_of(partition.role));
  cell(name_of(partition.state));
  cell(partition.os.release);
  cell(partition.crash.kind + " " + partition.crash.reason);
  cell(partition.crash.bucket);
  return out + "</tr>\n";
}

}  // namespace

// The text report is the report; HTML gives it a title, a summary table and a frame.
std::string html_report(const Report& report) {
  std::string out(kBegin);
  for (const PartitionReport& partition : report.partitions) out += summary_row(partition);
  return out + "</table>\n<pre>" + escaped(text_report(report)) + "</pre>\n</body></html>\n";
}

}  // namespace hvd
