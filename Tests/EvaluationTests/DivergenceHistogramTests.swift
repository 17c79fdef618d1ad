import Evaluation
import Foundation
import Tensors
import Testing

@Suite struct DivergenceHistogramTests {
  /// Values over fourteen decades, as KL divergences of close and of distant models are.
  private static func values(_ count: Int, seed: UInt64) -> [Double] {
    let random = CounterRandom(seed: seed, stream: "divergences")
    return (0..<count).map { pow(10, -11 + 14 * Double(random.integer(UInt64($0), below: 1 << 30)) / Double(1 << 30)) }
  }

  private static func histogram(_ values: [Double]) -> DivergenceHistogram {
    values.reduce(into: DivergenceHistogram()) { $0.insert($1) }
  }

  @Test(arguments: [1, 2, 99, 100, 101, 5000])
  func quantilesAgreeWithAnExactSort(count: Int) {
    let values = Self.values(count, seed: UInt64(count)), sorted = values.sorted(), histogram = Self.histogram(values)
    for q in [0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1] {
      let exact = sorted[max(1, Int((q * Double(count)).rounded(.up))) - 1]
      let found = histogram.quantile(q)
      #expect(abs(found - exact) <= exact / 128, "\(q) of \(count): \(found), \(exact) by sorting")
    }
    #expect(histogram.maximum == sorted.last && histogram.total == count)
  }

  @Test func edgesAreTheirBins() {
    for edge in [0x1p-40, 0x1p-3, 1, 1 + 1.0 / 64, 512, 1024 - 0x1p-30] {
      let at = Self.histogram([edge]), below = Self.histogram([edge.nextDown])
      if edge == edge.rounded(.down) || edge < 1024 - 1 { #expect(at.counts != below.counts || edge > 1023, "\(edge)") }
      #expect(at.counts.reduce(0, +) == 1 && at.counts.count == DivergenceHistogram.binCount)
    }
    #expect(Self.histogram([1024]).counts.last == 1 && Self.histogram([.infinity]).counts.last == 1)
    #expect(Self.histogram([0]).counts.first == 1 && Self.histogram([0x1p-41]).counts.first == 1)
  }

  /// What ranks have counted apart is what one has counted.
  @Test func partsAddUpExactly() {
    let values = Self.values(3000, seed: 3)
    var parts = DivergenceHistogram()
    for part in [values[2000...], values[..<500], values[500..<2000]] { parts.merge(Self.histogram(Array(part))) }
    parts.merge(DivergenceHistogram())
    #expect(parts == Self.histogram(values))
  }

  /// Rounding takes a KL of 0 to either side of it.
  @Test func whatRoundingMakesOfZeroIsZero() {
    let histogram = Self.histogram([-3e-8, 0, -1e-16, 1e-15])
    #expect(histogram.quantile(0.5) == 0 && histogram.quantile(1) == 0 && histogram.maximum == 1e-15)
    #expect(Self.histogram([-3e-8]).maximum == 0)
  }

  @Test func whatIsNoNumberShows() {
    #expect(DivergenceHistogram().quantile(0.99).isNaN)
    let histogram = Self.histogram([1, .nan, 2])
    #expect(histogram.maximum.isNaN && histogram.quantile(0.5).isNaN && histogram.total == 3)
    var merged = Self.histogram([5])
    merged.merge(histogram)
    #expect(merged.maximum.isNaN)
    // Beyond the edges the maximum stands for all.
    #expect(Self.histogram([1, 3000]).quantile(1) == 3000)
    #expect(Self.histogram([1, .infinity]).quantile(1) == .infinity)
  }
}
