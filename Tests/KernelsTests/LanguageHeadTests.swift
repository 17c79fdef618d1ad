import Kernels
import Tensors
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// Output projection and losses, chunk by chunk, against whole matrices of doubles.
struct LanguageHeadTests {
  /// One shape in one chunk, one of several chunks with a short last one: a large vocabulary makes chunks small.
  static let shapes = [Shape(T: 7, V: 33, D: 5, chunk: 7), Shape(T: 150, V: 100_003, D: 4, chunk: 128)]

  struct Shape: Sendable, CustomTestStringConvertible {
    let T: Int, V: Int, D: Int, chunk: Int
    var testDescription: String { "\(T) tokens, \(V) ids, width \(D)" }

    var hidden: Matrix { .random(T, D, seed: 1) }
    var weight: Matrix { .random(V, D, seed: 2) }
    /// Some rows are not scored, the first and the last among them.
    var targets: [Int32] {
      let random = CounterRandom(seed: 3)
      return (0..<T).map { t in
        t == 0 || t == T - 1 || t % 5 == 3 ? -1 : Int32(random.integer(UInt64(t), below: UInt64(V)))
      }
    }
  }

  @Test(arguments: shapes)
  func crossEntropy(_ s: Shape) {
    let arena = Arena("test"), head = LanguageHead(tokens: s.T, vocabulary: s.V), scale: Float = 0.25
    #expect(head.chunk == s.chunk)
    let hidden = s.hidden, weight = s.weight, targets = s.targets
    let z = hidden * weight.transposed
    var dz = Matrix(s.T, s.V), expected: [Double] = []
    for t in 0..<s.T {
      guard targets[t] >= 0 else {
        expected.append(0)
        continue
      }
      let p = softmax(z, t)
      expected.append(-log(p[Int(targets[t])]))
      for v in 0..<s.V { dz[t, v] = Double(scale) * (p[v] - (v == targets[t] ? 1 : 0)) }
    }

    let h = hidden.tensor(in: arena), w = weight.tensor(in: arena), ids = buffer(targets, in: arena)
    var loss = HostBuffer<Double>(count: s.T, in: arena), logits = poisoned(head.chunk, s.V, in: arena)
    head.forward(loss: &loss, of: h, weight: w, targets: ids, logits: &logits) {}
    expectEqual(loss, expected, within: 2e-6)

    var again = HostBuffer<Double>(count: s.T, in: arena)
    var dHidden = poisoned(s.T, s.D, in: arena), dWeight = poisoned(s.V, s.D, in: arena)
    head.forwardBackward(
      loss: &again, dHidden: &dHidden, dWeight: &dWeight, of: h, weight: w, targets: ids, scale: scale, logits: &logits
    ) {}
    for t in 0..<s.T { #expect(again[t].bitPattern == loss[t].bitPattern, "row \(t)") }
    #expect(Matrix(dHidden).distance(to: dz * weight) < 2e-6)
    #expect(Matrix(dWeight).distance(to: dz.transposed * hidden) < 2e-6)
    #expect(Matrix(dHidden).rows(0..<1).values.allSatisfy { $0 == 0 }, "a row without a target has no gradient")
  }

  @Test(arguments: shapes)
  func distillation(_ s: Shape) {
    let arena = Arena("test"), head = LanguageHead(tokens: s.T, vocabulary: s.V), scale: Float = 0.5
    let hidden = s.hidden, weight = s.weight, targets = s.targets
    // The teacher is wider than the student.
    let teacherHidden = Matrix.random(s.T, s.D + 3, seed: 5), teacherWeight = Matrix.random(s.V, s.D + 3, seed: 6)
    let hard = 0.25, soft = 0.75, temperature = 2.0
    let z = hidden * weight.transposed, zt = teacherHidden * teacherWeight.transposed
    var dz = Matrix(s.T, s.V), expected: [Double] = []
    for t in 0..<s.T {
      guard targets[t] >= 0 else {
        expected.append(0)
        continue
      }
      let p = softmax(z, t), warm = softmax(z, t, temperature), goal = softmax(zt, t, temperature)
      let kl = (0..<s.V).reduce(0) { $0 + goal[$1] * (log(goal[$1]) - log(warm[$1])) }
      expected.append(hard * -log(p[Int(targets[t])]) + soft * temperature * temperature * kl)
      for v in 0..<s.V {
        let dHard = p[v] - (v == targets[t] ? 1 : 0), dSoft = temperature * (warm[v] - goal[v])
        dz[t, v] = Double(scale) * (hard * dHard + soft * dSoft)
      }
    }

    var loss = HostBuffer<Double>(count: s.T, in: arena)
    var dHidden = poisoned(s.T, s.D, in: arena), dWeight = poisoned(s.V, s.D, in: arena)
    var logits = poisoned(head.chunk, s.V, in: arena), teacherLogits = poisoned(head.chunk, s.V, in: arena)
    head.distill(
      loss: &loss, dHidden: &dHidden, dWeight: &dWeight, of: hidden.tensor(in: arena), weight: weight.tensor(in: arena),
      teacherHidden: teacherHidden.tensor(in: arena), teacherWeight: teacherWeight.tensor(in: arena),
      targets: buffer(targets, in: arena), scale: scale,
      LanguageHead.Distillation(hardWeight: Float(hard), softWeight: Float(soft), temperature: Float(temperature)),
      logits: &logits, teacherLogits: &teacherLogits) {}
    expectEqual(loss, expected, within: 5e-6)
    #expect(Matrix(dHidden).distance(to: dz * weight) < 2e-6)
    #expect(Matrix(dWeight).distance(to: dz.transposed * hidden) < 2e-6)
  }

  @Test(arguments: shapes)
  func comparison(_ s: Shape) {
    let arena = Arena("test"), head = LanguageHead(tokens: s.T, vocabulary: s.V)
    let reference = s.hidden, weight = s.weight
    let candidate = reference + Matrix.random(s.T, s.D, seed: 7, scale: 0.3)
    let other = weight + Matrix.random(s.V, s.D, seed: 8, scale: 0.05)
    let z = reference * weight.transposed, zc = candidate * other.transposed
    var kl = HostBuffer<Double>(count: s.T, in: arena), same = HostBuffer<UInt8>(count: s.T, in: arena)
    var logits = poisoned(head.chunk, s.V, in: arena), otherLogits = poisoned(head.chunk, s.V, in: arena)
    head.compare(
      kl: &kl, sameTop: &same, reference: reference.tensor(in: arena), referenceWeight: weight.tensor(in: arena),
      candidate: candidate.tensor(in: arena), candidateWeight: other.tensor(in: arena), logits: &logits,
      otherLogits: &otherLogits)
    var expected: [Double] = [], agreeing = 0
    for t in 0..<s.T {
      let p = softmax(z, t), q = softmax(zc, t)
      expected.append((0..<s.V).reduce(0) { $0 + p[$1] * (log(p[$1]) - log(q[$1])) })
      let tops = [p, q].map { row in row.indices.max { row[$0] < row[$1] }! }
      #expect(same[t] == (tops[0] == tops[1] ? 1 : 0), "row \(t)")
      agreeing += Int(same[t])
    }
    expectEqual(kl, expected, within: 5e-6)
    #expect(agreeing > 0 && agreeing < s.T, "the case tells agreement from disagreement")
  }

  @Test func targetsOutsideOfTheVocabularyAreRefused() async {
    await #expect(processExitsWith: .failure) {
      let arena = Arena("test"), head = LanguageHead(tokens: 2, vocabulary: 5)
      var loss = HostBuffer<Double>(count: 2, in: arena), logits = Tensor(rows: head.chunk, columns: 5, in: arena)
      head.forward(
        loss: &loss, of: Tensor(rows: 2, columns: 3, in: arena), weight: Tensor(rows: 5, columns: 3, in: arena),
        targets: buffer([-1, 5] as [Int32], in: arena), logits: &logits) {}
    }
  }

  private func softmax(_ z: Matrix, _ row: Int, _ temperature: Double = 1) -> [Double] {
    let logits = (0..<z.columns).map { z[row, $0] / temperature }
    let most = logits.max()!
    let powers = logits.map { exp($0 - most) }
    let sum = powers.reduce(0, +)
    return powers.map { $0 / sum }
  }

  private func expectEqual(
    _ got: borrowing HostBuffer<Double>, _ expected: [Double], within tolerance: Double,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    for (t, value) in expected.enumerated() where !(abs(got[t] - value) <= tolerance * max(1, value)) {
      Issue.record("row \(t): \(got[t]), expected \(value)", sourceLocation: sourceLocation)
    }
  }
}
