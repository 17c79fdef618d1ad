import CKernels
public import Tensors

/// AdamW with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2), fp32 state, ε outside the root.
public struct AdamW: Sendable {
  public let learningRate: Float, beta1: Float, beta2: Float, epsilon: Float, weightDecay: Float
  /// Steps done after this one; 1 in the first.
  public let step: Int
  /// Multiplied into every gradient first: clipping.
  public let gradientScale: Float

  public init(
    learningRate: Float, beta1: Float, beta2: Float, epsilon: Float, weightDecay: Float, step: Int, gradientScale: Float
  ) {
    precondition(step >= 1, "AdamW step \(step): steps count from 1")
    self.learningRate = learningRate
    self.beta1 = beta1
    self.beta2 = beta2
    self.epsilon = epsilon
    self.weightDecay = weightDecay
    self.step = step
    self.gradientScale = gradientScale
  }

  /// Updates elements `range` of master, m and v. `decays` is false for norms and biases.
  public func update(
    master: inout Tensor, m: inout Tensor, v: inout Tensor, gradient: borrowing Tensor, range: Range<Int>, decays: Bool
  ) {
    precondition(range.upperBound <= master.count && m.count == master.count && v.count == master.count
      && gradient.count == master.count, "AdamW over \(range) of \(master.count)")
    let constants = ck_adamw(
      learning_rate: learningRate, beta1: beta1, beta2: beta2, epsilon: epsilon,
      weight_decay: decays ? weightDecay : 0, correction1: Float(1 - power(Double(beta1))),
      correction2: Float(1 - power(Double(beta2))), gradient_scale: gradientScale)
    let first = range.lowerBound, operations = KernelTable.current.operations
    let master = unsafe master.unsafeMutableAddress(), m = unsafe m.unsafeMutableAddress()
    let v = unsafe v.unsafeMutableAddress(), gradient = unsafe gradient.unsafeAddress()
    ThreadTeam.shared.parallel(range.count, by: elementGrain) { piece in
      let at = first + piece.lowerBound
      unsafe withUnsafePointer(to: constants) { constants in
        unsafe operations.adamw(constants, Int64(piece.count), master + at, m + at, v + at, gradient + at)
      }
    }
  }

  /// base^step by squaring: the same double on every machine, which libm's pow does not promise.
  private func power(_ base: Double) -> Double {
    var result = 1.0, factor = base, exponent = step
    while exponent > 0 {
      if exponent & 1 == 1 { result *= factor }
      factor *= factor
      exponent >>= 1
    }
    return result
  }
}
