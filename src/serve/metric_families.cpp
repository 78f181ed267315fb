#include "serve/metric_families.h"

#include <prometheus/text_serializer.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <limits>
#include <locale>
#include <set>
#include <sstream>
#include <string_view>

namespace octet::serve {

using prometheus::ClientMetric;
using prometheus::MetricType;

ClientMetric& MetricFamilies::add(const std::string& name, const std::string& help, MetricType type,
                                  const MetricLabels& labels) {
  // Metrics of one family follow each other.
  if (families_.empty() || families_.back().name != name)
    families_.push_back(prometheus::MetricFamily{name, help, type, {}});
  ClientMetric& metric = families_.back().metric.emplace_back();
  for (const MetricLabels& list : {common_, labels})
    for (const auto& [key, value] : list) {
      auto& label = metric.label.emplace_back();
      label.name = key;
      label.value = value;
    }
  return metric;
}

void MetricFamilies::gauge(const std::string& name, const std::string& help, double value,
                           const MetricLabels& labels) {
  add(name, help, MetricType::Gauge, labels).gauge.value = value;
}

void MetricFamilies::counter(const std::string& name, const std::string& help, double value,
                             const MetricLabels& labels) {
  add(name, help, MetricType::Counter, labels).counter.value = value;
}

void MetricFamilies::histogram(const std::string& name, const std::string& help,
                               const Histogram& histogram, const MetricLabels& labels) {
  auto& out = add(name, help, MetricType::Histogram, labels).histogram;
  const auto bounds = histogram.bounds();
  std::uint64_t total = 0;
  for (std::size_t i = 0; i <= bounds.size(); ++i) {
    total += static_cast<std::uint64_t>(histogram.count(i));
    auto& bucket = out.bucket.emplace_back();
    bucket.cumulative_count = total;
    bucket.upper_bound = i < bounds.size() ? bounds[i] : std::numeric_limits<double>::infinity();
  }
  out.sample_count = total;
  out.sample_sum = histogram.sum();
}

void MetricFamilies::summary(const std::string& name, const std::string& help, double sum,
                             std::int64_t count, const MetricLabels& labels) {
  auto& out = add(name, help, MetricType::Summary, labels).summary;
  out.sample_sum = sum;
  out.sample_count = static_cast<std::uint64_t>(count);
}

namespace {

// OpenMetrics names a counter's family without _total, and says where the text ends.
std::string to_open_metrics(const std::string& text, const std::set<std::string>& counters) {
  constexpr std::string_view kTotal = "_total";
  std::istringstream lines(text);
  std::string out, line;
  while (std::getline(lines, line)) {
    if (line.starts_with("# ")) {
      const std::size_t begin = line.find(' ', 2) + 1;
      const std::size_t end = line.find(' ', begin);
      const std::string name = line.substr(begin, end - begin);
      if (counters.contains(name) && name.ends_with(kTotal))
        line.erase(end - kTotal.size(), kTotal.size());
    }
    out += line;
    out += '\n';
  }
  return out + "# EOF\n";
}

}  // namespace

std::string MetricFamilies::text(bool open_metrics) const {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  prometheus::TextSerializer().Serialize(out, families_);
  if (!open_metrics) return out.str();
  std::set<std::string> counters;
  for (const auto& family : families_)
    if (family.type == MetricType::Counter) counters.insert(family.name);
  return to_open_metrics(out.str(), counters);
}

void add_process_metrics(MetricFamilies& families) {
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  std::string stat;
  std::getline(std::ifstream("/proc/self/stat"), stat);
  // The name of the program may hold blanks and brackets; fields are counted from its end.
  const std::size_t end = stat.rfind(')');
  if (end != std::string::npos) {
    std::istringstream fields(stat.substr(end + 1));
    std::vector<std::string> f{"", "", ""};  // proc(5) counts from 1; 1 and 2 are before it
    for (std::string field; fields >> field;) f.push_back(field);
    if (f.size() > 24) {
      families.gauge("process_resident_memory_bytes", "Memory in RAM.",
                     std::stod(f[24]) * static_cast<double>(sysconf(_SC_PAGESIZE)));
      families.counter("process_cpu_seconds_total", "CPU time of all threads.",
                       (std::stod(f[14]) + std::stod(f[15])) / ticks);
      std::ifstream system("/proc/stat");
      for (std::string word; system >> word;) {
        double boot = 0;
        if (word == "btime" && system >> boot)
          families.gauge("process_start_time_seconds", "Unix time of the start.",
                         boot + std::stod(f[22]) / ticks);
      }
    }
  }
  std::error_code error;
  std::filesystem::directory_iterator files("/proc/self/fd", error);
  if (error) return;
  std::int64_t count = -1;  // the iterator's own
  for (const auto& file : files) {
    static_cast<void>(file);
    ++count;
  }
  families.gauge("process_open_fds", "Open file descriptors.", static_cast<double>(count));
}

}  // namespace octet::serve
