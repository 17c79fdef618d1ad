import Formats
import Quantization
import Testing

@Suite struct ForwardPathTests {
  static func error(_ path: ForwardPath, _ formats: [MXFormat]) -> QuantizationError? {
    do {
      try path.check(formats)
      return nil
    } catch { return error }
  }

  @Test func anAnchorServesItsFamily() {
    #expect(Self.error(.viaAnchor(.mxint8), [.mxint2, .mxint3, .mxint4, .mxint8]) == nil)
    #expect(Self.error(.viaAnchor(.mxfp8_e4m3), [.mxfp4, .mxfp6_e2m3, .mxfp8_e4m3]) == nil)
    #expect(Self.error(.direct, [.mxint2, .mxfp4]) == nil)
  }

  @Test func anAnchorTooNarrowIsRefusedWithThoseThatCan() throws {
    let error = try #require(Self.error(.viaAnchor(.mxfp4), [.mxfp4, .mxfp6_e2m3]))
    #expect(error.subject == .anchor)
    #expect(error.found.contains("mxfp6_e2m3"))
    #expect(error.hint.contains("mxfp8_e4m3"))
    #expect(!error.hint.contains("mxint8"))
    let float = try #require(Self.error(.viaAnchor(.mxfp8_e4m3), [.mxint4]))
    #expect(float.hint.contains("mxint8"))
  }

  @Test func familiesDoNotMixUnderOneAnchor() throws {
    let error = try #require(Self.error(.viaAnchor(.mxint8), [.mxint4, .mxfp4]))
    #expect(error.subject == .formats)
    #expect(error.hint.contains("path: direct"))
  }

  @Test func familiesKnowTheirAnchors() {
    #expect(MXFormat.mxint3.family.anchor == .mxint8)
    #expect(MXFormat.mxfp6_e3m2.family.anchor == .mxfp8_e4m3)
    #expect(ForwardPath.anchors(for: [.mxint2, .mxint4]) == [.mxint8])
  }
}
