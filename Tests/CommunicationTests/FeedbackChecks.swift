import Communication
import Tensors

/// What rounding lost, as state: the same on repeats, carried over to another reducer, untouched by what is not finite.
let feedbackChecks: [Check] = [
  Check("feedback gives the same bits whatever is in flight") { communicator in
    // One unit over and over: what is lost must be added in the order of the steps, on both hops.
    for wire in codedWires(of: communicator) {
      var first: [[UInt32]] = []
      for depth in [0, 1, 3] {
        let found = try feedbackSteps(communicator, .init(wire, feedsBack: true, depth: depth), steps: 24)
        if depth == 0 { first = found }
        try require(found == first, "\(wire): other bits with \(depth) in flight")
      }
    }
  },
  Check("feedback carried over to another reducer gives the same bits") { communicator in
    for wire in codedWires(of: communicator) {
      let options = GradientWireOptions(wire, feedsBack: true)
      let whole = try feedback(communicator, options)
      for step in 0..<5 { _ = try whole.step(step) }

      let before = try feedback(communicator, options), after = try feedback(communicator, options)
      for step in 0..<3 { _ = try before.step(step) }
      var state: [String: [Float]] = [:]
      before.reducer.feedback?.forEach { name, values in state[name] = bits(values).map { Float(bitPattern: $0) } }
      after.reducer.feedback?.forEach { name, values in
        var span = values.mutableSpan
        for index in 0..<span.count { span[index] = state[name]![index] }
      }
      for step in 3..<5 { _ = try after.step(step) }
      try requireEqual(after.sums.values(ofUnit: 0).bits, whole.sums.values(ofUnit: 0).bits)
      if communicator.size > 1 {
        try require(state.values.contains { $0.contains { $0 != 0 } }, "\(wire): nothing was lost")
      }
    }
  },
  Check("feedback outlives a step that is not finite") { communicator in
    for wire in codedWires(of: communicator) {
      let reduction = try feedback(communicator, .init(wire, feedsBack: true))
      for step in 0..<6 {
        let found = try reduction.step(step, sick: step == 2 ? communicator.size - 1 : nil)
        try requireEqual(try communicator.agree(on: found.contains { !$0.isFinite }), step == 2)
      }
      reduction.reducer.feedback?.forEach { name, values in
        if !bits(values).allSatisfy({ Float(bitPattern: $0).isFinite }) { preconditionFailure("\(name) is not finite") }
      }
    }
  },
  Check("wires without codes have nothing to feed back") { communicator in
    for wire in [GradientWire.exact, .fp32, .bf16] {
      let reduction = try feedback(communicator, .init(wire, feedsBack: true))
      _ = try reduction.step(0)
      var count = 0
      reduction.reducer.feedback?.forEach { _, values in count += values.count }
      try requireEqual(count, 0)
    }
  },
]

private let feedbackUnit: [RowShards.Matrix] = awkwardUnit + [.init(rows: 24, columns: 160)]

private func codedWires(of communicator: Communicator) -> [GradientWire] {
  [.int8] + (communicator.topology?.map.isEven ?? false ? [.twoLevel] : [])
}

private func feedback(_ communicator: Communicator, _ options: GradientWireOptions) throws -> Reduction {
  try Reduction(communicator, [feedbackUnit], options: options)
}

extension Reduction {
  fileprivate func gradient(_ step: Int) -> [Float] {
    Samples(stream: 5000 + 100 * rank + step % 4).normal(units[0].elementCount)
  }

  fileprivate func step(_ step: Int, sick: Int? = nil) throws -> [Float] {
    var values = gradient(step)
    if sick == rank { values[values.count / 2] = .nan }
    return try sum(values, step: step)
  }
}

/// The sum over steps after the last, and what was lost.
private func feedbackSteps(
  _ communicator: Communicator, _ options: GradientWireOptions, steps: Int
) throws -> [[UInt32]] {
  let reduction = try feedback(communicator, options)
  for step in 0..<steps {
    try reduction.start(reduction.gradient(step), overwrite: step == 0, step: step)
    for _ in 0..<(communicator.rank + step) % 4 * 40 { try reduction.reducer.poll() }
  }
  try reduction.reducer.drain()
  var found = [reduction.sums.values(ofUnit: 0).bits]
  reduction.reducer.feedback?.forEach { _, values in found.append(bits(values)) }
  return found
}
