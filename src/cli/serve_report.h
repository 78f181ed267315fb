#pragma once

#include <string>

#include "cli/serve_flags.h"
#include "cli/serve_plan.h"

namespace octet::cli {

// What the server says while it starts: text for a person, or with --log-format json an object a
// line as all of its log. After set_log_options().

/// A line of what is going on. Any thread.
void report_line(const ServeFlags& flags, const std::string& line);
/// flags.notes.
void report_notes(const ServeFlags& flags);
/// What takes how much memory.
void report_memory(const ServeFlags& flags, const ServePlan& plan);
/// What a person needs to begin. seconds: that loading took.
void report_ready(const ServeFlags& flags, const ServePlan& plan, const std::string& url,
                  double seconds);

}  // namespace octet::cli
