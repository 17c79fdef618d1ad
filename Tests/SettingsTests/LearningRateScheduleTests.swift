import Settings
import Testing

@Suite struct LearningRateScheduleTests {
  static func schedule(_ decay: LearningRateSchedule.Decay, warmup: Int = 11, steps: Int = 111) -> LearningRateSchedule {
    LearningRateSchedule(peak: 0.5, minimumRatio: 0.1, warmupSteps: warmup, steps: steps, decay: decay)
  }

  @Test(arguments: LearningRateSchedule.Decay.allCases) func theWarmUpIsLinear(_ decay: LearningRateSchedule.Decay) {
    let schedule = Self.schedule(decay)
    #expect(schedule.rate(step: 0) == 0.5 * (1.0 / 11))
    #expect(abs(schedule.rate(step: 5) - 0.5 * 6 / 11) < 1e-15)
    #expect(schedule.rate(step: 10) == 0.5)
    #expect(schedule.rate(step: 11) <= 0.5)
  }

  /// Peak at step 10, end at step 110, middle at 60, a quarter at 35.
  @Test func decayMeetsBothEnds() {
    let cosine = Self.schedule(.cosine), linear = Self.schedule(.linear), constant = Self.schedule(.constant)
    #expect(abs(cosine.rate(step: 60) - 0.275) < 1e-15)
    // 0.5 (0.1 + 0.9 (1 + cos 45°) / 2)
    #expect(abs(cosine.rate(step: 35) - 0.4340990257669732) < 1e-15)
    #expect(cosine.rate(step: 110) == 0.05)
    #expect(abs(linear.rate(step: 60) - 0.275) < 1e-15)
    #expect(abs(linear.rate(step: 35) - 0.3875) < 1e-15)
    #expect(abs(linear.rate(step: 110) - 0.05) < 1e-15)
    #expect([11, 60, 110].map(constant.rate) == [0.5, 0.5, 0.5])
    #expect(cosine.rate(step: 500) == 0.05)
  }

  @Test(arguments: LearningRateSchedule.Decay.allCases) func itNeverRisesAfterTheWarmUp(_ decay: LearningRateSchedule.Decay) {
    for warmup in [0, 1, 7, 40] {
      let schedule = Self.schedule(decay, warmup: warmup, steps: 40)
      let rates = (max(warmup - 1, 0)..<40).map(schedule.rate)
      #expect(rates[0] == 0.5)
      #expect(zip(rates, rates.dropFirst()).allSatisfy { $0 >= $1 })
      #expect(rates.allSatisfy { $0 >= 0.05 - 1e-15 })
    }
    #expect(Self.schedule(decay, warmup: 0, steps: 1).rate(step: 0) == 0.5)
  }
}
