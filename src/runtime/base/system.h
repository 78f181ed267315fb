#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace octet {

/// Bytes of memory that a new program could use without swapping: the kernel's MemAvailable or the
/// cgroup's room, whichever is less; pages of files count as free in both. 0 if unknown, a page if
/// there is none. `root` is where proc and sys are looked for.
/// Source: Documentation/admin-guide/cgroup-v2.rst.
std::size_t available_memory_bytes(const std::filesystem::path& root = "/");
/// Bytes of memory of the machine (or of the cgroup, if less). 0 if unknown.
std::size_t total_memory_bytes();
/// Resident set of this process now.
std::size_t current_rss_bytes();
/// Largest resident set of this process so far.
std::size_t peak_rss_bytes();
/// "AMD EPYC 9354 32-Core Processor"; empty if unknown.
std::string cpu_name();

/// What top, gdb and /proc call the calling thread; at most 15 bytes, the rest is cut off.
void name_this_thread(const std::string& name);

/// Makes SIGINT and SIGTERM set a flag instead of ending the process; the second one ends it.
void install_interrupt_handler();
/// True after the first signal. Long loops call check_interrupt() at points where stopping is safe.
bool interrupted();
/// Throws Error(interrupted) after a signal.
void check_interrupt();

}  // namespace octet
