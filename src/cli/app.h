// cli: the program. One file for each subcommand; everything it does, the folders below do.
#pragma once

namespace octet::cli {

/// Parses the command line, runs the subcommand, turns errors into messages and exit codes:
/// 0 done, 1 failed, 2 bad usage, 3 model not found or corrupt, 4 does not fit in memory, 5 address
/// in use, 130 interrupted. `serve` also ends with 70 by itself: its engine hangs.
int run(int argc, char** argv);

}  // namespace octet::cli
