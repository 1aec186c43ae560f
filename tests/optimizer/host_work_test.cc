#include "optimizer/host_work.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace blade::optimizer {
namespace {

constexpr const char *kStatic = "cpu.conv.direct_bf16", *kFine = "cpu.conv.winograd23_bf16",
                     *kCoarse = "cpu.conv.winograd43_bf16", *kBlocked = "cpu.conv.winograd43_bf16 4x2",
                     *kCoarser = "cpu.conv.winograd25_bf16";

HostWork work_with(double fine_us, double coarse_us, double coarser_us = 100) {
  HostWork work;
  work.static_choice = work.choice = kStatic;
  work.static_us = 100;
  const std::vector<double> us = {100, fine_us, coarse_us, coarser_us};
  const auto best = static_cast<size_t>(std::min_element(us.begin(), us.end()) - us.begin());
  work.take({kStatic, kFine, kCoarse, kCoarser}, us, best);
  work.us = us[best];
  return work;
}

TEST(HostWork, ARefusedCoarseChoiceFallsToTheBestThatLosesLittle) {
  HostWork work = work_with(80, 50, 60);
  EXPECT_EQ(work.choice, kCoarse);
  work.fall_back();
  EXPECT_EQ(work.choice, kFine);
  EXPECT_EQ(work.us, work.static_us);  // what it takes in place was not confirmed
  work.fall_back();                    // refused, too
  EXPECT_EQ(work.choice, kStatic);
}

TEST(HostWork, ARunnerUpMustGainByItself) {
  HostWork work = work_with(96, 50);
  work.fall_back();
  EXPECT_EQ(work.choice, kStatic);
}

TEST(HostWork, AChoiceThatLosesLittleNeedsNoRunnerUp) {
  HostWork work = work_with(50, 80);
  EXPECT_EQ(work.choice, kFine);
  work.fall_back();
  EXPECT_EQ(work.choice, kStatic);
  EXPECT_EQ(work.us, 100);
}

TEST(HostWork, ABlockingOfACoarseRowKeepsTheRunnerUp) {
  HostWork work = work_with(80, 50);
  work.take({kCoarse, kBlocked}, {50, 40}, 1);
  EXPECT_EQ(work.choice, kBlocked);
  work.fall_back();
  EXPECT_EQ(work.choice, kFine);
}

TEST(HostWork, WhatIsRevertedForgetsItsRunnerUp) {
  HostWork work = work_with(80, 50);
  work.revert();
  work.fall_back();
  EXPECT_EQ(work.choice, kStatic);
}

}  // namespace
}  // namespace blade::optimizer
