/// What the gradient of a rounded weight is taken to be. The scale is a constant in the backward pass; over
/// `ForwardPath.viaAnchor` the estimator spans both roundings.
public enum GradientEstimator: String, Sendable, Hashable, CaseIterable {
  /// dL/dw = dL/dŵ everywhere.
  case straightThrough = "straight_through"
  /// dL/dw = dL/dŵ where the element was not clipped to its format's maximum, else 0.
  case clipped
}

/// What the training loss is computed with.
public enum Objective: String, Sendable, Hashable, CaseIterable {
  /// fp32 weights: pre-training, or the control run of a quantized one.
  case fullPrecision = "full_precision"
  /// Weights in the formats of the schedule.
  case quantized
}
