#pragma once

#include <prometheus/metric_family.h>

#include <string>
#include <utility>
#include <vector>

#include "serve/histogram.h"

namespace octet::serve {

using MetricLabels = std::vector<std::pair<std::string, std::string>>;

/// Collects families of metrics for one scrape.
class MetricFamilies {
 public:
  /// common: labels of every metric until the next call.
  void set_labels(MetricLabels common) { common_ = std::move(common); }
  void gauge(const std::string& name, const std::string& help, double value,
             const MetricLabels& labels = {});
  /// name: with _total.
  void counter(const std::string& name, const std::string& help, double value,
               const MetricLabels& labels = {});
  void histogram(const std::string& name, const std::string& help, const Histogram& histogram,
                 const MetricLabels& labels = {});
  /// Sum and count only.
  void summary(const std::string& name, const std::string& help, double sum, std::int64_t count,
               const MetricLabels& labels = {});
  /// Prometheus text 0.0.4, or OpenMetrics 1.0.
  std::string text(bool open_metrics) const;

 private:
  prometheus::ClientMetric& add(const std::string& name, const std::string& help,
                                prometheus::MetricType type, const MetricLabels& labels);
  MetricLabels common_;
  std::vector<prometheus::MetricFamily> families_;
};

/// process_* of this process. Values that the system doesn't tell are left out.
void add_process_metrics(MetricFamilies& families);

}  // namespace octet::serve
