import Tensors
import Testing

@Suite struct CounterRandomTests {
  @Test func equalStreamsGiveEqualNumbersAndOthersDoNot() {
    let a = CounterRandom(seed: 7, stream: "x"), b = CounterRandom(seed: 7, stream: "x")
    let other = CounterRandom(seed: 7, stream: "y")
    var equal = 0
    for i in 0..<1000 {
      #expect(a.word(UInt64(i)) == b.word(UInt64(i)))
      if a.word(UInt64(i)) == other.word(UInt64(i)) { equal += 1 }
    }
    #expect(equal == 0)
  }

  @Test func uniformHasTheRightMean() {
    let random = CounterRandom(seed: 1)
    let mean = (0..<100_000).reduce(0.0) { $0 + random.uniform(UInt64($1)) } / 100_000
    #expect(abs(mean - 0.5) < 0.003)
  }
}
