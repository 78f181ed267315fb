#include "generate/sampling_cuts.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace octet::generate {

namespace {

// The fewest of the most likely candidates whose weights reach `target`. By halves, so that it
// takes linear time: is the target reached within the more likely half?
void keep_mass(std::vector<Candidate>& c, double target, const auto& weight) {
  std::size_t begin = 0, end = c.size();  // [0, begin) is kept, [end, ...) isn't
  const auto at = [&](std::size_t i) { return c.begin() + static_cast<std::ptrdiff_t>(i); };
  while (end - begin > 1) {
    const std::size_t middle = begin + (end - begin) / 2;
    std::nth_element(at(begin), at(middle), at(end), more_likely);
    double mass = 0;
    for (std::size_t i = begin; i < middle; ++i) mass += weight(c[i]);
    if (mass >= target) {
      end = middle;
    } else {
      target -= mass;
      begin = middle;
    }
  }
  c.resize(end);
}

double mass_of(const std::vector<Candidate>& c, const auto& weight) {
  double mass = 0;
  for (const Candidate& x : c) mass += weight(x);
  return mass;
}

}  // namespace

bool cut_candidates(const LogitScan& scan, const Cuts& cuts, std::vector<Candidate>& candidates) {
  candidates.clear();
  const double max = scan.max();
  const auto weight = [&](const Candidate& c) {
    return std::exp((static_cast<double>(c.logit) - max) / cuts.temperature);
  };
  const bool has_min_p = cuts.min_p > 0, has_top_p = cuts.top_p < 1;
  const bool has_top_k = cuts.top_k > 0 && cuts.top_k < static_cast<std::int64_t>(scan.size());
  if (!has_min_p && !has_top_k && !has_top_p) return false;

  // p >= min_p * p_max, as a bound of the logit.
  const double floor = has_min_p ? max + cuts.temperature * std::log(cuts.min_p)
                                 : -std::numeric_limits<double>::infinity();
  if (has_top_k) {
    scan.most_likely(static_cast<std::size_t>(cuts.top_k), candidates);
    if (has_min_p)
      std::erase_if(candidates,
                    [&](const Candidate& c) { return static_cast<double>(c.logit) < floor; });
  } else if (has_min_p) {
    scan.at_least(floor, candidates);
  }
  if (!has_top_p) return true;
  if (has_min_p || has_top_k) {
    keep_mass(candidates, cuts.top_p * mass_of(candidates, weight), weight);
    return true;
  }
  // Of the whole vocabulary: further and further down until enough is gathered. What lies below
  // e^-64 of the top is nothing beside it.
  const double target = cuts.top_p * scan.exp_sum(scan.max(), 1 / cuts.temperature);
  double mass = 0;
  for (double depth = 2; mass < target && depth <= 64; depth *= 2) {
    scan.at_least(max - depth * cuts.temperature, candidates);
    mass = mass_of(candidates, weight);
    if (candidates.size() == scan.size()) break;
  }
  keep_mass(candidates, target, weight);
  return true;
}

}  // namespace octet::generate
