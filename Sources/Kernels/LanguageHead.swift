import CKernels
public import Tensors

/// Output projection and loss, chunk by chunk: logits (T, V) never exist as a whole. The projection runs in the arithmetic
/// of the operator it is given.
///
/// Shapes: hidden (T, D), weight (V, D), targets (T) with -1 for rows that are not scored, loss (T) in nats.
/// Forward:   z = hidden · Wᵀ,  loss = log Σ exp z - z[target]
/// Backward:  dz = scale · (softmax(z) - onehot),  dhidden = dz · W,  dW = Σ over chunks dzᵀ · hidden, chunks ascending
///
/// A chunk takes long: `poll` is called in its middle and at its end, so that whoever has something in flight can push it
/// on. What it throws ends the pass.
public struct LanguageHead: Sendable {
  /// Tokens whose logits are alive together.
  public let chunk: Int

  public init(tokens: Int, vocabulary: Int) {
    // 64 MiB of logits. Every chunk packs the whole weight anew for each of its three products, so short chunks are slow:
    // at V = 32000, D = 288, chunks of 256 tokens reach 92 % of the speed of 512, and 1024 only 2 % more than that.
    let fit = (16 << 20) / max(vocabulary, 1)
    chunk = max(1, min(tokens, max(64, fit / 64 * 64)))
  }

  /// Distillation from a teacher's hidden states (Hinton et al. 2015): hard · CE + soft · T² · KL(teacher ‖ student).
  public struct Distillation: Sendable {
    public let hardWeight: Float, softWeight: Float, temperature: Float
    public init(hardWeight: Float, softWeight: Float, temperature: Float) {
      self.hardWeight = hardWeight
      self.softWeight = softWeight
      self.temperature = temperature
    }
  }

  public func forward<Failure: Error>(
    loss: inout HostBuffer<Double>, of hidden: borrowing Tensor, weight: borrowing Tensor,
    targets: borrowing HostBuffer<Int32>, logits: inout Tensor, poll: () throws(Failure) -> Void
  ) throws(Failure) {
    check(targets, loss, tokens: hidden.rows, vocabulary: weight.rows)
    var start = 0
    while let count = chunk(at: start, of: hidden.rows) {
      product(&logits, hidden: hidden, weight: weight, start: start, count: count)
      crossEntropy(&loss, logits: &logits, targets, start: start, count: count, vocabulary: weight.rows, gradient: nil)
      start += count
      try poll()
    }
  }

  /// Loss, dhidden (overwritten) and dweight (overwritten) in one pass over the logits.
  public func forwardBackward<Failure: Error>(
    loss: inout HostBuffer<Double>, dHidden: inout Tensor, dWeight: inout Tensor, of hidden: borrowing Tensor,
    weight: borrowing Tensor, targets: borrowing HostBuffer<Int32>, scale: Float, logits: inout Tensor,
    projection: any LinearOperator = FullPrecisionLinear(), poll: () throws(Failure) -> Void
  ) throws(Failure) {
    check(targets, loss, tokens: hidden.rows, vocabulary: weight.rows)
    var start = 0
    while let count = chunk(at: start, of: hidden.rows) {
      product(&logits, hidden: hidden, weight: weight, start: start, count: count, projection)
      try poll()
      crossEntropy(&loss, logits: &logits, targets, start: start, count: count, vocabulary: weight.rows, gradient: scale)
      gradients(
        &dHidden, &dWeight, logits: logits, hidden: hidden, weight: weight, start: start, count: count, projection)
      start += count
      try poll()
    }
  }

  /// The same against a frozen teacher's hidden states (T, D') and head (V, D').
  public func distill<Failure: Error>(
    loss: inout HostBuffer<Double>, dHidden: inout Tensor, dWeight: inout Tensor, of hidden: borrowing Tensor,
    weight: borrowing Tensor, teacherHidden: borrowing Tensor, teacherWeight: borrowing Tensor,
    targets: borrowing HostBuffer<Int32>, scale: Float, _ distillation: Distillation, logits: inout Tensor,
    teacherLogits: inout Tensor, projection: any LinearOperator = FullPrecisionLinear(),
    poll: () throws(Failure) -> Void
  ) throws(Failure) {
    precondition(teacherWeight.rows == weight.rows, "teacher vocabulary \(teacherWeight.rows), student \(weight.rows)")
    precondition(teacherHidden.rows == hidden.rows, "teacher of \(teacherHidden.rows) tokens, student of \(hidden.rows)")
    check(targets, loss, tokens: hidden.rows, vocabulary: weight.rows)
    let ops = KernelTable.current.operations, V = weight.rows
    let losses = unsafe loss.unsafeMutableAddress(), wanted = unsafe targets.unsafeAddress()
    var start = 0
    while let count = chunk(at: start, of: hidden.rows) {
      product(&logits, hidden: hidden, weight: weight, start: start, count: count, projection)
      product(&teacherLogits, hidden: teacherHidden, weight: teacherWeight, start: start, count: count)
      try poll()
      let first = start
      let student = unsafe logits.unsafeMutableAddress(), teacher = unsafe teacherLogits.unsafeAddress()
      ThreadTeam.shared.parallel(count, by: Self.grain(V)) { rows in
        let t = first + rows.lowerBound
        unsafe ops.distillation(
          Int64(rows.count), Int64(V), student + rows.lowerBound * V, teacher + rows.lowerBound * V, wanted + t, scale,
          distillation.hardWeight, distillation.softWeight, distillation.temperature, losses + t)
      }
      gradients(
        &dHidden, &dWeight, logits: logits, hidden: hidden, weight: weight, start: start, count: count, projection)
      start += count
      try poll()
    }
  }

  /// KL(reference ‖ candidate) in nats and whether the most likely token agrees, row by row.
  public func compare(
    kl: inout HostBuffer<Double>, sameTop: inout HostBuffer<UInt8>, reference: borrowing Tensor,
    referenceWeight: borrowing Tensor, candidate: borrowing Tensor, candidateWeight: borrowing Tensor,
    logits: inout Tensor, otherLogits: inout Tensor
  ) {
    precondition(referenceWeight.rows == candidateWeight.rows,
      "vocabularies of \(referenceWeight.rows) and \(candidateWeight.rows) cannot be compared")
    precondition(candidate.rows == reference.rows && kl.count >= reference.rows && sameTop.count >= reference.rows,
      "comparison of \(reference.rows) with \(candidate.rows) tokens into \(kl.count) and \(sameTop.count)")
    let ops = KernelTable.current.operations, V = referenceWeight.rows
    let divergences = unsafe kl.unsafeMutableAddress(), flags = unsafe sameTop.unsafeMutableAddress()
    var start = 0
    while let count = chunk(at: start, of: reference.rows) {
      product(&logits, hidden: reference, weight: referenceWeight, start: start, count: count)
      product(&otherLogits, hidden: candidate, weight: candidateWeight, start: start, count: count)
      let base = start
      let one = unsafe logits.unsafeAddress(), other = unsafe otherLogits.unsafeAddress()
      ThreadTeam.shared.parallel(count, by: Self.grain(V)) { rows in
        let t = base + rows.lowerBound
        unsafe ops.compare_logits(
          Int64(rows.count), Int64(V), one + rows.lowerBound * V, other + rows.lowerBound * V, divergences + t,
          flags + t)
      }
      start += count
    }
  }

  /// Rows of a piece: an exponential costs some ten times a copy.
  private static func grain(_ vocabulary: Int) -> Int { max(1, rowGrain(columns: vocabulary) / 4) }

  // Losses of one chunk; with `gradient`, the factor of the loss, its logits become their gradients.
  private func crossEntropy(
    _ loss: inout HostBuffer<Double>, logits: inout Tensor, _ targets: borrowing HostBuffer<Int32>, start: Int,
    count: Int, vocabulary V: Int, gradient: Float?
  ) {
    let ops = KernelTable.current.operations
    let z = unsafe logits.unsafeMutableAddress(), losses = unsafe loss.unsafeMutableAddress() + start
    let wanted = unsafe targets.unsafeAddress() + start
    ThreadTeam.shared.parallel(count, by: Self.grain(V)) { rows in
      let t = rows.lowerBound
      unsafe ops.cross_entropy(
        Int64(rows.count), Int64(V), z + t * V, wanted + t, gradient ?? 1, gradient != nil, losses + t)
    }
  }

  // The kernels take targets on trust.
  private func check(
    _ targets: borrowing HostBuffer<Int32>, _ loss: borrowing HostBuffer<Double>, tokens: Int, vocabulary: Int
  ) {
    precondition(targets.count >= tokens && loss.count >= tokens,
      "\(targets.count) targets and \(loss.count) losses for \(tokens) tokens")
    for t in 0..<tokens {
      precondition(targets[t] < vocabulary, "target \(targets[t]) of token \(t) in a vocabulary of \(vocabulary)")
    }
  }

  // The chunks of a fixed token count are fixed: the order of dW's sums depends on nothing else.
  private func chunk(at start: Int, of tokens: Int) -> Int? { start < tokens ? min(chunk, tokens - start) : nil }

  private func product(
    _ logits: inout Tensor, hidden: borrowing Tensor, weight: borrowing Tensor, start: Int, count: Int,
    _ projection: any LinearOperator = FullPrecisionLinear()
  ) {
    precondition(logits.count >= count * weight.rows && hidden.columns == weight.columns,
      "logits of \(count) x \(weight.rows) in \(logits.count) elements")
    var z = logits.region(0, rows: count, columns: weight.rows)
    projection.forward(&z, of: hidden.rows(start..<start + count), weight: weight)
  }

  private func gradients(
    _ dHidden: inout Tensor, _ dWeight: inout Tensor, logits: borrowing Tensor, hidden: borrowing Tensor,
    weight: borrowing Tensor, start: Int, count: Int, _ projection: any LinearOperator
  ) {
    let dz = logits.region(0, rows: count, columns: weight.rows)
    var dx = dHidden.rows(start..<start + count)
    projection.backwardInput(&dx, from: dz, weight: weight, token: start, output: .overwrite)
    projection.backwardWeight(
      &dWeight, from: dz, input: hidden.rows(start..<start + count), token: start,
      output: start == 0 ? .overwrite : .accumulate)
  }
}
