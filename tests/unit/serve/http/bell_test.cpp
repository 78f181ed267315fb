#include "serve/http/bell.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>

namespace octet::serve {
namespace {

TEST(Bell, EveryRingIsFollowedByAnAnswer) {
  boost::asio::io_context io;
  std::atomic<int> noted = 0, seen = 0;
  Bell bell(io, [&] { seen = noted.load(); });
  bell.open();
  std::thread thread([&] { io.run(); });
  for (int i = 1; i <= 2000; ++i) {
    noted = i;
    bell.ring();
    while (seen != i) std::this_thread::yield();
  }
  bell.close();
  thread.join();
}

TEST(Bell, AnswersMayThrow) {
  boost::asio::io_context io;
  int answers = 0;
  Bell bell(io, [&] {
    if (++answers == 1) throw std::runtime_error("no memory");
    bell.close();
  });
  bell.open();
  bell.ring();
  EXPECT_THROW(io.run(), std::runtime_error);
  bell.ring();
  io.run();
  EXPECT_EQ(answers, 2);
}

// The thread ends although somebody rings all the time, or the program hangs here.
TEST(Bell, ClosedWhileItRings) {
  for (int round = 0; round < 300; ++round) {
    boost::asio::io_context io;
    Bell bell(io, [] {});
    bell.open();
    std::atomic<bool> stop = false;
    std::thread ringer([&] {
      while (!stop) bell.ring();
    });
    std::thread thread([&] { io.run(); });
    for (int i = 0; i < round % 7; ++i) std::this_thread::yield();
    bell.close();
    thread.join();
    stop = true;
    ringer.join();
  }
}

}  // namespace
}  // namespace octet::serve
