import Calibration
import Formats
import Kernels
import Tensors
import Testing

/// One stored 8-bit code for several formats cut from it.
@Suite(.serialized) struct SolverTargetsTests {
  /// Made once; the suite is serial.
  private nonisolated(unsafe) static let layer = CorrelatedLayer()

  private static func plan(_ anchor: MXFormat, _ targets: [MXFormat], order: ColumnOrder = .natural) -> RoundingPlan {
    RoundingPlan(
      format: anchor, targets: targets.map { RoundingTarget($0) }, method: .columns(.frozen), order: order)
  }

  /// Where every element of the target is some code's slice. E2M3 is not such a target: E4M3 ends at 7 where it ends
  /// at 7.5.
  @Test(arguments: [
    (MXFormat.mxint8, MXFormat.mxint4), (.mxint8, .mxint2), (.mxint8, .mxint6), (.mxint8, .mxint8),
    (.mxfp8_e4m3, .mxfp4),
    (.mxfp8_e4m3, .mxfp6_e3m2), (.mxfp8_e5m2, .mxfp4), (.mxfp8_e5m2, .mxfp6_e3m2),
  ])
  func oneTargetsSliceIsItsOwnSolution(anchor: MXFormat, target: MXFormat) throws {
    let layer = unsafe Self.layer
    for order in [ColumnOrder.natural, .descendingEnergy] {
      let packed = try layer.round(Self.plan(anchor, [target], order: order))
      let own = try layer.round(RoundingPlan(format: target, method: .columns(.frozen), order: order))
      let slice = try decoded(layer.slice(packed, to: target)), expected = decoded(own)
      let different = slice.indices.filter { slice[$0] != expected[$0] }.count
      #expect(different == 0, "\(anchor) for \(target), \(order): \(different) of \(slice.count) values")
      // Among the codes with that slice the nearest to the weight: the anchor is better than its slice.
      let errors = layer.heldOut.total(of: layer.weight, rounded: packed)
      let ownErrors = layer.heldOut.total(of: layer.weight, rounded: own)
      #expect(errors.weight <= ownErrors.weight, "\(anchor) for \(target): weights \(errors), \(ownErrors)")
    }
  }

  @Test(arguments: [
    (MXFormat.mxint8, [MXFormat.mxint4, .mxint3]), (.mxint8, [.mxint8, .mxint4, .mxint3, .mxint2]),
    (.mxfp8_e4m3, [.mxfp8_e4m3, .mxfp6_e2m3, .mxfp4]),
  ])
  func lowFormatsGainAndTheAnchorStaysSane(anchor: MXFormat, targets: [MXFormat]) throws {
    let layer = unsafe Self.layer
    let alone = try layer.round(RoundingPlan(format: anchor, method: .columns(.frozen)))
    let shared = try layer.round(Self.plan(anchor, targets))
    func errors(_ packed: borrowing PackedTensor) throws -> [Double] {
      try targets.filter { $0 != anchor }.map {
        layer.heldOut.total(of: layer.weight, rounded: try layer.slice(packed, to: $0)).relativeOutput
      }
    }
    let before = try errors(alone), after = try errors(shared)
    let anchorError = layer.heldOut.total(of: layer.weight, rounded: shared).relativeOutput
    print("\(anchor) for \(targets): slices \(before) -> \(after), anchor \(anchorError)")
    #expect(after.reduce(0, +) < before.reduce(0, +))
    #expect(anchorError < after.min()!)
  }
}
