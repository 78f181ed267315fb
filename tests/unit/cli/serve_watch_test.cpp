#include "cli/serve_watch.h"

#include <gtest/gtest.h>

namespace octet::cli {
namespace {

using Change = StallAlarm::Change;

generate::EngineStatus status(std::int64_t running, std::int64_t waiting, double seconds) {
  generate::EngineStatus s;
  s.running = running;
  s.waiting = waiting;
  s.seconds_since_step = seconds;
  return s;
}

TEST(StallAlarm, TellsOnceThatTheEngineStandsStillAndOnceThatItSteps) {
  StallAlarm alarm;
  EXPECT_EQ(alarm.look(status(0, 0, 0)), Change::none);
  EXPECT_EQ(alarm.look(status(3, 1, StallAlarm::kSeconds)), Change::none);
  EXPECT_EQ(alarm.look(status(3, 1, StallAlarm::kSeconds + 0.1)), Change::stalled);
  EXPECT_TRUE(alarm.stalled());
  EXPECT_EQ(alarm.look(status(3, 1, StallAlarm::kSeconds + 5)), Change::none);
  EXPECT_EQ(alarm.look(status(3, 1, 0.01)), Change::recovered);
  EXPECT_FALSE(alarm.stalled());
  EXPECT_EQ(alarm.look(status(3, 1, 0.01)), Change::none);
}

TEST(StallAlarm, AQueueThatNobodyServesIsAStallToo) {
  StallAlarm alarm;
  EXPECT_EQ(alarm.look(status(0, 1, StallAlarm::kSeconds + 1)), Change::stalled);
}

TEST(StallAlarm, WithoutWorkNothingStands) {
  StallAlarm alarm;
  EXPECT_EQ(alarm.look(status(0, 0, 1e6)), Change::none);
}

TEST(StallAlarm, TheLineHoldsWhatIsAskedOfOperators) {
  generate::EngineStatus s = status(2, 7, 61);
  s.kv_pages_used = 11;
  s.kv_pages_total = 40;
  const std::string text = status_text(s);
  for (const char* part : {"running 2", "waiting 7", "pages 11 used", "of 40", "61 s since"})
    EXPECT_NE(text.find(part), std::string::npos) << text;
}

}  // namespace
}  // namespace octet::cli
