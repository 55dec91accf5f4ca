// No string out of a dump becomes markup of the HTML report.
#include "analyzer/html_report.h"

#include <gmock/gmock.h>

#include "tests/support/report_builder.h"

namespace hvd {
namespace {

using testing::HasSubstr;
using testing::Not;

// The tags of a page, in order.
std::vector<std::string> tags(const std::string& page) {
  std::vector<std::string> out;
  for (std::size_t at = page.find('<'); at != std::string::npos; at = page.find('<', at + 1))
    out.push_back(page.substr(at, page.find('>', at) + 1 - at));
  return out;
}

TEST(HtmlReport, SummarisesEachPartitionInARow) {
  const std::string page = html_report(full_report("atlas"));
  EXPECT_TRUE(
      page.starts_with("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"));
  EXPECT_TRUE(page.ends_with("</pre>\n</body></html>\n"));
  EXPECT_THAT(page, HasSubstr("<tr><td>atlas</td><td>guest</td><td>incomplete</td><td>atlas</td>"
                              "<td>panic atlas</td><td>linux-0123456789abcdef</td></tr>\n"));
  EXPECT_THAT(page, HasSubstr("<pre>hvdump triage\n"));
}

TEST(HtmlReport, HostileStringsAddNoTag) {
  const auto expected = tags(html_report(full_report("name")));
  for (const std::string& hostile :
       {std::string("<script>alert(1)</script>"), std::string("</pre><img src=x onerror=alert(1)>"),
        std::string("\" onload=\"x"), std::string("<!--"), std::string("<![CDATA["),
        std::string("&lt;b&gt;"), std::string("a\n</td><td>")})
    EXPECT_EQ(tags(html_report(full_report(hostile))), expected) << hostile;
}

TEST(HtmlReport, EscapesWhatMarkupIsMadeOf) {
  const std::string page = html_report(full_report("<b> & \"c\""));
  EXPECT_THAT(page, HasSubstr("<td>&lt;b&gt; &amp; &quot;c&quot;</td>"));
  EXPECT_THAT(page, HasSubstr("Why         &lt;b&gt; &amp; &quot;c&quot;\n"));
  EXPECT_THAT(page, Not(HasSubstr("<b>")));
}

TEST(HtmlReport, LoadsNothing) {
  const std::string page = html_report(full_report("name"));
  for (const char* outside : {"src=", "href=", "url(", "@import", "<script", "<link"})
    EXPECT_THAT(page, Not(HasSubstr(outside)));
}

TEST(HtmlReport, HasNoControlCharacter) {
  const std::string page =
      html_report(full_report("\x1b[31m\xc2\x9b"
                              "1m"));
  EXPECT_EQ(page.find('\x1b'), std::string::npos);
  EXPECT_EQ(page.find("\xc2\x9b"), std::string::npos);
}

}  // namespace
}  // namespace hvd
