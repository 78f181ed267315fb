#include "cli/serve_watch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "runtime/base/system.h"

namespace octet::cli {
namespace {

generate::EngineStatus stands(double seconds) {
  generate::EngineStatus s;
  s.running = 1;
  s.seconds_since_step = seconds;
  return s;
}

// Looks every tenth of a second at an engine that stands still from `begin` to `end` seconds.
bool looks(StallAlarm& alarm, double begin, double end) {
  bool stalled = false;
  for (int i = 0; begin + 0.1 * i < end; ++i) stalled = alarm.look(stands(begin + 0.1 * i), 0.1);
  return stalled;
}

TEST(StallAlarm, TellsAfterItsTimeAndStaysWithIt) {
  StallAlarm alarm(60);
  EXPECT_FALSE(looks(alarm, 0.05, 59));
  EXPECT_FALSE(alarm.look(stands(0.05), 0.1));  // a step
  EXPECT_FALSE(looks(alarm, 0.1, 59.9));
  EXPECT_TRUE(looks(alarm, 59.9, 61));
  EXPECT_TRUE(alarm.look(stands(0.01), 0.1));  // its clients have been told
}

TEST(StallAlarm, TheTimeIsTheFlags) {
  StallAlarm quick(2), off(0);
  EXPECT_FALSE(looks(quick, 0.05, 1.9));
  EXPECT_TRUE(looks(quick, 1.95, 2.5));
  EXPECT_FALSE(looks(off, 0.05, 500));
}

TEST(StallAlarm, WithoutWorkNothingStands) {
  StallAlarm alarm(2);
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(alarm.look(stands(0), 0.1));
}

// The counts are those of the last step, and there was none.
TEST(StallAlarm, TheFirstRequestsFirstStepCounts) {
  StallAlarm alarm(2);
  generate::EngineStatus s;
  bool stalled = false;
  for (int i = 1; i < 30; ++i) {
    s.seconds_since_step = 0.1 * i;
    stalled = alarm.look(s, 0.1);
  }
  EXPECT_TRUE(stalled);
}

// A debugger, SIGSTOP, a machine that slept: nobody looked either.
TEST(StallAlarm, TimeInWhichTheWholeProcessStoodIsNotTheEngines) {
  StallAlarm alarm(60);
  for (int i = 0; i < 50; ++i) {
    EXPECT_FALSE(alarm.look(stands(0.05), 0.1));
    EXPECT_FALSE(alarm.look(stands(3600), 3600));
    EXPECT_FALSE(alarm.look(stands(3600.1), 0.1));
  }
  // It stays away.
  bool stalled = false;
  for (int i = 0; i < 700; ++i) stalled = alarm.look(stands(3600 + 0.1 * i), 0.1);
  EXPECT_TRUE(stalled);
}

TEST(StallAlarm, ADeviceThatFailsStepAfterStepIsLost) {
  StallAlarm alarm(60), off(0);
  generate::EngineStatus s;
  for (s.lost_steps = 0; s.lost_steps < 3; ++s.lost_steps) EXPECT_FALSE(alarm.look(s, 0.1));
  EXPECT_TRUE(alarm.look(s, 0.1));
  EXPECT_FALSE(off.look(s, 0.1));
}

TEST(StallAlarm, TheLineHoldsWhatIsAskedOfOperators) {
  generate::EngineStatus s = stands(61);
  s.running = 2;
  s.waiting = 7;
  s.kv_pages_used = 11;
  s.kv_pages_total = 40;
  const std::string text = status_text(s);
  for (const char* part : {"running 2", "waiting 7", "pages 11 used", "of 40", "61 s since"})
    EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST(ThreadsText, TellsNamesAndWhatTheyDo) {
  std::atomic<int> named = 0;
  std::atomic<bool> over = false;
  std::vector<std::jthread> threads;
  for (const char* name : {") R a-name that is too long", "crew-1", "crew-22", "crew-3"})
    threads.emplace_back([&, name] {
      name_this_thread(name);
      ++named;
      over.wait(false);
    });
  std::string text;
  for (int i = 0; i < 10000; ++i) {
    text = threads_text();
    if (named == 4 && text.find("that S") != std::string::npos &&
        text.find("3S") != std::string::npos)
      break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_NE(text.find(") R a-name that S"), std::string::npos) << text;
  EXPECT_NE(text.find("crew 3S"), std::string::npos) << text;
  over = true;
  over.notify_all();
}

}  // namespace
}  // namespace octet::cli
