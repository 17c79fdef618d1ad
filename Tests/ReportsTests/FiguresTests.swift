import Reports
import Testing

@Suite struct FiguresTests {
  @Test func fixedDigits() {
    #expect(Figures.fixed(2.218548, 4) == "2.2185")
    #expect(Figures.fixed(-0.00001, 2) == "0.00")
    #expect(Figures.fixed(-1.5, 1) == "-1.5")
    #expect(Figures.fixed(9.9996, 3) == "10.000")
    #expect(Figures.fixed(7, 0) == "7")
    #expect(Figures.fixed(.nan, 2) == "nan" && Figures.fixed(-.infinity, 2) == "-inf")
    #expect(Figures.fixed(0.05, 2) == "0.05")
  }

  @Test func perplexitiesAcrossDecades() {
    #expect(Figures.perplexity(9.1937) == "9.194")
    #expect(Figures.perplexity(518.0128) == "518.0")
    #expect(Figures.perplexity(123_456.7) == "123457")
    #expect(Figures.perplexity(.infinity) == "inf")
  }

  @Test func groupsBytesAndDurations() {
    #expect(Figures.grouped(1_234_567) == "1,234,567" && Figures.grouped(-100) == "-100" && Figures.grouped(1000) == "1,000")
    #expect(Figures.bytes(1023) == "1023 B" && Figures.bytes(1536) == "1.5 KiB" && Figures.bytes(3 << 30) == "3.0 GiB")
    #expect(Figures.duration(0.04) == "0.0 s" && Figures.duration(83.2) == "1 min 23 s" && Figures.duration(3720) == "1 h 2 min")
  }
}
