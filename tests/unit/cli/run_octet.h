#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace octet::test {

struct Finished {
  int status = 0;  ///< exit status; 128 + N if signal N ended it
  std::string out, err;
};

/// Runs the program with these arguments and an empty standard input.
/// while_running is called once after the start with the process number. largest_file: bytes that
/// a file of the program may have, 0: any; writing more fails as on a full disk.
Finished run_octet(const std::vector<std::string>& arguments,
                   const std::function<void(int)>& while_running = nullptr,
                   std::size_t largest_file = 0);

/// The same for any program: words[0] is its path.
Finished run_program(std::vector<std::string> words,
                     const std::function<void(int)>& while_running = nullptr,
                     std::size_t largest_file = 0);

/// Files of a result by name, but those with times in them.
std::map<std::string, std::string> lasting_files(const std::filesystem::path& folder);

}  // namespace octet::test
