#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "runtime/base/error.h"
#include "runtime/base/file_lock.h"
#include "runtime/base/hash.h"
#include "runtime/base/json.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/numa.h"
#include "runtime/base/output_file.h"
#include "runtime/base/progress.h"
#include "runtime/base/system.h"
#include "support/support.h"

namespace octet {
namespace {

ErrorCode code_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.code();
  }
  ADD_FAILURE() << "no error";
  return ErrorCode::internal;
}

TEST(Files, MapsAndReads) {
  const test::ScratchFolder folder;
  const auto path = folder.path() / "f";
  write_file(path, "hello");
  const MappedFile file(path);
  EXPECT_EQ(file.bytes().size(), 5u);
  EXPECT_EQ(read_file(path), "hello");
  write_file(folder.path() / "empty", "");
  EXPECT_TRUE(MappedFile(folder.path() / "empty").bytes().empty());
  EXPECT_EQ(code_of([&] { read_file(path, 4); }), ErrorCode::bad_data);
  EXPECT_EQ(code_of([&] { MappedFile(folder.path() / "none"); }), ErrorCode::not_found);
  EXPECT_EQ(code_of([&] { MappedFile(folder.path()); }), ErrorCode::not_found);
}

TEST(Files, AnUnfinishedFileDoesNotAppear) {
  const test::ScratchFolder folder;
  const auto path = folder.path() / "f";
  {
    OutputFile file(path);
    file.write("half");
    EXPECT_FALSE(std::filesystem::exists(path));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  write_file(path, "one");
  {
    OutputFile file(path);
    file.write("two, never finished");
  }
  EXPECT_EQ(read_file(path), "one");
  EXPECT_EQ(code_of([&] { OutputFile(folder.path() / "no" / "such"); }), ErrorCode::unavailable);
}

TEST(Files, AFullDiskLeavesTheOldFile) {
  const test::ScratchFolder folder;
  const auto path = folder.path() / "f";
  write_file(path, "old");
  // A limit on file sizes fails a write as a full disk does.
  signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const rlimit small{1000, old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const auto code = code_of([&] { write_file(path, std::string(5000, 'x')); });
  setrlimit(RLIMIT_FSIZE, &old);
  EXPECT_EQ(code, ErrorCode::unavailable);
  EXPECT_EQ(read_file(path), "old");
  EXPECT_FALSE(std::filesystem::exists(path.string() + ".partial"));
}

TEST(Files, MapsAPartThatMayGrow) {
  const test::ScratchFolder folder;
  const auto path = folder.path() / "f";
  write_file(path, std::string(4096, 'a') + std::string(4096, 'b') + "c");
  const MappedFile part(path, 4096, 4096);
  EXPECT_EQ(part.bytes().size(), 4096u);
  EXPECT_EQ(static_cast<char>(part.bytes()[0]), 'b');
  EXPECT_TRUE(part.populate(part.bytes()));
  // A mapping begins with a page; a part need not.
  MappedFile odd(path, 4100, 4093);
  EXPECT_TRUE(odd.populate(odd.bytes()));
  EXPECT_EQ(static_cast<char>(odd.bytes().front()), 'b');
  const MappedFile moved = std::move(odd);
  EXPECT_EQ(static_cast<char>(moved.bytes().back()), 'c');
  EXPECT_EQ(code_of([&] { MappedFile(path, 4096, 4098); }), ErrorCode::bad_data);
  EXPECT_EQ(code_of([&] { MappedFile(path, 1 << 20, 0); }), ErrorCode::bad_data);
}

TEST(Files, AFlushCanBeStopped) {
  const test::ScratchFolder folder;
  OutputFile file(folder.path() / "f");
  file.write("hello");
  int calls = 0;
  file.sync([&] { ++calls; });
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(code_of([&] { file.sync([] { fail(ErrorCode::interrupted, "stop"); }); }),
            ErrorCode::interrupted);
}

// False where madvise doesn't know the request: Linux before 5.14, some sandboxes.
bool can_populate() {
#ifdef MADV_POPULATE_READ
  const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* page = mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const bool can = page != MAP_FAILED && madvise(page, size, MADV_POPULATE_READ) == 0;
  if (page != MAP_FAILED) munmap(page, size);
  return can;
#else
  return false;
#endif
}

TEST(Files, PagesThatAFileLostAreNoticed) {
  if (!can_populate()) GTEST_SKIP() << "this kernel can't populate";
  const test::ScratchFolder folder;
  const auto path = folder.path() / "f";
  write_file(path, std::string(3 * 4096, 'a'));
  const MappedFile file(path);
  EXPECT_TRUE(file.populate(file.bytes()));
  std::filesystem::resize_file(path, 4096);
  EXPECT_TRUE(file.populate(file.bytes().first(4096)));
  EXPECT_FALSE(file.populate(file.bytes()));
}

TEST(FileLock, SharersExcludeWhoWantsItAlone) {
  const test::ScratchFolder folder;
  const auto path = folder.path() / "f";
  EXPECT_FALSE(FileLock::try_shared(path));
  EXPECT_FALSE(FileLock::try_exclusive(path));
  write_file(path, "x");
  {
    const auto one = FileLock::try_shared(path), two = FileLock::try_shared(path);
    EXPECT_TRUE(one && two);
    EXPECT_FALSE(FileLock::try_exclusive(path));
  }
  const auto alone = FileLock::try_exclusive(path);
  EXPECT_TRUE(alone);
  EXPECT_FALSE(FileLock::try_shared(path));
}

TEST(FileLock, AMadeLockLeavesNothing) {
  const test::ScratchFolder folder;
  const auto path = folder.path() / "lock";
  {
    const auto first = FileLock::try_create(path);
    EXPECT_TRUE(first);
    EXPECT_FALSE(FileLock::try_create(path));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  write_file(path, "left by a process that was killed");
  EXPECT_TRUE(FileLock::try_create(path));
  EXPECT_EQ(code_of([&] { (void)FileLock::try_create(folder.path() / "no" / "lock"); }),
            ErrorCode::unavailable);
}

// Somebody else's, which may only be read, as one that was left in a shared folder.
TEST(FileLock, LocksWhatItMayOnlyRead) {
  const test::ScratchFolder folder;
  const auto path = folder.path() / "lock";
  write_file(path, "");
  chmod(path.c_str(), 0444);
  chmod(folder.path().c_str(), 0755);
  const bool root = geteuid() == 0;  // may write to everything
  if (root) {
    ASSERT_EQ(seteuid(65534), 0);
  }
  bool created = false, alone = false;
  try {
    created = FileLock::try_create(path).has_value();
    alone = !root || FileLock::try_exclusive(path).has_value();  // else removed with the lock
  } catch (const Error& e) {
    ADD_FAILURE() << e.what();
  }
  if (root) {
    ASSERT_EQ(seteuid(0), 0);
  }
  EXPECT_TRUE(created);
  EXPECT_TRUE(alone);
}

TEST(FileLock, KnowsWhetherItsFileWasReplaced) {
  const test::ScratchFolder folder;
  const auto path = folder.path() / "f";
  write_file(path, "x");
  const auto lock = FileLock::try_shared(path);
  ASSERT_TRUE(lock);
  EXPECT_TRUE(lock->is_at(path));
  write_file(path, "y");
  EXPECT_FALSE(lock->is_at(path));
  std::filesystem::remove(path);
  EXPECT_FALSE(lock->is_at(path));
}

TEST(System, PagesOfFilesAreFreeMemory) {
  const test::ScratchFolder folder;
  const auto root = folder.path(), cgroup = root / "sys/fs/cgroup";
  std::filesystem::create_directories(root / "proc");
  std::filesystem::create_directories(cgroup);
  EXPECT_EQ(available_memory_bytes(root), 0u);  // unknown
  write_file(root / "proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:  8000 kB\n");
  EXPECT_EQ(available_memory_bytes(root), 8'192'000u);
  write_file(cgroup / "memory.max", "max\n");
  write_file(cgroup / "memory.current", "5000000\n");
  EXPECT_EQ(available_memory_bytes(root), 8'192'000u);
  write_file(cgroup / "memory.max", "6000000\n");
  EXPECT_EQ(available_memory_bytes(root), 1'000'000u);
  write_file(cgroup / "memory.stat",
             "anon 900000\nfile 4100000\ninactive_file 1500000\nactive_file 2500000\n");
  EXPECT_EQ(available_memory_bytes(root), 5'000'000u);
  // All in use is not the same as unknown.
  write_file(cgroup / "memory.current", "99000000\n");
  EXPECT_EQ(available_memory_bytes(root), 4096u);
}

TEST(SystemDeathTest, TheSecondSignalEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto signals = [](int count) {
    install_interrupt_handler();
    for (int i = 0; i < count; ++i) raise(SIGINT);
    _exit(interrupted() ? 7 : 8);
  };
  EXPECT_EXIT(signals(1), testing::ExitedWithCode(7), "");
  EXPECT_EXIT(signals(2), testing::KilledBySignal(SIGINT), "");
}

// The published values of XXH3-128 for no bytes, and pieces equal to the whole.
TEST(Hash, KnownValuesAndPieces) {
  EXPECT_EQ(to_hex(hash128({})), "99aa06d3014798d86001c324468d497f");
  std::string text;
  for (int i = 0; i < 5000; ++i) text += static_cast<char>(i * 7);
  const auto bytes = std::as_bytes(std::span(text));
  Hasher128 hasher;
  hasher.update(std::string("something else"));
  hasher.reset();
  for (std::size_t i = 0; i < bytes.size(); i += 333)
    hasher.update(bytes.subspan(i, std::min<std::size_t>(333, bytes.size() - i)));
  EXPECT_EQ(hasher.digest(), hash128(bytes));
  EXPECT_NE(hasher.digest(), hash128(bytes.first(bytes.size() - 1)));
}

TEST(Json, WritesAsPython) {
  const json::value v =
      parse_json(R"({"a": [1, 2.0, true, null], "b": "é\n\"\u0001", "c": {}})", "t");
  EXPECT_EQ(to_json(v), "{\"a\": [1, 2.0, true, null], \"b\": \"é\\n\\\"\\u0001\", \"c\": {}}");
  EXPECT_EQ(to_json(json::object{{"x", json::array{1}}}, 2), "{\n  \"x\": [\n    1\n  ]\n}");
  EXPECT_EQ(to_json(json::value(18446744073709551615u)), "18446744073709551615");
}

TEST(Json, NumbersAsPython) {
  for (const auto& [value, text] : {std::pair<double, const char*>{1.0, "1.0"},
                                    {0.1, "0.1"},
                                    {1e-4, "0.0001"},
                                    {1e-5, "1e-05"},
                                    {1e15, "1000000000000000.0"},
                                    {1e16, "1e+16"},
                                    {-0.0, "-0.0"},
                                    {5e-324, "5e-324"},
                                    {1.7976931348623157e308, "1.7976931348623157e+308"},
                                    {123456789.123, "123456789.123"},
                                    {1e22, "1e+22"},
                                    {-2.5, "-2.5"}})
    EXPECT_EQ(format_double(value), text);
}

TEST(Json, RefusesWhatIsNotJson) {
  for (const std::string text : {"", "{", "[1] x", "{\"a\": NaN}", "\"\xff\"", "[1,]"})
    EXPECT_EQ(code_of([&] { parse_json(text, "t"); }), ErrorCode::bad_data) << text;
  EXPECT_EQ(code_of([&] { parse_json(std::string(1000, '['), "t"); }), ErrorCode::bad_data);
}

TEST(Errors, CarryCodeAndText) {
  try {
    fail(ErrorCode::overloaded, "no room for {}", 3);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::overloaded);
    EXPECT_STREQ(e.what(), "no room for 3");
  }
  EXPECT_EQ(code_of([] { OCTET_CHECK(1 == 2, "never"); }), ErrorCode::internal);
}

using Cpus = std::vector<int>;

TEST(Numa, ListsOfCpus) {
  EXPECT_EQ(parse_cpu_list("0-3,8,10-11\n"), (Cpus{0, 1, 2, 3, 8, 10, 11}));
  EXPECT_EQ(parse_cpu_list("5"), Cpus{5});
  EXPECT_EQ(parse_cpu_list("2-3, 0-2"), (Cpus{0, 1, 2, 3}));
  // Nodes without processors have an empty line. What is no list is left out, item by item.
  for (const char* text : {"", "\n", ",", "-", "3-1", "x", "1-", "-1", "0x1", "1 2", "0-4294967295",
                           "99999999999999999999"})
    EXPECT_TRUE(parse_cpu_list(text).empty()) << text;
  EXPECT_EQ(parse_cpu_list("x,4,7-,1"), (Cpus{1, 4}));
}

TEST(Numa, NodesOfAFolder) {
  const test::ScratchFolder folder;
  EXPECT_TRUE(numa_nodes(folder.path()).empty());
  EXPECT_TRUE(numa_nodes(folder.path() / "none").empty());
  write_file(folder.path() / "online", "0,2-4\n");
  for (const char* id : {"0", "2", "3"})
    std::filesystem::create_directory(folder.path() / (std::string("node") + id));
  write_file(folder.path() / "node0" / "cpulist", "0-1,4-5\n");
  write_file(folder.path() / "node2" / "cpulist", "2-3\n");
  write_file(folder.path() / "node3" / "cpulist", "\n");  // memory only; node 4 has gone
  const auto nodes = numa_nodes(folder.path());
  ASSERT_EQ(nodes.size(), 3u);
  EXPECT_EQ(nodes[0].id, 0);
  EXPECT_EQ(nodes[0].cpus, (Cpus{0, 1, 4, 5}));
  EXPECT_EQ(nodes[1].id, 2);
  EXPECT_EQ(nodes[1].cpus, (Cpus{2, 3}));
  EXPECT_EQ(nodes[2].id, 3);
  EXPECT_TRUE(nodes[2].cpus.empty());
}

TEST(Numa, UsableNodes) {
  const std::vector<NumaNode> nodes{{0, {0, 1, 4, 5}}, {2, {2, 3}}, {3, {}}};
  const auto some = usable_nodes(nodes, {1, 2, 3});
  ASSERT_EQ(some.size(), 2u);
  EXPECT_EQ(some[0].cpus, Cpus{1});
  EXPECT_EQ(some[1].id, 2);
  EXPECT_EQ(some[1].cpus, (Cpus{2, 3}));
  EXPECT_EQ(usable_nodes(nodes, {4}).size(), 1u);
  // CPU 9 is on no node: then the description is not to be trusted.
  for (const auto& all : {usable_nodes(nodes, {1, 2, 9}), usable_nodes({}, {1, 2, 9})}) {
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].cpus, (Cpus{1, 2, 9}));
  }
}

TEST(Numa, PinningNarrowsAffinity) {
  std::thread([] {
    const int last = affinity_cpus().back();
    ASSERT_TRUE(pin_this_thread({last}));
    EXPECT_EQ(affinity_cpus(), Cpus{last});
    EXPECT_EQ(current_cpu(), last);
    EXPECT_FALSE(pin_this_thread({}));
    EXPECT_EQ(affinity_cpus(), Cpus{last});
  }).join();
}

TEST(Format, DurationsAndBytes) {
  EXPECT_EQ(format_duration(3.2), "3.2 s");
  EXPECT_EQ(format_duration(75), "1 min 15 s");
  EXPECT_EQ(format_duration(3723), "1 h 02 min");
  EXPECT_EQ(format_bytes(33528145376.0), "33.53 GB");
  EXPECT_EQ(format_bytes(12), "12 B");
}

}  // namespace
}  // namespace octet
