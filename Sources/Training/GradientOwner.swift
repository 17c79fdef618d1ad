import Communication
import Formats
import Kernels
import Quantization
import Settings
import Tensors
import Transformer

/// Takes this rank's rows of reduced gradients.
final class GradientOwner: GradientSink {
  /// The format of a contribution: a lane of a pass, numbered through the passes; nil in full precision.
  var format: (_ contribution: Int) -> MXFormat? = { _ in nil }

  private let state: ShardedState
  private let plan: QuantizationPlan
  private let clips: Bool
  private let rule: ScaleRule

  init(_ state: ShardedState, _ plan: QuantizationPlan, clips: Bool, rule: ScaleRule) {
    (self.state, self.plan, self.clips, self.rule) = (state, plan, clips, rule)
  }

  func withGradient(ofUnit unit: Int, _ body: (inout Tensor) -> Void) { body(&state.units[unit].gradient) }

  /// The clipped estimator: no gradient where the master lies beyond its block's largest value. For the sum of several
  /// lanes they all have one format.
  func adjust(_ contribution: inout Tensor, unit: Int, lane: Int?) {
    guard clips, let format = format(lane ?? 0) else { return }
    let shard = state.units[unit]
    for run in shard.runs where plan.isQuantized(shard.layout.parameters[run.matrix].name) {
      var rows = contribution.region(run.shardOffset, rows: run.rows.count, columns: run.columns)
      BlockCodec.clipGradient(
        &rows, at: shard.master.region(run.shardOffset, rows: run.rows.count, columns: run.columns), format: format,
        rule: rule)
    }
  }
}

/// The sum of a rank's lanes, before it travels.
final class LocalSums {
  let units: [TensorBox]

  init(_ layout: ParameterLayout, in arena: Arena) {
    units = layout.units.map { TensorBox(rows: 1, columns: $0.elementCount, in: arena) }
  }

  func add(_ gradient: borrowing Tensor, to unit: Int, isFirst: Bool) {
    if isFirst { units[unit].values.copy(from: gradient) } else { units[unit].values.accumulate(gradient) }
  }
}

extension GradientWireOptions {
  init(_ configuration: RunConfiguration) {
    let communication = configuration.communication
    let wire: GradientWire =
      switch communication.gradients {
      case .exact: .exact
      case .fp32: .fp32
      case .bf16: .bf16
      case .int8: .int8
      case .twoLevel: .twoLevel
      }
    self.init(
      wire, isStochastic: communication.rounding == .stochastic, feedsBack: communication.errorFeedback,
      seed: configuration.training.seed, depth: communication.overlap ? 2 : 0)
  }
}
